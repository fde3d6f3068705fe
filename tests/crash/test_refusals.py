"""The disk refuses a read or a write: told as that, never as damage; the hints are followed."""

import asyncio
import errno
import json
import subprocess
import sys

import pytest

from axiom_persistence import FileStorageAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from support.strace import needs_strace

LIFE = """
import asyncio, json, os, resource, sys
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import PersistenceError
from axiom_persistence.storage.adapter import Durability

path, mode, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def step(name, doing):
    try:
        answer = await doing
    except PersistenceError as error:
        answer, said = None, [type(error).__name__, getattr(error, "errno", None), str(error)]
    else:
        said = None
    print(json.dumps([name, said, answer if name == "check" else None]), flush=True)

async def listed(adapter):
    return [key async for key in adapter.keys()]

async def main():
    adapter = SQLiteAdapter(path, exclusive=mode == "exclusive", inspect=mode == "inspect")
    await step("open", adapter.aopen())
    for key in ("k1", "k90", "k150"):
        await step("load", adapter.fetch([key]))
    await step("keys", listed(adapter))
    await step("check", adapter.check())
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    if mode != "inspect":
        await step("exit", adapter.commit({"exit": bytes(200_000)}, durability=Durability.PROCESS_EXIT))
        await step("save", adapter.commit({"save": bytes(200_000)}))
        await step("many", adapter.commit({f"many{n}": bytes(200_000) for n in range(3)}))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await step("exit", adapter.commit({"exit": bytes(200_000)}, durability=Durability.PROCESS_EXIT))
        await step("save", adapter.commit({"save": bytes(200_000)}))
    await step("close", adapter.aclose())
    held = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    with open("/proc/self/maps") as maps:
        held += [line.split()[-1] for line in maps]
    assert not [each for each in held if each.startswith(path)], held
asyncio.run(main())
"""


async def prepare(path):
    async with SQLiteAdapter(path) as adapter:
        await adapter.commit({f"k{n}": b"x" * 1000 for n in range(200)})


def lives(path, mode, *strace, limit=0):
    """Every step with its error, if any."""
    command = [*strace, sys.executable, "-c", LIFE, str(path), mode, str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def follow_the_hint(path, steps):
    """Closed, the disk looked at, opened again: all that was acknowledged is there, nothing is damaged."""
    async with SQLiteAdapter(path) as adapter:
        assert await adapter.check() == []
        assert len(await adapter.fetch([f"k{n}" for n in range(200)])) == 200
        for name, error, _ in steps:
            if name in ("exit", "save") and error is None:
                assert await adapter.read(name) == bytes(200_000)
        await adapter.commit({"again": b"1"})


def injection(path, call, error, when, *, everywhere=False):
    files = [part for name in (path, f"{path}-wal") for part in ("-P", str(name)) if not everywhere]
    traced = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}")
    return ("strace", "-f", "--seccomp-bpf", "-qq", "-o", str(path.parent / "log"), *files, *traced)


@needs_strace
@pytest.mark.parametrize("mode", ["shared", "exclusive", "inspect"])
@pytest.mark.parametrize("when", ["6", "8", "6+", "12+"])
def test_a_read_that_is_refused_is_no_damage(tmp_path, mode, when):
    """Once or for good, at whichever read: StorageError with what to do, the errno where it can be known."""
    path = tmp_path / "store.db"
    asyncio.run(prepare(path))
    steps = lives(path, mode, *injection(path, "pread64", "EIO", when))
    assert "INJECTED" in (tmp_path / "log").read_text()
    for name, error, answer in steps:
        if error is not None and "the store is not open" not in error[2]:
            kind, number, said = error
            assert kind == "StorageError", (name, error)
            assert "disk refused" in said or "nothing is written any more" in said, said
            assert "check the disk" in said, said
            assert "open it again" in said, said
            assert number in (None, errno.EIO), error
        assert not answer or ("the disk refused" in answer[0] and len(answer) == 1), answer
    if when == "6+":
        assert any(error is not None and error[1] == errno.EIO for _, error, _ in steps), steps
    asyncio.run(follow_the_hint(path, steps))


FILES = """
import asyncio, sys
from axiom_persistence import FileStorageAdapter, open_persistence
from axiom_persistence.errors import StorageError

async def main():
    async with open_persistence(FileStorageAdapter(sys.argv[1])) as persistence:
        try:
            await persistence.load("a", str)
        except StorageError as error:
            print(error.errno, error, persistence.reports)
asyncio.run(main())
"""


@needs_strace
def test_a_file_that_cannot_be_read_is_no_damage(tmp_path):
    """The same for a store of files: no generation before takes its place, and nothing is moved."""
    place = tmp_path / "store"

    async def keep(values):
        async with FileStorageAdapter(place) as adapter:
            for value in values:
                await adapter.commit({"a": value})
            return await adapter.read("a")

    asyncio.run(keep([b"1", b"2"]))
    inject = injection(tmp_path / "none", "read,pread64", "EIO", "1+", everywhere=True)
    command = [*inject, "-P", str(place / "a.json"), sys.executable, "-c", FILES, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(f"{errno.EIO} "), done.stderr
    assert "check the disk, close the store and open it again" in done.stdout
    assert done.stdout.endswith(" ()\n")
    assert asyncio.run(keep([])) == b"2"


@needs_strace
@pytest.mark.parametrize("mode", ["shared", "exclusive"])
def test_a_quota_is_told_as_full(tmp_path, mode):
    """SQLite calls it an I/O error: a write is tried beside the database to know."""
    path = tmp_path / "store.db"
    asyncio.run(prepare(path))
    steps = lives(path, mode, *injection(path, "pwrite64", "EDQUOT", "9+", everywhere=True))
    told = [error for name, error, _ in steps if name in ("exit", "save", "many") and error is not None]
    assert told
    assert {(kind, number) for kind, number, _ in told} == {("StorageFullError", errno.EDQUOT)}, told
    asyncio.run(follow_the_hint(path, steps))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("mode", ["shared", "exclusive"])
def test_a_limit_of_the_size_of_files_is_told_as_full(tmp_path, mode):
    """And when it is lifted, the same store saves again."""
    path = tmp_path / "store.db"
    asyncio.run(prepare(path))
    steps = lives(path, mode, limit=300_000)
    told = [error and error[:2] for name, error, _ in steps if name in ("exit", "save", "many")]
    assert told[0] is None
    assert told[1:3] == [["StorageFullError", errno.EFBIG]] * 2
    assert told[3:] == [None, None]
    asyncio.run(follow_the_hint(path, steps))
