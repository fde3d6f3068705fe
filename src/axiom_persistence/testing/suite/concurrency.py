"""Tasks, threads, event loops and processes on one store at once; and cancellation."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import multiprocessing
import sys
from operator import attrgetter
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Final

import pytest

from ...errors import ConflictError, PersistenceError
from ...storage.adapter import Durability, StorageAdapter
from ._base import SuiteBase, at_place, content, on_adapter, run, versions

if TYPE_CHECKING:
    from threading import Barrier

__all__ = ["ConcurrencyTests"]

TASKS: Final = 6
EACH: Final = 5
PATIENCE_SECONDS: Final = 30
"""For another process; less than a body may take in all."""


async def increment(adapter: StorageAdapter, key: str, times: int) -> None:
    """Count up under ``key``, reading again whenever somebody else was faster."""
    done = 0
    while done < times:
        stored = (await adapter.fetch((key,))).get(key)
        count = 0 if stored is None else int(stored.data)
        # Lets the others in between the read and the write, which is what is to be survived.
        await asyncio.sleep(0)
        try:
            await adapter.commit(
                {key: b"%d" % (count + 1)},
                expect={key: None if stored is None else stored.version},
                durability=Durability.MEMORY,
            )
        except ConflictError:
            await asyncio.sleep(0.001)
        else:
            done += 1


class ConcurrencyTests(SuiteBase):
    """Many callers, one store."""

    @on_adapter
    async def test_tasks_that_count(self, adapter: StorageAdapter) -> None:
        """Tasks that read, compare and set one counter lose no step, beginning with an absent key."""
        async with asyncio.TaskGroup() as group:
            for _ in range(TASKS):
                group.create_task(increment(adapter, "count", EACH))
        assert await adapter.read("count") == b"%d" % (TASKS * EACH)

    @at_place
    async def test_absence_that_is_relied_upon(self, place: Path) -> None:
        """Of two commits at once that each rely on the absence of what the other writes, one goes ahead."""
        first, second = self.adapter(place), self.adapter(place)
        if not first.traits.shared:
            second = first
        async with first, second:
            for n in range(20):
                outcomes = await asyncio.gather(
                    first.commit({f"a{n}": b""}, expect={f"b{n}": None}, durability=Durability.MEMORY),
                    second.commit({f"b{n}": b""}, expect={f"a{n}": None}, durability=Durability.MEMORY),
                    return_exceptions=True,
                )
                refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
                assert [type(outcome) for outcome in refused] == [ConflictError]

    @on_adapter
    async def test_tasks_that_write(self, adapter: StorageAdapter) -> None:
        """Writes of many tasks to their own keys are all there, with the versions they were given."""
        expected = {f"key {n}": b"%d" % n for n in range(20)}
        changes = [{key: data} for key, data in expected.items()]
        answers = await asyncio.gather(*(adapter.commit(change) for change in changes))
        assert await content(adapter) == expected
        given = {key: version for answer in answers for key, version in answer.items()}
        assert await versions(adapter, *expected) == given

    @on_adapter
    async def test_the_order_of_calls(self, adapter: StorageAdapter) -> None:
        """Commits of one key take effect in the order in which they were called, of whatever durability."""
        classes = [durability for durability in Durability if durability <= adapter.traits.durability]
        for turn in range(6):
            calls = [
                adapter.commit({"a": b"%d" % n}, durability=classes[(n + turn) % len(classes)])
                for n in range(8)
            ]
            await asyncio.gather(*calls)
            assert await adapter.read("a") == b"7"

    @at_place
    async def test_threads_with_their_own_loops(self, place: Path) -> None:
        """Several threads, each with its event loop, use one adapter at once and lose nothing."""
        async with self.adapter(place) as adapter:

            async def work(name: str) -> None:
                async with asyncio.TaskGroup() as group:
                    group.create_task(increment(adapter, "count", EACH))
                    group.create_task(increment(adapter, "count", EACH))
                    group.create_task(increment(adapter, name, EACH))

            threads = [asyncio.to_thread(run, work(f"thread {n}")) for n in range(3)]
            # All of them end before the adapter is closed, whichever fails.
            outcomes = await asyncio.gather(*threads, work("own loop"), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
            names = ("thread 0", "thread 1", "thread 2", "own loop")
            counts = dict.fromkeys(names, b"%d" % EACH)
            assert await content(adapter) == {"count": b"%d" % (8 * EACH), **counts}

    @at_place
    async def test_one_loop_after_another(self, place: Path) -> None:
        """An adapter opened in one event loop is used from a second one, and closed in the first."""
        adapter = self.adapter(place)
        await adapter.aopen()
        await adapter.commit({"a": b"1"})

        async def elsewhere() -> None:
            assert await adapter.read("a") == b"1"
            await increment(adapter, "a", 2)
            await asyncio.gather(*(increment(adapter, "b", 2) for _ in range(3)))

        await asyncio.to_thread(run, elsewhere())
        await increment(adapter, "a", 1)
        assert await content(adapter) == {"a": b"4", "b": b"6"}
        await adapter.aclose()

    @on_adapter
    async def test_cancellation_at_any_moment(self, adapter: StorageAdapter) -> None:
        """A cancelled commit is done or not done, never half, and the adapter is as usable as before."""
        await adapter.commit({"a": b"0", "b": b"0"})
        for moment in range(16):
            before = await content(adapter)
            new = b"%d" % (moment + 1) * 100
            commit = asyncio.create_task(adapter.commit({"a": new, "b": new}))
            for _ in range(moment % 8):
                await asyncio.sleep(0)
            if moment >= 8:
                await asyncio.sleep(0.0002 * (moment - 8))
            commit.cancel()
            await asyncio.wait({commit})
            # Whatever is still on its way is done before what is asked later.
            await adapter.commit({"marker": new})
            after = await content(adapter)
            for key in ("a", "b"):
                assert after[key] in (before[key], new)
            if adapter.traits.atomic:
                assert after["a"] == after["b"]
            if not commit.cancelled():
                assert commit.exception() is None
                assert after["a"] == after["b"] == new
            assert await content(adapter) == after
        await increment(adapter, "count", 2)

    @on_adapter
    async def test_cancelling_one_of_many(self, adapter: StorageAdapter) -> None:
        """Cancelling some commits takes nothing from the others that were waiting beside them."""
        for turn in range(4):
            commits = {
                f"{turn}-{n}": asyncio.create_task(adapter.commit({f"{turn}-{n}": b"1"})) for n in range(12)
            }
            for _ in range(turn):
                await asyncio.sleep(0)
            for n, commit in enumerate(commits.values()):
                if n % 3 == 0:
                    commit.cancel()
            await asyncio.wait(commits.values())
            for n, (key, commit) in enumerate(commits.items()):
                if n % 3:
                    assert dict(await commit).keys() == {key}
                    assert await adapter.read(key) == b"1"

    @at_place
    async def test_closing_while_others_commit(self, place: Path) -> None:
        """A commit that was acknowledged is there, though the adapter was closed the moment after."""
        adapter = self.adapter(place)
        if adapter.traits.durability is Durability.MEMORY:
            pytest.skip("traits.durability promises nothing beyond the object")
        await adapter.aopen()
        commits = {f"{n}": asyncio.create_task(adapter.commit({f"{n}": b"1"})) for n in range(10)}
        await asyncio.wait(commits.values(), return_when=asyncio.FIRST_COMPLETED)
        await adapter.aclose()
        await asyncio.wait(commits.values())
        done = {key for key, commit in commits.items() if commit.exception() is None}
        assert done
        for commit in commits.values():
            assert isinstance(commit.exception(), NoneType | PersistenceError)
        async with self.adapter(place) as again:
            assert done <= set(await content(again))

    @at_place
    async def test_processes_that_count(self, place: Path) -> None:
        """Where a store is shared, two more processes compare and set beside this one and lose no step."""
        async with self.adapter(place) as adapter:
            if not adapter.traits.shared:
                pytest.skip("traits.shared is false")
            await adapter.commit({"count": b"0"})
            module = sys.modules[type(self).__module__]
            whose = (module.__name__, module.__file__, type(self).__qualname__)
            spawn = multiprocessing.get_context("spawn")
            ready = spawn.Barrier(3)
            children = [
                spawn.Process(target=count_in_child, args=(*whose, place, ready), daemon=True)
                for _ in range(2)
            ]
            for child in children:
                child.start()
            try:
                # All three begin together, else the first would be done before the last has started.
                await asyncio.to_thread(ready.wait, PATIENCE_SECONDS)
                await increment(adapter, "count", 4 * EACH)
                for child in children:
                    await asyncio.to_thread(child.join, PATIENCE_SECONDS)
                assert [child.exitcode for child in children] == [0, 0]
            finally:
                for child in children:  # none is left behind, whatever happened
                    child.kill()
                    child.join()
                    child.close()
            # The opening that was there all the time sees what the others did.
            assert await content(adapter) == {"count": b"%d" % (3 * 4 * EACH)}


def count_in_child(module: str, file: str | None, qualname: str, place: Path, ready: Barrier) -> None:
    """Open the store as the suite does, in a process of its own, and count."""
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError:
        # A test file that was collected under a name which is not on the path.
        specification = None if file is None else importlib.util.spec_from_file_location(module, file)
        if specification is None or specification.loader is None:
            raise
        sys.modules[module] = found = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(found)
    suite: SuiteBase = attrgetter(qualname)(found)()

    async def work() -> None:
        async with suite.adapter(place) as adapter:
            await asyncio.to_thread(ready.wait, PATIENCE_SECONDS)
            await increment(adapter, "count", 4 * EACH)

    run(work())
