"""A disk with little room: the log stays small beside it, and after "full" deleting works and makes room."""

import contextlib
import os
import subprocess

import pytest

from axiom_persistence import Client, SQLiteAdapter, client_state, open_persistence
from axiom_persistence.errors import StorageFullError

SIZE = 10_500_000


@pytest.fixture
def disk(tmp_path):
    """A file system of its own in memory, of 10.5 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("nothing may be mounted here")
    yield place
    if subprocess.run(["umount", str(place)]).returncode != 0:
        subprocess.run(["umount", "-l", str(place)])
        raise AssertionError("something keeps the file system busy")


MODES = pytest.mark.parametrize("exclusive", [False, True], ids=["shared", "exclusive"])
DURABILITIES = pytest.mark.parametrize("durability", ["power_loss", "process_exit"])


def value(key, size, turn=0):
    return f"{key} {turn} ".ljust(size, "x")


async def fill(persistence, stored, size, durability, prefix="k"):
    """Save until there is no room, and say so three times more."""
    refused = 0
    for n in range(SIZE // size * 2):
        key = f"{prefix}{n}"
        try:
            await persistence.save(key, value(key, size), durability=durability)
        except StorageFullError as error:
            refused += "delete keys" in error.hint
            if refused > 3:
                return
        else:
            stored[key] = value(key, size)
    raise AssertionError("it never was full")


async def assert_stored(persistence, stored):
    for key, expected in stored.items():
        assert await persistence.load(key, str) == expected


@MODES
@DURABILITIES
@pytest.mark.parametrize("size", [20_000, 900_000])
async def test_deleting_makes_room(disk, exclusive, durability, size):
    """Filled, half of it deleted, filled again, twice; nothing acknowledged is lost, after reopening, too."""
    path, stored = disk / "store.db", {}
    persistence = await open_persistence(SQLiteAdapter(path, exclusive=exclusive), cache=None)
    await fill(persistence, stored, size, durability)
    assert sum(map(len, stored.values())) > SIZE // 3
    for turn in range(2):
        gone = list(stored)[::2]
        for key in gone:
            await persistence.delete(key, durability=durability)
            del stored[key]
        before = len(stored)
        await fill(persistence, stored, size, durability, prefix=f"again{turn}-")
        assert len(stored) - before >= len(gone) // 2
    await assert_stored(persistence, stored)
    await persistence.aclose()
    async with open_persistence(path) as persistence:
        await assert_stored(persistence, stored)
        assert await persistence.verify()


@MODES
@DURABILITIES
async def test_overwriting_goes_on_for_ever(disk, exclusive, durability):
    """A few keys, saved much more often than fits beside each other; the log does not fill the disk."""
    path, stored, longest = disk / "store.db", {}, 0
    persistence = await open_persistence(SQLiteAdapter(path, exclusive=exclusive), cache=None)
    for turn in range(700):
        key = f"k{turn % 8}"
        stored[key] = value(key, 50_000, turn)
        await persistence.save(key, stored[key], durability=durability)
        longest = max(longest, os.path.getsize(f"{path}-wal"))
    assert longest < SIZE // 2
    await assert_stored(persistence, stored)
    await persistence.aclose()
    async with open_persistence(path) as persistence:
        await assert_stored(persistence, stored)


@MODES
async def test_one_value_that_does_not_fit(disk, exclusive):
    """It is refused before it takes the room of others: small saves and deletions go on."""
    path = disk / "store.db"
    async with open_persistence(SQLiteAdapter(path, exclusive=exclusive), cache=None) as persistence:
        await persistence.save("small", "1")
        for durability in ("power_loss", "process_exit"):
            with pytest.raises(StorageFullError):
                await persistence.save("large", "x" * 9_000_000, durability=durability)
            with pytest.raises(StorageFullError):
                await persistence.save_many({f"k{n}": "x" * 500_000 for n in range(18)})
        await persistence.save("small", "2")
        await persistence.save("fits", "x" * 3_000_000)
        await persistence.delete("fits")
        assert await persistence.load("small", str) == "2"
        assert [key async for key in persistence.keys("")] == ["small"]


class Notes(Client):
    text: str = client_state("")
    mark: int = client_state(0)


@MODES
async def test_a_client_on_a_full_disk(disk, exclusive):
    """What it could not store is stored once something else was deleted."""
    path, stored = disk / "store.db", {}
    persistence = await open_persistence(SQLiteAdapter(path, exclusive=exclusive), cache=None)
    async with Notes(persistence) as notes:
        notes.mark = 1
        await fill(persistence, stored, 100_000, "power_loss")
        with contextlib.suppress(StorageFullError):
            notes.text = "x" * 600_000
        with contextlib.suppress(StorageFullError):
            await notes.persist_state()
        for key in list(stored)[:20]:
            await persistence.delete(key)
            del stored[key]
        notes.mark = 2
        notes.text = "y" * 600_000
        await notes.persist_state()
    await assert_stored(persistence, stored)
    await persistence.aclose()
    async with open_persistence(path) as persistence, Notes(persistence) as notes:
        assert (notes.mark, notes.text) == (2, "y" * 600_000)
        await assert_stored(persistence, stored)
