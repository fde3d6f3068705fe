"""What a cache notes for those who want to know which keys were written."""

import asyncio
import gc

import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.layers._cache import entries as _cache_entries
from axiom_persistence.layers._cache.entries import Follower
from axiom_persistence.layers.cached import Cached
from axiom_persistence.storage.layer import Layer


class Gated(Layer):
    """A store that nobody else writes to; each commit waits for a gate of its own, if there is one."""

    def __init__(self):
        super().__init__(MemoryAdapter())
        self.gates = []

    def change_mark(self):
        return 0

    async def commit(self, changes, *, expect=None, durability=None):
        gate = self.gates.pop(0) if self.gates else None
        versions = await self.inner.commit(changes, expect=expect, durability=durability)
        if gate is not None:
            await gate.wait()
        return versions


@pytest.fixture
async def cache():
    async with Cached(Gated()) as cache:
        yield cache


@pytest.fixture
def follower(cache):
    follower = Follower("a/")
    assert cache.written(follower) is None
    return follower


async def test_what_was_written_is_told_once(cache, follower):
    """Keys with the prefix, with the versions that their commits returned; None for those deleted."""
    versions = await cache.commit({"a/1": b"1", "a/2": b"2", "b/1": b"1"})
    assert cache.written(follower) == {key: versions[key] for key in ("a/1", "a/2")}
    assert cache.written(follower) == {}
    await cache.commit({"a/1": None, "a/2": b"3"}, expect={"a/2": versions["a/2"]})
    again = await cache.commit({"a/2": b"4"})
    assert cache.written(follower) == {"a/1": None, "a/2": again["a/2"]}


async def test_commits_at_once(cache, follower):
    """Of commits of one key that overlapped nobody says which came last: the key is to be read."""
    gates = cache.inner.gates = [asyncio.Event(), asyncio.Event()]
    first, second = gates
    tasks = [asyncio.create_task(cache.commit({"a/1": data})) for data in (b"1", b"2")]
    await asyncio.sleep(0)
    for gate in (second, first):
        gate.set()
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)
    assert cache.written(follower) == {"a/1": None}
    first, second = cache.inner.gates = [asyncio.Event(), asyncio.Event()]
    tasks = [asyncio.create_task(cache.commit({"a/1": data})) for data in (b"1", b"2")]
    await asyncio.sleep(0)
    first.set()
    await tasks[0]
    assert cache.written(follower) == {"a/1": None}
    second.set()
    await tasks[1]
    assert cache.written(follower) == {"a/1": None}
    versions = await cache.commit({"a/1": b"3"})
    assert cache.written(follower) == versions


async def test_a_commit_that_may_still_happen(cache, follower):
    """The keys of a commit that was cancelled are told until another commit shows that it is over."""
    cache.inner.gates = [asyncio.Event()]
    task = asyncio.create_task(cache.commit({"a/1": b"1", "b/1": b"1"}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(3):
        assert cache.written(follower) == {"a/1": None}
    versions = await cache.commit({"a/2": b"2"})
    assert cache.written(follower) == {"a/1": None, **versions}
    assert cache.written(follower) == {}


async def test_invalidation_and_opening_again(cache, follower):
    """After either all keys are to be read, and the follower is followed on."""
    for change in (lambda: cache.invalidate(["x"]), cache.invalidate, cache.aclose):
        done = change()
        if done is not None:
            await done
            await cache.aopen()
        assert cache.written(follower) is None
        versions = await cache.commit({"a/1": b"1"})
        assert cache.written(follower) == versions


async def test_one_that_does_not_ask(cache, follower, monkeypatch):
    """Noting ends where it would take much memory, and with the one it is done for."""
    monkeypatch.setattr(_cache_entries, "_FOLLOWED_KEYS", 3)
    for number in range(9):
        await cache.commit({f"a/{number}": b"1"})
    assert follower.written is None
    assert cache.written(follower) is None
    assert cache.written(follower) == {}
    another = Follower("a/")
    cache.written(another)
    assert len(cache._entries._followers) == 2
    del another
    gc.collect()
    assert len(cache._entries._followers) == 1
