"""Somebody shortens or overwrites the files of an open file store: nothing acknowledged is lost."""

import os

import pytest

from axiom_persistence import FileStorageAdapter, open_persistence
from axiom_persistence.errors import CorruptedDataError

MARKER = ".axiom"


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def nothing(path):
    os.truncate(path, 0)


def half(path):
    os.truncate(path, path.stat().st_size // 2)


async def load(persistence):
    assert await persistence.load("other", str) == "y" * 100
    assert await persistence.load("a", str) in ("old", "x" * 100)
    return {}


async def save(persistence):
    await persistence.save("a", "new")
    return {"a": "new"}


async def save_for_exit(persistence):
    await persistence.save("a", "new", durability="process_exit")
    return {"a": "new"}


async def save_many(persistence):
    await persistence.save_many({"a": "new", "n/c": "new"})
    return {"a": "new", "n/c": "new"}


async def only_close(persistence):
    return {}


@pytest.mark.parametrize("name", ["a.json", "a.json~", MARKER, ".axiom.mark"])
@pytest.mark.parametrize("change", [nothing, half, zeros], ids=lambda change: change.__name__)
@pytest.mark.parametrize(
    "use", [load, save, save_for_exit, save_many, only_close], ids=lambda use: use.__name__
)
async def test_what_was_acknowledged_is_there(tmp_path, name, change, use):
    """A value is replaced by the one before it; a marker that says nothing is told at the next opening."""
    persistence = await open_persistence(FileStorageAdapter(tmp_path), cache=None)
    await persistence.save("a", "old")
    await persistence.save("a", "x" * 100)
    await persistence.save("other", "y" * 100)
    marker = (tmp_path / MARKER).read_bytes()
    change(tmp_path / name)
    saved = await use(persistence)
    await persistence.aclose()
    if name == MARKER and change is not half:
        with pytest.raises(CorruptedDataError, match=f"put {MARKER} back"):
            await open_persistence(FileStorageAdapter(tmp_path))
        (tmp_path / MARKER).write_bytes(marker)  # the hint, followed
    async with open_persistence(FileStorageAdapter(tmp_path)) as persistence:
        expected = {"a": "old" if name == "a.json" else "x" * 100, "other": "y" * 100} | saved
        assert await persistence.load_many(list(expected), str) == expected
