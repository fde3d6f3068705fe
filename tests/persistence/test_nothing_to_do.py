"""A verb that finds its work done by somebody who promised less makes that work durable before it returns."""

import pytest

from axiom_persistence import open_persistence


async def nothing_deleted(persistence):
    await persistence.delete("token", durability="process_exit")
    yield
    assert not await persistence.delete("token")


async def none_deleted(persistence):
    await persistence.delete_many(["token", "other"], durability="process_exit")
    yield
    assert await persistence.delete_many(["token", "other"]) == 0


async def equal_items(persistence):
    items = persistence.collection("items", int)
    await items.save_all({"a": 1, "b": 2})
    await persistence.save("items/a", 3, durability="process_exit")
    yield
    assert await items.save_all({"a": 3, "b": 2}) == 0


async def no_change(persistence):
    await persistence.save("token", "same", durability="process_exit")
    yield
    await persistence.update("token", str, lambda value: value, default="")


async def nothing_written(persistence):
    await persistence.save("token", "weak", durability="process_exit")
    yield
    async with persistence.transaction() as tx:
        assert await tx.load("token", str) == "weak"


async def flushed(persistence):
    await persistence.save("token", "weak", durability="process_exit")
    yield
    await persistence.flush()


@pytest.mark.parametrize(
    "verb", [nothing_deleted, none_deleted, equal_items, no_change, nothing_written, flushed]
)
async def test_nothing_to_do_is_synced_all_the_same(tmp_path, verb):
    """Between the weak work and the return of the durable verb, the log was synced."""
    async with open_persistence(tmp_path / "store.db") as persistence:
        await persistence.save("token", "secret")
        step = verb(persistence)
        await anext(step)
        before = persistence.stats()["syncs"]
        with pytest.raises(StopAsyncIteration):
            await anext(step)
        assert persistence.stats()["syncs"] > before
