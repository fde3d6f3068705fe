"""What is left of a store is never taken for a new one, and never for somebody else's."""

import os
import signal
import subprocess
import sys

import pytest

from axiom_persistence import SQLiteAdapter, open_persistence
from axiom_persistence.errors import CorruptedDataError, ForeignStoreError, StoreNotFoundError

LEAVE_A_LOG = """
import asyncio, os, signal, sys
from axiom_persistence import open_persistence

async def main():
    async with open_persistence(sys.argv[1]) as persistence:
        await persistence.save_many({f"k{n}": "x" * 500 for n in range(100)})
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def killed(path):
    """A store whose log holds acknowledged saves, as SIGKILL leaves it."""
    done = subprocess.run([sys.executable, "-c", LEAVE_A_LOG, path], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert os.path.getsize(f"{path}-wal") > 0
    return path


async def closed(path):
    async with open_persistence(path) as persistence:
        await persistence.save_many({f"k{n}": "x" * 500 for n in range(100)})
    return path


def snapshot(path):
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


LOSSES = {
    "emptied": lambda path: os.truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "cut below a page": lambda path: os.truncate(path, 300),
    "cut in the magic": lambda path: os.truncate(path, 7),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("inspect", [False, True], ids=["normal", "inspect"])
@pytest.mark.parametrize("loss", LOSSES)
async def test_what_a_crash_left_is_kept_when_its_database_is_lost(tmp_path, loss, inspect):
    """Beside a log with acknowledged saves the loss is said, and nothing is changed, at every opening."""
    path = killed(tmp_path / "store.db")
    (tmp_path / "store.db-shm").unlink(missing_ok=True)
    LOSSES[loss](path)
    before = snapshot(path)
    for _ in range(2):
        with pytest.raises(CorruptedDataError, match="nothing was changed") as raised:
            await open_persistence(path, mode="inspect" if inspect else "normal")
        assert str(path) in str(raised.value)
        assert raised.value.hint
        assert snapshot(path) == before


@pytest.mark.parametrize("loss", ["zeros", "cut below a page", "cut in the magic"])
async def test_what_is_left_of_a_closed_store_is_kept(tmp_path, loss):
    """Without a log, too, zeros and pieces of a database are no new store and nobody else's."""
    path = await closed(tmp_path / "store.db")
    LOSSES[loss](path)
    before = snapshot(path)
    with pytest.raises(CorruptedDataError, match="nothing was changed"):
        await open_persistence(path)
    assert snapshot(path) == before


async def test_the_right_database_beside_its_log_brings_everything_back(tmp_path):
    """The hint, followed: with the database put back, every acknowledged save is there."""
    path = killed(tmp_path / "store.db")
    kept = path.read_bytes()
    path.unlink()
    (tmp_path / "store.db-shm").unlink(missing_ok=True)
    with pytest.raises(CorruptedDataError, match="-wal holds saves"):
        await open_persistence(path)
    path.write_bytes(kept)
    async with open_persistence(path) as persistence:
        assert len([key async for key in persistence.keys("k")]) == 100


async def test_moving_everything_away_begins_anew(tmp_path):
    """The other hint, followed."""
    path = killed(tmp_path / "store.db")
    os.truncate(path, 0)
    with pytest.raises(CorruptedDataError):
        await open_persistence(path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in tmp_path.glob("store.db*"):
        file.rename(elsewhere / file.name)
    async with open_persistence(path) as persistence:
        assert not await persistence.exists("k1")


@pytest.mark.parametrize(
    "data", [b"#!/bin/sh\n", b"SQLite? No.", b"x" * 5000], ids=["script", "almost", "long"]
)
async def test_a_file_of_somebody_else_is_still_foreign(tmp_path, data):
    """Only zeros and what begins like a database are taken for the rest of one."""
    path = tmp_path / "store.db"
    path.write_bytes(data)
    with pytest.raises(ForeignStoreError):
        await open_persistence(path)
    assert path.read_bytes() == data


async def test_an_empty_file_without_a_log_is_adopted(tmp_path):
    """As programs make one that create a temporary file first; there is nothing in it to lose."""
    path = tmp_path / "store.db"
    path.touch()
    with pytest.raises(StoreNotFoundError):
        await open_persistence(path, mode="inspect")
    async with SQLiteAdapter(path) as adapter:
        await adapter.commit({"k": b"1"})
