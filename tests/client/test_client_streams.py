"""Who watches a client: the present state first, then what changed."""

# ruff: noqa: SIM117

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import aclosing
from typing import Any

from axiom_persistence.client import Client, client_state
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.testing import ConfidentialMemory
from support.client_worlds import Counter, Preferences, Theme, turns


async def nth(stream: Any) -> Any:
    async with asyncio.timeout(20):
        return await anext(stream)


async def test_the_present_state_first(persistence):
    """A stream begins with the values of now, then tells each change."""
    async with Counter(persistence) as counter:
        counter.a = 1
        async with aclosing(counter.state_stream()) as stream:
            update = await nth(stream)
            assert (dict(update.values), dict(update.changed)) == ({"a": 1, "b": 0}, {})
            counter.b = 2
            update = await nth(stream)
            assert (update["b"], dict(update.changed)) == (2, {"b": "here"})


async def test_several_changes_are_one(persistence):
    """A slow consumer sees what changed meanwhile as one update with the latest values."""
    async with Counter(persistence) as counter, aclosing(counter.state_stream()) as stream:
        await nth(stream)
        for i in range(100):
            counter.a = i
        counter.b = 5
        update = await nth(stream)
        assert (update["a"], set(update.changed)) == (99, {"a", "b"})
        pending = asyncio.ensure_future(anext(stream))
        await turns()
        assert not pending.done()
        counter.a = 7
        assert (await pending)["a"] == 7


async def test_several_observers(persistence):
    """Each stream has its own pace, and one that ends does not end the others."""
    async with Counter(persistence) as counter:
        first, second = counter.state_stream(), counter.state_stream()
        await nth(first), await nth(second)
        counter.a = 1
        assert (await nth(first))["a"] == 1
        await first.aclose()
        counter.a = 2
        assert (await nth(second))["a"] == 2
        await second.aclose()


async def test_only_some_fields(persistence):
    """A stream of some fields is not woken by others; ``observe`` yields the values of one."""
    async with Counter(persistence) as counter:
        async with aclosing(counter.observe("a")) as values, aclosing(counter.state_stream("b")) as stream:
            assert await nth(values) == 0
            await nth(stream)
            counter.a = 1
            assert await nth(values) == 1
            counter.b = 2
            update = await nth(stream)
            assert set(update.changed) == {"b"}


async def test_the_restore_is_a_change(store):
    """A stream begun before the restore sees the restored values come."""
    async with Counter(store) as counter:
        counter.a = 4
    counter = Counter(store)
    async with aclosing(counter.state_stream()) as stream:
        assert (await nth(stream))["a"] == 0
        await counter.restore_state()
        assert (await nth(stream))["a"] == 4
        await counter.close()


async def test_close_ends_streams(persistence):
    """A stream ends after the last change when the client is closed."""
    counter = Counter(persistence)
    await counter.restore_state()
    stream = counter.state_stream()
    await nth(stream)
    counter.a = 3
    await counter.close()
    assert [update["a"] async for update in stream] == [3]


async def test_transactions_are_one_update(persistence):
    """What a transaction changed arrives as one update, after its end."""
    async with Counter(persistence) as counter, aclosing(counter.state_stream()) as stream:
        await nth(stream)
        async with counter.transaction():
            counter.a = 1
            await turns()
            pending = asyncio.ensure_future(anext(stream))
            await turns()
            assert not pending.done()
            counter.b = 2
        assert set((await pending).changed) == {"a", "b"}


async def test_a_consumer_that_never_reads(persistence):
    """A stream that nobody reads on does not grow, whatever is assigned."""
    async with Preferences(persistence) as preferences:
        stream = preferences.state_stream()
        await nth(stream)
        preferences.title = "x" * 10
        for _ in range(3):
            preferences.theme = Theme.DARK
            preferences.theme = Theme.LIGHT
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for i in range(20_000):
            preferences.volume = i % 100
        await turns()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 50_000
        assert (await nth(stream))["volume"] == 19_999 % 100
        await stream.aclose()


async def test_streams_in_other_threads(persistence):
    """A stream may be read in another event loop than the one that assigns."""
    async with Counter(persistence) as counter:
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def consume() -> int:
            async with aclosing(counter.state_stream("a")) as stream:
                await nth(stream)
                loop.call_soon_threadsafe(ready.set)
                return (await nth(stream))["a"]

        there = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(consume())))
        await ready.wait()
        counter.a = 8
        assert await there == 8


async def test_updates_show_no_secret():
    """The repr of an update shows names, values and never a secret."""

    class Account(Client):
        name: str = client_state("me")
        token: str = client_state("", secure=True)

    async with open_persistence("memory:", secure=ConfidentialMemory()) as persistence:
        async with Account(persistence) as account, aclosing(account.state_stream()) as stream:
            account.token = "hush-hush"
            update = await nth(stream)
            assert update["token"] == "hush-hush"
            assert "hush" not in repr(update)
            assert "me" in repr(update)
