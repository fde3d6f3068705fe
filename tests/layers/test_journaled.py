"""``Journaled``: all or nothing over an adapter that is not."""

import asyncio
import threading

import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.errors import (
    ConfigurationError,
    ConflictError,
    InvalidKeyError,
    StorageError,
    StorageFullError,
)
from axiom_persistence.layers.journaled import JOURNAL, Journaled
from axiom_persistence.storage.adapter import NOT_NOW, Durability, Traits
from axiom_persistence.storage.basic import BasicAdapter
from axiom_persistence.storage.journal import encode_journal


class Shelf(BasicAdapter):
    """A dict that writes one key after the other, and can stop after any number of steps."""

    def __init__(self, records=None, **limits):
        self.records = {} if records is None else records
        self.limits = limits
        self.left = None
        self.steps = 0
        self.keep_failing = False

    @property
    def traits(self):
        return Traits(atomic=False, durability=Durability.PROCESS_EXIT, shared=False, **self.limits)

    async def _step(self):
        await asyncio.sleep(0)
        if self.left is not None:
            if self.left == 0:
                if not self.keep_failing:
                    self.left = None
                raise StorageError("the shelf broke")
            self.left -= 1
        self.steps += 1

    async def read(self, key):
        await asyncio.sleep(0)
        return self.records.get(key)

    async def write(self, key, data):
        await self._step()
        self.records[key] = data

    async def delete(self, key):
        await self._step()
        self.records.pop(key, None)

    async def keys(self, prefix=""):
        for key in sorted(key for key in self.records if key.startswith(prefix)):
            yield key


OLD = {"a": b"1", "b": b"1", "c": b"1"}
CHANGES = {"a": b"2", "b": None, "d": b"2"}
NEW = {"a": b"2", "c": b"1", "d": b"2"}
STEPS = 5  # the journal, three changes, the clearing


async def contents(adapter):
    keys = [key async for key in adapter.keys()]  # noqa: SIM118 - not a dict
    return {key: stored.data for key, stored in (await adapter.fetch([*keys, *OLD, *NEW])).items()}


def test_what_it_promises():
    """All or nothing and snapshots are gained, other processes are not; the rest is the inner's."""
    layer = Journaled(Shelf(max_value_bytes=100))
    assert layer.traits == Traits(
        atomic=True, durability=Durability.PROCESS_EXIT, shared=False, max_value_bytes=100
    )
    assert repr(layer).startswith("Journaled(<")
    with pytest.raises(ConfigurationError):
        Journaled(Shelf(max_key_bytes=5))


async def test_a_crash_after_any_step():
    """Whatever step was the last one of the process, the next opening finds all of a commit or nothing."""
    for stop in range(STEPS + 1):
        shelf = Shelf(dict(OLD))
        shelf.left, shelf.keep_failing = stop, True
        layer = Journaled(shelf)
        try:
            await layer.commit(CHANGES)
        except StorageError:
            assert stop < STEPS
        else:
            assert stop == STEPS
        async with Journaled(Shelf(shelf.records)) as after:
            assert await contents(after) == (OLD if stop == 0 else NEW)
        assert JOURNAL not in shelf.records


async def test_a_crash_during_recovery():
    """Recovery broken off anywhere is done again, with the same result."""
    for first in range(1, STEPS):
        for second in range(STEPS):
            shelf = Shelf(dict(OLD))
            shelf.left, shelf.keep_failing = first, True
            with pytest.raises(StorageError):
                await Journaled(shelf).commit(CHANGES)
            again = Shelf(shelf.records)
            again.left, again.keep_failing = second, True
            try:
                await Journaled(again).aopen()
            except StorageError:
                pass
            async with Journaled(Shelf(shelf.records)) as after:
                assert await contents(after) == NEW


async def test_a_planted_bug_is_caught():
    """Clearing the journal before applying it is found by the same sweep."""

    class Hasty(Journaled):
        async def _finish(self):
            if self._doubtful:
                await self.inner.commit({JOURNAL: None})
                self._doubtful = False
            return await super()._finish()

    torn = 0
    for stop in range(STEPS):
        shelf = Shelf(dict(OLD))
        shelf.left, shelf.keep_failing = stop, True
        with pytest.raises(StorageError):
            await Hasty(shelf).commit(CHANGES)
        async with Hasty(Shelf(shelf.records)) as after:
            torn += await contents(after) not in (OLD, NEW)
    assert torn > 0


async def test_after_an_error_the_commit_is_finished_first():
    """A commit that failed on the way is never seen by halves, and never undoes a later one."""
    for stop in range(STEPS):
        shelf = Shelf(dict(OLD))
        layer = Journaled(shelf)
        shelf.left = stop
        with pytest.raises(StorageError):
            await layer.commit(CHANGES)
        assert await contents(layer) in (OLD, NEW)
        await layer.commit({"a": b"3"})
        await layer.aclose()
        async with Journaled(Shelf(shelf.records)) as after:
            assert await after.read("a") == b"3"
        assert JOURNAL not in shelf.records


async def test_readers_wait_while_the_medium_fails():
    """Half a commit is not readable even while it cannot be finished: the read raises."""
    shelf = Shelf(dict(OLD))
    layer = Journaled(shelf)
    shelf.left, shelf.keep_failing = 2, True
    with pytest.raises(StorageError):
        await layer.commit(CHANGES)
    for attempt in (layer.fetch(("a",)), layer.fetch(("a", "b")), layer.previous("a"), contents(layer)):
        with pytest.raises(StorageError):
            await attempt
    assert layer.fetch_now("a") is NOT_NOW
    assert layer.commit_now({"a": b"4"}) is None
    shelf.left = None
    assert await contents(layer) == NEW


async def test_cancelling_at_every_step():
    """A commit cancelled at any await is whole or absent, and later ones go on."""
    for turns in range(12):
        shelf = Shelf(dict(OLD))
        layer = Journaled(shelf)
        task = asyncio.ensure_future(layer.commit(CHANGES))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await contents(layer) in (OLD, NEW)
        await layer.commit({"a": b"3", "e": b"3"})
        assert (await layer.fetch(("a",)))["a"].data == b"3"
        assert JOURNAL not in shelf.records


async def test_a_torn_journal_is_forgotten():
    """What was never whole changes nothing; what was whole is finished."""
    whole = encode_journal(CHANGES)
    for journal, expected in ((whole, NEW), (whole[:-1], OLD), (b"", OLD), (bytes(90), OLD)):
        shelf = Shelf(OLD | {JOURNAL: journal})
        async with Journaled(shelf) as layer:
            assert await contents(layer) == expected
        assert JOURNAL not in shelf.records


async def test_snapshots_beside_commits():
    """A fetch of several keys never mixes two commits, from other threads and loops neither."""
    layer = Journaled(Shelf({"a": b"0", "b": b"0"}))
    stop = threading.Event()

    async def write():
        for number in range(1, 10_000):
            if stop.is_set():
                return number
            await layer.commit({"a": b"%d" % number, "b": b"%d" % number})
        return 0

    async def read():
        for _ in range(100):
            found = await layer.fetch(("a", "b"))
            assert found["a"].data == found["b"].data

    writers = [asyncio.ensure_future(asyncio.to_thread(asyncio.run, write())) for _ in range(2)]
    await asyncio.gather(read(), asyncio.to_thread(asyncio.run, read()))
    stop.set()
    assert min(await asyncio.gather(*writers)) > 1


async def test_a_commit_in_the_middle_of_a_fetch():
    """A fetch that a whole commit overtook between two keys is done again."""
    shelf = Shelf({"a": b"0", "b": b"0"})
    layer = Journaled(shelf)
    reached, go_on = asyncio.Event(), asyncio.Event()
    read = shelf.read

    async def slow(key):
        found = await read(key)
        if key == "a" and not reached.is_set():
            reached.set()
            await go_on.wait()
        return found

    shelf.read = slow
    fetching = asyncio.ensure_future(layer.fetch(["a", "b"]))
    await reached.wait()
    await layer.commit({"a": b"1", "b": b"1"})
    go_on.set()
    assert {key: stored.data for key, stored in (await fetching).items()} == {"a": b"1", "b": b"1"}


async def test_expectations():
    """An expectation on any key is checked with the change as one step."""
    layer = Journaled(Shelf(dict(OLD)))
    versions = {key: stored.version for key, stored in (await layer.fetch(OLD)).items()}
    with pytest.raises(ConflictError):
        await layer.commit(CHANGES, expect={"d": "x"})
    assert await contents(layer) == OLD
    results = await asyncio.gather(
        *(layer.commit({"a": b"%d" % i, "b": b"%d" % i}, expect={"a": versions["a"]}) for i in range(2, 12)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, ConflictError) for result in results) == 9
    found = await layer.fetch(("a", "b"))
    assert [{"a": found["a"].version, "b": found["b"].version}] == [r for r in results if isinstance(r, dict)]


async def test_what_inner_would_refuse_is_refused_first():
    """A commit that could never be applied is not decided: the store would be stuck with it."""
    shelf = Shelf(dict(OLD), max_key_bytes=10, max_value_bytes=200)
    layer = Journaled(shelf)
    with pytest.raises(InvalidKeyError):
        await layer.commit({"a": b"2", "k" * 11: b"2"})
    with pytest.raises(InvalidKeyError):
        await layer.commit({"a": b"2", "": b"2"})
    with pytest.raises(StorageFullError) as caught:
        await layer.commit({"a": bytes(90), "b": bytes(90)})
    assert caught.value.key == "a"
    with pytest.raises(TypeError):
        await layer.commit({"a": b"2", "b": "text"})
    assert shelf.records == OLD


async def test_the_synchronous_ways():
    """commit_now and fetch_now go through to an adapter that has them, for one key."""
    async with Journaled(MemoryAdapter()) as layer:
        versions = layer.commit_now({"a": b"1"})
        assert layer.fetch_now("a") == (await layer.fetch(("a",)))["a"]
        assert versions == {"a": layer.fetch_now("a").version}
        assert layer.commit_now({"a": b"2", "b": b"2"}) is None
        assert await layer.read("a") == b"1"
