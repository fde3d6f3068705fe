"""Observed: every consumer learns of the last change of every key, whoever made it, at a bounded cost."""

import asyncio
import gc
import random
import sys
import threading
from dataclasses import replace

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import ConflictError, StorageError
from axiom_persistence.layers import observed
from axiom_persistence.layers._changes import stream as _change_stream
from axiom_persistence.layers._changes.stream import ChangeStream
from axiom_persistence.layers.cached import Cached, CachePolicy
from axiom_persistence.layers.observed import Change, Observed, Origin
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.storage.layer import Layer

TIMEOUT = 30


async def next_of(stream):
    return await asyncio.wait_for(anext(stream), TIMEOUT)


async def drain(stream, until):
    """The changes up to the one that ``until`` says is the last."""
    changes = []
    async with asyncio.timeout(TIMEOUT):
        async for change in stream:
            changes.append(change)
            if until(change):
                return changes
    raise AssertionError("the stream ended")


class Gated(Layer):
    """A store whose commits wait for the test, after they took effect; shared if it is told to be."""

    def __init__(self, *, shared=False):
        super().__init__(MemoryAdapter())
        self.shared = shared
        self.gates = []
        self.after_fetch = None

    @property
    def traits(self):
        return replace(super().traits, shared=self.shared)

    async def commit(self, changes, *, expect=None, durability=None):
        versions = await self.inner.commit(changes, expect=expect, durability=durability)
        if self.gates:
            failure = await self.gates.pop(0)
            if failure is not None:
                raise failure
        return versions

    async def fetch(self, keys):
        found = await self.inner.fetch(keys)
        if self.after_fetch is not None:
            await self.after_fetch()
        return found


# -- own commits -----------------------------------------------------------------------------------


async def test_own_commits_are_told():
    """A commit through the adapter is told at once: key, version, and that it was made here."""
    async with Observed(MemoryAdapter()) as store, store.changes() as stream:
        versions = await store.commit({"a": b"1", "b": b""})
        assert await next_of(stream) == Change("a", versions["a"], Origin.HERE)
        assert await next_of(stream) == Change("b", versions["b"], Origin.HERE)
        versions = store.commit_now({"a": b"2"})
        assert await next_of(stream) == Change("a", versions["a"], Origin.HERE)
        await store.commit({"a": None})
        assert await next_of(stream) == Change("a", None, Origin.HERE)
        assert len(stream) == 0


async def test_told_from_the_moment_the_stream_is_made():
    """What is committed between making a stream and reading it is told."""
    async with Observed(MemoryAdapter()) as store:
        stream = store.changes()
        await store.commit({"a": b"1"})
        assert (await next_of(stream)).key == "a"


async def test_only_what_is_watched():
    """A stream tells keys under its prefix, and the library's own only to those who name them."""
    async with (
        Observed(MemoryAdapter()) as store,
        store.changes("notes/") as notes,
        store.changes() as everything,
        store.changes("\x01") as own,
    ):
        await store.commit({"other": b"1", "\x01store": b"1", "notes/a": b"1"})
        assert (await next_of(notes)).key == "notes/a"
        assert {(await next_of(everything)).key, (await next_of(everything)).key} == {"other", "notes/a"}
        assert (await next_of(own)).key == "\x01store"
        assert [len(stream) for stream in (notes, everything, own)] == [0, 0, 0]


async def test_a_conflict_is_no_change():
    """A commit that changed nothing is not told."""
    async with Observed(MemoryAdapter()) as store, store.changes() as stream:
        with pytest.raises(ConflictError):
            await store.commit({"a": b"1"}, expect={"a": "no such version"})
        await store.commit({"b": b"1"})
        assert (await next_of(stream)).key == "b"


async def test_several_changes_of_a_key_are_told_once():
    """A consumer that was busy is told the last version of each key only."""
    async with Observed(MemoryAdapter()) as store, store.changes() as stream:
        for n in range(100):
            versions = await store.commit({"a": b"%d" % n, "b": b"%d" % n})
        assert {await next_of(stream), await next_of(stream)} == {
            Change(key, versions[key], Origin.HERE) for key in ("a", "b")
        }
        assert len(stream) == 0


async def test_commits_that_return_in_the_wrong_order():
    """The change told is that of the commit that was called last, though an earlier one returns later."""
    inner = Gated()
    async with Observed(inner) as store, store.changes() as stream:
        first, second = asyncio.get_running_loop().create_future(), asyncio.get_running_loop().create_future()
        inner.gates = [first, second]
        one = asyncio.create_task(store.commit({"a": b"1"}))
        await asyncio.sleep(0)
        two = asyncio.create_task(store.commit({"a": b"2"}))
        await asyncio.sleep(0)
        second.set_result(None)
        version = (await two)["a"]
        first.set_result(None)
        await one
        assert await next_of(stream) == Change("a", version, Origin.HERE)
        assert len(stream) == 0


@pytest.mark.parametrize("order", ["earlier first", "later first"])
async def test_a_commit_that_failed_may_have_changed_something(order):
    """After an error nobody knows, so what is there is compared: a change that did happen is told."""
    inner = Gated()
    async with Observed(inner) as store, store.changes() as stream:
        gates = [asyncio.get_running_loop().create_future() for _ in range(2)]
        inner.gates = gates[:]
        one = asyncio.create_task(store.commit({"a": b"1"}))
        await asyncio.sleep(0)
        two = asyncio.create_task(store.commit({"a": b"2"}))
        await asyncio.sleep(0)
        endings = [(gates[0], one, None), (gates[1], two, StorageError("the disk is gone"))]
        for gate, task, failure in endings if order == "earlier first" else reversed(endings):
            gate.set_result(failure)
            await asyncio.wait({task})
        version = (await inner.fetch(("a",)))["a"].version
        changes = await drain(stream, lambda change: change.version == version)
        assert {change.key for change in changes} == {"a"}


@pytest.mark.parametrize("order", ["earlier first", "later first"])
async def test_a_conflict_of_the_last_commit(order):
    """A commit that succeeds is told, though one of the same key that was called later changed nothing."""

    class Conflicting(Gated):
        async def commit(self, changes, *, expect=None, durability=None):
            versions = await self.inner.commit(changes) if expect is None else {}
            await self.gates.pop(0)
            if expect is not None:
                raise ConflictError("somebody else was faster")
            return versions

    inner = Conflicting()
    async with Observed(inner) as store, store.changes() as stream:
        gates = inner.gates = [asyncio.get_running_loop().create_future() for _ in range(2)]
        gates = list(gates)
        one = asyncio.create_task(store.commit({"a": b"1"}))
        await asyncio.sleep(0)
        two = asyncio.create_task(store.commit({"a": b"2"}, expect={"a": None}))
        await asyncio.sleep(0)
        ends = [(gates[0], one), (gates[1], two)]
        for gate, task in ends if order == "earlier first" else reversed(ends):
            gate.set_result(None)
            await asyncio.wait({task})
        assert isinstance(two.exception(), ConflictError)
        change = await next_of(stream)
        assert (change.key, change.version) == ("a", (await one)["a"])


async def test_a_cancelled_commit_that_takes_effect_later():
    """A commit whose end nobody awaited is told when it takes effect, though no mark says so."""

    class Late(Gated):
        def change_mark(self):
            return 0

        async def commit(self, changes, *, expect=None, durability=None):
            if "late" not in changes:
                return await self.inner.commit(changes)
            self.landing = asyncio.create_task(self.land(changes))
            return await asyncio.shield(self.landing)

        async def land(self, changes):
            await landed.wait()
            return await self.inner.commit(changes)

    landed = asyncio.Event()
    inner = Late()
    async with Observed(inner, poll=0.005) as store, store.changes() as stream:
        commit = asyncio.create_task(store.commit({"late": b"1"}))
        await asyncio.sleep(0)
        commit.cancel()
        await asyncio.wait({commit})
        waiting = asyncio.create_task(next_of(stream))
        await asyncio.sleep(0.02)
        landed.set()
        assert (await waiting).key == "late"
        await store.commit({"a": b"1"})
        assert (await next_of(stream)).key == "a"
        assert not stream.is_in_doubt


async def test_a_stream_made_during_a_commit():
    """A commit that was on its way when the stream was made is told when it returns."""
    inner = Gated()
    async with Observed(inner) as store:
        inner.gates = [gate := asyncio.get_running_loop().create_future()]
        commit = asyncio.create_task(store.commit({"a": b"1"}))
        await asyncio.sleep(0)
        stream = store.changes()
        gate.set_result(None)
        await commit
        assert (await next_of(stream)).key == "a"


# -- nobody is missed, nothing grows ---------------------------------------------------------------


async def test_a_change_at_any_moment_wakes_the_consumer():
    """Changes that come at every moment of a consumer's turn are told; none slips between look and wait."""
    async with Observed(MemoryAdapter()) as store, store.changes() as stream:
        for n in range(200):
            waiting = asyncio.create_task(next_of(stream))
            for _ in range(n % 7):
                await asyncio.sleep(0)
            version = (await store.commit({"a": b"%d" % n}))["a"]
            assert (await waiting).version == version


async def test_a_consumer_that_never_reads_costs_nothing_more():
    """Unread changes stay below the limit, whatever is committed, and then nothing is missing."""
    async with Observed(MemoryAdapter()) as store, store.changes(limit=50) as stream:
        for n in range(5000):
            await store.commit({f"key {n % 700}": b"%d" % n}, durability=Durability.MEMORY)
            assert len(stream) <= 50
        await store.commit(dict.fromkeys((f"key {n}" for n in range(100)), None))
        assert len(stream) <= 50
        told = {}
        while len(told) < 600:
            change = await next_of(stream)
            told[change.key] = change.version
        found = await store.fetch([f"key {n}" for n in range(700)])
        assert told == {key: stored.version for key, stored in found.items()}
        assert stream._known.keys() == found.keys()


async def test_deletions_are_found_after_an_overflow():
    """Keys that the stream has told of and that were deleted while it overflowed are told as deleted."""
    async with Observed(MemoryAdapter()) as store:
        await store.commit({f"key {n}": b"1" for n in range(20)})
        async with store.changes(limit=5) as stream:
            await store.commit({f"key {n}": None for n in range(12)})
            assert len(stream) <= 5
            changes = [await next_of(stream) for _ in range(12)]
            assert {change.key for change in changes} == {f"key {n}" for n in range(12)}
            assert {change.version for change in changes} == {None}


async def test_a_dropped_stream_is_forgotten():
    """A stream that nobody holds any more costs nothing, also without being closed."""
    async with Observed(MemoryAdapter()) as store:
        stream = store.changes()
        await store.commit({"a": b"1"})
        del stream
        gc.collect()
        assert store._streams == ()


async def test_closing_ends_the_streams():
    """A consumer that waits when the adapter closes, or its stream, is told that there is no more."""
    store = Observed(MemoryAdapter())
    await store.aopen()
    first, second = store.changes(), store.changes()
    waiting = [asyncio.create_task(drain(stream, lambda _: False)) for stream in (first, second)]
    await asyncio.sleep(0)
    await first.aclose()
    with pytest.raises(AssertionError, match="ended"):
        await asyncio.wait_for(waiting[0], TIMEOUT)
    await store.aclose()
    with pytest.raises(AssertionError, match="ended"):
        await asyncio.wait_for(waiting[1], TIMEOUT)


async def test_a_cancelled_consumer_goes_on():
    """Cancelling a wait loses nothing: the next one is told."""
    async with Observed(MemoryAdapter()) as store, store.changes() as stream:
        waiting = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await store.commit({"a": b"1"})
        assert (await next_of(stream)).key == "a"


async def test_consumers_in_several_event_loops():
    """Streams in several threads, each with its event loop, are told the last change of every key."""
    async with Observed(MemoryAdapter()) as store:
        ready = threading.Barrier(4)

        def consume():
            async def last_versions():
                told = {}
                async with store.changes() as stream:
                    await asyncio.to_thread(ready.wait, TIMEOUT)
                    async with asyncio.timeout(TIMEOUT):
                        async for change in stream:
                            told[change.key] = change.version
                            if change.key == "end":
                                break
                return told

            return asyncio.run(last_versions())

        consumers = [asyncio.create_task(asyncio.to_thread(consume)) for _ in range(3)]
        await asyncio.to_thread(ready.wait, TIMEOUT)
        for n in range(300):
            await store.commit({f"key {n % 13}": b"%d" % n})
            if n % 20 == 0:
                await asyncio.sleep(0)
        await store.commit({"end": b""})
        found = await store.fetch([*(f"key {n}" for n in range(13)), "end"])
        for told in await asyncio.gather(*consumers):
            assert told == {key: stored.version for key, stored in found.items()}


# -- others' commits -------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [SQLiteAdapter, FileStorageAdapter])
async def test_another_opening_is_noticed(tmp_path, adapter):
    """What somebody else committed is told, with version and origin; deletions and new keys too."""
    place = tmp_path / "store.db"
    async with Observed(Cached(adapter(place))) as ours, adapter(place) as theirs:
        await ours.commit({"a": b"1", "b": b"1"})
        async with ours.changes() as stream:
            version = (await theirs.commit({"a": b"2"}))["a"]
            assert await next_of(stream) == Change("a", version, Origin.PROCESS)
            await theirs.commit({"b": None})
            assert await next_of(stream) == Change("b", None, Origin.PROCESS)
            version = (await theirs.commit({"new": b""}))["new"]
            assert await next_of(stream) == Change("new", version, Origin.PROCESS)
            version = (await ours.commit({"a": b"3"}))["a"]
            assert await next_of(stream) == Change("a", version, Origin.HERE)


async def changes_while_comparing(poll, *, hint=False):
    """Somebody else commits when a comparison has read everything and is not over yet."""
    async with Gated(shared=True) as inner:
        await inner.commit({"a": b"1"})
        stream = ChangeStream(inner, "", foreign=True, poll=poll)
        await stream.start()

        async def commit_behind_it():
            inner.after_fetch = None
            await inner.commit({"a": b"2"})
            if hint:
                stream.wake()
                await asyncio.sleep(0)

        await inner.commit({"a": b"1"})  # moves the mark and changes nothing
        inner.after_fetch = commit_behind_it
        async with asyncio.timeout(2):
            version = (await anext(stream)).version
        assert version == (await inner.fetch(("a",)))["a"].version


async def test_a_change_during_a_comparison_is_not_missed():
    """What is committed after it was read, but before the comparison ends, is found by the next one."""
    await changes_while_comparing(0.01)


async def test_a_wake_up_during_a_comparison_is_not_lost():
    """A hint that comes between reading and waiting ends the wait at once."""
    await changes_while_comparing(10_000, hint=True)


async def test_a_planted_late_mark_is_caught(monkeypatch):
    """A stream that takes the mark after it has read everything misses a change for ever."""

    async def mark_read_too_late(self, *, tell):
        await compare(self, tell=tell)
        self._mark = self._source.change_mark()

    compare = ChangeStream._compare
    monkeypatch.setattr(ChangeStream, "_compare", mark_read_too_late)
    with pytest.raises(TimeoutError):
        await changes_while_comparing(0.01)


async def test_a_planted_lost_wake_up_is_caught(monkeypatch):
    """A stream that clears its wake-up between reading and waiting sleeps through a hint."""

    async def clear_and_wait(self):
        self._wake.clear()
        await wait(self)

    wait = ChangeStream._wait
    monkeypatch.setattr(ChangeStream, "_wait", clear_and_wait)
    with pytest.raises(TimeoutError):
        await changes_while_comparing(10_000, hint=True)


async def test_a_change_hidden_by_a_commit_of_our_own():
    """Somebody else's change of a key that a commit of ours is on its way with is told in the end."""
    inner = Gated(shared=True)
    async with Observed(inner) as store, store.changes() as stream:
        inner.gates = [gate := asyncio.get_running_loop().create_future()]
        commit = asyncio.create_task(store.commit({"a": b"ours"}))
        await asyncio.sleep(0)
        version = (await inner.inner.commit({"a": b"theirs"}))["a"]
        waiting = asyncio.create_task(drain(stream, lambda change: change.version == version))
        # Compared at least once while our commit is on its way.
        async with asyncio.timeout(TIMEOUT):
            while not stream._skipped:
                await asyncio.sleep(0.001)
        gate.set_result(None)
        await commit
        assert (await waiting)[-1].origin is Origin.PROCESS


async def test_without_a_mark_everything_is_compared():
    """Where no mark tells of others' commits, what is watched is read again and again."""

    class Markless(Gated):
        def change_mark(self):
            return None

    inner = Markless(shared=True)
    async with Observed(inner, poll=0.005) as store, store.changes() as stream:
        version = (await inner.inner.commit({"a": b"1"}))["a"]
        assert await next_of(stream) == Change("a", version, Origin.PROCESS)


async def test_a_flush_of_a_write_back_cache_is_no_change(tmp_path):
    """What was told when it was accepted is not told again when it is stored under another version."""
    inner = Cached(SQLiteAdapter(tmp_path / "a.db"), CachePolicy.write_back(interval=1000))
    async with Observed(inner) as store, store.changes() as stream:
        await store.commit({"a": b"1"}, durability=Durability.MEMORY)
        assert (await next_of(stream)).origin is Origin.HERE
        await store.commit({})
        inner._pending._names.clear()  # as after many other keys: the store's own version is seen
        await store.commit({"b": b"1"})
        assert (await next_of(stream)).key == "b"
        await stream._compare(tell=True)
        assert len(stream) == 0


OTHER_PROCESS = """
import asyncio, sys
from axiom_persistence.adapters.sqlite import SQLiteAdapter
async def main():
    async with SQLiteAdapter(sys.argv[1]) as adapter:
        for n in range(int(sys.argv[2])):
            await adapter.commit({f"key {n % 5}": b"%d" % n}, durability="process_exit")
            if n % 37 == 0:
                await asyncio.sleep(0.002)
        await adapter.commit({"end": b"1", "key 0": None})
asyncio.run(main())
"""


@pytest.mark.parametrize("hints", [False, True], ids=["the mark", "file events"])
async def test_another_process_is_noticed(tmp_path, hints):
    """While another process and this one commit, the last change of every key is told, deletions too."""
    if hints:
        pytest.importorskip("watchfiles")
    place = tmp_path / "store.db"
    numbers = random.Random(5)
    watch = {"watch": tmp_path, "poll": 1000} if hints else {}
    async with Observed(Cached(SQLiteAdapter(place)), **watch) as store, store.changes() as stream:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", OTHER_PROCESS, str(place), "400")
        told, origins = {}, set()

        async def write():
            for n in range(100):
                await store.commit({f"own {n % 3}": b"%d" % n})
                await asyncio.sleep(numbers.uniform(0, 0.002))

        writing = asyncio.create_task(write())
        async with asyncio.timeout(TIMEOUT):
            assert await child.wait() == 0
            await writing
            found = await store.fetch([key async for key in store.keys("")])
            expected = {key: stored.version for key, stored in found.items()}
            while {key: version for key, version in told.items() if version is not None} != expected:
                change = await anext(stream)
                told[change.key] = change.version
                origins.add((change.key[:3], change.origin))
        assert ("own", Origin.HERE) in origins
        assert ("own", Origin.PROCESS) not in origins
        assert {origin for key, origin in origins if key in ("key", "end")} == {Origin.PROCESS}


async def test_file_events_wake_a_consumer(tmp_path):
    """With watchfiles a consumer is woken by a commit of somebody else long before the safety poll."""
    pytest.importorskip("watchfiles")
    place = tmp_path / "store.db"
    async with (
        Observed(SQLiteAdapter(place), watch=tmp_path, poll=10_000) as ours,
        SQLiteAdapter(place) as theirs,
        ours.changes() as stream,
    ):
        assert stream.poll == 10_000
        waiting = asyncio.create_task(anext(stream))
        async with asyncio.timeout(TIMEOUT):
            # The watch itself begins a little after the stream.
            while not waiting.done():
                await theirs.commit({"a": random.randbytes(8)})
                await asyncio.wait({waiting}, timeout=0.1)
        assert waiting.result().key == "a"


async def test_file_events_that_fail_are_replaced(tmp_path, caplog):
    """Where file events cannot be had, the stream says so and looks at the mark instead."""
    pytest.importorskip("watchfiles")
    place = tmp_path / "store.db"
    gone = tmp_path / "no such directory"
    async with (
        Observed(SQLiteAdapter(place), watch=gone, poll=10_000) as ours,
        SQLiteAdapter(place) as theirs,
        ours.changes() as stream,
    ):
        waiting = asyncio.create_task(next_of(stream))
        await asyncio.sleep(0)
        await theirs.commit({"a": b"1"})
        assert (await waiting).key == "a"
    assert "no file events" in caplog.text


async def test_without_watchfiles_the_mark_is_looked_at(tmp_path, monkeypatch):
    """The extra is optional: without it a stream polls the mark quickly."""
    monkeypatch.setattr(observed, "_has_watchfiles", lambda: False)
    async with Observed(SQLiteAdapter(tmp_path / "a.db"), watch=tmp_path) as store:
        assert store.changes().poll == observed._QUICK_POLL_S


def test_the_limit_is_said():
    """How much waits at most is a constant that the documentation can name."""
    assert _change_stream.MAX_PENDING == 4096
