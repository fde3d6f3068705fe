"""The verbs of a transaction beyond load, save and delete: several keys, listings, collections."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from axiom_persistence import MISSING, AdapterBasedPersistence, Key, MemoryAdapter
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    ConflictError,
    EncodingError,
    InvalidKeyError,
)
from support.embedded import listed

COUNT = Key("count", int, default=0)


@dataclass
class Todo:
    text: str
    done: bool = False


@pytest.fixture
def persistence(each_store):
    return each_store


@pytest.fixture
async def memory():
    async with AdapterBasedPersistence(MemoryAdapter()) as opened:
        yield opened


async def test_update_builds_on_own_writes_and_keeps_the_expiry(persistence):
    """It sees what the transaction wrote, returns the new value, and leaves the time of expiry alone."""
    await persistence.save("short", 1, ttl=timedelta(hours=1))
    expires = (await persistence.describe("short")).expires_at
    async with persistence.transaction() as tx:
        assert await tx.update("n", int, lambda n: n + 1, default=5) == 6
        assert await tx.update("n", int, lambda n: n + 1, default=5) == 7
        assert await tx.update(COUNT, lambda n: n + 1) == 1
        assert await tx.update("short", int, lambda n: n + 1, default=0) == 2
        assert await persistence.load("n", int) is None
    assert await persistence.load_many(["n", "count", "short"], int) == {"n": 7, "count": 1, "short": 2}
    assert (await persistence.describe("short")).expires_at == expires


async def test_update_takes_a_plain_function(memory):
    """An async function, or none at all, is refused by name."""

    async def later(n):
        return n

    async with memory.transaction() as tx:
        with pytest.raises(ConfigurationError, match="plain function"):
            await tx.update("n", int, later, default=0)
        with pytest.raises(ConfigurationError, match="needs a function"):
            await tx.update("n", int, 5, default=0)


async def test_several_keys_at_once(persistence):
    """save_many, load_many and delete_many see the transaction's own writes, and store at the end."""
    await persistence.save_many({"a": 1, "b": 2, "c": 3})
    async with persistence.transaction() as tx:
        await tx.save_many({"a": 10, "new": 40}, type=int)
        await tx.delete("b")
        assert await tx.load_many(["a", "b", "c", "new", "never"], int) == {"a": 10, "c": 3, "new": 40}
        assert await tx.delete_many(["c", "b", "never"]) == 1
        assert await tx.load_many(["a", "b", "c"], int) == {"a": 10}
        assert await listed(persistence) == ["a", "b", "c"]
    assert await listed(persistence) == ["a", "new"]


async def test_several_are_refused_as_a_whole(memory):
    """One value that cannot be stored keeps all of them out, and one key instead of several is a mistake."""
    async with memory.transaction() as tx:
        with pytest.raises(EncodingError):
            await tx.save_many({"a": 1, "b": object()})
        with pytest.raises(InvalidKeyError):
            await tx.save_many({"a": 1, "": 2})
        for wrong in (tx.load_many("ab", int), tx.delete_many("ab"), tx.save_many(["a"])):
            with pytest.raises(ConfigurationError):
                await wrong
    assert await listed(memory) == []


async def test_what_load_many_has_read_is_protected(persistence):
    """Somebody else's commit of one of its keys, the absent ones included, is a conflict at the end."""
    await persistence.save("a", 1)
    for other in ("a", "absent"):

        async def body(other=other):
            async with persistence.transaction() as tx:
                await tx.load_many(["a", "absent"], int)
                await persistence.save(other, 9)
                await tx.save("result", 1)

        with pytest.raises(ConflictError):
            await body()
    assert not await persistence.exists("result")


# -- listings ---------------------------------------------------------------------------------------


async def test_keys_show_own_writes_in_order(persistence):
    """A listing has what is stored and what was written here, and not what was deleted here."""
    await persistence.save_many({"k/a": 1, "k/c": 1, "other": 1})
    async with persistence.transaction() as tx:
        await tx.save("k/b", 1)
        await tx.delete("k/c")
        assert [key async for key in tx.keys("k/")] == ["k/a", "k/b"]
        await tx.save("k/d", 1)
        assert [key async for key in tx.keys("k/")] == ["k/a", "k/b", "k/d"]
        assert [key async for key in tx.keys("")] == ["k/a", "k/b", "k/d", "other"]
    assert await listed(persistence, "k/") == ["k/a", "k/b", "k/d"]


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("change", ["appears", "goes"])
async def test_a_listing_is_protected(persistence, change, writes):
    """A key that appears in a listing or leaves it meanwhile is a conflict at the end, of readers too."""
    await persistence.save("k/a", 1)

    async def body():
        async with persistence.transaction() as tx:
            found = [key async for key in tx.keys("k/")]
            if writes:
                await tx.save("count", len(found))
            if change == "appears":
                await persistence.save("k/b", 1)
            else:
                await persistence.delete("k/a")

    with pytest.raises(ConflictError) as caught:
        await body()
    assert caught.value.key == ("k/b" if change == "appears" else "k/a")
    assert not await persistence.exists("count")


async def test_what_another_prefix_has_is_no_conflict(persistence):
    """Keys that no listing would have, and values of listed keys that were not read, may change."""
    await persistence.save("k/a", 1)
    async with persistence.transaction() as tx:
        assert [key async for key in tx.keys("k/")] == ["k/a"]
        await persistence.save_many({"k/a": 2, "kk": 1})
        await tx.save("k/own", 1)
    assert await listed(persistence) == ["k/a", "k/own", "kk"]


async def test_a_listing_checks_what_was_read_before(persistence):
    """After a read that no longer holds, a body does not even see the keys."""
    await persistence.save("a", 1)
    async with persistence.transaction() as tx:
        await tx.load("a", int)
        await persistence.save("a", 2)
        with pytest.raises(ConflictError):
            await anext(aiter(tx.keys()))


async def test_a_count_of_keys_is_exact_under_contention(persistence):
    """Twenty tasks that each add the next number, by a listing, never add one twice."""

    async def add(tx):
        taken = [key async for key in tx.keys("n/")]
        await asyncio.sleep(0)
        await tx.update("total", int, lambda n: n + 1, default=0)
        await tx.save(f"n/{len(taken):02}", 1)

    await asyncio.gather(*(persistence.run_transaction(add) for _ in range(20)))
    assert await listed(persistence, "n/") == [f"n/{n:02}" for n in range(20)]
    assert await persistence.load("total", int) == 20


async def test_in_a_namespace(persistence):
    """All verbs speak the names of the namespace."""
    notes = persistence.namespace("notes")
    async with notes.transaction() as tx:
        await tx.save_many({"a": 1, "b": 2})
        assert [key async for key in tx.keys("")] == ["a", "b"]
        await tx.collection("todos", Todo).put("1", Todo("tea"))
    assert await listed(persistence) == ["notes/a", "notes/b", "notes/todos/1"]


# -- collections ------------------------------------------------------------------------------------


async def test_a_collection_in_a_transaction(persistence):
    """Items and keys change in one step; the collection outside sees them at the end."""
    todos = persistence.collection("todos", Todo)
    await todos.put("a/1", Todo("tea"))
    async with persistence.transaction() as tx:
        inside = tx.collection("todos", Todo)
        assert await inside.get("a/1") == Todo("tea")
        await inside.put("%", Todo("milk"))
        assert await inside.update("%", lambda todo: Todo(todo.text, True), default=Todo("")) == Todo(
            "milk", True
        )
        assert await inside.delete("a/1")
        assert not await inside.exists("a/1")
        assert await inside.get("a/1", Todo("none")) == Todo("none")
        assert [id async for id in inside.ids()] == ["%"]
        assert await inside.load_all() == {"%": Todo("milk", True)}
        assert await inside.count() == 1
        await tx.save("count", await inside.count())
        assert await todos.load_all() == {"a/1": Todo("tea")}
    assert await todos.load_all() == {"%": Todo("milk", True)}
    assert await persistence.load("count", int) == 1


async def test_items_keep_the_type_of_the_collection(memory):
    """What is put is checked to be an item when it is put."""
    async with memory.transaction() as tx:
        with pytest.raises((TypeError, ValueError)):
            await tx.collection("todos", Todo).put("1", "tea")


async def test_after_the_end_nothing_goes(memory):
    """Every verb of a transaction, and of a collection in it, refuses once it is over."""
    async with memory.transaction() as tx:
        todos = tx.collection("todos", Todo)
    for verb in (
        tx.load("a", int),
        tx.load_many(["a"], int),
        tx.save("a", 1),
        tx.save_many({"a": 1}),
        tx.update("a", int, lambda n: n, default=0),
        tx.delete("a"),
        tx.delete_many(["a"]),
        tx.exists("a"),
        anext(aiter(tx.keys())),
        todos.get("1"),
        todos.put("1", Todo("tea")),
        todos.count(),
    ):
        with pytest.raises(CapabilityUnavailableError, match="over"):
            await verb


async def test_an_own_write_that_has_expired_is_gone(memory):
    """The time that a write of the transaction itself was given holds inside it, too."""
    now = 1000.0
    memory._opened.clock = lambda: now
    async with memory.transaction() as tx:
        await tx.save("a", 1, ttl=5)
        assert await tx.load("a", int) == 1
        now = 1005.0
        assert await tx.load("a", int, default=MISSING) is MISSING
        assert not await tx.exists("a")
        assert not await tx.delete("a")
        assert await tx.update("a", int, lambda n: n + 1, default=7) == 8
    assert await memory.load("a", int) == 8
