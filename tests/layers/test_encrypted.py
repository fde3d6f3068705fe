"""An encrypted store: what opens it, what it refuses, and what of it lies on the disk."""

import asyncio
import logging
import subprocess
import sys

import pytest

from axiom_persistence import Client, blocking, client_state, open_persistence
from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import (
    ConfigurationError,
    CorruptedDataError,
    InsecureStorageError,
    KeyUnavailableError,
    StoreNotFoundError,
)
from axiom_persistence.keys import KEYSET
from axiom_persistence.layers.encrypted import Encrypted
from axiom_persistence.security import EnvironmentKey, PassphraseKey, StaticKey, cipher
from axiom_persistence.storage.adapter import NOT_NOW
from axiom_persistence.testing.suite._base import content

KEYS = StaticKey(bytes(range(32)))
OTHER = StaticKey(bytes(32))
MARKER = "marker-d41d8cd98f00b204"


def adapters(tmp_path):
    return {
        "sqlite": lambda: SQLiteAdapter(tmp_path / "store.db"),
        "file": lambda: FileStorageAdapter(tmp_path / "store"),
    }


@pytest.fixture(params=["sqlite", "file"])
def made(request, tmp_path):
    """Makes the bare adapter of one store, again and again."""
    return adapters(tmp_path)[request.param]


async def bytes_of(adapter):
    """Everything under every key, as the bare adapter has it."""
    async with adapter:
        return await content(adapter)


class Account(Client):
    token: str = client_state("", secure=True)
    name: str = client_state("")


async def test_the_example_of_the_page(tmp_path):
    """Saved, closed and opened again; a client's secure field goes to the same store."""
    for _ in range(2):
        async with open_persistence(tmp_path / "notes.db", keys=KEYS) as persistence:
            assert persistence.adapter.traits.confidential
            account = Account(persistence)
            async with account:
                account.token = MARKER
            await persistence.save("plain", {"text": MARKER})
    with blocking.open_persistence(tmp_path / "notes.db", keys=KEYS) as persistence:
        assert persistence.load("plain", dict) == {"text": MARKER}
        assert persistence.load("Account/token", str) == MARKER


async def test_no_byte_on_the_disk_says_what_was_saved(tmp_path, caplog):
    """Saves, updates, deletes, a crash, damage, quarantine and rotation: the marker is in no file or log."""
    caplog.set_level(logging.DEBUG)
    program = f"""
import asyncio, os
from axiom_persistence import open_persistence
from axiom_persistence.security import StaticKey

async def main():
    p = await open_persistence(WHERE, keys=StaticKey(bytes(range(32))))
    await p.save("crash", {MARKER!r})
    await p.save("crash", {MARKER!r} * 2, durability="process_exit")
    os._exit(1)

asyncio.run(main())
"""
    for where in (tmp_path / "store.db", tmp_path / "store"):
        code = program.replace("WHERE", repr(str(where)))
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1
        async with open_persistence(where, keys=KEYS) as persistence:
            assert await persistence.load("crash", str) == MARKER * 2
            await persistence.save_many({f"k{n}": MARKER for n in range(20)})
            await persistence.update("k1", str, lambda text: text + "!")
            await persistence.save("k2", MARKER * 500)
            await persistence.delete("k3")
            await persistence.rotate_keys()
            below = persistence.adapter.find(Encrypted).inner
            await below.commit({"k4": (await below.read("k4"))[:-1] + b"x", "k5": b"not encrypted"})
        async with open_persistence(where, keys=KEYS) as persistence:
            assert await persistence.load("k4", str) == MARKER  # the generation before
            assert await persistence.load("k5", str) == MARKER
            assert len(persistence.reports) == 2
            with pytest.raises(TypeError) as caught:
                await persistence.load("k1", int)
            assert MARKER not in str(caught.value) + repr(persistence) + repr(persistence.reports)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) > 20
    for path in left:
        assert MARKER.encode() not in path.read_bytes(), path
        assert b"plain" not in path.read_bytes() or path.suffix == ".db-wal" or path.name.startswith("k5"), (
            path
        )
    assert MARKER not in caplog.text


async def test_a_wrong_or_missing_key_changes_nothing(made):
    """Another key, another kind of provider, none at all, a variable that is not set: all refused."""
    async with open_persistence(made(), keys=KEYS) as persistence:
        await persistence.save("k", 1)
    before = await bytes_of(made())
    for keys, said in (
        (OTHER, "not the one that this store is encrypted with"),
        (PassphraseKey("a guess"), "of the kind 'static'"),
        (EnvironmentKey("NOT_SET"), "of the kind 'static'"),
        (None, "encrypted, and no key was given"),
    ):
        with pytest.raises(KeyUnavailableError, match=said):
            await open_persistence(made(), keys=keys)
        with pytest.raises(KeyUnavailableError, match=said):
            await open_persistence(made(), keys=keys, mode="inspect")
    assert await bytes_of(made()) == before
    async with open_persistence(made(), keys=KEYS) as persistence:
        assert await persistence.load("k", int) == 1


async def test_a_plain_store_is_not_opened_with_keys(made):
    """What is in it was never encrypted; nothing is changed, and it opens without."""
    async with open_persistence(made()) as persistence:
        await persistence.save("k", 1)
    before = await bytes_of(made())
    with pytest.raises(InsecureStorageError, match="holds plain records"):
        await open_persistence(made(), keys=KEYS)
    assert await bytes_of(made()) == before


async def test_a_lost_keyset_is_not_replaced(made):
    """Without the record of its keys the store is damaged: never taken for new."""
    async with open_persistence(made(), keys=KEYS) as persistence:
        await persistence.save("k", 1)
    async with made() as adapter:
        keyset = await adapter.read(KEYSET)
        await adapter.delete(KEYSET)
    before = await bytes_of(made())
    with pytest.raises(CorruptedDataError, match="record with its keys is missing"):
        await open_persistence(made(), keys=KEYS)
    assert await bytes_of(made()) == before
    for broken in (b"", b"{}", keyset[:-1], keyset.replace(b'"sealed":"', b'"sealed":"A')):
        async with made() as adapter:
            await adapter.commit({KEYSET: broken})
        with pytest.raises((CorruptedDataError, KeyUnavailableError)):
            await open_persistence(made(), keys=KEYS)
    async with made() as adapter:
        await adapter.commit({KEYSET: keyset})
    async with open_persistence(made(), keys=KEYS) as persistence:
        assert await persistence.load("k", int) == 1


async def test_inspecting_makes_no_keys(made):
    """Where nothing is, inspecting says so."""
    async with made():
        pass
    with pytest.raises(StoreNotFoundError):
        await open_persistence(made(), keys=KEYS, mode="inspect")


def altered(sealed):
    """Every way in which somebody may change one record: each bit pattern, cut, longer, other header."""
    for position in range(len(sealed)):
        yield f"byte {position}", sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
    for length in range(len(sealed)):
        yield f"cut at {length}", sealed[:length]
    yield "longer", sealed + b"\0"
    yield "no record", b"not a record"


async def test_every_altered_byte_is_refused():
    """Flip each byte, cut at each byte: damage, never another value."""
    below = MemoryAdapter()
    async with Encrypted(below, KEYS) as encrypted:
        await encrypted.commit({"k": b"value"})
        sealed = await below.read("k")
        for how, data in altered(sealed):
            await below.commit({"k": data})
            found = (await encrypted.fetch(["k"]))["k"]
            assert found.damage is not None, how
            assert found.data == data
            assert encrypted.fetch_now("k") is NOT_NOW, how
        await below.commit({"k": sealed})
        assert await encrypted.read("k") == b"value"


async def test_what_the_adapter_refused_stays_refused():
    """Damage that the layer below tells is told on, whether the record opens or not."""

    class Doubtful(MemoryAdapter):
        async def fetch(self, keys):
            return {
                key: stored._replace(damage="doubtful") for key, stored in (await super().fetch(keys)).items()
            }

        def fetch_now(self, key):
            stored = super().fetch_now(key)
            return stored and stored._replace(damage="doubtful")

    below = MemoryAdapter()
    async with Encrypted(below, KEYS) as encrypted:
        await encrypted.commit({"k": b"value"})
        assert encrypted.fetch_now("k").data == b"value"
        below.__class__ = Doubtful
        assert encrypted.fetch_now("k") is NOT_NOW
        assert (await encrypted.fetch(["k"]))["k"].damage == "doubtful"
        below.__class__ = MemoryAdapter


async def test_records_of_many_openings_are_read(monkeypatch):
    """Each sealed as if by another opening of the store: what is remembered of them stays small."""
    monkeypatch.setattr(cipher, "_SEALED_PER_PREFIX", 1)
    values = {f"k{number}": b"%d" % number for number in range(600)}
    async with Encrypted(MemoryAdapter(), KEYS) as encrypted:
        await encrypted.commit(values)
        for _ in range(2):
            assert {key: encrypted.fetch_now(key).data for key in values} == values
        assert {key: stored.data for key, stored in (await encrypted.fetch(values)).items()} == values
        assert len(encrypted._openings) <= 256
        assert encrypted.fetch_now(KEYSET) is None


async def test_a_record_in_another_place_does_not_open(made, tmp_path):
    """Two records swapped, one moved to another key, one from another store under the same key."""
    elsewhere = MemoryAdapter()
    async with Encrypted(elsewhere, KEYS) as other:
        await other.commit({"a": b"of another store"})
        foreign = await elsewhere.read("a")
    below = made()
    async with Encrypted(below, KEYS) as encrypted:
        await encrypted.commit({"a": b"1", "b": b"2"})
        a, b = await below.read("a"), await below.read("b")
        for changes in ({"a": b, "b": a}, {"a": b, "b": b}, {"a": foreign, "b": None}):
            await below.commit(changes)
            assert (await encrypted.fetch(["a"]))["a"].damage is not None, changes
        await below.commit({"a": a, "b": b})
        assert [await encrypted.read(key) for key in "ab"] == [b"1", b"2"]


async def test_what_is_not_noticed():
    """One record put back as it was earlier opens: the page says so."""
    below = MemoryAdapter()
    async with Encrypted(below, KEYS) as encrypted:
        await encrypted.commit({"k": b"old"})
        old = await below.read("k")
        await encrypted.commit({"k": b"new"})
        await below.commit({"k": old})
        assert await encrypted.read("k") == b"old"


async def test_two_processes_that_begin_a_store_agree_on_its_keys(made):
    """Opened at the same time, each by an adapter of its own, one after more and more steps of the other."""
    for steps in range(0, 40, 2):
        first, second = Encrypted(made(), KEYS), Encrypted(made(), KEYS)

        async def later(second=second, steps=steps):
            for _ in range(steps):
                await asyncio.sleep(0.0005)
            await second.aopen()

        await asyncio.gather(first.aopen(), later())
        try:
            await first.commit({"a": b"1"})
            await second.commit({"b": b"2"})
            assert (await first.read("b"), await second.read("a")) == (b"2", b"1")
            assert first.keyset == second.keyset
            await first.inner.commit({"a": None, "b": None, KEYSET: None})
        finally:
            await asyncio.gather(first.aclose(), second.aclose())


async def test_keys_that_another_process_makes_while_the_place_is_looked_at(made):
    """Its keys, and records, that appear after the look for keys are no plain records."""

    class Slow(type(made())):
        begun = False

        async def fetch(self, keys):
            found = await super().fetch(keys)
            if list(keys) == [KEYSET] and not found and not self.begun:
                self.begun = True
                async with Encrypted(made(), KEYS) as other:
                    await other.commit({"a": b"1"})
            return found

    slow = Slow(made().location)
    async with Encrypted(slow, KEYS) as encrypted:
        assert slow.begun
        assert await encrypted.read("a") == b"1"


async def test_another_key_opens_it_after_a_change(made):
    """The new one opens, the old one does not, the records are byte for byte as they were."""
    async with open_persistence(made(), keys=KEYS) as persistence:
        await persistence.save_many({f"k{n}": n for n in range(20)})
        before = {key: data for key, data in (await bytes_of_inner(persistence)).items() if key != KEYSET}
        await persistence.change_key(PassphraseKey("correct horse"))
        after = await bytes_of_inner(persistence)
        assert {key: data for key, data in after.items() if key != KEYSET} == before
        await persistence.save("k0", "new")
    with pytest.raises(KeyUnavailableError):
        await open_persistence(made(), keys=KEYS)
    async with open_persistence(made(), keys=PassphraseKey("correct horse")) as persistence:
        assert await persistence.load("k0", str) == "new"
        assert await persistence.load("k1", int) == 1


async def bytes_of_inner(persistence):
    return await content(persistence.adapter.find(Encrypted).inner)


async def test_a_store_without_keys_has_none_to_rotate(tmp_path):
    """A clear error, not a silent nothing."""
    async with open_persistence(tmp_path / "a.db") as persistence:
        with pytest.raises(ConfigurationError, match="not encrypted"):
            await persistence.rotate_keys()
        with pytest.raises(ConfigurationError, match="not encrypted"):
            await persistence.change_key(KEYS)
    with pytest.raises(ConfigurationError, match="keys is a KeyProvider"):
        open_persistence(tmp_path / "a.db", keys="a phrase")
