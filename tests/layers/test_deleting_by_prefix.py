"""Deleting all keys with a prefix: caches and streams notice it, whatever is on its way at the same time."""

import asyncio
import random

import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import AccessDeniedError, ConflictError, StorageUnavailableError
from axiom_persistence.layers.cached import Cached, CachePolicy, Follower
from axiom_persistence.layers.journaled import Journaled
from axiom_persistence.layers.observed import Change, Observed, Origin
from axiom_persistence.layers.prefixed import Prefixed
from axiom_persistence.layers.read_only import ReadOnly
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.storage.layer import Layer
from axiom_persistence.testing.suite._base import content, listed

TIMEOUT = 30


async def drain(stream, count):
    async with asyncio.timeout(TIMEOUT):
        return [await anext(stream) for _ in range(count)]


class Markless(MemoryAdapter):
    """An adapter for one process, without a change mark: a cache keeps what it reads until it is changed."""

    def change_mark(self):
        return None


class Gated(Markless):
    """Stops in the middle of a deletion by prefix, before it takes effect or behind that; may fail then."""

    def __init__(self, *, effective):
        super().__init__()
        self.effective = effective
        self.begun, self.go, self.fails = asyncio.Event(), asyncio.Event(), False

    async def delete_prefix(self, prefix, **options):
        count = await super().delete_prefix(prefix, **options) if self.effective else 0
        self.begun.set()
        await self.go.wait()
        if self.fails:
            raise StorageUnavailableError("planted")
        return count if self.effective else await super().delete_prefix(prefix, **options)


@pytest.mark.parametrize("effective", [False, True])
async def test_no_answer_is_kept_while_a_prefix_is_deleted(effective):
    """What is read or written while a deletion by prefix is on its way is asked for again after it."""
    inner = Gated(effective=effective)
    async with Cached(inner) as cache:
        await cache.commit({"a/1": b"1", "a/2": b"1", "b": b"1"})
        await cache.fetch(["a/1", "b"])
        deleting = asyncio.create_task(cache.delete_prefix("a/"))
        await inner.begun.wait()
        for key in ("a/1", "a/2", "b"):
            assert await cache.fetch((key,)) == await inner.fetch((key,))
        await cache.commit({"a/3": b"1"})
        await cache.fetch(("a/3",))
        assert cache.stats()["cache_entries"] == 1  # that of b
        inner.go.set()
        assert await deleting == (2 if effective else 3)
        for key in ("a/1", "a/2", "a/3", "b"):
            assert await cache.fetch((key,)) == await inner.fetch((key,))
            assert await cache.exists(key) is await inner.exists(key)


async def test_a_commit_that_overlaps_a_deletion_by_prefix_is_not_kept():
    """Which of the two came last is not known, so the key is read again."""
    inner = Gated(effective=True)
    async with Cached(inner) as cache:
        await cache.commit({"a/1": b"1"})
        await cache.fetch(("a/1",))
        writing = cache._entries.begin_write(("a/1",))
        deleting = asyncio.create_task(cache.delete_prefix("a/"))
        await inner.begun.wait()
        cache._entries.end_write(writing[0], ("a/1",), writing[1], {"a/1": b"2"}, {"a/1": "v"}, 0.0)
        inner.go.set()
        await deleting
        assert await cache.fetch(("a/1",)) == {}


async def test_after_a_failed_deletion_by_prefix_nothing_is_kept_until_a_later_commit():
    """It may yet take effect: until a commit that was called later has, the store is asked each time."""
    inner = Gated(effective=False)
    inner.fails = True
    async with Cached(inner) as cache:
        await cache.commit({"a/1": b"1", "b": b"1"})
        inner.go.set()
        with pytest.raises(StorageUnavailableError):
            await cache.delete_prefix("a/")
        assert await cache.fetch(("a/1",)) != {}
        await inner.commit({"a/1": None})  # now it does
        assert await cache.fetch(("a/1",)) == {}
        await cache.commit({"c": b"1"})
        await cache.fetch(("a/1",))
        assert "a/1" in cache._entries._entries


async def test_a_follower_is_told_that_a_prefix_was_deleted():
    """Whoever follows what is written must read everything again."""
    async with Cached(Markless()) as cache:
        follower = Follower("a/")
        await cache.commit({"a/1": b"1"})
        cache.written(follower)
        assert cache.written(follower) == {}
        await cache.delete_prefix("a/")
        assert cache.written(follower) is None
        assert cache.written(follower) == {}


# -- streams -------------------------------------------------------------------------------------------


async def test_a_stream_is_told_each_deletion():
    """As of a commit by this process, in one step of the store, and of no key beside the prefix."""
    async with Observed(MemoryAdapter()) as adapter:
        await adapter.commit({"a/1": b"1", "a/2": b"1", "b": b"1"})
        stream = adapter.changes()
        assert await adapter.delete_prefix("a/") == 2
        assert await drain(stream, 2) == [Change(key, None, Origin.HERE) for key in ("a/1", "a/2")]
        await adapter.commit({"b": b"2"})
        assert (await drain(stream, 1))[0].key == "b"


async def test_a_stream_finds_what_was_written_while_a_prefix_was_deleted():
    """A save that the deletion overtook is told as gone; one that came after it as there."""
    inner = Gated(effective=False)
    async with Observed(inner) as adapter, adapter.changes("a/") as stream:
        await adapter.commit({"a/1": b"1"})
        await drain(stream, 1)
        deleting = asyncio.create_task(adapter.delete_prefix("a/"))
        await inner.begun.wait()
        await adapter.commit({"a/2": b"1"})
        assert (await drain(stream, 1))[0].key == "a/2"
        inner.go.set()
        assert await deleting == 2
        told = {change.key: change.version for change in await drain(stream, 2)}
        assert told == {"a/1": None, "a/2": None}


async def test_a_stream_that_came_while_a_prefix_was_deleted_looks_again():
    """It may have read what was there before."""
    inner = Gated(effective=False)
    async with Observed(inner) as adapter:
        await adapter.commit({"a/1": b"1"})
        deleting = asyncio.create_task(adapter.delete_prefix("a/"))
        await inner.begun.wait()
        async with adapter.changes("a/") as stream:
            inner.go.set()
            await deleting
            assert (await drain(stream, 1))[0][:2] == ("a/1", None)


# -- other layers ---------------------------------------------------------------------------------------


async def test_a_view_deletes_nothing_beside_itself():
    """Prefixed: not the key that is its prefix, nor what only begins like it."""
    inner = MemoryAdapter()
    async with Prefixed(inner, "mine/") as view:
        await inner.commit(dict.fromkeys(("mine/", "mine/a", "mine/b", "mine0", "other"), b"1"))
        assert await view.delete_prefix("") == 2
        assert await listed(inner) == ["mine/", "mine0", "other"]


async def test_a_reader_deletes_nothing():
    """ReadOnly refuses it as it refuses a commit, naming a key."""
    inner = MemoryAdapter()
    async with ReadOnly(inner) as reader:
        await inner.commit({"a/1": b"1"})
        with pytest.raises(AccessDeniedError, match="a/1"):
            await reader.delete_prefix("a/")
        assert await reader.delete_prefix("b") == 0
        assert await listed(inner) == ["a/1"]


class Refusing(Layer):
    """A layer that was written before there was a deletion by prefix: it overrides commit only."""

    async def commit(self, changes, *, expect=None, durability=None):
        if any(key.startswith("kept/") for key in changes):
            raise AccessDeniedError("kept", key=next(iter(changes)))
        return await super().commit(changes, expect=expect, durability=durability)


async def test_a_layer_that_knows_commits_only_is_not_passed_by():
    """Its own commit decides about a deletion by prefix, too."""
    async with Refusing(MemoryAdapter()) as adapter:
        await adapter.inner.commit({"kept/1": b"1", "other": b"1"})
        with pytest.raises(AccessDeniedError):
            await adapter.delete_prefix("kept/")
        assert await adapter.delete_prefix("other") == 1
        assert await listed(adapter) == ["kept/1"]


async def test_the_journal_is_not_deleted():
    """Journaled hides its own key from a deletion of everything."""
    async with Journaled(MemoryAdapter()) as adapter:
        await adapter.commit({"a": b"1", "b": b"1"})
        assert await adapter.delete_prefix("") == 2
        assert await listed(adapter) == []


# -- beside everything else -----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [CachePolicy(), CachePolicy.write_back(interval=0.002)])
async def test_a_cache_agrees_with_its_store_whatever_is_deleted(tmp_path, policy):
    """Tasks that save, delete by prefix, read and expect at random leave a cache that is right."""
    chance = random.Random(7)
    keys = [f"{part}/{n}" for part in "ab" for n in range(4)]
    async with Cached(SQLiteAdapter(tmp_path / "s.db"), policy) as cache:

        async def work():
            for n in range(60):
                key, durability = chance.choice(keys), chance.choice((None, *Durability))
                match chance.randrange(5):
                    case 0:
                        await cache.delete_prefix(
                            chance.choice(("a/", "b/", "a/1", "")), durability=durability
                        )
                    case 1:
                        await cache.commit({key: b"%d" % n, chance.choice(keys): None}, durability=durability)
                    case 2:
                        cache.commit_now({key: b"%d" % n})
                    case 3:
                        found = await cache.fetch((key,))
                        expect = {key: found[key].version if key in found else None}
                        try:
                            await cache.commit({key: b"expected"}, expect=expect)
                        except ConflictError:
                            continue
                    case _:
                        await cache.fetch(chance.sample(keys, 3))

        await asyncio.gather(*(work() for _ in range(4)))
        await cache.commit({})
        assert await content(cache) == await content(cache.inner)
        for key in keys:
            stored = await cache.inner.read(key)
            assert await cache.read(key) == stored
            assert await cache.exists(key) is (stored is not None)


async def test_a_group_of_commits_around_a_deletion_by_prefix(tmp_path):
    """Written in one transaction, each sees what those before it did: saves, the deletion, expectations."""
    async with SQLiteAdapter(tmp_path / "s.db") as adapter:
        old = (await adapter.commit({"a/old": b"1", "b": b"1"}))["a/old"]
        waiting = [
            adapter.commit({"a/new": b"1", "c": b"1"}),
            adapter.delete_prefix("a/"),
            adapter.commit({"a/old": b"2"}, expect={"a/new": None, "a/old": None}),
            adapter.commit({"d": b"1"}, expect={"a/old": old}),
            adapter.delete_prefix("c"),
            adapter.delete_prefix("nothing"),
            adapter.commit({"c": b"3"}, expect={"c": None}),
        ]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [results[n] for n in (1, 4, 5)] == [2, 1, 0]
        assert isinstance(results[3], ConflictError)
        assert await content(adapter) == {"a/old": b"2", "b": b"1", "c": b"3"}


async def test_a_deletion_by_prefix_after_the_clock_was_set_back(tmp_path, monkeypatch):
    """Versions that were given at a time still to come are passed: none of them ever comes again."""
    async with SQLiteAdapter(tmp_path / "s.db") as adapter:
        ahead = (await adapter.commit({"a/1": b"1"}))["a/1"]
    monkeypatch.setattr("time.time_ns", lambda: 1_000_000_000_000)
    async with SQLiteAdapter(tmp_path / "s.db") as adapter:
        assert await adapter.delete_prefix("a/") == 1
        again = await adapter.commit({"a/1": b"2"})
        assert int(again["a/1"]) > int(ahead)
