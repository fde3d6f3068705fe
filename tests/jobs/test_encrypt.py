"""A plain store is encrypted where it is, and decrypted again."""

import asyncio

import pytest

from axiom_persistence import blocking, open_persistence
from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import (
    AccessDeniedError,
    ConfigurationError,
    CorruptedDataError,
    InsecureStorageError,
    KeyUnavailableError,
    PersistenceError,
    StorageLockedError,
)
from axiom_persistence.keys import KEYSET
from axiom_persistence.layers.encrypted import Encrypted
from axiom_persistence.security import EnvironmentKey, StaticKey
from axiom_persistence.security.keyset import ENCRYPTING
from axiom_persistence.testing.suite._base import content

KEYS = StaticKey(bytes(range(32)))
OTHER = StaticKey(bytes(32))
MARKER = "marker-d41d8cd98f00b204"


@pytest.fixture(params=["sqlite", "file"])
def where(request, tmp_path):
    return tmp_path / ("store.db" if request.param == "sqlite" else "store")


def bare(where):
    return SQLiteAdapter(where) if where.suffix == ".db" else FileStorageAdapter(where)


def values(count):
    return {f"k{n:04}": f"{MARKER} {n}" for n in range(count)}


async def made(where, count=70):
    """A plain store with updates, deletions and earlier generations."""
    async with open_persistence(where) as persistence:
        await persistence.save_many(dict.fromkeys(values(count), MARKER * 9))
        await persistence.save_many({**values(count), "gone": MARKER})
        await persistence.delete("gone")
        await persistence.save("late", MARKER, ttl=3600)


def in_clear(where):
    """The files that hold what was saved."""
    names = [path for path in where.parent.rglob("*") if path.is_file()]
    return [path.name for path in names if MARKER.encode() in path.read_bytes()]


async def all_of(persistence):
    names = persistence.keys()
    return await persistence.load_many([key async for key in names], str)


async def test_encrypted_and_decrypted_in_place(where):
    """Not a byte in clear is left in the store's files; later it opens with the key only; and back again."""
    await made(where)
    assert in_clear(where)
    told = []
    async with open_persistence(where, keys=KEYS, mode="encrypt") as persistence:
        report = await persistence.encrypt(progress=told.append)
        assert report
        assert report.scrubbed
        assert (report.rewritten, report.damaged, report.snapshots) == (72, 0, 0)
        assert told[-1].done == report.records >= 72
        assert in_clear(where) == []
        assert await all_of(persistence) == {**values(70), "late": MARKER}
        assert await persistence.update("k0001", str, lambda text: text + "!") == f"{MARKER} 1!"
        await persistence.save("k0001", f"{MARKER} 1")
    assert in_clear(where) == []
    with pytest.raises(KeyUnavailableError, match="no key was given"):
        await open_persistence(where)
    async with open_persistence(where, keys=KEYS) as persistence:
        assert await all_of(persistence) == {**values(70), "late": MARKER}
        assert await persistence.verify()
        assert (await persistence.encrypt()).rewritten == 0
        report = await persistence.decrypt()
        assert report
        assert report.rewritten >= 72
        assert await all_of(persistence) == {**values(70), "late": MARKER}
        with pytest.raises(AccessDeniedError, match="not encrypted, and nothing is saved"):
            await persistence.save("k", 1)
    async with open_persistence(where) as persistence:
        assert await all_of(persistence) == {**values(70), "late": MARKER}
        assert await persistence.verify()
        await persistence.save("k", "1")
        assert not await persistence.adapter.exists(KEYSET)


async def test_nothing_is_done_before_it_is_asked_for(where):
    """Opened to be encrypted: read, counted, and not a byte changed."""
    await made(where, 20)
    async with bare(where) as adapter:
        before = await content(adapter)
    async with open_persistence(where, keys=KEYS, mode="encrypt") as persistence:
        assert await persistence.load("k0001", str) == f"{MARKER} 1"
        assert (await persistence.encrypt(dry_run=True)).rewritten == 22
        with pytest.raises(AccessDeniedError, match="call encrypt"):
            await persistence.save("k", 1)
        with pytest.raises(AccessDeniedError):
            await persistence.delete("k0001")
    async with open_persistence(where) as persistence:
        assert await persistence.load("k0001", str) == f"{MARKER} 1"
    async with bare(where) as adapter:
        assert await content(adapter) == before
    with pytest.raises(InsecureStorageError, match="mode='encrypt'"):
        await open_persistence(where, keys=KEYS)


@pytest.mark.parametrize("verb", ["encrypt", "decrypt"])
async def test_cancelled_at_every_await_it_goes_on(where, verb):
    """Always readable, with keys alone; the next call ends as one that was never cancelled."""
    await made(where, 70)
    if verb == "decrypt":
        async with open_persistence(where, keys=KEYS, mode="encrypt") as persistence:
            await persistence.encrypt()
    begun = False
    for steps in range(0, 400, 23):
        mode = "normal" if verb == "decrypt" or begun else "encrypt"
        async with open_persistence(where, keys=KEYS, mode=mode) as persistence:
            task = asyncio.create_task(getattr(persistence, verb)())
            for _ in range(steps):
                await asyncio.sleep(0)
            if task.done():
                await task
                break
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await all_of(persistence) == {**values(70), "late": MARKER}
            async with bare(where) as adapter:
                begun = await adapter.exists(KEYSET)
            if not begun and verb == "decrypt":
                break
    else:
        async with open_persistence(where, keys=KEYS) as persistence:
            assert await getattr(persistence, verb)()
    keys = KEYS if verb == "encrypt" else None
    assert (in_clear(where) == []) == (verb == "encrypt")
    async with open_persistence(where, keys=keys) as persistence:
        assert await all_of(persistence) == {**values(70), "late": MARKER}


async def test_a_program_that_has_it_open_without_the_key_stops(where):
    """Neither does it save in clear, nor does it take what is sealed for damage."""
    await made(where, 20)
    async with open_persistence(where) as plain:
        assert await plain.load("k0001", str) == f"{MARKER} 1"
        async with open_persistence(where, keys=KEYS, mode="encrypt") as persistence:
            await persistence.encrypt()
        for attempt in (
            lambda: plain.save("k0001", "plain"),
            lambda: plain.save("k0001", "plain", durability="process_exit"),
            lambda: plain.load("k0002", str),
            lambda: plain.load("k0001", str),
            lambda: plain.update("k0003", str, lambda text: text + "plain"),
        ):
            with pytest.raises(KeyUnavailableError, match="no key was given"):
                await attempt()
        assert plain.reports == ()
    async with open_persistence(where, keys=KEYS) as persistence:
        assert await all_of(persistence) == {**values(20), "late": MARKER}


async def test_a_program_that_has_it_open_with_the_key_stops(where):
    """While the store is decrypted it reads and does not save; afterwards it does neither."""
    await made(where, 20)
    async with open_persistence(where, keys=KEYS, mode="encrypt") as persistence:
        await persistence.encrypt()
    async with (
        open_persistence(where, keys=KEYS) as other,
        open_persistence(where, keys=KEYS) as idle,
        open_persistence(where, keys=KEYS) as persistence,
    ):
        assert await other.load("k0001", str) == f"{MARKER} 1"

        def told(_):
            raise RuntimeError("stop here")

        with pytest.raises(RuntimeError):
            await persistence.decrypt(progress=told)
        assert await all_of(other) == {**values(20), "late": MARKER}
        with pytest.raises(AccessDeniedError, match="being decrypted"):
            await other.save("k0001", "sealed")
        await persistence.decrypt()
        assert await all_of(other) == {**values(20), "late": MARKER}
        with pytest.raises(AccessDeniedError, match="is not encrypted"):
            await other.save("k0001", "sealed")
        for attempt in (lambda: idle.load("k0001", str), lambda: idle.save("k0001", "sealed")):
            with pytest.raises(PersistenceError, match="was decrypted meanwhile"):
                await attempt()
        assert other.reports == idle.reports == ()
    async with open_persistence(where) as persistence:
        assert await all_of(persistence) == {**values(20), "late": MARKER}


async def encrypted(persistence):
    """The report. Where the other one reads all the time while old records are overwritten, once more."""
    while True:
        try:
            return await persistence.encrypt()
        except StorageLockedError:
            await asyncio.sleep(0.1)


async def test_two_that_encrypt_at_once_agree(where):
    """With the same key both end; with another one the second is told, and changes nothing."""
    await made(where)
    async with (
        open_persistence(where, keys=KEYS, mode="encrypt") as one,
        open_persistence(where, keys=KEYS, mode="encrypt") as two,
    ):
        reports = await asyncio.gather(encrypted(one), encrypted(two))
        assert all(reports)
        assert await all_of(one) == await all_of(two) == {**values(70), "late": MARKER}
    assert in_clear(where) == []
    for wrong in (OTHER, EnvironmentKey("NOT_SET")):
        with pytest.raises(KeyUnavailableError):
            await open_persistence(where, keys=wrong, mode="encrypt")


async def test_with_another_key_while_it_is_encrypted(where):
    """Whoever comes second with another key is refused; the first goes on."""
    await made(where, 20)
    async with (
        open_persistence(where, keys=KEYS, mode="encrypt") as one,
        open_persistence(where, keys=OTHER, mode="encrypt") as two,
    ):
        await one.adapter.find(Encrypted).begin({}, {})
        with pytest.raises(KeyUnavailableError, match="not the one"):
            await two.encrypt()
        assert await one.encrypt()
    assert in_clear(where) == []
    async with open_persistence(where, keys=KEYS) as persistence:
        assert await all_of(persistence) == {**values(20), "late": MARKER}


async def test_a_key_that_cannot_be_had_changes_nothing(where):
    """The provider is asked before anything is written."""
    await made(where, 20)
    async with open_persistence(where, keys=EnvironmentKey("NOT_SET"), mode="encrypt") as persistence:
        with pytest.raises(KeyUnavailableError, match="NOT_SET is not set"):
            await persistence.encrypt()
    async with open_persistence(where) as persistence:
        assert await all_of(persistence) == {**values(20), "late": MARKER}


async def test_what_cannot_be_opened_keeps_the_keys(where):
    """A damaged record stays as it is, and the store encrypted; repaired, it is decrypted."""
    await made(where, 20)
    async with open_persistence(where, keys=KEYS, mode="encrypt") as persistence:
        await persistence.encrypt()
        below = persistence.adapter.find(Encrypted).inner
        await below.commit({"k0003": (await below.read("k0003"))[:-1] + b"x"})
    async with open_persistence(where, keys=KEYS) as persistence:
        report = await persistence.decrypt()
        assert not report
        assert report.damaged == 1
    async with open_persistence(where, keys=KEYS) as persistence:
        assert await persistence.encrypt()  # and the other way
        await persistence.verify(repair=True)
        assert await persistence.decrypt()
    async with open_persistence(where) as persistence:
        assert len(await all_of(persistence)) >= 20
        assert (await persistence.verify()).quarantined == 1


async def test_damaged_plain_records_are_sealed_as_they_are(where):
    """What was damaged before is damaged after, recoverable as before, and not in clear."""
    await made(where, 20)
    async with bare(where) as adapter:
        await adapter.commit({"k0003": (await adapter.read("k0003"))[:-3] + b"x}}"})
    async with open_persistence(where, keys=KEYS, mode="encrypt") as persistence:
        assert await persistence.encrypt()
        assert in_clear(where) == []
        assert await persistence.load("k0003", str) is None
        assert len(persistence.reports) == 1


async def test_what_is_put_back_in_clear_is_refused_afterwards(where):
    """An encrypted store takes no plain record, however it came to be; nor from ``encrypt`` again."""
    await made(where, 20)
    async with bare(where) as adapter:
        plain = await adapter.read("k0003")
    async with open_persistence(where, keys=KEYS, mode="encrypt") as persistence:
        await persistence.encrypt()
    async with bare(where) as adapter:
        await adapter.commit({"k0003": plain})
    async with open_persistence(where, keys=KEYS, mode="encrypt", on_corruption="raise") as persistence:
        assert (await persistence.encrypt()).rewritten == 0
        with pytest.raises(CorruptedDataError, match="not encrypted"):
            await persistence.load("k0003", str)


async def test_rotation_waits_for_the_end(where):
    """Keys are not rotated while a store is in between."""
    await made(where, 20)
    async with open_persistence(where, keys=KEYS, mode="encrypt") as persistence:
        encrypted = persistence.adapter.find(Encrypted)
        await encrypted.begin({}, {})
        assert encrypted.passage == ENCRYPTING
        with pytest.raises(ConfigurationError, match="being encrypted"):
            await persistence.rotate_keys()
        await persistence.encrypt()
        assert (await persistence.rotate_keys()).sealed >= 22


async def test_copies_from_before_are_counted(tmp_path):
    """They stay as they are, in clear, and the report says how many."""
    await made(tmp_path / "store.db", 20)
    async with open_persistence(tmp_path / "store.db") as persistence:
        await persistence.snapshot()
    async with open_persistence(tmp_path / "store.db", keys=KEYS, mode="encrypt") as persistence:
        assert (await persistence.encrypt()).snapshots == 1


def test_in_both_faces(tmp_path):
    """And for a place in memory, which nothing is left of."""
    with blocking.open_persistence(tmp_path / "a.db") as persistence:
        persistence.save("k", MARKER)
    with blocking.open_persistence(tmp_path / "a.db", keys=KEYS, mode="encrypt") as persistence:
        assert persistence.encrypt()
        assert persistence.decrypt()
    adapter = MemoryAdapter()
    with blocking.open_persistence(adapter) as persistence:
        persistence.save("k", MARKER)
    with blocking.open_persistence(adapter, keys=KEYS, mode="encrypt") as persistence:
        assert persistence.encrypt().scrubbed
        assert persistence.load("k", str) == MARKER


def test_it_needs_keys(tmp_path):
    with pytest.raises(ConfigurationError, match="needs keys"):
        open_persistence(tmp_path / "a.db", mode="encrypt")
