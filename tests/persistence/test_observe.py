"""Streams of values: the present one first, then every other, expiry and other processes included."""

import asyncio
from datetime import timedelta

import pytest

from axiom_persistence import MISSING, AdapterBasedPersistence, Key, MemoryAdapter, blocking, open_persistence
from axiom_persistence.errors import ConfigurationError, TypeMismatchError

VOLUME = Key("volume", int, default=5)


@pytest.fixture(params=["memory", "sqlite", "file"])
async def persistence(request, tmp_path):
    where = {"memory": "memory:", "sqlite": tmp_path / "s.db", "file": tmp_path / "s"}[request.param]
    async with open_persistence(where) as opened:
        yield opened


async def following(stream):
    """The next item, however long it takes."""
    async with asyncio.timeout(30):
        return await anext(stream)


async def over(stream):
    with pytest.raises(StopAsyncIteration):
        await following(stream)


async def test_a_value_and_what_becomes_of_it(persistence):
    """What is there, each other value, and the default once it is gone."""
    await persistence.save("theme", "light")
    themes = persistence.observe("theme", str, default="none")
    assert await following(themes) == "light"
    await persistence.save("theme", "dark")
    assert await following(themes) == "dark"
    await persistence.delete("theme")
    assert await following(themes) == "none"
    await persistence.save("theme", "dark")
    assert await following(themes) == "dark"
    await themes.aclose()


async def test_nothing_and_none_can_be_told_apart(persistence):
    """MISSING as the default says that nothing is stored; a Key brings its own."""
    found = persistence.observe("name", str | None, default=MISSING)
    assert await following(found) is MISSING
    await persistence.save("name", None)
    assert await following(found) is None
    volumes = persistence.observe(VOLUME)
    assert await following(volumes) == 5
    await persistence.save(VOLUME, 6)
    assert await following(volumes) == 6
    await found.aclose()
    await volumes.aclose()


async def test_equal_values_and_other_keys_are_not_told(persistence):
    """Only another value is news: no save of the same, no longer time to live, no key that begins alike."""
    await persistence.save("k", 1)
    values = persistence.observe("k", int)
    assert await following(values) == 1
    await persistence.save("k", 1)
    await persistence.save("k2", 7)
    await persistence.save("k", 1, ttl=timedelta(hours=1))
    await persistence.save("k", 2)
    assert await following(values) == 2
    await values.aclose()


async def test_a_slow_consumer_gets_the_last(persistence):
    """What was there only between two looks may be left out; what is there is told."""
    values = persistence.observe("k", int)
    assert await following(values) is None
    for n in range(50):
        await persistence.save("k", n)
    seen = []
    while 49 not in seen:
        seen.append(await following(values))
    assert seen == sorted(seen)
    await values.aclose()


async def test_expiry_is_told_when_it_comes(persistence):
    """Nobody commits anything, and the value is gone all the same; one saved with an expiry later, too."""
    await persistence.save("first", 1, ttl=0.1)
    values = persistence.observe("first", int, default=-1)
    while await following(values) != -1:
        pass
    await persistence.save("first", 2, ttl=0.1)
    seen = [await following(values)]
    if seen == [2]:
        seen.append(await following(values))
    assert seen in ([2, -1], [-1])
    await values.aclose()


async def test_a_later_expiry_replaces_the_earlier(persistence):
    """A value whose time was extended is told as gone at its own time, not before."""
    await persistence.save("k", 1, ttl=0.05)
    values = persistence.observe("k", int, default=-1)
    await persistence.save("k", 2, ttl=timedelta(hours=1))
    assert await following(values) == 2
    waiting = asyncio.ensure_future(anext(values))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await persistence.delete("k")
    assert await asyncio.wait_for(waiting, 30) == -1
    await values.aclose()


async def test_a_prefix(persistence):
    """All that is there, in order; then what comes, changes and goes, each with its key."""
    await persistence.save_many({"t/b": 2, "t/a": 1, "other": 9})
    items = persistence.observe_prefix("t/", int)
    assert [await following(items), await following(items)] == [("t/a", 1), ("t/b", 2)]
    await persistence.save("other", 10)
    await persistence.save("t/c", 3)
    assert await following(items) == ("t/c", 3)
    await persistence.save("t/a", 5, ttl=0.1)
    told = [await following(items)]
    while told[-1] != ("t/a", None):
        told.append(await following(items))
    await persistence.delete("t/b")
    assert await following(items) == ("t/b", None)
    await items.aclose()


async def test_in_a_namespace(persistence):
    """Keys are named as in the namespace."""
    space = persistence.namespace("space")
    await space.save("a", 1)
    values, items = space.observe("a", int), space.observe_prefix("", int, default=0)
    assert await following(values) == 1
    assert await following(items) == ("a", 1)
    await persistence.save("space/a", 2)
    assert await following(values) == 2
    assert await following(items) == ("a", 2)
    await values.aclose()
    await items.aclose()


@pytest.mark.parametrize("suffix", [".db", ""])
async def test_another_opening_is_seen(tmp_path, suffix):
    """What somebody else who has the store open saves is told as well."""
    async with (
        open_persistence(tmp_path / f"s{suffix}") as here,
        open_persistence(tmp_path / f"s{suffix}") as there,
    ):
        values = here.observe("k", int)
        assert await following(values) is None
        await there.save("k", 5)
        assert await following(values) == 5
        await values.aclose()


async def test_it_ends_with_the_persistence(tmp_path):
    """A consumer that waits comes to the end of its loop when the persistence closes."""
    persistence = await open_persistence(tmp_path / "s.db")
    values, items = persistence.observe("k", int), persistence.observe_prefix("", int)
    assert await following(values) is None
    waiting = [asyncio.ensure_future(over(values)), asyncio.ensure_future(over(items))]
    await asyncio.sleep(0.05)
    await persistence.deactivate()
    await asyncio.gather(*waiting)


async def test_what_cannot_be_is_refused_at_once():
    """No type, a type for a Key, a stack in which nobody watches; a value of another type ends the stream."""
    async with open_persistence("memory:") as persistence:
        for wrong in (lambda: persistence.observe("k"), lambda: persistence.observe(VOLUME, int)):
            with pytest.raises(ConfigurationError):
                wrong()
        values = persistence.observe("k", int)
        assert await following(values) is None
        await persistence.save("k", "text")
        with pytest.raises(TypeMismatchError):
            await following(values)
        await over(values)
    async with AdapterBasedPersistence(MemoryAdapter()) as bare:
        with pytest.raises(ConfigurationError, match="nobody watches"):
            bare.observe("k", int)


async def test_a_consumer_that_goes_leaves_nothing(persistence):
    """After it was left half-way or cancelled, no task of it is there any more."""
    before = asyncio.all_tasks()
    values = persistence.observe("k", int)
    await following(values)
    waiting = asyncio.ensure_future(anext(values))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert asyncio.all_tasks() == before


def test_the_blocking_face():
    """Both are streams, which end after a timeout and go on in the next loop."""
    with blocking.open_persistence("memory:") as persistence:
        persistence.save("t/a", 1)
        values = persistence.observe("t/a", int, default=0, timeout=0.1)
        items = persistence.observe_prefix("t/", int, timeout=0.1)
        assert (list(values), list(items)) == ([1], [("t/a", 1)])
        persistence.delete("t/a")
        assert (next(values), next(items)) == (0, ("t/a", None))
        with values, items:
            assert isinstance(values, blocking.Stream)
