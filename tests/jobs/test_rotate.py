"""A new key for every record of a store in use."""

import asyncio
import time

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.jobs import rotate as job
from axiom_persistence.jobs.rotate import rotate
from axiom_persistence.layers.encrypted import Encrypted
from axiom_persistence.security import StaticKey
from axiom_persistence.store.store import Store

KEYS = StaticKey(bytes(range(32)))


@pytest.fixture(params=["sqlite", "file"])
def made(request, tmp_path):
    """Makes an encrypted adapter of one store, again and again."""

    def make():
        bare = (
            SQLiteAdapter(tmp_path / "a.db")
            if request.param == "sqlite"
            else FileStorageAdapter(tmp_path / "a")
        )
        return Encrypted(bare, KEYS)

    return make


async def numbers(encrypted):
    """With which keys the records are sealed."""
    found = set()
    async for key in encrypted.keys():
        stored = (await encrypted.inner.fetch([key]))[key]
        found.add(encrypted.number_of(key, stored))
    return found - {None}


async def test_every_record_is_under_the_new_key(made):
    """Values as before; two openings that were there before and write meanwhile notice and agree."""
    async with made() as encrypted, made() as other:
        await encrypted.commit({f"k{n}": b"%d" % n for n in range(300)})
        told = []
        report = await rotate(Store(encrypted), encrypted, progress=told.append)
        assert (report.sealed, report.damaged, report.destroyed) == (300, 0, 0)
        assert told[-1].done == report.records == 301
        assert len(told) >= 5
        assert await numbers(encrypted) == {2}
        assert await other.read("k7") == b"7"
        await other.commit({"k8": b"eight"})
        assert await numbers(encrypted) == {2}
        assert await encrypted.read("k8") == b"eight"


async def test_saves_meanwhile_are_kept(made):
    """Whoever writes while keys are rotated, through another opening, loses nothing."""
    async with made() as encrypted, made() as other:
        await encrypted.commit({f"k{n:03}": b"0" for n in range(200)})
        done = False

        async def write():
            written = {}
            while not done:
                for n in range(0, 200, 20):
                    written[f"k{n:03}"] = b"%d" % time.monotonic_ns()
                    await other.commit({f"k{n:03}": written[f"k{n:03}"]})
            return written

        writer = asyncio.create_task(write())
        await rotate(Store(encrypted), encrypted)
        done = True
        written = await writer
        for n in range(200):
            assert await encrypted.read(f"k{n:03}") == written.get(f"k{n:03}", b"0")


async def test_cancelled_at_every_await_it_goes_on_with_the_same_key(made):
    """Always readable; the next call goes on, and ends as one that was never cancelled."""
    async with made() as encrypted:
        await encrypted.commit({f"k{n}": b"%d" % n for n in range(150)})
        for steps in range(0, 400, 7):
            task = asyncio.create_task(rotate(Store(encrypted), encrypted))
            for _ in range(steps):
                await asyncio.sleep(0)
            if task.done():
                await task
                break
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await encrypted.read("k149") == b"149"
        else:
            await rotate(Store(encrypted), encrypted)
        assert await numbers(encrypted) == {encrypted.keyset.primary}
        assert {await encrypted.read(f"k{n}") for n in range(150)} == {b"%d" % n for n in range(150)}


async def test_an_old_key_is_destroyed_a_day_later_if_nothing_needs_it(made, monkeypatch):
    """Not by the rotation itself, and never one that a record still needs."""
    clock = [time.time()]
    monkeypatch.setattr(job.time, "time", lambda: clock[0])
    async with made() as encrypted:
        await encrypted.commit({"a": b"1", "b": b"2"})
        old = await encrypted.inner.read("b")
        await rotate(Store(encrypted), encrypted)
        await rotate(Store(encrypted), encrypted)
        assert set(encrypted.keyset.keys) == {1, 2, 3}
        clock[0] += 2 * 86_400
        await encrypted.inner.commit({"b": old[:-1] + b"x"})  # damaged, and under the first key
        report = await rotate(Store(encrypted), encrypted)
        assert (report.damaged, report.destroyed) == (1, 1)
        assert set(encrypted.keyset.keys) == {1, 3, 4}
        await encrypted.inner.commit({"b": old})
        assert await encrypted.read("b") == b"2"


async def test_through_the_persistence(tmp_path):
    """With a cache and streams above it: values, expiry and versions hold."""
    async with open_persistence(tmp_path / "a.db", keys=KEYS) as persistence:
        await persistence.save_many({f"k{n}": n for n in range(50)})
        report = await persistence.rotate_keys()
        assert report.sealed == 50
        assert [await persistence.load(f"k{n}", int) for n in range(50)] == list(range(50))
        assert await persistence.verify()


@pytest.mark.parametrize("verb", ["rotate_keys", "encrypt"])
@pytest.mark.parametrize("kind", [SQLiteAdapter, FileStorageAdapter])
async def test_what_is_cached_meets_no_conflict_with_what_the_job_wrote(kind, verb, tmp_path):
    """It writes below the cache: a transaction that reads from there must not find its own store changed."""
    async with open_persistence(kind(tmp_path / "s"), keys=KEYS if verb == "rotate_keys" else None) as first:
        await first.save_many({"a": 1, "b": 1})
    mode = "encrypt" if verb == "encrypt" else "normal"
    async with open_persistence(kind(tmp_path / "s"), keys=KEYS, mode=mode) as persistence:
        assert await persistence.load_many(["a", "b"], int) == {"a": 1, "b": 1}
        await getattr(persistence, verb)()
        async with persistence.transaction() as tx:
            await tx.save("a", await tx.load("a", int) + 1)
            await tx.delete("b")
        assert await persistence.load("a", int) == 2
