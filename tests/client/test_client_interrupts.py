"""Ctrl-C in the middle of what a client does, at the moments that an interrupt finds once in a thousand."""

# ruff: noqa: PT012

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from axiom_persistence import SQLiteAdapter, open_persistence
from axiom_persistence.client import Client, action, client_state
from axiom_persistence.storage import Changes, Durability, Expect, Layer
from support.client_worlds import Counter


class Interrupted(Layer):
    """Commits, and then raises as a signal handler does, where it is told to."""

    armed = False

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        versions = await self.inner.commit(changes, expect=expect, durability=durability)
        self.strike()
        return versions

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        versions = self.inner.commit_now(changes)
        self.strike()
        return versions

    def strike(self) -> None:
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt


class Acting(Counter):
    @action
    def both(self, value: int) -> None:
        self.a = self.b = value


class Marks(Client):
    mark: str = client_state("")
    items: list[str] = client_state(default_factory=list)


async def begun_and_lost(counter: Counter) -> None:
    """A transaction with Ctrl-C before the first line of its end."""
    manager = counter.transaction()
    await manager.__aenter__()
    counter.a = 7


async def test_a_transaction_that_ctrl_c_keeps_from_ending_swallows_nothing(store):
    """What is assigned after it is stored, and what it had assigned is undone."""
    async with Counter(store) as counter:
        counter.a = 1
        await begun_and_lost(counter)
        counter.b = 2
        assert (counter.a, counter.b) == (1, 2)
        await counter.persist_state()
        assert await store.load_many(["Counter/a", "Counter/b"], int) == {"Counter/a": 1, "Counter/b": 2}


async def test_a_lost_transaction_is_undone_by_whatever_comes_next(store):
    """Changes in place are noticed, the next transaction is one, and closing stores what is there."""
    async with Marks(store) as marks:
        manager = marks.transaction()
        await manager.__aenter__()
        marks.mark = "lost"
        marks.items.append("lost")
        del manager
        await marks.persist_state()
        assert (marks.mark, marks.items) == ("", [])
        marks.items.append("kept")
        async with marks.transaction():
            marks.mark = "kept"
    assert await store.load("Marks/mark", str) == "kept"
    assert await store.load("Marks/items", list) == ["kept"]


@pytest.mark.parametrize("how", ["transaction", "action", "assignment", "persist"])
async def test_a_commit_that_took_effect_before_ctrl_c(how, tmp_path):
    """The value that is in memory afterwards is what is stored in the end, also if it was the one before."""
    adapter = Interrupted(SQLiteAdapter(tmp_path / "a.db"))
    async with open_persistence(adapter) as store, Acting(store) as counter:
        counter.a = counter.b = 1
        await counter.persist_state()
        adapter.armed = True
        with pytest.raises(KeyboardInterrupt):
            if how == "transaction":
                async with counter.transaction():
                    counter.a = counter.b = 2
            elif how == "action":
                counter.both(2)
            elif how == "assignment":
                counter.a = 2
            else:
                await counter.persist_state()
        counter.a = 1
        await counter.persist_state()
        assert await store.load("Acting/a", int) == 1
        assert await store.load("Acting/b", int, default=None) == counter.b
        async with counter.transaction():  # nobody else has written: no conflict
            counter.a = counter.b = 3


async def test_a_field_goes_on_taking_changes_from_elsewhere_after_ctrl_c(tmp_path):
    """No commit is taken to be under way for ever."""
    adapter = Interrupted(SQLiteAdapter(tmp_path / "a.db"))
    async with open_persistence(adapter) as store, Counter(store) as counter:
        adapter.armed = True
        with pytest.raises(KeyboardInterrupt):
            async with counter.transaction():
                counter.a = 2
        await counter.persist_state()
        seen = counter.state_stream("a")
        await anext(seen)
        async with open_persistence(tmp_path / "a.db") as other:
            await other.save("Counter/a", 9)
        async with asyncio.timeout(30):
            while (await anext(seen)).values["a"] != 9:
                pass
