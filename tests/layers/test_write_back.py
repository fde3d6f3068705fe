"""A write-back cache: accepted at once, stored in order, nothing dropped."""

import asyncio
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import CapabilityUnavailableError, ConflictError, InvalidKeyError, StorageError
from axiom_persistence.layers._cache import write_back as _write_back
from axiom_persistence.layers.cached import Cached, CachePolicy
from axiom_persistence.storage.adapter import NOT_NOW, Durability
from axiom_persistence.storage.layer import Layer

MEMORY = Durability.MEMORY
TIMEOUT = 30
WRITER = Path(__file__).parents[1] / "support" / "write_back_writer.py"

from support.write_back_writer import KEYS  # noqa: E402


class Recording(Layer):
    """Tells which commits reached the store, and fails or waits when told to."""

    def __init__(self, *, atomic=True, now=True):
        super().__init__(MemoryAdapter())
        self.commits = []
        self.atomic = atomic
        self.now = now
        self.fails = None
        self.gate = None

    @property
    def traits(self):
        return replace(super().traits, atomic=self.atomic, durability=Durability.POWER_LOSS)

    async def commit(self, changes, *, expect=None, durability=None):
        self.commits.append((dict(changes), durability))
        if self.gate is not None:
            await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        return await self.inner.commit(changes, expect=expect, durability=durability)

    def commit_now(self, changes):
        if not self.now:
            return None
        self.commits.append((dict(changes), "now"))
        if self.fails is not None:
            raise self.fails
        return self.inner.commit_now(changes)


def write_back(inner, **policy):
    return Cached(inner, CachePolicy.write_back(**{"interval": 1000, **policy}))


async def save(cache, changes):
    return await cache.commit(changes, durability=MEMORY)


async def data(adapter, key):
    stored = (await adapter.fetch((key,))).get(key)
    return None if stored is None else stored.data


async def until(condition):
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0.001)


# -- accepted --------------------------------------------------------------------------------------


async def test_accepted_in_memory():
    """A save of MEMORY durability reaches no store, and every read sees it all the same."""
    inner = Recording()
    async with write_back(inner) as cache:
        await cache.commit({"old": b"1", "gone": b"1"})
        inner.commits.clear()
        versions = await save(cache, {"a": b"1", "empty": b"", "gone": None})
        assert inner.commits == []
        assert cache.fetch_now("a").data == b"1"
        assert cache.fetch_now("gone") is None
        found = await cache.fetch(("a", "empty", "gone", "old", "never"))
        assert {key: stored.data for key, stored in found.items()} == {"a": b"1", "empty": b"", "old": b"1"}
        assert {key: found[key].version for key in versions} == versions
        assert [key async for key in cache.keys("")] == ["a", "empty", "old"]
        assert [key async for key in cache.keys("e")] == ["empty"]
        assert cache.stats()["cache_pending"] == 3


async def test_what_waits_is_read_without_the_store():
    """A server is not asked for what has not reached it, nor more than once for what has."""

    class Far(Recording):
        fetches = 0

        def fetch_now(self, key):
            return NOT_NOW

        async def fetch(self, keys):
            self.fetches += len(keys)
            return await self.inner.fetch(keys)

    inner = Far()
    async with write_back(inner) as cache:
        await cache.commit({"old": b"1"})
        await save(cache, {"a": b"1", "gone": None})
        assert [await data(cache, key) for key in ("a", "gone")] == [b"1", None]
        assert (await cache.exists("a"), await cache.exists("gone")) == (True, False)
        assert inner.fetches == 0
        assert [await data(cache, "old") for _ in range(3)] == [b"1"] * 3
        assert inner.fetches == 1


async def test_a_flush_stores_all_in_one_commit():
    """An explicit flush stores what was accepted, the newest of each key, and then makes it durable."""
    inner = Recording()
    async with write_back(inner) as cache:
        await save(cache, {"a": b"1", "b": b"1"})
        await save(cache, {"a": b"2"})
        await cache.commit({}, durability=Durability.POWER_LOSS)
        assert inner.commits == [
            ({"a": b"2", "b": b"1"}, Durability.PROCESS_EXIT),
            ({}, Durability.POWER_LOSS),
        ]
        assert cache.stats()["cache_pending"] == 0
        assert await data(cache, "a") == b"2"


async def test_a_stronger_save_takes_everything_older_along():
    """A save that is to survive more is one commit with all that was accepted before it."""
    inner = Recording()
    async with write_back(inner) as cache:
        await save(cache, {"a": b"1"})
        versions = await cache.commit({"b": b"2"}, durability=Durability.POWER_LOSS)
        assert inner.commits == [({"a": b"1", "b": b"2"}, Durability.POWER_LOSS)]
        assert set(versions) == {"b"}
        await save(cache, {"b": b"3"})
        await cache.commit({"b": b"4"})
        assert await data(inner, "b") == b"4"
        assert [changes for changes, _ in inner.commits[1:]] == [{"b": b"3"}, {"b": b"4"}]


async def test_commit_now_takes_everything_older_along():
    """What is committed synchronously comes after all that was accepted before it."""
    inner = Recording()
    async with write_back(inner) as cache:
        await save(cache, {"a": b"1", "b": b"1"})
        cache.commit_now({"a": b"2"})
        assert inner.commits == [({"a": b"1", "b": b"1"}, "now"), ({"a": b"2"}, "now")]
        assert cache.fetch_now("a").data == b"2"


async def test_a_store_that_is_not_atomic_gets_every_save_in_order():
    """Where a commit of several keys may be torn, saves are stored one by one, as they came."""
    inner = Recording(atomic=False)
    async with write_back(inner) as cache:
        for n in range(5):
            await save(cache, {"a": b"%d" % n})
            await save(cache, {f"b{n}": b""})
        await cache.commit({}, durability=Durability.PROCESS_EXIT)
        assert [changes for changes, _ in inner.commits] == [
            changes for n in range(5) for changes in ({"a": b"%d" % n}, {f"b{n}": b""})
        ]


async def test_a_deletion_is_not_merged_away():
    """A key deleted and written anew before a flush has no previous generation: it was deleted."""
    async with write_back(MemoryAdapter()) as cache:
        await cache.commit({"a": b"secret"})
        await cache.commit({})
        await save(cache, {"a": None})
        await save(cache, {"a": b"new"})
        await cache.commit({})
        assert await data(cache.inner, "a") == b"new"
        assert await cache.previous("a") is None


async def test_expectations_see_what_is_pending():
    """A commit with expectations comes after a flush, and knows the versions that were accepted."""
    inner = Recording()
    async with write_back(inner) as cache:
        first = (await save(cache, {"a": b"1"}))["a"]
        second = (await save(cache, {"a": b"2"}))["a"]
        with pytest.raises(ConflictError):
            await cache.commit({"a": b"3"}, expect={"a": first})
        assert await data(inner, "a") == b"2"
        assert (await cache.fetch(("a",)))["a"].version == second
        third = (await cache.commit({"a": b"3"}, expect={"a": second}))["a"]
        with pytest.raises(ConflictError):
            await cache.commit({"a": b"4"}, expect={"a": second})
        await cache.commit({"a": b"4"}, expect={"a": third})


async def test_what_can_never_be_stored_is_refused_at_once():
    """A key that no store takes is refused by the save, not by the flush."""
    async with write_back(Recording()) as cache:
        with pytest.raises(InvalidKeyError):
            await save(cache, {"a": b"1", "nul\0": b"1"})
        assert cache.stats()["cache_pending"] == 0


async def test_one_moment_for_several_keys():
    """A fetch never sees half of a save, while some are accepted, some flushed and some stored directly."""

    class Slow(Recording):
        def fetch_now(self, key):
            return NOT_NOW

        async def fetch(self, keys):
            await asyncio.sleep(0)
            found = await self.inner.fetch(keys)
            await asyncio.sleep(0)
            return found

        async def commit(self, changes, *, expect=None, durability=None):
            await asyncio.sleep(0)
            versions = await super().commit(changes, expect=expect, durability=durability)
            await asyncio.sleep(0)
            return versions

    numbers = random.Random(3)
    async with write_back(Slow()) as cache:
        names = ("a", "b", "c")
        await save(cache, dict.fromkeys(names, b"0"))
        done = False

        async def write():
            nonlocal done
            for n in range(1, 400):
                strong = numbers.random() < 0.2
                await cache.commit(
                    dict.fromkeys(names, b"%d" % n), durability=Durability.PROCESS_EXIT if strong else MEMORY
                )
                if numbers.random() < 0.3:
                    await asyncio.sleep(0)
                if numbers.random() < 0.1:
                    await cache.commit({})
            done = True

        async def read():
            latest = 0
            while not done:
                found = await cache.fetch(names)
                assert len({stored.data for stored in found.values()}) == 1, found
                assert int(found["a"].data) >= latest
                latest = int(found["a"].data)
                await asyncio.sleep(0)

        async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
            group.create_task(write())
            group.create_task(read())
            group.create_task(read())


class FarAway(Recording):
    """A store whose reads and commits wait for the test: reads after they read, commits before they act."""

    def __init__(self):
        super().__init__()
        self.read_gate = None

    def fetch_now(self, key):
        return NOT_NOW

    async def fetch(self, keys):
        found = await self.inner.fetch(keys)
        if self.read_gate is not None:
            await self.read_gate.wait()
        return found


async def test_a_flush_during_a_read_hides_nothing():
    """What is stored while a read is on its way, and so pending no more, is in the answer."""
    inner = FarAway()
    async with write_back(inner) as cache:
        await save(cache, {"a": b"1", "b": b"1"})
        inner.read_gate = asyncio.Event()
        reading = asyncio.create_task(cache.fetch(("a", "b")))
        await asyncio.sleep(0)
        await cache.commit({}, durability=Durability.PROCESS_EXIT)
        inner.read_gate.set()
        found = await asyncio.wait_for(reading, TIMEOUT)
        assert {key: stored.data for key, stored in found.items()} == {"a": b"1", "b": b"1"}


async def test_a_save_waits_for_a_commit_of_its_key():
    """A save is not seen before a commit that was called earlier, of which it replaces a part."""
    inner = FarAway()
    async with write_back(inner) as cache:
        inner.gate = asyncio.Event()
        direct = asyncio.create_task(cache.commit({"a": b"1", "b": b"1"}))
        await until(lambda: inner.commits)
        later = asyncio.create_task(save(cache, {"a": b"2"}))
        for _ in range(5):
            await asyncio.sleep(0)
        assert await cache.fetch(("a", "b")) == {}
        inner.gate.set()
        await asyncio.gather(direct, later)
        found = await cache.fetch(("a", "b"))
        assert {key: stored.data for key, stored in found.items()} == {"a": b"2", "b": b"1"}


# -- flushed ---------------------------------------------------------------------------------------


async def test_flushed_by_interval():
    """After the interval everything is in the store, though nobody asks for it; and again."""
    inner = Recording()
    async with write_back(inner, interval=0.001) as cache:
        for n in range(3):
            await save(cache, {"a": b"%d" % n})
            await until(lambda: cache.stats()["cache_pending"] == 0)
            assert await data(inner, "a") == b"%d" % n


async def test_flushed_by_size():
    """No more than max_pending_bytes wait: the save that would exceed them stores the earlier ones first."""
    inner = Recording()
    async with write_back(inner, max_pending_bytes=100) as cache:
        for n in range(20):
            await save(cache, {f"{n}": b"x" * 30})
            assert cache.stats()["cache_pending_bytes"] <= 100
        assert len(inner.commits) >= 5
        await save(cache, {"large": b"x" * 200})
        assert await data(inner, "large") == b"x" * 200
        assert cache.stats()["cache_pending"] == 0


async def test_saves_during_a_flush():
    """What is saved while a flush is on its way is accepted, and stored by the next one."""
    inner = Recording()
    async with write_back(inner) as cache:
        await save(cache, {"a": b"1", "b": b"1"})
        inner.gate = asyncio.Event()
        flush = asyncio.create_task(cache.commit({}, durability=Durability.PROCESS_EXIT))
        await until(lambda: inner.commits)
        await save(cache, {"a": b"2"})
        assert cache.commit_now({"c": b"1"}) is None
        inner.gate.set()
        await flush
        assert cache.fetch_now("a").data == b"2"
        assert await data(inner, "a") == b"1"
        await cache.commit({})
        assert await data(inner, "a") == b"2"


async def test_closing_stores_everything():
    """After a close everything is in the store, and nothing more is accepted."""
    inner = Recording()
    cache = write_back(inner)
    await cache.aopen()
    await save(cache, {"a": b"1"})
    await cache.aclose()
    with pytest.raises(CapabilityUnavailableError):
        await save(cache, {"a": b"2"})
    async with cache:
        assert await data(cache, "a") == b"1"


@pytest.mark.parametrize("surfaces", ["save", "flush", "close"])
async def test_a_failure_surfaces_and_nothing_is_dropped(surfaces):
    """What a flush by interval failed with is raised by the next save, flush or close; all stays pending."""
    inner = Recording()
    cache = write_back(inner, interval=0.001)
    await cache.aopen()
    inner.fails = StorageError("the disk is gone")
    await save(cache, {"a": b"1"})
    await until(lambda: inner.commits)
    await until(lambda: cache._flusher._failure is not None)
    ways = {
        "save": lambda: save(cache, {"b": b"1"}),
        "flush": lambda: cache.commit({}, durability=Durability.POWER_LOSS),
        "close": cache.aclose,
    }
    with pytest.raises(StorageError, match="the disk is gone"):
        await ways[surfaces]()
    assert cache.fetch_now("a").data == b"1"
    assert cache.stats()["cache_pending"] == 1
    inner.fails = None
    await cache.aclose()
    await inner.aopen()
    assert await data(inner, "a") == b"1"


async def test_a_failed_flush_keeps_the_order():
    """What could not be stored is stored before what was accepted later."""
    inner = Recording()
    async with write_back(inner) as cache:
        await save(cache, {"a": b"1", "b": b"1"})
        inner.fails = StorageError("the disk is gone")
        with pytest.raises(StorageError):
            await cache.commit({})
        await save(cache, {"a": b"2", "c": b"2"})
        with pytest.raises(StorageError):
            await cache.commit({"d": b"3"}, durability=Durability.POWER_LOSS)
        inner.fails = None
        inner.commits.clear()
        await cache.commit({"d": b"4"})
        assert [list(changes.items()) for changes, _ in inner.commits] == [
            [("a", b"1"), ("b", b"1")],
            [("a", b"2"), ("c", b"2")],
            [("d", b"4")],
        ]


async def test_a_cancelled_flush_keeps_everything():
    """Cancelling whoever flushes loses nothing; the next flush stores it."""
    inner = Recording()
    async with write_back(inner) as cache:
        await save(cache, {"a": b"1"})
        inner.gate = asyncio.Event()
        flush = asyncio.create_task(cache.commit({}))
        await until(lambda: inner.commits)
        flush.cancel()
        await asyncio.wait({flush})
        inner.gate = None
        assert cache.stats()["cache_pending"] == 1
        await cache.commit({})
        assert await data(inner, "a") == b"1"


def test_a_loop_that_ends_leaves_nothing_behind():
    """What one event loop accepted and did not flush is flushed from the next one by interval."""
    inner = Recording()
    cache = write_back(inner, interval=0.05)

    async def first():
        await cache.aopen()
        await save(cache, {"a": b"1"})

    async def second():
        await save(cache, {"b": b"1"})
        await until(lambda: cache.stats()["cache_pending"] == 0)
        assert await data(inner, "a") == b"1"
        await cache.aclose()

    asyncio.run(first())
    asyncio.run(second())


# -- endings ---------------------------------------------------------------------------------------

ENDING = """
import asyncio, os, sys
from axiom_persistence.adapters.{module} import {adapter}
from axiom_persistence.layers.cached import Cached, CachePolicy
cache = Cached({adapter}(sys.argv[1]), CachePolicy.write_back(interval=1000))
async def main():
    await cache.aopen()
    for n in range(100):
        await cache.commit({{"a": b"%d" % n, f"key {{n}}": b""}}, durability="memory")
    {ending}
asyncio.run(main())
"""


@pytest.mark.parametrize("ending", ["return", "sys.exit(0)", "raise SystemExit(0)", "1 / 0"])
@pytest.mark.parametrize("adapter", [SQLiteAdapter, FileStorageAdapter])
async def test_the_end_of_the_interpreter_stores_everything(tmp_path, adapter, ending):
    """A program that ends without closing, in whatever way, leaves nothing unsaved."""
    module = adapter.__module__.rsplit(".", 1)[1]
    program = ENDING.format(module=module, adapter=adapter.__name__, ending=ending)
    place = tmp_path / "store.db"
    ended = subprocess.run(
        [sys.executable, "-c", program, place], capture_output=True, timeout=TIMEOUT, check=False
    )
    assert (ended.returncode == 0) is (ending != "1 / 0"), ended.stderr.decode()
    assert b"atexit" not in ended.stderr, ended.stderr.decode()
    async with adapter(place) as store:
        assert await data(store, "a") == b"99"
        assert len([key async for key in store.keys("key ")]) == 100


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_forked_child_stores_nothing_of_its_parents(tmp_path):
    """What is pending belongs to the process that accepted it: a child that ends does not store it."""
    program = """
import asyncio, os, sys
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.errors import CapabilityUnavailableError
from axiom_persistence.layers.cached import Cached, CachePolicy
class Telling(MemoryAdapter):
    def commit_now(self, changes):
        print("parent" if os.getpid() == parent else "child", dict(changes), flush=True)
        return super().commit_now(changes)
parent = os.getpid()
cache = Cached(Telling(), CachePolicy.write_back(interval=1000))
async def main():
    await cache.aopen()
    await cache.commit({"a": b"1"}, durability="memory")
asyncio.run(main())
if os.fork() == 0:
    try:
        asyncio.run(cache.commit({"a": b"2"}, durability="memory"))
    except CapabilityUnavailableError:
        sys.exit(7)
    sys.exit(8)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=TIMEOUT, check=False)
    assert (ended.returncode, ended.stdout) == (7, b"parent {'a': b'1'}\n"), ended.stderr.decode()


# -- kills -----------------------------------------------------------------------------------------


def state_after(last):
    """What the first ``last`` saves of the writer leave."""
    state = {}
    for n in range(max(1, last - 30 * KEYS), last + 1):
        state |= {f"key {n % KEYS}": b"%d" % n, "last": b"%d" % n}
        if n % 11 == 0:
            state.pop(f"key {(n + 1) % KEYS}", None)
    return state


async def killed_at_random(place, planted, kills):
    """Kill a writer again and again; the saves found each time, which must be a prefix of those made."""
    numbers = random.Random(11)
    ends = []
    for _ in range(kills):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, WRITER, place, planted, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert await asyncio.wait_for(writer.stdout.readline(), TIMEOUT) == b"saving\n"
            await asyncio.sleep(numbers.uniform(0.02, 0.12))
        finally:
            writer.kill()
            await writer.communicate()
        async with SQLiteAdapter(place) as store:
            found = await store.fetch([key async for key in store.keys("")])
        content = {key: stored.data for key, stored in found.items()}
        last = int(content.get("last", 0))
        assert content == state_after(last), last
        ends.append(last)
    return ends


async def test_killed_at_random_a_prefix_is_found(tmp_path):
    """SIGKILL at any moment leaves the first so many saves, whole and none of the later ones."""
    ends = await killed_at_random(tmp_path / "a.db", "plain", 6)
    assert ends == sorted(ends)
    assert ends[-1] > 100


async def test_a_planted_flush_out_of_order_is_caught(tmp_path):
    """Storing what is flushed together key by key, the newest first, fails the test above."""
    with pytest.raises(AssertionError):
        await killed_at_random(tmp_path / "a.db", "planted", 8)


async def test_planted_merging_over_a_deletion_is_caught(monkeypatch):
    """Were a deletion merged away, the test of previous generations would fail."""
    monkeypatch.setattr(_write_back.Batch, "takes", lambda self, changes: not self.taken)
    with pytest.raises(AssertionError):
        await test_a_deletion_is_not_merged_away()


# -- Ctrl-C ----------------------------------------------------------------------------------------


def interrupted_at(moment, work):
    """Whether ``work()`` was interrupted after its ``moment``-th call: CPython looks for signals there."""
    left = moment

    def strike(frame, event, argument):
        nonlocal left
        if event in ("call", "c_return"):
            left -= 1
            if left < 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    try:
        sys.setprofile(strike)
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def stored_and_shown(pending):
    """What would be stored, and what is answered meanwhile."""
    shown = {key: pending.get(key).kept for key in "abc" if key in pending}
    stored = {}
    while (batch := pending.take()) is not None:
        stored |= batch.changes
        pending.settle(batch, dict.fromkeys(batch.changes, "1"))
    assert not pending
    return stored, {key: None if kept is None else kept.data for key, kept in shown.items()}


@pytest.mark.parametrize("joins", [True, False])
def test_ctrl_c_leaves_an_accepted_commit_whole_or_absent(joins):
    """At whatever moment: what is to be stored is all of it or nothing, and is what is shown."""
    first, second = dict.fromkeys("ab", b"1"), dict.fromkeys("bc", b"2")
    outcomes = set()
    for moment in range(1000):
        pending = _write_back.Pending(joins=joins)
        pending.accept(first)
        whole = not interrupted_at(moment, lambda: pending.accept(second))  # noqa: B023
        stored, shown = stored_and_shown(pending)
        assert stored == shown
        assert stored in (first, {**first, **second})
        outcomes.add(len(stored))
        if whole:
            break
    assert outcomes == {2, 3}


def test_ctrl_c_while_a_batch_is_settled_leaves_nothing_waiting_for_ever():
    """What was stored may be stored once more, and is pending no more then."""
    for moment in range(1000):
        pending = _write_back.Pending(joins=True)
        pending.accept(dict.fromkeys("abc", b"1"))
        versions = dict.fromkeys("abc", "1")
        batch = pending.take()
        whole = not interrupted_at(moment, lambda: pending.settle(batch, versions))  # noqa: B023
        if (again := pending.take()) is not None:
            pending.settle(again, versions)
        assert not pending
        if whole:
            break
