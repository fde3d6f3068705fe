"""Pages of keys and of items, counts, deletion by prefix, names of namespaces, and how long records stay."""

import asyncio
import random
import time
from datetime import timedelta

import pytest

from axiom_persistence import (
    MISSING,
    ConfigurationError,
    InvalidKeyError,
    blocking,
    join_key,
    open_persistence,
)
from support.embedded import listed

NAMES = [f"{a}{b}" for a in ("", "a", "b/", "é", "\U0001f600") for b in "abz09 %"]


@pytest.fixture
def persistence(each_store):
    return each_store


def expected(names, prefix="", after=None, limit=None, reverse=False):
    found = sorted((name for name in names if name.startswith(prefix)), reverse=reverse)
    return [n for n in found if after is None or (n < after if reverse else n > after)][:limit]


def questions(count):
    chance = random.Random(5)
    for _ in range(count):
        yield {
            "after": chance.choice([None, *NAMES, "", "a", "b/", "zz", "\U0010ffff"]),
            "limit": chance.choice([None, 0, 1, 2, 5, 100]),
            "reverse": chance.random() < 0.5,
        }


async def test_every_page_is_that_of_a_sorted_list(persistence):
    """Keys of a namespace and in a transaction, by after, limit and reverse, expired ones left out."""
    space = persistence.namespace("s/p")
    await space.save_many(dict.fromkeys(NAMES, 1))
    await persistence.save_many({"s": 1, "s0": 1})
    now = space._root._opened.clock() + 10
    await space.save("b/gone", 1, ttl=5)
    persistence._opened.clock = lambda: now
    async with space.transaction() as tx:
        await tx.save("new", 1)
        await tx.delete(NAMES[3])
        inside = [name for name in [*NAMES, "new"] if name != NAMES[3]]
        for question in questions(60):
            for prefix in ("", "b/"):
                for verbs, names in ((space, NAMES), (tx, inside)):
                    found = [key async for key in verbs.keys(prefix, **question)]
                    assert found == expected(names, prefix, **question)
        assert await tx.count("b/") == await space.count("b/") == 7
        assert await tx.count() == len(inside)


async def test_every_page_of_items(persistence):
    """Ids and items of a collection likewise; what else lies under its name takes nobody's place."""
    items = persistence.collection("items", int)
    await items.save_all({name: n for n, name in enumerate(NAMES)})
    await persistence.save_many({"items/a/nested": 5, "items/%zz": 5, "items/": 5, "items0": 5})
    order = sorted(NAMES, key=lambda name: join_key("items", name))
    async with persistence.transaction() as tx:
        inside = tx.collection("items", int)
        for question in questions(60):
            if question["after"] == "":
                continue  # no item can have it
            after = question["after"] and join_key("items", question["after"])
            keys = expected([join_key("items", name) for name in order], **question | {"after": after})
            wanted = [order[[join_key("items", name) for name in order].index(key)] for key in keys]
            assert [id async for id in items.ids(**question)] == wanted
            assert [id async for id in inside.ids(**question)] == wanted
            assert [id async for id, _ in inside.items(**question)] == wanted
            page = random.Random(str(question)).choice([1, 3, 512])
            assert [id async for id, _ in items.items(page=page, **question)] == wanted
    assert await items.count() == len(NAMES)


async def test_a_page_at_the_end_reads_no_more_than_one_at_the_start(persistence):
    """The last few of many are found without walking over the others: by the keys the adapter gives out."""
    many = persistence.collection("many", int)
    await many.save_all({f"{n:05}": n for n in range(3000)})
    adapter, given = persistence.adapter, []
    original = type(adapter).keys

    async def counted(*arguments, **options):
        async for key in original(adapter, *arguments, **options):
            given.append(key)
            yield key

    adapter.keys = counted
    assert [n async for _, n in many.items(reverse=True, limit=3)] == [2999, 2998, 2997]
    assert [n async for _, n in many.items(after="01499", limit=3)] == [1500, 1501, 1502]
    last = [key async for key in persistence.keys("many/", after="many/02996")]
    assert last == ["many/02997", "many/02998", "many/02999"]
    assert len(given) == 9


async def test_what_is_no_page_is_refused(persistence):
    """A limit below zero, an after that is no text."""
    for options, error in (({"limit": -1}, ConfigurationError), ({"after": "\ud800"}, InvalidKeyError)):
        with pytest.raises(error):
            [key async for key in persistence.keys(**options)]


async def test_deletion_by_prefix(persistence):
    """Exactly what begins with it goes, with its earlier generations; the number says how many there were."""
    await persistence.save_many({"a/1": 1, "a/2": 2, "a": 3, "a0": 4, "b/a/1": 5})
    assert await persistence.delete_prefix("a/") == 2
    assert await persistence.delete_prefix("a/") == 0
    assert await listed(persistence) == ["a", "a0", "b/a/1"]
    assert await persistence.namespace("b").delete_prefix("") == 1
    assert await persistence.delete_prefix("", durability=None) == 2
    assert await listed(persistence) == []
    await persistence.save("again", 1)  # the store itself is still there
    assert (await persistence.about()).id


async def test_deletion_by_prefix_in_a_transaction(persistence):
    """It happens at the end, counts own writes, and a key that appears meanwhile is a conflict."""
    await persistence.save_many({"a/1": 1, "a/2": 2})
    async with persistence.transaction() as tx:
        await tx.save("a/3", 3)
        assert await tx.delete_prefix("a/") == 3
        await tx.save("a/4", 4)
        assert await persistence.count("a/") == 2
    assert await listed(persistence) == ["a/4"]
    todos = persistence.collection("a", int)
    async with persistence.transaction() as tx:
        assert await tx.collection("a", int).clear() == 1
    assert await todos.count() == 0


async def test_namespaces(persistence):
    """The first parts of keys, each once, decoded, whoever made them; plain keys are none."""
    assert [name async for name in persistence.namespaces()] == []
    for n in range(100):
        await persistence.namespace("big").save(f"{n:03}", n)
        await persistence.save(f"plain{n:03}", n)
    await persistence.namespace("a/b").save("x", 1)
    await persistence.collection("todos", int).put("1", 1)
    odd = ["big\U0010ffff/x", "big/\U0010ffff\U0010ffff", "big-/x", "/odd", "%z/x"]
    await persistence.save_many(dict.fromkeys(odd, 1))
    names = [name async for name in persistence.namespaces()]
    assert names == ["a/b", "big-", "big", "big\U0010ffff", "todos"]
    inner = persistence.namespace("a/b")
    await inner.namespace("deep").save("x", 1)
    assert [name async for name in inner.namespaces()] == ["deep"]


# -- how long records stay --------------------------------------------------------------------------


async def test_touch_leaves_the_value(persistence):
    """It sets, moves and takes away the end of a value, which stays as it is."""
    await persistence.save("k", [1, 2])
    assert await persistence.expires_at("k") is None
    assert await persistence.touch("k", ttl=timedelta(hours=1))
    value, until = await persistence.load_with_expiry("k", list[int])
    assert value == [1, 2]
    assert 3000 < until - time.time() <= 3600
    assert until == await persistence.expires_at("k") == (await persistence.describe("k")).expires_at
    assert await persistence.touch("k", ttl=7200)
    assert await persistence.expires_at("k") > until
    assert await persistence.touch("k", ttl=None)
    assert await persistence.load_with_expiry("k", list[int]) == ([1, 2], None)
    assert not await persistence.touch("never", ttl=5)
    assert await persistence.load_with_expiry("never", int, default=7) == (7, None)
    with pytest.raises(ConfigurationError):
        await persistence.touch("k", ttl=0)


async def test_touch_in_a_transaction(persistence):
    """It is part of it, sees own writes, and loses against somebody else's save."""
    await persistence.save_many({"stored": 1, "other": 2})
    async with persistence.transaction() as tx:
        assert await tx.touch("stored", ttl=60)
        await tx.save("own", 5, ttl=60)
        assert await tx.touch("own", ttl=None)
        assert not await tx.touch("never", ttl=60)
        assert await tx.load_with_expiry("own", int) == (5, None)
        assert await tx.expires_at("stored") > time.time()
        assert await persistence.expires_at("stored") is None
    assert await persistence.expires_at("stored") > time.time()
    assert await persistence.load_with_expiry("own", int) == (5, None)


async def test_touches_and_updates_of_many_tasks_lose_nothing(persistence):
    """A touch beside updates neither brings an older value back nor fails."""
    await persistence.save("n", 0)

    async def touch():
        for n in range(10):
            assert await persistence.touch("n", ttl=60 + n)

    async def count():
        for _ in range(10):
            await persistence.update("n", int, lambda n: n + 1, default=0)

    await asyncio.gather(touch(), count(), count())
    assert await persistence.load("n", int) == 20
    assert await persistence.expires_at("n") is not None


async def test_items_have_the_collections_ttl_unless_they_name_one(persistence):
    """Of put, save_all and the first update; an update of what is there leaves its end alone."""
    sessions = persistence.collection("sessions", int, ttl=timedelta(hours=1))
    await sessions.put("default", 1)
    await sessions.put("named", 1, ttl=7200)
    await sessions.put("ever", 1, ttl=None)
    await sessions.update("new", lambda n: n + 1, default=0)
    await sessions.update("ever", lambda n: n + 1, default=0)
    left = {id: until and until - time.time() async for id, until in _ends(sessions)}
    assert left["ever"] is None
    assert 3000 < left["default"] <= 3600
    assert 3000 < left["new"] <= 3600
    assert 6000 < left["named"] <= 7200
    assert await sessions.save_all({"default": 1, "ever": 2}) == 2  # their time begins anew
    assert await sessions.expires_at("ever") is not None
    assert await sessions.save_all({"ever": 2}, ttl=None) == 1
    assert await sessions.save_all({"ever": 2}, ttl=None) == 0
    assert await sessions.touch("ever", ttl=5)
    assert await sessions.expires_at("ever") is not None
    async with persistence.transaction() as tx:
        inside = tx.collection("sessions", int, ttl=60)
        await inside.put("default", 2)
        await inside.put("ever", 2, ttl=None)
        assert await inside.update("fresh", lambda n: n + 1, default=1) == 2
        assert await inside.touch("named", ttl=None)
    left = {id: until and until - time.time() async for id, until in _ends(sessions)}
    assert left["ever"] is left["named"] is None
    assert left["default"] <= 60
    assert left["fresh"] <= 60
    with pytest.raises(ConfigurationError):
        persistence.collection("sessions", int, ttl=0)


async def _ends(collection):
    async for id in collection.ids():
        yield id, await collection.expires_at(id)


async def test_a_collection_is_watched(tmp_path):
    """Ids with their items, and what becomes of them."""
    async with open_persistence(tmp_path / "s.db") as persistence:
        todos = persistence.collection("to/dos", str)
        await todos.put("a/1", "tea")
        await persistence.save("to%2Fdos/not/one", 5)
        seen = todos.observe()
        async with asyncio.timeout(30):
            assert await anext(seen) == ("a/1", "tea")
            await todos.put("2", "milk")
            assert await anext(seen) == ("2", "milk")
            await todos.delete("a/1")
            assert await anext(seen) == ("a/1", None)
        await seen.aclose()


def test_the_blocking_face(tmp_path):
    """The same verbs without ``await``."""
    with blocking.open_persistence(tmp_path / "s.db") as persistence:
        persistence.save_many({"a/1": 1, "a/2": 2, "b": 3})
        assert list(persistence.keys(reverse=True, limit=2)) == ["b", "a/2"]
        assert (persistence.count("a/"), list(persistence.namespaces())) == (2, ["a"])
        assert persistence.touch("b", ttl=60)
        assert persistence.load_with_expiry("b", int, default=MISSING)[0] == 3
        items = persistence.collection("a", int, ttl=60)
        assert list(items.items(reverse=True, limit=1)) == [("2", 2)]
        assert list(items.ids(after="1")) == ["2"]
        items.put("3", 3)
        assert items.expires_at("3") > time.time()
        with items.observe(timeout=0.05) as seen:
            assert list(seen) == [("1", 1), ("2", 2), ("3", 3)]
        assert items.clear() == 3
        assert persistence.delete_prefix("") == 1
