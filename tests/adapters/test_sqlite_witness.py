"""A database file copied without its log is told; one that lacks nothing never is, whatever happened."""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from axiom_persistence import SQLiteAdapter, open_persistence
from axiom_persistence.adapters._sqlite import checkpoint, file, transactions, writer
from axiom_persistence.errors import CorruptedDataError, StorageUnavailableError
from axiom_persistence.storage.adapter import Durability

TOLD = "copied without its log"
LIVES = int(os.environ.get("SQLITE_LIVES", "3"))
SAVE = """
import asyncio, random, sys
from axiom_persistence import SQLiteAdapter
from axiom_persistence.adapters._sqlite import checkpoint, writer
from axiom_persistence.storage.adapter import Durability

path, name, frames = sys.argv[1:]
chance = random.Random(name)
writer.COPY_FRAMES = checkpoint.RESTART_FRAMES = int(frames)
writer._LOOK_PAGES = 5

async def main():
    async with SQLiteAdapter(path, lock_timeout=60) as adapter:
        for n in range(1_000_000):
            durability = chance.choice(list(Durability))
            data = b"x" * chance.choice((9, 900, 9000))
            await adapter.commit({f"{name} {n % 50}": data}, durability=durability)
            if n % 7 == 0:
                await adapter.commit({f"{name} {chance.randrange(50)}": None})
            print(n, flush=True)

asyncio.run(main())
"""


COME_AND_GO = """
import asyncio, sys
from axiom_persistence import SQLiteAdapter

async def main():
    for n in range(1_000_000):
        async with SQLiteAdapter(sys.argv[1]) as adapter:
            await adapter.commit({"k": b"%d" % n})
        if n == 0:
            print("begun", flush=True)

asyncio.run(main())
"""


def saver(path, name, frames=40):
    """A process that saves and deletes until it is killed; it has begun when this returns."""
    command = [sys.executable, "-c", SAVE, str(path), name, str(frames)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline()
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def short_logs(monkeypatch):
    """Copied back and started again every few saves."""
    monkeypatch.setattr(writer, "COPY_FRAMES", 40)
    monkeypatch.setattr(checkpoint, "RESTART_FRAMES", 40)
    monkeypatch.setattr(writer, "_LOOK_PAGES", 5)


async def is_told(place):
    """Whether the database file at ``place`` is refused for want of its log, in both ways to open it."""
    answers = []
    for inspect in (True, False):
        hint = ""
        try:
            async with SQLiteAdapter(place, inspect=inspect):
                pass
        except CorruptedDataError as error:
            if TOLD not in str(error):
                raise
            hint = error.hint
        answers.append("snapshot" in hint and "--repair" in hint)
    assert answers[0] == answers[1]
    return answers[0]


async def told_alone(path, copy):
    """Whether a copy of the database file alone is told."""
    shutil.copy(path, copy)
    told = await is_told(copy)
    for left in copy.parent.glob(f"{copy.name}*"):
        left.unlink()
    return told


# -- what is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", list(Durability))
async def test_a_copy_of_the_first_save_is_told(tmp_path, durability):
    """In a new store and in one that was closed: from the first save on, and no more after the close."""
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    for n in range(3):
        async with SQLiteAdapter(path) as adapter:
            assert not await told_alone(path, copy)
            await adapter.commit({f"k{n}": b"1"}, durability=durability)
            while not adapter.stats()["checkpoints"]:  # one that need not be on the disk may be ahead of it
                assert durability is not Durability.POWER_LOSS
                await asyncio.sleep(0.001)
            assert await told_alone(path, copy)
        assert not await told_alone(path, copy)


async def copies_told(path, copy, count):
    """Of so many copies between the saves of a busy store, and between its checkpoints, how many are told."""
    chance, told = random.Random(1), 0
    async with SQLiteAdapter(path) as adapter:
        for n in range(count):
            for _ in range(chance.randrange(1, 6)):
                data = b"%d" % n + bytes(chance.choice((10, 900, 9000)))
                await adapter.commit({f"k{chance.randrange(50)}": data})
            if chance.random() < 0.3:
                await adapter.commit({f"k{chance.randrange(50)}": None})
            with adapter._writer.checkpointer.lock:
                shutil.copy(path, copy)
            told += await is_told(copy)
        assert count < 60 or adapter._writer.transactions.restarts > 3
    return told


async def test_copies_of_a_busy_store_are_told(tmp_path, monkeypatch):
    """After saves, after copies of the log and after restarts of it."""
    short_logs(monkeypatch)
    assert await copies_told(tmp_path / "store.db", tmp_path / "copy.db", 60) == 60


def reads_nothing(self, hold):
    """Nobody holds what the witness is to be seen with, so that all of the log is copied."""
    self._tick(*transactions.ADVANCE)
    self._tick("UPDATE clock SET last=last+1")
    self.is_unwitnessed = False


def moves_no_clock(self, hold):
    """The clock row has no copy that is newer than what is held."""
    self._tick(*transactions.ADVANCE)
    hold()
    self.is_unwitnessed = False


@pytest.mark.parametrize("plant", [reads_nothing, moves_no_clock])
async def test_without_one_of_the_steps_copies_are_not_told(tmp_path, monkeypatch, plant):
    """Planted bugs: the same copies open as if nothing was missing."""
    short_logs(monkeypatch)
    monkeypatch.setattr(transactions.Transactions, "bear_witness", plant)
    assert await copies_told(tmp_path / "store.db", tmp_path / "copy.db", 20) < 10


async def test_copies_at_any_moment_of_two_processes(tmp_path):
    """Also while pages are copied back: nearly all are told, on a busy machine half of them."""
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    processes = [saver(path, name, frames=2000) for name in "ab"]
    told = 0
    try:
        for _ in range(30):
            for process in processes:
                process.stdout.readline()
            shutil.copy(path, copy)
            with suppress(CorruptedDataError):  # torn, as any copy may be of what is written meanwhile
                told += await is_told(copy)
    finally:
        for process in processes:
            kill(process)
    print(f"\n{told} of 30 told")
    assert told > 5


async def test_a_log_that_somebody_deleted_is_told(tmp_path):
    """After a crash; and put back, it is all there."""
    path, log = tmp_path / "store.db", tmp_path / "store.db-wal"
    process = saver(path, "a", frames=2000)
    for _ in range(20):
        process.stdout.readline()
    kill(process)
    whole = log.read_bytes()
    (tmp_path / "store.db-shm").unlink()
    for missing in (log.unlink, lambda: log.write_bytes(b"")):
        missing()
        before = path.read_bytes()
        assert await is_told(path)
        assert path.read_bytes() == before
        log.write_bytes(whole)
    async with SQLiteAdapter(path) as adapter:
        assert await adapter.exists("a 1")
        assert await adapter.check() == []


async def test_a_repair_opens_it_and_says_so(tmp_path):
    """Everything that is in the file is there."""
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    async with open_persistence(path) as persistence:
        await persistence.save("before", 1)
    async with open_persistence(path) as persistence:
        await persistence.save("after", 2)
        shutil.copy(path, copy)
    with pytest.raises(CorruptedDataError, match=TOLD):
        async with open_persistence(copy):
            pass
    async with open_persistence(copy, on_corruption="repair") as persistence:
        assert "is not here" in persistence.salvaged.notes[0]
        assert not persistence.salvaged
        assert await persistence.load("before", int) == 1
    async with open_persistence(copy) as persistence:
        assert await persistence.load("before", int) == 1


async def later_file_beside_earlier_log(tmp_path):
    """Of one log, copied back in part meanwhile."""
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    async with SQLiteAdapter(path) as adapter:
        await adapter.commit({"k": b"1"})
        shutil.copy(f"{path}-wal", f"{copy}-wal")
        await adapter.commit({"k": b"2"})
        adapter._writer.checkpointer.bear_witness()
        shutil.copy(path, copy)
    async with SQLiteAdapter(copy) as adapter:
        return await adapter.read("k")


async def test_a_later_file_beside_the_beginning_of_its_log_is_told(tmp_path):
    """The clock row in the file is that of the log's beginning; the witness is of later."""
    with pytest.raises(CorruptedDataError, match="does not belong to this database file"):
        await later_file_beside_earlier_log(tmp_path)


async def test_without_the_witness_the_beginning_of_a_log_is_not_told(tmp_path, monkeypatch):
    """Planted bug: the file is asked for its clock row alone."""
    only_clock = "SELECT last FROM clock"
    monkeypatch.setattr(file, "latest", lambda connection: connection.execute(only_clock).fetchone()[0])
    assert await later_file_beside_earlier_log(tmp_path) == b"1"  # of the log, over what is newer


# -- what is not -----------------------------------------------------------------------------------


def by_backup(path, copy):
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def by_vacuum(path, copy):
    with closing(sqlite3.connect(path)) as source:
        source.execute("VACUUM INTO ?", (str(copy),))


def by_dump(path, copy):
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        target.executescript("\n".join(source.iterdump()))
        target.execute(f"PRAGMA application_id={file.APPLICATION_ID}")
        target.execute("PRAGMA user_version=1")


def with_its_log(path, copy):
    shutil.copy(path, copy)
    shutil.copy(f"{path}-wal", f"{copy}-wal")


def by_a_shell(path, copy):
    """What another program leaves that opens a crashed store, and closes it."""
    with_its_log(path, copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("SELECT * FROM record").fetchone()


COPIES = (by_backup, by_vacuum, by_dump, with_its_log, by_a_shell)


async def test_whole_copies_are_never_told(tmp_path, monkeypatch):
    """Between any saves: those of other programs, with the log, and our own."""
    short_logs(monkeypatch)
    path, chance = tmp_path / "store.db", random.Random(3)
    async with SQLiteAdapter(path) as adapter:
        for n in range(40):
            await adapter.commit({f"k{n % 20}": bytes(chance.choice((10, 900, 9000)))})
            if n % 5 == 0:
                await adapter.commit({f"k{chance.randrange(20)}": None})
            with adapter._writer.checkpointer.lock:
                COPIES[n % len(COPIES)](path, tmp_path / f"{n}.db")
            if n % 10 == 0:
                await adapter.copy_to(str(tmp_path / "ours.db"))
                assert not await is_told(tmp_path / "ours.db")
                (tmp_path / "ours.db").unlink()
            assert not await is_told(tmp_path / f"{n}.db")


async def lives(path, seeds):
    """Killed with one or two processes at work, opened by others, closed: each time it opens."""
    for seed in seeds:
        chance = random.Random(seed)
        processes = [saver(path, name) for name in "ab"[: chance.randint(1, 2)]]
        for process in processes:
            for _ in range(chance.choice((0, 3, 30))):
                process.stdout.readline()
            kill(process)
            if chance.random() < 0.5:
                async with SQLiteAdapter(path, inspect=True):
                    pass
        for _ in range(chance.randrange(3)):
            match chance.choice(("shell", "open", "save", "exclusive")):
                case "shell":
                    with closing(sqlite3.connect(path)) as connection:
                        connection.execute("SELECT * FROM record").fetchone()
                case "open":
                    async with SQLiteAdapter(path) as adapter:
                        await adapter.fetch(["a 1"])
                case "save":
                    async with SQLiteAdapter(path) as adapter:
                        await adapter.commit({"k": b"1"}, durability=chance.choice(list(Durability)))
                case "exclusive":
                    async with SQLiteAdapter(path, exclusive=True) as adapter:
                        await adapter.commit({"k": b"1"})
        async with SQLiteAdapter(path, inspect=True):
            pass


async def test_no_crash_makes_a_whole_store_be_told(tmp_path):
    """More of it: make torture."""
    await lives(tmp_path / "store.db", range(LIVES))


async def test_a_witness_that_runs_ahead_is_noticed(tmp_path, monkeypatch):
    """Planted bug: a commit brings it further than the clock row: stores are told that lack nothing."""
    ahead = [step.replace("SELECT last", "SELECT last+9") for step in transactions.ADVANCE]
    monkeypatch.setattr(transactions, "ADVANCE", ahead)
    path = tmp_path / "store.db"
    async with SQLiteAdapter(path) as adapter:
        await adapter.commit({"k": b"1"})
        by_backup(path, tmp_path / "copy.db")
    assert await is_told(tmp_path / "copy.db")


async def test_a_look_while_others_open_and_close(tmp_path):
    """A reader without locks is not misled by what it sees of the file in the middle of that."""
    path = tmp_path / "store.db"
    process = subprocess.Popen([sys.executable, "-c", COME_AND_GO, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline()
    try:
        for _ in range(100):
            with suppress(StorageUnavailableError):  # it was opened and closed all the time
                async with SQLiteAdapter(path, inspect=True) as adapter:
                    await adapter.exists("k")
    finally:
        kill(process)


async def test_without_a_reader_beside_it_a_store_is_left_alone(tmp_path):
    """An exclusive one has no witness, and nobody tries again and again."""
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    async with SQLiteAdapter(path, exclusive=True) as adapter:
        await adapter.commit({"k": b"1"})
        adapter._writer._look_at_log(idle=False)
        assert not adapter._writer._restless
        assert not await told_alone(path, copy)


# -- earlier releases ------------------------------------------------------------------------------


async def test_a_store_of_an_earlier_release_gets_its_witness(tmp_path):
    """With its first save. Until then its file is what it was."""
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    async with SQLiteAdapter(path) as adapter:
        await adapter.commit({"k": b"1"})
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE witness")
    before = path.read_bytes()
    async with SQLiteAdapter(path) as adapter:
        assert await adapter.exists("k")
    assert path.read_bytes() == before
    async with SQLiteAdapter(path) as adapter:
        await adapter.commit({"k": b"2"})
        adapter._writer._checkpoint(idle=True)  # the new table itself is in the log
        await adapter.commit({"k": b"3"})
        assert await told_alone(path, copy)
    assert not await told_alone(path, copy)


async def test_an_earlier_release_and_this_one_take_turns(tmp_path, monkeypatch):
    """What knows nothing of the witness only ever brings the clock row forward."""
    path = tmp_path / "store.db"
    for turn in range(6):
        with monkeypatch.context() as patch:
            if turn % 2:
                patch.setattr(transactions.Transactions, "bear_witness", lambda self, hold: None)
            async with SQLiteAdapter(path) as adapter:
                for n in range(20):
                    await adapter.commit({f"k{n}": b"%d" % turn})
                await adapter.commit({"k1": None})
                if turn % 3:
                    adapter._writer._checkpoint(idle=True)
        assert not await is_told(path)


async def test_nothing_is_told_before_anything_was_saved(tmp_path):
    """A store that was only opened: alone, beside others, and killed."""
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    async with SQLiteAdapter(path), SQLiteAdapter(path):
        assert not await told_alone(path, copy)
    assert not await told_alone(path, copy)
    assert os.listdir(tmp_path) == ["store.db"]
