"""Cached: what is in memory is what is stored, whoever changed it and however slowly it was read."""

import asyncio
import random
import sys
from dataclasses import replace

import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import ConfigurationError, ConflictError, StorageError
from axiom_persistence.layers import cached
from axiom_persistence.layers._cache.entries import Entries
from axiom_persistence.layers.cached import Cached, CachePolicy
from axiom_persistence.storage.adapter import NOT_NOW, CachedRecord, Stored
from axiom_persistence.storage.layer import Layer

TIMEOUT = 30


class Remote(Layer):
    """A store at a distance: reads and writes wait for the test, and there is no change mark."""

    def __init__(self, *, shared=False):
        super().__init__(MemoryAdapter())
        self.shared = shared
        self.reads = 0
        self.before_read = self.after_read = None
        self.after_commit = []
        self.fails = None

    @property
    def traits(self):
        return replace(super().traits, shared=self.shared)

    def change_mark(self):
        return None

    def fetch_now(self, key):
        return NOT_NOW

    async def fetch(self, keys):
        self.reads += 1
        found = await self.inner.fetch(keys)
        if self.after_read is not None:
            await self.after_read.wait()
        return found

    async def commit(self, changes, *, expect=None, durability=None):
        if self.fails is not None:
            raise self.fails
        versions = await self.inner.commit(changes, expect=expect, durability=durability)
        if self.after_commit:
            await self.after_commit.pop(0).wait()
        return versions


async def data(adapter, key):
    stored = (await adapter.fetch((key,))).get(key)
    return None if stored is None else stored.data


async def turns(number=5):
    for _ in range(number):
        await asyncio.sleep(0)


# -- hits ------------------------------------------------------------------------------------------


async def test_a_hit_is_the_same_object():
    """A cached record is handed out as one and the same object, so what was made of it is still there."""
    async with Cached(MemoryAdapter()) as cache:
        await cache.commit({"a": b"1"})
        first = cache.fetch_now("a")
        assert type(first) is CachedRecord
        first.decoded = "a value"
        assert cache.fetch_now("a") is first
        assert (await cache.fetch(("a",)))["a"] is first
        assert (await cache.fetch(("a", "b")))["a"] is first
        assert cache.stats()["cache_hits"] == 2


async def test_an_unchanged_version_keeps_the_object():
    """When something else was committed the store is asked again, but what was decoded stays."""
    async with Cached(MemoryAdapter()) as cache:
        await cache.commit({"a": b"1"})
        first = cache.fetch_now("a")
        await cache.commit({"b": b"1"})
        assert cache.fetch_now("a") is first
        await cache.commit({"a": b"1"})
        assert cache.fetch_now("a") is not first


async def test_absence_is_cached():
    """That nothing is stored is remembered too, and ends with the first commit of the key."""
    inner = Remote()
    async with Cached(inner) as cache:
        for _ in range(3):
            assert await data(cache, "a") is None
        assert inner.reads == 1
        await cache.commit({"a": b""})
        assert await data(cache, "a") == b""
        await cache.commit({"a": None})
        assert await data(cache, "a") is None
        assert inner.reads == 1


async def test_damage_is_not_cached():
    """A record that a layer below refused is asked for again each time, for it may have been repaired."""

    class Refusing(Remote):
        async def fetch(self, keys):
            self.reads += 1
            return {key: Stored(b"?", "1", "broken") for key in keys}

    inner = Refusing()
    async with Cached(inner) as cache:
        for _ in range(2):
            assert (await cache.fetch(("a",)))["a"].damage == "broken"
        assert inner.reads == 2


# -- others' changes -------------------------------------------------------------------------------


async def sees_the_other_opening(kind, place):
    async with kind(SQLiteAdapter(place)) as ours, SQLiteAdapter(place) as theirs:
        await ours.commit({"a": b"1"})
        for n in range(5):
            assert await data(ours, "absent") is None
            await theirs.commit({"a": b"%d" % n})
            assert await data(ours, "a") == b"%d" % n
            await theirs.commit({"a": None})
            assert await data(ours, "a") is None


async def test_another_opening_is_seen(tmp_path):
    """What somebody else committed is read at once, values and deletions."""
    await sees_the_other_opening(Cached, tmp_path / "a.db")


async def test_a_planted_stale_cache_is_caught(tmp_path):
    """A cache that never compares the change mark fails the test above."""

    class Stale(Cached):
        def __init__(self, inner):
            super().__init__(inner)
            self._inner_mark = lambda: b"always the same"

    with pytest.raises(AssertionError):
        await sees_the_other_opening(Stale, tmp_path / "a.db")


async def test_another_process_is_seen(tmp_path):
    """A commit of another process is read at once, by fetch, fetch_now and a fetch of several keys."""
    program = """
import asyncio, sys
from axiom_persistence.adapters.sqlite import SQLiteAdapter
async def main():
    async with SQLiteAdapter(sys.argv[1]) as adapter:
        for line in sys.stdin:
            await adapter.commit({"a": line.strip().encode(), "b": line.strip().encode()})
            print("done", flush=True)
asyncio.run(main())
"""
    place = str(tmp_path / "a.db")
    async with Cached(SQLiteAdapter(place)) as cache:
        await cache.commit({"a": b"0", "b": b"0"})
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            place,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for n in range(1, 4):
            assert cache.fetch_now("a").data == b"%d" % (n - 1)
            child.stdin.write(b"%d\n" % n)
            assert await asyncio.wait_for(child.stdout.readline(), TIMEOUT) == b"done\n"
            assert cache.fetch_now("a").data == b"%d" % n
            found = await cache.fetch(("a", "b"))
            assert {stored.data for stored in found.values()} == {b"%d" % n}
        child.stdin.close()
        assert await asyncio.wait_for(child.wait(), TIMEOUT) == 0


async def test_a_commit_by_another_while_ours_returns(tmp_path):
    """If somebody else commits between our commit and its return, theirs is what is read."""

    class Overtaken(Layer):
        async def commit(self, changes, *, expect=None, durability=None):
            versions = await self.inner.commit(changes, expect=expect, durability=durability)
            await theirs.commit({"a": b"theirs"})
            return versions

    async with (
        SQLiteAdapter(tmp_path / "a.db") as theirs,
        Cached(Overtaken(SQLiteAdapter(tmp_path / "a.db"))) as cache,
    ):
        assert await data(cache, "a") is None
        await cache.commit({"a": b"ours"})
        assert await data(cache, "a") == b"theirs"


async def test_without_a_mark_a_shared_store_is_not_cached():
    """Where others may write and nothing tells so, every read goes to the store."""
    inner = Remote(shared=True)
    async with Cached(inner) as cache:
        await cache.commit({"a": b"1"})
        await inner.inner.commit({"a": b"2"})
        assert await data(cache, "a") == b"2"
        await inner.inner.commit({"a": b"3"})
        assert await data(cache, "a") == b"3"


async def test_without_a_mark_answers_age(monkeypatch):
    """With a maximum age an answer is given that long, then the store is asked again."""
    now = 100.0
    monkeypatch.setattr(cached.time, "monotonic", lambda: now)
    inner = Remote(shared=True)
    async with Cached(inner, CachePolicy(max_age=5)) as cache:
        await cache.commit({"a": b"1"})
        assert await data(cache, "a") == b"1"
        await inner.inner.commit({"a": b"2"})
        now += 5
        assert await data(cache, "a") == b"1"
        # Entries of different ages are no snapshot.
        await inner.inner.commit({"b": b"2"})
        assert await data(cache, "b") == b"2"
        found = await cache.fetch(("a", "b"))
        assert found["a"].data == b"2"
        await inner.inner.commit({"a": b"3"})
        now += 5.1
        assert await data(cache, "a") == b"3"


async def test_invalidate():
    """Whoever learns of a change otherwise says so, for some keys or for all."""
    inner = Remote(shared=True)
    async with Cached(inner, CachePolicy(max_age=float("inf"))) as cache:
        await cache.commit({"a": b"1", "b": b"1"})
        await cache.fetch(("a", "b"))
        await inner.inner.commit({"a": b"2", "b": b"2"})
        assert await data(cache, "a") == b"1"
        cache.invalidate(["a"])
        assert (await data(cache, "a"), await data(cache, "b")) == (b"2", b"1")
        cache.invalidate()
        assert await data(cache, "b") == b"2"


async def test_several_cached_keys_are_one_moment():
    """If another thread commits while cached answers are put together, the store is asked instead."""
    async with Cached(MemoryAdapter()) as cache:
        await cache.commit({"a": b"1", "b": b"1"})
        await cache.fetch(("a", "b"))
        lookup = cache._lookup

        def meanwhile(key):
            if key == "b" and cache.inner.fetch_now("b").data == b"1":
                cache.inner.commit_now({"a": b"2", "b": b"2"})
                lookup("b").kept = CachedRecord(
                    b"2", "2"
                )  # as a reader that had seen the earlier mark leaves it
            return lookup(key)

        cache._lookup = meanwhile
        found = await cache.fetch(("a", "b"))
        assert {stored.data for stored in found.values()} == {b"2"}


# -- slow reads, slow writes -----------------------------------------------------------------------


async def slow_read_meets_write(cache, inner, write):
    """A read has its answer, but not returned yet, when ``write`` happens."""
    await inner.inner.commit({"a": b"old"})
    inner.after_read = asyncio.Event()
    reading = asyncio.create_task(cache.fetch(("a",)))
    await turns()
    await write()
    inner.after_read.set()
    await reading
    inner.after_read = None
    assert await data(cache, "a") == b"new"


async def test_a_slow_read_never_undoes_a_newer_write():
    """A read that began before a commit and ends after it leaves nothing old in the cache."""
    inner = Remote()
    async with Cached(inner) as cache:
        await slow_read_meets_write(cache, inner, lambda: cache.commit({"a": b"new"}))


async def test_a_slow_read_never_undoes_a_notice():
    """Nor does one that began before the notice of somebody else's change."""
    inner = Remote(shared=True)

    async def changed_elsewhere():
        await inner.inner.commit({"a": b"new"})
        cache.invalidate(["a"])

    async with Cached(inner, CachePolicy(max_age=float("inf"))) as cache:
        await slow_read_meets_write(cache, inner, changed_elsewhere)


@pytest.mark.parametrize("missing", ["forget", "give no lease"])
async def test_a_planted_lease_bug_is_caught(monkeypatch, missing):
    """Leases that outlive a commit, or are given while one is on its way, fail the tests of slow reads."""
    inner = Remote()
    if missing == "forget":
        begin = Entries.begin_write

        def begin_and_leave_leases(self, keys):
            leases = dict(self._leases)
            begun = begin(self, keys)
            self._leases.update(leases)
            return begun

        monkeypatch.setattr(Entries, "begin_write", begin_and_leave_leases)
        async with Cached(inner) as cache:
            with pytest.raises(AssertionError):
                await slow_read_meets_write(cache, inner, lambda: cache.commit({"a": b"new"}))
    else:

        def lease_whatever_is_written(self, keys):
            self._leases.update(dict.fromkeys(keys, 1))
            return 1

        monkeypatch.setattr(Entries, "lease", lease_whatever_is_written)
        with pytest.raises(AssertionError):
            await read_during_commit()


async def read_during_commit():
    """A read begins before a commit takes effect and ends after it has returned."""

    class LateCommit(Remote):
        async def commit(self, changes, *, expect=None, durability=None):
            await late.wait()
            return await super().commit(changes, expect=expect, durability=durability)

    late = asyncio.Event()
    inner = LateCommit()
    async with Cached(inner) as cache:
        await inner.inner.commit({"a": b"old"})
        committing = asyncio.create_task(cache.commit({"a": b"new"}))
        await turns()
        inner.after_read = asyncio.Event()
        reading = asyncio.create_task(cache.fetch(("a",)))
        await turns()
        late.set()
        await committing
        inner.after_read.set()
        await reading
        inner.after_read = None
        assert await data(cache, "a") == b"new"


async def test_only_what_is_read_is_kept():
    """A commit of a key that nobody has read takes no place in the cache; one of a cached key renews it."""
    inner = Remote()
    async with Cached(inner) as cache:
        await cache.commit({"a": b"1", "b": b"1"})
        assert cache.stats()["cache_entries"] == 0
        await data(cache, "a")
        await cache.commit({"a": b"2", "b": b"2"})
        assert cache.stats()["cache_entries"] == 1
        assert await data(cache, "a") == b"2"
        assert inner.reads == 1


async def test_a_read_during_a_commit_is_not_kept():
    """What is read while a commit of the key is on its way may be old, and is not cached."""
    await read_during_commit()


async def test_the_later_of_two_commits_stays():
    """Two commits of a key that return in the wrong order leave the value of the later one."""
    inner = Remote()
    async with Cached(inner) as cache:
        assert await data(cache, "a") is None
        first, second = asyncio.Event(), asyncio.Event()
        inner.after_commit = [first, second]
        one = asyncio.create_task(cache.commit({"a": b"1"}))
        await turns()
        two = asyncio.create_task(cache.commit({"a": b"2"}))
        await turns()
        second.set()
        await two
        first.set()
        await one
        assert await data(cache, "a") == b"2"


async def test_a_cancelled_commit_may_still_take_effect():
    """After a commit was cancelled on its way nothing of its keys is cached until a later one is done."""

    class Late(Remote):
        async def commit(self, changes, *, expect=None, durability=None):
            if "a" not in changes:
                return await super().commit(changes, expect=expect, durability=durability)
            self.landing = asyncio.create_task(self.land(changes))
            return await asyncio.shield(self.landing)

        async def land(self, changes):
            await landed.wait()
            return await self.inner.commit(changes)

    landed = asyncio.Event()
    inner = Late()
    async with Cached(inner) as cache:
        commit = asyncio.create_task(cache.commit({"a": b"1"}))
        await turns()
        commit.cancel()
        await asyncio.wait({commit})
        assert await data(cache, "a") is None
        landed.set()
        await inner.landing
        assert await data(cache, "a") == b"1"
        await cache.commit({"b": b"1"})
        reads = inner.reads
        assert await data(cache, "a") == b"1"
        assert await data(cache, "a") == b"1"
        assert inner.reads == reads + 1


async def test_a_failed_commit_forgets_its_keys():
    """After an error nobody knows what is stored, so it is read again; after a conflict, too."""
    inner = Remote()
    async with Cached(inner) as cache:
        await cache.commit({"a": b"1", "b": b"1"})
        inner.fails = StorageError("the disk is gone")
        with pytest.raises(StorageError):
            await cache.commit({"a": b"2"})
        inner.fails = None
        await inner.inner.commit({"a": b"2", "b": b"2"})
        assert await data(cache, "a") == b"2"
        with pytest.raises(ConflictError):
            await cache.commit({"c": b"1"}, expect={"b": "no such version"})
        assert await data(cache, "b") == b"2"


# -- bounds ----------------------------------------------------------------------------------------


async def test_eviction_keeps_within_max_bytes():
    """Whatever is read and written, the cache never counts more than max_bytes, nor holds more data."""
    limit = 50_000
    random.seed(7)
    async with Cached(MemoryAdapter(), CachePolicy(max_bytes=limit)) as cache:
        for n in range(3000):
            key = f"key {random.randrange(400)}"
            if n % 3 == 0:
                await cache.commit({key: random.randbytes(random.randrange(3000))})
            cache.fetch_now(key)
            stats = cache.stats()
            assert stats["cache_bytes"] <= limit
            held = [entry for k in range(400) if (entry := cache._lookup(f"key {k}")) is not None]
            assert len(held) == stats["cache_entries"]
            assert sum(entry.size for entry in held) == stats["cache_bytes"]
            assert sum(2 * len(entry.kept.data) for entry in held if entry.kept is not None) <= limit
        assert cache.stats()["cache_evictions"] > 100


async def test_what_is_used_survives_a_scan():
    """Reading many other keys once, absent ones included, does not push out what is read again and again."""
    inner = Remote()
    async with Cached(inner, CachePolicy(max_bytes=20_000)) as cache:
        await inner.inner.commit({f"{n}": b"x" * 100 for n in range(200)})
        await cache.fetch(("hot",))
        for n in range(400):
            await cache.fetch((f"{n}",))
            await cache.fetch(("hot",))
        assert cache.stats()["cache_evictions"] > 300
        assert inner.reads == 401


async def test_too_large_to_cache():
    """A value that would push out half of everything is read from the store, and correctly."""
    async with Cached(MemoryAdapter(), CachePolicy(max_bytes=10_000)) as cache:
        await cache.commit({"a": b"small"})
        assert cache.fetch_now("a").data == b"small"
        await cache.commit({"a": b"x" * 9000})
        assert cache.fetch_now("a").data == b"x" * 9000
        assert cache.stats()["cache_entries"] == 0


async def test_threads_keep_the_books():
    """Threads that read and write at once leave the count of bytes right, and read what they wrote."""
    limit = 30_000
    async with Cached(MemoryAdapter(), CachePolicy(max_bytes=limit)) as cache:

        def work(name):
            numbers = random.Random(name)
            for n in range(800):
                cache.fetch_now(f"shared {numbers.randrange(50)}")
                cache.commit_now({f"shared {numbers.randrange(50)}": numbers.randbytes(500), name: b"%d" % n})
                assert cache.fetch_now(name).data == b"%d" % n

        await asyncio.gather(*(asyncio.to_thread(work, f"thread {n}") for n in range(4)))
        entries = cache._entries
        assert entries.bytes == sum(entry.size for entry in entries._entries.values()) <= limit
        assert entries._leases == {}
        assert entries._writing == {}


@pytest.mark.parametrize("wrong", [{"max_bytes": -1}, {"max_age": float("nan")}, {"interval": -0.1}])
def test_impossible_policies_are_refused(wrong):
    """A limit below zero is refused when the policy is made."""
    with pytest.raises(ConfigurationError):
        CachePolicy(**wrong)
