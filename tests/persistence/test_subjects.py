"""Whom a record is about: the tag in it, the entry it is found by, and the key it is sealed with."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from axiom_persistence import MemoryAdapter, Migrations, blocking, open_persistence
from axiom_persistence.errors import ConfigurationError, ConflictError, InvalidKeyError
from axiom_persistence.records._subject import ENTRIES, SUBJECT_KEYS, name_of, subject_key, tag_in
from axiom_persistence.records.record import Record, open_record, seal_about, seal_record
from axiom_persistence.security import StaticKey
from axiom_persistence.storage import BasicAdapter

KEYS = StaticKey(bytes(range(32)))
MARKER = "marker-8c6976e5b5410415"


@pytest.fixture(params=["x.db", "files"])
def where(request, tmp_path):
    return tmp_path / request.param


@pytest.fixture(params=[None, KEYS], ids=["plain", "encrypted"])
def keys(request):
    return request.param


async def entries(persistence):
    """The keys of the records that are about somebody, in a list for each subject."""
    found = {}
    async for entry in persistence.adapter.keys(ENTRIES):
        tag, _, key = entry.removeprefix(ENTRIES).partition("/")
        found.setdefault(tag[:32], []).append(key)
    return found


async def listed(verbs):
    return [key async for key in verbs.keys("")]


async def test_every_verb_keeps_whom_it_is_about(where, keys):
    """Saved alone, together and in a transaction, changed, touched, and read by another opening."""
    async with open_persistence(where, keys=keys) as persistence:
        await persistence.save("a", {"m": MARKER}, subject="alice", ttl=1000)
        await persistence.save_many({"b": [1], "c": [2]}, subject="alice")
        async with persistence.transaction() as tx:
            await tx.save("d", 1, subject="bob")
            await tx.save_many({"e/x": 2, "f": 3}, subject="bob")
            assert await listed(tx) == ["a", "b", "c", "d", "e/x", "f"]
            assert await tx.load("d", int) == 1
        assert await persistence.update("b", list, lambda value: [*value, 2], default=[]) == [1, 2]
        assert await persistence.touch("a", ttl=None)
        await persistence.namespace("n").save("g", 4, subject="bob")
    async with open_persistence(where, keys=keys) as persistence:
        assert await persistence.load("a", dict) == {"m": MARKER}
        assert await persistence.load_many(["b", "c", "d"], Any) == {"b": [1, 2], "c": [2], "d": 1}
        assert await listed(persistence) == ["a", "b", "c", "d", "e/x", "f", "n/g"]
        assert await persistence.count() == 7
        assert await entries(persistence) == {
            name_of("alice"): ["a", "b", "c"],
            name_of("bob"): ["d", "e/x", "f", "n/g"],
        }
        found = await persistence.adapter.fetch(["a", "b", "c", "d"])
        tags = {key: tag_in(stored.data)[:32] for key, stored in found.items()}
        assert tags == {
            "a": name_of("alice"),
            "b": name_of("alice"),
            "c": name_of("alice"),
            "d": name_of("bob"),
        }
        assert await persistence.verify()


async def about(persistence, *keys):
    """Whom the records of these keys are about."""
    found = await persistence.adapter.fetch(keys)
    names = {name_of(name): name for name in ("alice", "bob")}
    return [(tag := tag_in(found[key].data)) and names[tag[:32]] for key in keys]


async def test_update_says_whom_a_value_is_about(where, keys):
    """A new value and one that was about nobody, or somebody else; in a transaction as well."""
    async with open_persistence(where, keys=keys) as persistence:
        await persistence.update("new", int, lambda n: n + 1, default=0, subject="alice")
        await persistence.save_many({"old": 1, "other": 1, "plain": 1})
        await persistence.update("other", int, lambda n: n + 1, default=0, subject="bob")
        await persistence.update("other", int, lambda n: n + 1, default=0, subject="alice")
        await persistence.update("plain", int, lambda n: n + 1, default=0)
        async with persistence.transaction() as tx:
            await tx.update("old", int, lambda n: n + 1, default=0, subject="bob")
            await tx.update("new", int, lambda n: n + 1, default=0)
        assert await about(persistence, "new", "old", "other", "plain") == ["alice", "bob", "alice", None]
        assert (await persistence.erase("alice")).records == 2
        assert await listed(persistence) == ["old", "plain"]


async def test_an_update_about_somebody_who_is_erased_meanwhile_begins_anew(where):
    """It neither fails nor saves what bears the tag that was erased."""
    async with open_persistence(where) as one, open_persistence(where) as two:
        await one.save("a", 1, subject="alice")
        tag_of, erased = type(one._store).tag_of, []

        async def then_erase(store, subject):
            tag = await tag_of(store, subject)
            if not erased:
                erased.append(await two.erase("alice"))
            return tag

        one._store.tag_of = then_erase.__get__(one._store)
        assert await one.update("b", int, lambda n: n + 1, default=1, subject="alice") == 2
        assert await one.load_many(["a", "b"], int) == {"b": 2}
        assert (await one.erase("alice")).records == 1


async def test_items_of_a_collection_are_about_somebody(where, keys):
    """``put``, ``update`` and ``save_all``, also in a transaction; erased, they are gone and others stay."""
    async with open_persistence(where, keys=keys) as persistence:
        orders = persistence.collection("orders", int)
        await orders.put("1", 1, subject="alice")
        await orders.update("2", lambda n: n + 1, default=1, subject="bob")
        await orders.update("1", lambda n: n + 1, default=1)
        assert await orders.save_all({"3": 3, "4": 4}, subject="alice") == 2
        assert await orders.save_all({"3": 3, "4": 4}, subject="bob") == 2
        assert await orders.save_all({"5": 5}) == 1
        async with persistence.transaction() as tx:
            inside = tx.collection("orders", int)
            await inside.put("6", 6, subject="alice")
            await inside.update("7", lambda n: n + 1, default=6, subject="alice")
        keys = [f"orders/{id}" for id in range(1, 8)]
        assert await about(persistence, *keys) == ["alice", "bob", "bob", "bob", None, "alice", "alice"]
        assert await persistence.erase("alice")
        assert [key async for key in orders.ids()] == ["2", "3", "4", "5"]
        assert await orders.save_all({"2": 2, "5": 5}, replace=True, subject="bob") == 4
        assert await about(persistence, "orders/2", "orders/5") == ["bob", "bob"]
        assert await orders.save_all({"2": 2, "5": 5}) == 2  # about nobody from now on
        assert await orders.save_all({"2": 2, "5": 5}) == 0
        assert await about(persistence, "orders/2", "orders/5") == [None, None]


@dataclass
class Order:
    total: int


async def test_what_a_newer_program_added_to_an_item_stays_when_it_is_about_somebody(where):
    async with open_persistence(where) as persistence:
        await persistence.save("orders/1", {"total": 1, "discount": 5})
        await persistence.collection("orders", Order).put("1", Order(2), subject="alice")
        assert await persistence.load("orders/1", dict) == {"total": 2, "discount": 5}
        assert await about(persistence, "orders/1") == ["alice"]


@pytest.mark.parametrize("durability", ["process_exit", "power_loss"])
def test_the_blocking_face_says_whom_a_record_is_about(where, keys, durability):
    with blocking.open_persistence(where, keys=keys, durability=durability) as persistence:
        persistence.save("a", 1, subject="alice")
        persistence.update("b", int, lambda n: n + 1, default=1, subject="alice")
        orders = persistence.collection("orders", int)
        orders.put("1", 1, subject="alice")
        orders.update("2", lambda n: n + 1, default=1, subject="alice")
        orders.save_all({"3": 3}, subject="alice")
        with persistence.transaction() as tx:
            tx.collection("orders", int).put("4", 4, subject="alice")
        persistence.save("c", 1)
        assert persistence.erase("alice").records == 6
        assert list(persistence.keys()) == ["c"]


async def test_saved_anew_without_a_subject_it_is_about_nobody(where):
    async with open_persistence(where) as persistence:
        await persistence.save("a", 1, subject="alice")
        await persistence.save("a", 2)
        assert tag_in((await persistence.adapter.fetch(["a"]))["a"].data) is None


def test_a_tag_is_part_of_what_the_sum_covers():
    """It can be given, replaced and read; a record without it is byte for byte what it always was."""
    plain = seal_record("k", b"1", "1.0", expires=5)
    one, other = "a" * 32 + "-" + "0" * 16, "b" * 32 + "-" + "1" * 16
    assert seal_about("k", plain, None) is plain
    assert tag_in(plain) is None
    tagged = seal_about("k", plain, one)
    assert open_record("k", tagged) == Record("1.0", b"1", 5, None, one)
    assert seal_about("k", tagged, other) == seal_about("k", plain, other)
    assert tag_in(seal_about("k", tagged, other)) == other


async def test_in_an_encrypted_store_each_subject_has_a_key_of_its_own(tmp_path):
    """Without it nothing about the subject opens; everything else does, and a rotation changes nothing."""
    async with open_persistence(tmp_path / "x.db", keys=KEYS) as persistence:
        await persistence.save("a", MARKER, subject="alice")
        await persistence.save("b", MARKER, subject="bob")
        await persistence.save("c", MARKER)
        await persistence.rotate_keys()
        assert await persistence.load("a", str) == MARKER
        keys = [key async for key in persistence.adapter.keys(SUBJECT_KEYS)]
        assert len(keys) == 2
        tag = tag_in((await persistence.adapter.fetch(["a"]))["a"].data)
        await persistence.adapter.purge([subject_key(tag)])
    async with open_persistence(tmp_path / "x.db", keys=KEYS) as persistence:
        assert (await persistence.verify()).findings[0].key == "a"
        assert await persistence.load_many(["b", "c"], str) == {"b": MARKER, "c": MARKER}
        await persistence.erase("alice")
        with pytest.raises(ConflictError, match="erased"):
            await persistence.adapter.commit({"a": seal_about("a", seal_record("a", b"1", "1.0"), tag)})
    for file in tmp_path.iterdir():
        assert MARKER.encode() not in file.read_bytes()


async def test_a_copied_subject_record_opens_under_its_own_key_only(tmp_path):
    """What is sealed for one key of the store is damage under another."""
    async with open_persistence(tmp_path / "x.db", keys=KEYS) as persistence:
        await persistence.save_many({"a": 1, "b": 2}, subject="alice")
        sealing = persistence.adapter.find(type(persistence.adapter)).inner.inner
        inner = sealing.inner
        data = (await inner.fetch(["a"]))["a"].data
        await inner.commit({"b": data})
        assert "does not open" in (await sealing.fetch(["b"]))["b"].damage


async def test_many_begin_one_subject_at_once(where, keys):
    """They agree on one tag, and none of their records is lost."""
    async with (
        open_persistence(where, keys=keys) as one,
        open_persistence(where, keys=keys) as two,
    ):
        saves = [who.save(f"k{n}", n, subject="alice") for n in range(5) for who in (one, two)]
        await asyncio.gather(*saves)
        assert [len(found) for found in (await entries(one)).values()] == [5]
        assert await two.load_many([f"k{n}" for n in range(5)], int) == {f"k{n}": n for n in range(5)}


@pytest.mark.parametrize("subject", ["", 5, b"alice"])
async def test_what_is_no_subject_is_refused(subject):
    async with open_persistence("memory:") as persistence:
        with pytest.raises(InvalidKeyError, match="a subject is a str"):
            await persistence.save("a", 1, subject=subject)
        assert not await persistence.exists("a")


async def test_a_place_that_is_not_atomic_has_no_subjects():
    class Dict(BasicAdapter):
        def __init__(self):
            self.data = {}

        async def read(self, key):
            return self.data.get(key)

        async def write(self, key, data):
            self.data[key] = data

        async def delete(self, key):
            self.data.pop(key, None)

        async def keys(self, prefix=""):
            for key in sorted(self.data):
                yield key

    async with open_persistence(Dict()) as persistence:
        with pytest.raises(ConfigurationError, match="one commit"):
            await persistence.save("a", 1, subject="alice")


async def test_what_is_about_nobody_costs_no_more():
    """A save without a subject is the same commit as ever."""
    commits = []

    class Noting(MemoryAdapter):
        async def commit(self, changes, **options):
            commits.append(set(changes))
            return await super().commit(changes, **options)

    async with open_persistence(Noting()) as persistence:
        await persistence.save("first", 1)
        commits.clear()
        await persistence.save("a", 1)
        await persistence.save("b", 1, subject="alice")
        await persistence.save("c", 1, subject="alice")
    assert commits[0] == {"a"}
    assert [len(changes) for changes in commits[1:4]] == [1, 2, 2]


async def test_migrations_keep_whom_a_record_is_about(where, keys):
    """Rewritten, renamed, taken back: it is found by its subject, and so is the original that is kept."""
    async with open_persistence(where, keys=keys) as persistence:
        await persistence.save("a", {"m": MARKER}, subject="alice")
        await persistence.save("old", {"m": MARKER}, subject="alice")

    migrations = Migrations(current="2.0")

    @migrations.value("1.0", "2.0", key="a", down=lambda value: {"m": value["n"]})
    def rename(value):
        return {"n": value["m"]}

    @migrations.store("1.0", "2.0")
    async def move(tx):
        await tx.rename("old", "new")

    async with open_persistence(where, keys=keys, migrations=migrations) as persistence:
        await persistence.migrate("1.0", "2.0")
        assert await persistence.load("a", dict) == {"n": MARKER}
        found = await persistence.adapter.fetch(["a", "new"])
        assert {tag_in(stored.data)[:32] for stored in found.values()} == {name_of("alice")}
        found = (await entries(persistence))[name_of("alice")]
        assert [key for key in found if key[0] != "\x01"] == ["a", "new"]
        assert (await persistence.erase("alice")).records == 2
        assert await listed(persistence) == []
        kept = [key async for key in persistence.adapter.keys("\x01migrate/")]
        assert all("\x01about/" in key for key in kept)  # that there was an entry, and no value
    for file in where.parent.rglob("*"):
        assert not file.is_file() or MARKER.encode() not in file.read_bytes()


async def test_encrypted_and_decrypted_in_place_records_keep_their_subject(where):
    """Saved before, in between and afterwards, they can be read, and are erased."""
    async with open_persistence(where) as persistence:
        await persistence.save("plain", MARKER, subject="alice")
    async with open_persistence(where, keys=KEYS, mode="encrypt") as persistence:
        assert await persistence.encrypt()
        await persistence.save("sealed", MARKER, subject="alice")
    async with open_persistence(where, keys=KEYS) as persistence:
        assert await persistence.load_many(["plain", "sealed"], str) == {"plain": MARKER, "sealed": MARKER}
        assert await persistence.decrypt()
    async with open_persistence(where) as persistence:
        await persistence.save("after", MARKER, subject="alice")
        assert await persistence.load_many(["plain", "sealed", "after"], str) == dict.fromkeys(
            ["plain", "sealed", "after"], MARKER
        )
        assert await persistence.verify()
        assert (await persistence.erase("alice")).records == 3
        assert await listed(persistence) == []
