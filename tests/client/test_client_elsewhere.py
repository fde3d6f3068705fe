"""What others store in a client's records: other opens of the store, other processes."""

# ruff: noqa: SIM117

from __future__ import annotations

import asyncio
import sys
import textwrap
from contextlib import aclosing
from typing import Any

import pytest

from axiom_persistence.client import AutoSave, ClientPhase
from axiom_persistence.opening.open import open_persistence
from support.client_worlds import Counter, Preferences


@pytest.fixture(params=["state.db", "directory"])
def place(request, tmp_path):
    return tmp_path / request.param


async def nth(stream: Any) -> Any:
    async with asyncio.timeout(30):
        return await anext(stream)


async def test_a_clean_field_takes_it(place):
    """What another open of the store saves arrives in the field and in the stream, with its origin."""
    async with open_persistence(place) as here, open_persistence(place) as there, Counter(here) as counter:
        async with aclosing(counter.state_stream()) as stream:
            await nth(stream)
            await there.save("Counter/a", 7)
            update = await nth(stream)
            assert (counter.a, dict(update.changed)) == (7, {"a": "process"})
            await there.delete("Counter/a")
            assert (await nth(stream))["a"] == 0
        assert counter.pending == ()


async def test_a_dirty_field_keeps_its_value(place):
    """An unsaved value stays, replaces the other's, and the stream says what was overwritten."""
    async with open_persistence(place) as here, open_persistence(place) as there:
        async with (
            Counter(here, auto_save=AutoSave.OFF) as counter,
            aclosing(counter.state_stream()) as stream,
        ):
            await nth(stream)
            counter.a = 1
            await nth(stream)
            await there.save("Counter/a", 7)
            update = await nth(stream)
            assert (counter.a, dict(update.overwritten), dict(update.changed)) == (1, {"a": 7}, {})
            await counter.persist_state()
        assert await there.load("Counter/a", int) == 1


async def test_a_list_changed_here_is_dirty(place):
    """A list that was changed in place is not replaced by another process's."""
    async with open_persistence(place) as here, open_persistence(place) as there:
        async with Preferences(here, auto_save=AutoSave.OFF) as mine, aclosing(mine.state_stream()) as stream:
            await nth(stream)
            mine.recent.append("mine")
            await there.save("Preferences/recent", ["theirs"])
            while not (update := await nth(stream)).overwritten:
                pass
            assert (mine.recent, update.overwritten["recent"]) == (["mine"], ["theirs"])


async def test_an_unreadable_value_from_elsewhere(place):
    """A value of another type stored by somebody else degrades the client and is left alone."""
    async with open_persistence(place) as here, open_persistence(place) as there, Counter(here) as counter:
        await there.save("Counter/a", "seven")
        async with asyncio.timeout(30):
            while counter.phase is not ClientPhase.DEGRADED:
                await asyncio.sleep(0.01)
        counter.a = 3
        assert counter.pending == ("a",)
        assert await there.load("Counter/a", str) == "seven"
        await counter.accept("a")
        assert await there.load("Counter/a", int) == 3


async def test_two_clients_meet(place):
    """Two programs with the same client see each other's assignments, one after the other."""
    async with open_persistence(place) as here, open_persistence(place) as there:
        auto_save = AutoSave(0.01, 0.02)
        async with Counter(here, auto_save=auto_save) as mine, Counter(there, auto_save=auto_save) as theirs:
            async with aclosing(mine.observe("a")) as seen_here, aclosing(theirs.observe("a")) as seen_there:
                await nth(seen_here), await nth(seen_there)
                for turn in range(1, 6):
                    mine.a = turn * 10
                    assert await nth(seen_here) == turn * 10
                    assert await nth(seen_there) == turn * 10
                    theirs.a = turn * 10 + 1
                    assert await nth(seen_there) == turn * 10 + 1
                    assert await nth(seen_here) == turn * 10 + 1


async def test_own_commits_are_not_taken_for_others(tmp_path):
    """A client's own saves arrive once in its stream, as its own."""
    async with open_persistence(tmp_path / "s.db") as here, Counter(here) as counter:
        updates = []

        async def consume() -> None:
            async for update in counter.state_stream():
                updates.append(dict(update.changed))

        consumer = asyncio.create_task(consume())
        for i in range(30):
            counter.a = i
            await asyncio.sleep(0.005)
        await counter.close()
        await consumer
        assert all(origin == "here" for update in updates for origin in update.values())


async def test_another_process(place):
    """What a real other process assigns arrives here, and what is assigned here arrives there."""
    child_code = textwrap.dedent(
        """
        import asyncio, sys
        from axiom_persistence.client import Client, client_state
        from axiom_persistence.opening.open import open_persistence
        from pathlib import Path

        class Counter(Client):
            a: int = client_state(0)
            b: int = client_state(0)

        async def main():
            async with open_persistence(Path(sys.argv[1])) as persistence, Counter(persistence) as counter:
                counter.a = 41
                await counter.persist_state()
                async for b in counter.observe("b"):
                    if b == 5:
                        counter.a = 42
                        return

        asyncio.run(asyncio.wait_for(main(), 60))
        """
    )
    async with open_persistence(place) as here, Counter(here) as counter:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", child_code, str(place))
        async with aclosing(counter.observe("a")) as values:
            while await nth(values) != 41:
                pass
            counter.b = 5
            await counter.persist_state()
            while await nth(values) != 42:
                pass
        assert await child.wait() == 0


async def test_a_memory_store_is_not_watched(persistence):
    """Where nobody else can write there is nothing to watch for."""
    async with Counter(persistence) as counter:
        (watch,) = counter._state.saver._watches.values()
        assert watch._handle is None
