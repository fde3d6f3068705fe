"""A database beside a log of another time is told, never opened; one beside its own log always is."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from axiom_persistence import SQLiteAdapter, open_persistence
from axiom_persistence.adapters._sqlite import file as sqlite_file
from axiom_persistence.adapters._sqlite import lineage
from axiom_persistence.errors import CorruptedDataError

SAVE_AND_DIE = """
import asyncio, os, signal, sqlite3, sys
from axiom_persistence import SQLiteAdapter

path, seed, restarts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

async def main():
    async with SQLiteAdapter(path) as adapter:
        for n in range(3):
            await adapter.commit({f"{seed} {n}": b'{"v":1}', f"gone {n}": b"{}"})
        await adapter.commit({f"gone {seed % 3}": None})
        for _ in range(restarts):
            adapter._writer._checkpoint(idle=True)
            await adapter.commit({f"{seed} after": b'{"v":2}', "absent": None})
        if seed % 2:
            connection = sqlite3.connect(path)
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            os.kill(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def crash(path, seed, restarts):
    """A program that saves, has its log started again so many times, and is killed."""
    done = subprocess.run([sys.executable, "-c", SAVE_AND_DIE, path, str(seed), str(restarts)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert os.path.getsize(f"{path}-wal") > 0


async def closed(path, key):
    async with SQLiteAdapter(path) as adapter:
        await adapter.commit({key: b"{}"})
    return path.read_bytes()


def files(directory):
    return {file.name: file.read_bytes() for file in directory.iterdir()}


@pytest.mark.parametrize("restarts", [0, 2])
async def test_a_backup_beside_a_later_log_is_told(tmp_path, restarts):
    """The usual mistake: the program crashed, and only the database of a backup is put back."""
    path = tmp_path / "store.db"
    backup = await closed(path, "early")
    await closed(path, "late")
    crash(path, 1, restarts)
    path.write_bytes(backup)
    (tmp_path / "store.db-shm").unlink(missing_ok=True)
    before = files(tmp_path)
    for inspect in (False, True):
        with pytest.raises(CorruptedDataError, match="does not belong to this database file") as raised:
            async with SQLiteAdapter(path, inspect=inspect):
                pass
        assert "--repair" in raised.value.hint
        assert files(tmp_path) == before


async def test_a_later_database_beside_an_old_log_is_told(tmp_path):
    """A log of last week, beside the database of today."""
    path = tmp_path / "store.db"
    await closed(path, "early")
    crash(path, 1, 1)
    log = (tmp_path / "store.db-wal").read_bytes()
    await closed(path, "later")
    await closed(path, "latest")
    assert not (tmp_path / "store.db-wal").exists()
    (tmp_path / "store.db-wal").write_bytes(log)
    with pytest.raises(CorruptedDataError, match="does not belong to this database file"):
        async with SQLiteAdapter(path):
            pass


async def test_the_log_moved_away_or_a_repair_ends_it(tmp_path):
    """The hints, followed. A repair takes the newer of each key, and says that the two are of two times."""
    path = tmp_path / "store.db"
    async with open_persistence(path) as persistence:
        await persistence.save("early", 1)
    backup = path.read_bytes()
    async with open_persistence(path) as persistence:
        await persistence.save("lost with the database", 1)
    crash(path, 1, 0)
    path.write_bytes(backup)
    aside = tmp_path / "aside"
    aside.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", aside)
    async with open_persistence(path, on_corruption="repair") as persistence:
        assert "another state" in persistence.salvaged.notes[0]
        assert not persistence.salvaged
        assert await persistence.load("early", int) == 1
    (aside / "store.db-wal").unlink()
    async with open_persistence(aside / "store.db") as persistence:
        assert await persistence.load("early", int) == 1


async def test_what_belongs_together_is_always_opened(tmp_path):
    """After any crash, with logs begun anew and copied in part, again and again in one store."""
    path = tmp_path / "store.db"
    chance = random.Random(7)
    for seed in range(4):
        crash(path, seed, chance.randrange(3))
        async with SQLiteAdapter(path, inspect=True):
            pass
        if chance.random() < 0.5:
            await closed(path, f"between {seed}")
    async with SQLiteAdapter(path) as adapter:
        assert len(await adapter.fetch([f"{seed} 0" for seed in range(4)])) == 4


async def test_a_log_of_another_program_tells_nothing(tmp_path):
    """The sqlite3 shell began the log: nobody can tell, and the store opens."""
    path = tmp_path / "store.db"
    await closed(path, "k")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE record SET version=version+1")
        shutil.copy(path, tmp_path / "copy.db")
        shutil.copy(f"{path}-wal", tmp_path / "copy.db-wal")
    async with SQLiteAdapter(tmp_path / "copy.db") as adapter:
        assert await adapter.exists("k")


async def test_without_the_look_two_times_are_mixed(tmp_path, monkeypatch):
    """Planted bug: SQLite itself opens the pair, and shows what is of one time beside what is of another."""
    path = tmp_path / "store.db"
    backup = await closed(path, "early")
    await closed(path, "late")
    crash(path, 1, 1)
    path.write_bytes(backup)
    (tmp_path / "store.db-shm").unlink(missing_ok=True)
    monkeypatch.setattr(lineage, "is_of_another_time", lambda path, clock: False)
    async with SQLiteAdapter(path) as adapter:
        assert await adapter.exists("1 after")


async def test_a_log_that_goes_away_while_it_is_looked_at(tmp_path, monkeypatch):
    """The last of several programs removes it when it ends, just as another one opens the store."""
    async with SQLiteAdapter(tmp_path / "store.db") as adapter:
        await adapter.commit({"k": b"1"})
    monkeypatch.setattr(sqlite_file, "_has_log", lambda path: not os.path.exists(path + "-wal"))
    async with SQLiteAdapter(tmp_path / "store.db") as adapter:
        assert await adapter.read("k") == b"1"
