"""A write-back cache, as an application opens it."""

import errno

import pytest

from axiom_persistence import CachePolicy, PersistenceError, SQLiteAdapter, open_persistence
from axiom_persistence.errors import StorageFullError
from axiom_persistence.storage.layer import Layer


class Full(Layer):
    """A place that is full while ``full`` is set."""

    full = False

    async def commit(self, changes, *, expect=None, durability=None):
        if self.full and changes:
            raise StorageFullError("no room", adapter=self, code=errno.ENOSPC)
        return await self.inner.commit(changes, expect=expect, durability=durability)

    def commit_now(self, changes):
        return None if self.full else self.inner.commit_now(changes)


def written_back(adapter):
    return open_persistence(adapter, cache=CachePolicy.write_back(interval=3600))


async def test_saves_are_accepted_in_memory_and_stored_at_close(tmp_path):
    """A save is not in the store before the flush, can be loaded at once, and is there after the close."""
    async with written_back(SQLiteAdapter(tmp_path / "a.db")) as persistence:
        await persistence.save("first", 0)  # stored with the header of the new store
        await persistence.save("a", 1)
        assert await persistence.load("a", int) == 1
        async with open_persistence(tmp_path / "a.db") as other:
            assert not await other.exists("a")
        await persistence.save("b", 2, durability="process_exit")
        async with open_persistence(tmp_path / "a.db") as other:
            assert await other.load_many(["a", "b"], int) == {"a": 1, "b": 2}
        await persistence.save("a", 3)
    async with open_persistence(tmp_path / "a.db") as persistence:
        assert await persistence.load("a", int) == 3


async def test_a_failing_place_is_told_and_nothing_is_dropped(tmp_path):
    """Flush and close raise while the place is full; opened again, everything is there and can be stored."""
    place = Full(SQLiteAdapter(tmp_path / "a.db"))
    persistence = await written_back(place)
    await persistence.save("a", 1)
    await persistence.flush()
    await persistence.save("a", 2)
    place.full = True
    with pytest.raises(StorageFullError):
        await persistence.flush()
    with pytest.raises(PersistenceError):
        await persistence.deactivate()
    place.full = False
    await persistence.activate()
    assert await persistence.load("a", int) == 2
    await persistence.deactivate()
    async with open_persistence(tmp_path / "a.db") as after:
        assert await after.load("a", int) == 2
