"""What other programs, people and broken disks do to an open database file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import sys
import threading
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.adapters._sqlite import commits as _sqlite_commits
from axiom_persistence.adapters._sqlite import wal as _sqlite_wal
from axiom_persistence.adapters._sqlite import writer as _sqlite_writer
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import CorruptedDataError, PersistenceError, StorageError
from axiom_persistence.layers.cached import Cached
from axiom_persistence.records.record import seal_record
from axiom_persistence.store._header import HEADER


def execute(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
async def test_no_save_is_acknowledged_in_a_file_that_nobody_will_find(
    tmp_path: Path, suffix: str, how: str
) -> None:
    """Once the database or its log was deleted, moved or replaced, a save raises instead of vanishing."""
    path = tmp_path / "store.db"
    persistence = await open_persistence(path)
    await persistence.save("before", 1)
    file = Path(f"{path}{suffix}")
    if how == "deleted":
        file.unlink()
    else:
        os.rename(file, tmp_path / "elsewhere")
        if how == "replaced":
            file.write_bytes((tmp_path / "elsewhere").read_bytes())
    with pytest.raises(StorageError, match="nothing is written any more"):
        await persistence.save("after", 2)
    with pytest.raises(StorageError):
        await persistence.save("later", 3, durability="process_exit")
    await persistence.aclose()


async def test_a_commit_that_fails_on_damage_does_not_swallow_the_next(tmp_path: Path) -> None:
    """After a commit met a version that cannot be, every acknowledged save of another key is stored."""
    path = tmp_path / "store.db"
    async with open_persistence(path) as persistence:
        await persistence.save("damaged", 1)
    execute(path, "UPDATE record SET version=1e300 WHERE key='damaged'")
    async with open_persistence(path) as persistence:
        with pytest.raises(PersistenceError):
            await persistence.save("damaged", 2)
        await persistence.save("quick", 3, durability="process_exit")
        await persistence.save("durable", 4)
    async with open_persistence(path) as persistence:
        assert await persistence.load_many(["quick", "durable"], int) == {"quick": 3, "durable": 4}


async def test_a_header_that_is_whole_but_none_is_an_error_of_ours(tmp_path: Path) -> None:
    """A header record with a right sum and a wrong content raises a PersistenceError at opening."""
    path = tmp_path / "store.db"
    async with open_persistence(path) as persistence:
        await persistence.save("a", 1)
    wrong = seal_record(HEADER, b'{"x":1}', "1.0").decode()
    execute(path, "UPDATE record SET data=? WHERE key=?", wrong, HEADER)
    with pytest.raises(PersistenceError):
        await open_persistence(path)


@pytest.mark.parametrize("number", ["00500", "00999"])  # the latter is the last of a page of the listing
async def test_an_index_out_of_order_ends_a_listing_with_an_error(tmp_path: Path, number: str) -> None:
    """One flipped byte in an index page neither hangs keys() nor makes it tell keys twice."""
    path = tmp_path / "store.db"
    async with open_persistence(path) as persistence:
        await persistence.save_many({f"zz{count:05}": count for count in range(2500)})
    data = bytearray(path.read_bytes())
    places = [at for at in range(len(data)) if data.startswith(b"zz" + number.encode(), at)]
    (place,) = [at for at in places if data[at // 4096 * 4096] == 10]  # a leaf of the index
    data[place + 1] = ord("a")
    path.write_bytes(data)
    async with open_persistence(path) as persistence:

        async def list_all() -> None:
            listed = 0
            async for _ in persistence.keys("zz"):
                listed += 1
                assert listed < 10_000, "it goes round in circles"

        with pytest.raises(CorruptedDataError, match="out of order"):
            await list_all()
        report = await persistence.verify()
        assert not report
        assert report.medium
        assert number != "00500" or any("out of order" in fault for fault in report.medium)


async def test_a_prefix_that_is_in_no_key_lists_nothing(tmp_path: Path) -> None:
    """A lone surrogate in a prefix is no error: there is no such key."""
    async with open_persistence(tmp_path / "store.db") as persistence:
        await persistence.save("a", 1)
        assert [key async for key in persistence.keys("\ud800")] == []


async def test_verify_tells_of_a_trigger_that_undoes_saves(tmp_path: Path) -> None:
    """A trigger that another program put on our tables is a fault of the medium."""
    path = tmp_path / "store.db"
    async with open_persistence(path) as persistence:
        await persistence.save("a", 1)
        assert await persistence.verify()
    execute(
        path,
        "CREATE TRIGGER undo AFTER INSERT ON record BEGIN DELETE FROM record WHERE key=new.key; END",
    )
    async with open_persistence(path) as persistence:
        (fault,) = (await persistence.verify()).medium
        assert "undo" in fault


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("durability", ["process_exit", "power_loss"])
@pytest.mark.parametrize("event", ["INSERT", "UPDATE"])
@pytest.mark.parametrize("does", ["IGNORE", "ABORT, 'no'"])
async def test_a_trigger_that_keeps_records_out_is_told(
    tmp_path: Path, does: str, event: str, durability: str, count: int
) -> None:
    """The save fails, and says who is in the way; it does not try for ever."""
    path = tmp_path / "store.db"
    values = {f"k{number}": number for number in range(count)}
    async with open_persistence(path) as persistence:
        await persistence.save_many(values)
    execute(path, f"CREATE TRIGGER shut BEFORE {event} ON record BEGIN SELECT RAISE({does}); END")
    async with open_persistence(path) as persistence:
        changed = {key: value + 1 for key, value in values.items()}
        with pytest.raises(StorageError, match="drop the trigger"):
            await persistence.save_many(changed, durability=durability)
        assert await persistence.load_many(values, int) == values
    execute(path, "DROP TRIGGER shut")
    async with open_persistence(path) as persistence:
        await persistence.save_many(changed)
        assert await persistence.load_many(values, int) == changed


@pytest.mark.skipif(os.name != "posix", reason="an open file is renamed over")
async def test_files_that_come_back_with_their_times(tmp_path: Path) -> None:
    """A backup copied back over an open store, its times and the directory's included, is noticed."""
    store, backup = tmp_path / "store", tmp_path / "backup"
    async with SQLiteAdapter(store / "a.db") as adapter:
        await adapter.commit({"k": b"1"})
        await asyncio.sleep(0.2)  # the directory's stamp is trusted from here on
        await adapter.commit({"k": b"2"})
        shutil.copytree(store, backup)
        times = store.stat()
        for _ in range(3):
            await adapter.commit({"k": b"3"})
        for file in backup.iterdir():
            shutil.copy2(file, store / "new")
            (store / "new").rename(store / file.name)
        os.utime(store, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(StorageError):
            await adapter.commit({"k": b"lost"})
        with contextlib.suppress(PersistenceError):
            await adapter.aclose()


async def test_a_log_that_cannot_be_made_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong when nobody asked for it, saves go on; nearly full disks are left alone."""
    monkeypatch.setattr(_sqlite_writer, "_SAVER_SYNCS", 0)
    monkeypatch.setattr(_sqlite_writer, "_LOOK_PAGES", 1)
    tried: list[int] = []

    def fails(log: object, length: int) -> None:
        tried.append(length)
        raise (sqlite3.DatabaseError("malformed"), MemoryError(), OSError(5, "I/O error"))[len(tried) % 3]

    async with SQLiteAdapter(tmp_path / "a.db") as adapter:
        lengthen = _sqlite_wal.Log.lengthen
        monkeypatch.setattr(_sqlite_wal.Log, "lengthen", fails)
        for n in range(10):
            await adapter.commit({"k": b"%d" % n})
        async with asyncio.timeout(10):  # after a save was acknowledged
            while len(tried) < 4:
                await asyncio.sleep(0.01)
        size = adapter.stats()["wal_bytes"]
        real = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda file, data, at: real(file, data[: len(data) // 2], at))
        monkeypatch.setattr(_sqlite_wal.Log, "lengthen", lengthen)
        await adapter.commit({"k": b"short"})
        await asyncio.sleep(0.05)
        assert adapter.stats()["wal_bytes"] - size < 100_000
        monkeypatch.setattr(os, "pwrite", real)
        await adapter.commit({"k": b"whole"})
        async with asyncio.timeout(10):  # it is made longer after the save was acknowledged
            while adapter.stats()["wal_bytes"] - size < 1 << 20:
                await asyncio.sleep(0.01)


async def test_a_writer_thread_that_ends_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not who has committed already and waits for the sync; each is told by one of our errors."""

    def ends(self: object) -> None:
        raise RuntimeError("planted")

    adapter = SQLiteAdapter(tmp_path / "a.db")
    await adapter.aopen()
    await adapter.commit({"k": b"1"})
    await adapter.commit({"k": b"2"})  # its previous generation is kept: from here on it is put alone
    monkeypatch.setattr(_sqlite_commits.Commits, "sync", ends)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with pytest.raises(PersistenceError, match="planted"):
        await asyncio.wait_for(adapter.commit({"k": b"3"}), 10)
    with pytest.raises(PersistenceError, match="planted"):
        await adapter.commit({"k": b"4"})
    assert adapter._started is not None
    adapter._started._thread.join(20)  # it reports its end to the hook that is replaced here
    monkeypatch.undo()
    with pytest.raises(PersistenceError, match="planted"):
        await adapter.aclose()  # also where the thread is long gone
    await adapter.aclose()


async def test_descriptors_beside_a_process_that_leaves_later(tmp_path: Path) -> None:
    """Nothing is left open of a store whose files another process deleted after we had closed it."""
    path = str(tmp_path / "a.db")
    for _ in range(3):
        adapter = SQLiteAdapter(path)
        await adapter.aopen()
        await adapter.commit({"k": b"v"})
        program = (
            "import sqlite3, sys; other = sqlite3.connect(sys.argv[1]);"
            "print(other.execute('SELECT last FROM clock').fetchone(), flush=True); sys.stdin.read()"
        )
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, path, stdin=PIPE, stdout=PIPE
        )
        assert other.stdout is not None
        await other.stdout.readline()
        await adapter.aclose()
        assert not _sqlite_wal._presences
        await other.communicate(b"")


async def test_a_cache_that_is_opened_again_while_a_commit_is_on_its_way(tmp_path: Path) -> None:
    """The commit of another event loop ends as it would have, and nothing stale is kept."""
    cached = Cached(SQLiteAdapter(tmp_path / "a.db"))
    await cached.aopen()
    called, answers = threading.Event(), list[Any]()

    def save() -> None:
        async def run() -> None:
            saving = asyncio.ensure_future(cached.commit({"k": b"v"}))
            await asyncio.sleep(0)
            called.set()
            time.sleep(0.3)
            answers.append(await saving)

        asyncio.run(run())

    thread = threading.Thread(target=save)
    thread.start()
    await asyncio.to_thread(called.wait)
    await cached.aclose()
    await cached.aopen()
    await asyncio.to_thread(thread.join)
    assert len(answers) == 1
    assert await cached.read("k") == b"v"
    await cached.aclose()
