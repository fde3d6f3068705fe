"""Every system call of a SQLite store's life fails once: with which error, and what is there afterwards."""

import asyncio
import re
import subprocess
import sys

import pytest

from axiom_persistence.adapters.sqlite import SQLiteAdapter
from support.strace import needs_strace

pytestmark = needs_strace

LIFE = """
import asyncio, sys
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import PersistenceError
from axiom_persistence.storage.adapter import Durability

async def step(name, doing, *keys):
    try:
        await doing
    except PersistenceError as error:
        assert sys.argv[1] in str(error), error
        assert not keys or error.key in keys or "not open" in str(error), (error.key, str(error))
        print("error", name, type(error).__name__, flush=True)
    else:
        print("ok", name, flush=True)

async def main():
    adapter = SQLiteAdapter(sys.argv[1])
    await step("open", adapter.aopen())
    await step("one", adapter.commit({"one": b"2"}), "one")
    await step("many", adapter.commit({f"many{n}": bytes(3000) for n in range(3)}), "many0")
    await step("exit", adapter.commit({"exit": b"2"}, durability=Durability.PROCESS_EXIT), "exit")
    await step("gone", adapter.commit({"gone": None}), "gone")
    await step("close", adapter.aclose())
asyncio.run(main())
"""


async def prepare(path):
    async with SQLiteAdapter(path) as adapter:
        await adapter.commit({"one": b"1", "gone": b"1", "kept": b"1"})


async def judge(path, said):
    """What was acknowledged is there, what was not tried is as it was, and saving works."""
    async with SQLiteAdapter(path) as adapter:
        assert await adapter.check() == []
        assert await adapter.read("kept") == b"1"
        one, gone = await adapter.read("one"), await adapter.read("gone")
        many = [key async for key in adapter.keys("many")]
        assert one == b"2" if "ok one" in said else one in (b"1", b"2")
        assert gone is None if "ok gone" in said else gone in (b"1", None)
        assert len(many) == 3 if "ok many" in said else len(many) in (0, 3)
        if "ok exit" in said and "ok close" in said:
            assert await adapter.read("exit") == b"2"
        await adapter.commit({"one": b"3"})
        assert await adapter.read("one") == b"3"


UNOPENED = "CapabilityUnavailableError"  # said by every later step where it was the opening that failed


@pytest.mark.parametrize(
    ("call", "error", "steps", "expected"),
    [
        (
            "openat",
            "EACCES",
            range(1, 99),
            {"StorageUnavailableError", "AccessDeniedError", "StorageError", UNOPENED},
        ),
        ("pwrite64", "ENOSPC", range(1, 199, 2), {"StorageFullError", "StorageError", UNOPENED}),
        ("pwrite64", "EIO", range(2, 199, 2), {"StorageError", UNOPENED}),
        ("fdatasync", "EIO", range(1, 99), {"StorageError"}),
    ],
)
def test_each_call_fails_once(tmp_path, call, error, steps, expected):
    """The error is of our tree and names key and file; after a reopen everything acknowledged is there."""
    tried, seen = 0, set()
    for when in steps:
        place = tmp_path / str(when)
        place.mkdir()
        path = place / "store.db"
        asyncio.run(prepare(path))
        files = [part for name in (path, f"{path}-wal", f"{path}-shm") for part in ("-P", name)]
        log = tmp_path / "log"
        done = subprocess.run(
            [
                *("strace", "-f", "--seccomp-bpf", "-qq", "-o", log, *files, "-e", f"trace={call}"),
                *("-e", f"inject={call}:error={error}:when={when}", sys.executable, "-c", LIFE, path),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        asyncio.run(judge(path, done.stdout))
        if "(INJECTED)" not in log.read_text():
            break
        tried += 1
        seen |= set(re.findall(r"error \w+ (\w+)", done.stdout))
    print(f"\n{call} {error}: {tried} faults, {seen or 'none reached the caller'}")
    assert tried >= 1
    assert seen <= expected
