"""After a close, however it went, nothing of the store is left in the process."""

import asyncio
import errno
import os
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from axiom_persistence import FileStorageAdapter, SQLiteAdapter
from axiom_persistence.errors import ConflictError, PersistenceError, StorageError

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="the process is looked at in /proc"
)


def held(directory):
    """Descriptors, mappings and locks of files below ``directory``, and the threads of the library."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith(str(directory)):
            found.append(f"descriptor of {target}")
    with open("/proc/self/maps") as maps:
        found += [f"mapping of {line.split()[-1]}" for line in maps if str(directory) in line]
    # A thread whose work is done may still be on its way out.
    until = time.monotonic() + 2
    while time.monotonic() < until and any(each.name == "axiom-work" for each in threading.enumerate()):
        time.sleep(0.001)
    # The one loop of all blocking programs is not a store's: another test of this process may have begun it.
    found += [
        f"thread {each.name}"
        for each in threading.enumerate()
        if each.name.startswith("axiom-") and each.name != "axiom-blocking"
    ]
    with open("/proc/locks") as locks:
        inodes = {
            os.stat(os.path.join(at, name)).st_ino for at, _, names in os.walk(directory) for name in names
        }
        for line in locks:
            fields = [field for field in line.split() if field != "->"]
            if int(fields[4]) == os.getpid() and int(fields[5].split(":")[2]) in inodes:
                found.append(f"lock {line.strip()}")
    return found


async def normal(adapter, monkeypatch):
    await adapter.aopen()
    await adapter.commit({"k": b"1"})
    await adapter.fetch(["k"])
    async for _ in adapter.keys():
        pass
    adapter.change_mark()
    await adapter.aclose()


async def beside_another(adapter, monkeypatch):
    """Another process keeps the store, and its side files, in use."""
    await adapter.aopen()
    await adapter.commit({"k": b"1"})
    command = [sys.executable, "-c", OTHER, type(adapter).__name__, adapter.location]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        await asyncio.to_thread(other.stdout.readline)
        await adapter.aclose()
        found = held(os.path.dirname(adapter.location))
        other.communicate(b"")
    return found


OTHER = """
import asyncio, sys, axiom_persistence
async def work():
    async with getattr(axiom_persistence, sys.argv[1])(sys.argv[2]) as adapter:
        await adapter.commit({"other": b"1"})
        print("open", flush=True)
        sys.stdin.read()
asyncio.run(work())
"""


async def with_kept_errors(adapter, monkeypatch):
    await adapter.aopen()
    await adapter.commit({"k": b"1"})
    kept = []
    for broken in ({"k": "9"}, {"missing": "1"}):
        try:
            await adapter.commit({"k": b"2", "l": b"3"}, expect=broken)
        except ConflictError as error:
            kept.append(error)
    if isinstance(adapter, SQLiteAdapter):
        writer = adapter._writer
        for durability in ("process_exit", None):
            writer.transactions._connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
            try:
                await adapter.commit({"k": b"2", "l": None}, durability=durability)
            except PersistenceError as error:
                kept.append(error)
            try:
                await adapter.commit({"k": b"2"}, durability=durability)
            except PersistenceError as error:
                kept.append(error)
            writer.transactions._connection.set_authorizer(None)
        for read in (lambda: adapter.fetch(["k"]), lambda: adapter.previous("k")):
            writer.reader._connection.set_progress_handler(lambda: 1, 1)
            try:
                await read()
            except PersistenceError as error:
                kept.append(error)
            writer.reader._connection.set_progress_handler(None, 1)
        assert len(kept) >= 6
    await adapter.aclose()
    return kept


def fail(*_):
    raise OSError(errno.EIO, "no")


async def after_a_failed_sync(adapter, monkeypatch):
    await adapter.aopen()
    await adapter.commit({"k": b"1"})

    if isinstance(adapter, SQLiteAdapter):
        monkeypatch.setattr(adapter._writer._log, "sync", fail)
    else:
        monkeypatch.setattr(type(adapter._files), "sync", fail)
    kept = []
    for durability in ("process_exit", None):
        try:
            await adapter.commit({"k": b"2"}, durability=durability)
        except PersistenceError as error:
            kept.append(error)
    assert kept
    try:
        await adapter.aclose()
    except StorageError as error:
        kept.append(error)
    return kept


async def raising(adapter, monkeypatch):
    """What nobody was told of is raised by the close."""
    await adapter.aopen()
    await adapter.commit({"k": b"1"}, durability="process_exit")
    if isinstance(adapter, SQLiteAdapter):
        os.rename(adapter.location, adapter.location + ".away")
    else:
        monkeypatch.setattr(type(adapter._files), "sync", fail)
    with pytest.raises(StorageError) as kept:
        await adapter.aclose()
    return kept


async def cancelled(adapter, monkeypatch):
    await adapter.aopen()
    await adapter.commit({"k": b"1"})
    closing = asyncio.ensure_future(adapter.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await adapter.aclose()


async def an_opening_that_fails(adapter, monkeypatch):
    await normal(adapter, monkeypatch)
    if isinstance(adapter, SQLiteAdapter):
        with sqlite3.connect(adapter.location) as connection:
            connection.execute("PRAGMA user_version=99")
        connection.close()
    else:
        with open(os.path.join(adapter.location, ".axiom"), "w") as marker:
            marker.write("{}")
    with pytest.raises(PersistenceError) as kept:
        await adapter.aopen()
    await adapter.aclose()
    return kept


async def after_a_fork(adapter, monkeypatch):
    await adapter.aopen()
    await adapter.commit({"k": b"1"})
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    await adapter.aclose()


async def after_a_crash(adapter, monkeypatch):
    """The database is shorter than it says, as where a crash came while the log was copied into it."""
    await normal(adapter, monkeypatch)
    if isinstance(adapter, SQLiteAdapter):
        size = os.path.getsize(adapter.location)
        with open(adapter.location, "r+b") as file:
            file.seek(28)
            file.write((size // 4096 + 5).to_bytes(4))
    try:
        await adapter.aopen()
    except PersistenceError:
        assert isinstance(adapter, SQLiteAdapter)
    await adapter.aclose()


ENDS = [
    normal,
    beside_another,
    with_kept_errors,
    after_a_failed_sync,
    raising,
    cancelled,
    an_opening_that_fails,
    after_a_fork,
    after_a_crash,
]


@pytest.mark.parametrize("kind", [SQLiteAdapter, FileStorageAdapter])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_nothing_is_left(end, kind, tmp_path, monkeypatch):
    """Whatever keeps the errors, whoever else uses the store: no descriptor, mapping, lock or thread."""
    assert held(tmp_path) == []
    adapter = kind(tmp_path / "store")
    kept = await end(adapter, monkeypatch)
    if end is beside_another:
        assert kept == []
    assert held(tmp_path) == []
    del kept
