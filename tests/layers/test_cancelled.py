"""What may yet take effect: neither a cache nor a stream of changes takes it for settled too early."""

import asyncio
import time

import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.layers._cache.entries import Entries
from axiom_persistence.layers.cached import Cached, CachePolicy
from axiom_persistence.layers.journaled import Journaled
from axiom_persistence.layers.observed import Observed
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.storage.basic import BasicAdapter
from axiom_persistence.storage.layer import Layer
from support.sqlite_support import sleeping

MEMORY, EXIT, POWER = Durability.MEMORY, Durability.PROCESS_EXIT, Durability.POWER_LOSS
TIMEOUT = 10


class Held(Layer):
    """Commits take effect when they are let, in whichever order that is."""

    def __init__(self):
        super().__init__(MemoryAdapter())
        self.gates = {}

    def hold(self, key):
        self.gates[key] = asyncio.Event()
        return self.gates[key]

    async def commit(self, changes, *, expect=None, durability=None):
        gate = next((self.gates.pop(key) for key in changes if key in self.gates), None)
        if gate is not None:
            await gate.wait()
        return await self.inner.commit(changes, expect=expect, durability=durability)


async def mirrored(store, stream, mirror, key, data):
    """Load what the stream tells, until ``key`` has ``data``."""
    async with asyncio.timeout(TIMEOUT):
        while mirror.get(key) != data:
            change = await anext(stream)
            found = await store.fetch((change.key,))
            mirror[change.key] = found[change.key].data if found else None


@pytest.mark.parametrize("exclusive", [False, True])
async def test_a_cancelled_save_that_waits_in_the_queue(tmp_path, exclusive):
    """After a later PROCESS_EXIT save of another key, what was cancelled is there, loaded and told."""
    async with open_persistence(SQLiteAdapter(tmp_path / "s.db", exclusive=exclusive)) as store:
        await store.save_many({"a": 0, "b": 0})
        assert await store.load("a", int) == 0
        async with store.adapter.find(Observed).changes("a") as stream:
            async with sleeping(store.adapter.find(SQLiteAdapter)):
                saving = asyncio.create_task(store.save_many({"a": 1, "b": 1}))
                await asyncio.sleep(0)
                saving.cancel()
                await asyncio.wait({saving})
                await store.save("other", 1, durability="process_exit")
                assert await store.load("a", int) == 1
                assert await store.load_many(["a", "b"], int) == {"a": 1, "b": 1}
            async with asyncio.timeout(TIMEOUT):
                assert (await anext(stream)).key == "a"
        assert await store.load("a", int) == 1


async def test_an_earlier_commit_ends_no_doubt():
    """A commit that was called before another one was cancelled proves nothing when it ends."""
    inner = Held()
    async with Observed(Cached(inner)) as store, store.changes("a") as stream:
        other, mirror = inner.hold("other"), {}
        earlier = asyncio.create_task(store.commit({"other": b"1"}))
        landing = inner.hold("a")
        cancelled = asyncio.create_task(store.commit({"a": b"1"}))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        other.set()
        await earlier
        assert await store.fetch(("a",)) == {}
        assert stream.is_in_doubt
        landing.set()
        await inner.inner.commit({"a": b"1"})  # it lands
        await store.commit({"other": b"2"})
        assert (await store.fetch(("a",)))["a"].data == b"1"
        await mirrored(store, stream, mirror, "a", b"1")
        assert not stream.is_in_doubt


def test_a_caution_ends_by_what_is_called_after_it():
    """Of two commits that two threads call at once, none says anything of the other."""
    entries = Entries(1 << 20)
    first, _ = entries.begin_write(["a"])
    second, _ = entries.begin_write(["b"])
    entries.fail_write(first, ["a"], ["a"], RuntimeError())
    entries.end_write(second, ["b"], {}, {"b": b"1"}, {"b": "1"}, 0.0)
    assert not entries.is_settled(["c"])
    third, _ = entries.begin_write(["b"])
    entries.end_write(third, ["b"], {}, {"b": b"2"}, {"b": "2"}, 0.0)
    assert entries.is_settled(["c"])


async def test_commits_of_one_key_that_land_in_another_order():
    """Two at once, as of two threads: what is cached and told is what the later to land has left."""
    inner = Held()
    async with Observed(Cached(inner)) as store, store.changes() as stream:
        await store.fetch(("a",))
        mirror, gate = {}, inner.hold("a")
        first = asyncio.create_task(store.commit({"a": b"1"}))
        await asyncio.sleep(0)
        await store.commit({"a": b"2"})
        await mirrored(store, stream, mirror, "a", b"2")
        gate.set()
        await first
        assert (await store.fetch(("a",)))["a"].data == b"1"
        await mirrored(store, stream, mirror, "a", b"1")


async def test_a_save_in_memory_waits_for_an_earlier_durable_one():
    """A write-back cache keeps the order of the calls while one of them waits for a flush."""
    inner = Held()
    policy = CachePolicy.write_back(interval=60)
    async with Observed(Cached(inner, policy)) as store, store.changes() as stream:
        await store.commit({"x": b"0"}, durability=MEMORY)
        flushing = inner.hold("x")
        durable = asyncio.create_task(store.commit({"a": b"1", "x": b"1"}, durability=POWER))
        await asyncio.sleep(0)
        light = asyncio.create_task(store.commit({"a": b"2"}, durability=MEMORY))
        await asyncio.sleep(0)
        flushing.set()
        await asyncio.gather(durable, light)
        assert (await store.fetch(("a",)))["a"].data == b"2"
        await mirrored(store, stream, {}, "a", b"2")
        await store.commit({})
        assert (await inner.fetch(("a",)))["a"].data == b"2"


async def test_a_save_in_memory_ends_no_doubt():
    """While a cancelled commit may yet take effect, the next one goes to the store, behind it."""
    inner = Held()
    async with (
        Observed(Cached(inner, CachePolicy.write_back(interval=60))) as store,
        store.changes() as stream,
    ):
        landing = inner.hold("a")
        cancelled = asyncio.create_task(store.commit({"a": b"1"}, durability=POWER))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        landing.set()
        await inner.inner.commit({"a": b"1"})  # it lands
        await store.commit({"b": b"1"}, durability=MEMORY)
        assert (await inner.fetch(("b",)))["b"].data == b"1"
        await store.commit({"c": b"1"}, durability=MEMORY)
        assert await inner.fetch(("c",)) == {}  # nothing is in doubt any more
        await mirrored(store, stream, {}, "a", b"1")


async def test_a_cancelled_save_in_a_thread_of_a_custom_adapter():
    """What a custom adapter goes on writing in a thread is overtaken by nothing that is called later."""

    class Slow(BasicAdapter):
        def __init__(self):
            self.data = {}

        def put(self, key, data, seconds):
            time.sleep(seconds)
            self.data[key] = data

        async def read(self, key):
            return self.data.get(key)

        async def write(self, key, data):
            await asyncio.to_thread(self.put, key, data, 0.1 if data == b"1" else 0)

        async def delete(self, key):
            self.data.pop(key, None)

        async def keys(self, prefix=""):
            for key in sorted(self.data):
                if key.startswith(prefix):
                    yield key

    async with Observed(Cached(Journaled(Slow()))) as store, store.changes() as stream:
        cancelled = asyncio.create_task(store.commit({"a": b"1"}))
        await asyncio.sleep(0.02)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        await store.commit({"a": b"2"})
        await asyncio.sleep(0.2)
        assert (await store.fetch(("a",)))["a"].data == b"2"
        await mirrored(store, stream, {}, "a", b"2")


async def test_a_doubt_costs_a_consumer_that_does_not_read_little():
    """Keys to be read anew are as bounded as changes that wait, and all are told in the end."""
    inner = Held()
    async with Observed(inner) as store, store.changes(limit=50) as stream:
        for number in range(200):
            gate = inner.hold(f"k{number}")
            task = asyncio.create_task(store.commit({f"k{number}": b"1"}))
            await asyncio.sleep(0)
            await store.commit({f"k{number}": b"2"})
            gate.set()
            await task
            assert len(stream._unread) <= 50
        mirror = {}
        for number in range(200):
            await mirrored(store, stream, mirror, f"k{number}", b"1")
