"""SQLiteAdapter in several threads, loops and processes, and at every end of one."""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing

import pytest

from axiom_persistence.adapters._sqlite.batch import Clock
from axiom_persistence.adapters._sqlite.inspect import Inspector
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import StorageLockedError

HEAD = """
import asyncio, gc, os, sys, threading
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import *
from axiom_persistence.storage.adapter import Durability
path = sys.argv[1]
"""


def run(path, body, *arguments, code=0):
    """A process of its own that must end by itself; what it said."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", HEAD + textwrap.dedent(body), path, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


async def contents(path):
    async with SQLiteAdapter(path) as adapter:
        assert await adapter.check() == []
        found = await adapter.fetch([key async for key in adapter.keys("")])
        return {key: stored.data for key, stored in found.items()}


SAVERS = """
async def save(adapter, name):
    for number in range(1, 9):
        how = (None, Durability.PROCESS_EXIT)[number % 2]
        await adapter.commit({name: b"%d" % number, f"{name}/{number}": b""}, durability=how)
        assert int((await adapter.fetch((name,)))[name].data) == number
        os.write(1, f"ack {name} {number}\\n".encode())

adapter = SQLiteAdapter(path, lock_timeout=30)

def thread(name):
    async def tasks():
        await adapter.aopen()
        await asyncio.gather(*(save(adapter, f"{name}/{task}") for task in range(20)))
    asyncio.run(tasks())

threads = [threading.Thread(target=thread, args=(f"{sys.argv[2]}/{n}",)) for n in range(4)]
failed = []
threading.excepthook = lambda error: failed.append(error.exc_value)
for t in threads: t.start()
for t in threads: t.join()
asyncio.run(adapter.aclose())
assert not failed, failed
"""


async def test_tasks_threads_and_processes_at_once(tmp_path):
    """20 tasks in 4 threads with loops of their own in 2 processes: nothing acknowledged is lost."""
    path = str(tmp_path / "store.db")
    said = await asyncio.gather(*(asyncio.to_thread(run, path, SAVERS, name) for name in ("a", "b")))
    acked = dict(re.findall(r"ack (\S+) (\d+)", "".join(said)))
    assert len(acked) == 160
    found = await contents(path)
    assert {name: found[name] for name in acked} == dict.fromkeys(acked, b"8")
    assert len(found) == 160 * 9


async def test_a_killed_process_loses_nothing_acknowledged(tmp_path):
    """SIGKILL in the middle of saving, ten times: every acknowledged value is there, of both classes."""
    path = str(tmp_path / "store.db")
    body = """
    async def main():
        async with SQLiteAdapter(path) as adapter:
            async def weak():
                for n in range(10**6):
                    if adapter.commit_now({"weak": b"%d" % n}): os.write(1, b"weak %d\\n" % n)
                    await asyncio.sleep(0)
            async def strong(name):
                for n in range(10**6):
                    await adapter.commit({name: b"%d" % n}); os.write(1, b"%s %d\\n" % (name.encode(), n))
            await asyncio.gather(weak(), strong("x"), strong("y"))
    asyncio.run(main())
    """
    for attempt in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", HEAD + textwrap.dedent(body), path], stdout=subprocess.PIPE
        )
        said = b"".join(child.stdout.readline() for _ in range(20 + 37 * attempt))
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read()
        child.stdout.close()
        child.wait()
        found = await contents(path)
        acked = {}
        for name, number in re.findall(rb"(\w+) (\d+)\n", said):
            acked[name.decode()] = int(number)
        for name, number in acked.items():
            assert int(found[name]) in (number, number + 1)


ENDINGS = {
    "a loop that ended with commits on the way": """
        async def main():
            await adapter.aopen()
            for n in range(50): asyncio.ensure_future(adapter.commit({f"k{n}": b"1"}))
            await asyncio.sleep(0)
        asyncio.run(main())
        """,
    "a closed loop that was never run to the end": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(adapter.aopen())
        async def start():
            for n in range(50): tasks.append(loop.create_task(adapter.commit({f"k{n}": b"1"})))
        tasks = []
        loop.run_until_complete(start())
        loop.run_until_complete(asyncio.sleep(0))
        for task in tasks: task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()
        """,
    "commits on this thread and no close": """
        asyncio.run(adapter.aopen())
        for n in range(50): assert adapter.commit_now({f"k{n}": b"1"})
        """,
    "an adapter that is dropped": """
        async def main():
            global adapter
            await adapter.aopen()
            jobs = [asyncio.ensure_future(adapter.commit({f"k{n}": b"1"})) for n in range(50)]
            await asyncio.sleep(0)
            for job in jobs: job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            del jobs, adapter
        asyncio.run(main())
        gc.collect()
        for thread in threading.enumerate():
            if thread is not threading.current_thread(): thread.join(20)
        assert threading.active_count() == 1
        """,
    "sys.exit in a task": """
        async def main():
            await adapter.aopen()
            for n in range(50): asyncio.ensure_future(adapter.commit({f"k{n}": b"1"}))
            await asyncio.sleep(0)
            sys.exit(3)
        asyncio.run(main())
        """,
    "a loop in a daemon thread that goes on saving": """
        def forever():
            async def main():
                await adapter.aopen()
                await asyncio.gather(*(adapter.commit({f"k{n}": b"1"}) for n in range(50)))
                started.set()
                while True: await adapter.commit({"k0": b"2"})
            try: asyncio.run(main())
            except CapabilityUnavailableError: pass
        started = threading.Event()
        threading.Thread(target=forever, daemon=True).start()
        started.wait()
        """,
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_every_ending_ends_and_keeps_what_was_accepted(tmp_path, ending):
    """Without a close, whatever was taken is on the disk when the process has gone, and it goes."""
    path = str(tmp_path / "store.db")
    body = "adapter = SQLiteAdapter(path)\n" + textwrap.dedent(ENDINGS[ending])
    await asyncio.to_thread(run, path, body, code=3 if "sys.exit" in ending else 0)
    assert [file.name for file in tmp_path.iterdir()] == ["store.db"]
    assert set(await contents(path)) == {f"k{n}" for n in range(50)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
async def test_a_forked_child_must_and_can_reopen(tmp_path):
    """The inherited adapter is refused; one opened in the child is safe, and outlives the parent's."""
    path = str(tmp_path / "store.db")
    body = """
    async def save(adapter, name):
        for n in range(40):
            await adapter.commit({f"{name}{n}": b"1"})
            assert adapter.commit_now({f"{name}now{n}": b"1"}) or True

    async def child():
        for refused in (lambda: adapter.fetch(("p0",)), lambda: adapter.commit({"p0": b"2"})):
            try: await refused()
            except CapabilityUnavailableError as error: assert "open" in str(error)
            else: raise AssertionError("not refused")
        other = SQLiteAdapter(path, lock_timeout=30)
        await other.aopen()
        await save(other, "c")
        os.read(go, 1)
        await save(other, "d")
        assert os.path.exists(path + "-wal")
        await other.aclose()
        await adapter.aopen()
        await save(adapter, "e")
        await adapter.aclose()

    adapter = SQLiteAdapter(path, lock_timeout=30)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(adapter.aopen())
    loop.run_until_complete(save(adapter, "p"))
    go, tell = os.pipe()
    import warnings; warnings.simplefilter("ignore", DeprecationWarning)
    pid = os.fork()
    if pid == 0:
        asyncio.run(child())
        warnings.simplefilter("ignore", ResourceWarning)  # the loop is the parent's to close
        sys.exit(7)
    loop.run_until_complete(save(adapter, "q"))
    loop.run_until_complete(adapter.aclose())
    assert os.path.exists(path + "-wal"), "the child is connected"
    os.write(tell, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    loop.close()
    """
    await asyncio.to_thread(run, path, body)
    found = await contents(path)
    assert {f"{name}{n}" for name in "pqcde" for n in range(40)} <= set(found)


async def test_forking_beside_busy_threads(tmp_path):
    """A fork waits until nothing uses a connection: no child inherits a lock that nobody gives back."""
    path = str(tmp_path / "store.db")
    body = """
    import warnings; warnings.simplefilter("ignore", DeprecationWarning)
    adapter = SQLiteAdapter(path, lock_timeout=30)
    asyncio.run(adapter.aopen())
    stop = threading.Event()
    def busy(name):
        async def main():
            n = 0
            while not stop.is_set():
                n += 1
                await adapter.commit({name: b"%d" % n}, durability=(None, Durability.PROCESS_EXIT)[n % 2])
                await adapter.fetch((name,))
        asyncio.run(main())
    threads = [threading.Thread(target=busy, args=(f"t{n}",)) for n in range(3)]
    for t in threads: t.start()
    for number in range(8):
        pid = os.fork()
        if pid == 0:
            async def child():
                async with SQLiteAdapter(path, lock_timeout=30) as other:
                    await other.commit({f"child{number}": b"1"})
            asyncio.run(child())
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    stop.set()
    for t in threads: t.join()
    asyncio.run(adapter.aclose())
    """
    await asyncio.to_thread(run, path, body)
    assert {f"child{number}" for number in range(8)} <= set(await contents(path))


def test_no_thread_is_left(tmp_path):
    """Closing ends the writer thread."""

    async def once():
        async with SQLiteAdapter(tmp_path / "store.db") as adapter:
            await adapter.commit({"k": b"1"})

    before = set(threading.enumerate())
    asyncio.run(once())
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    assert set(threading.enumerate()) - before == set()


class Meddled:
    """A cursor before whose statement number ``at`` another process does something."""

    def __init__(self, connection, at, meddle):
        self.left = at
        self.cursor = connection.cursor()
        self.meddle = meddle

    def execute(self, *given):
        if not self.left:
            self.meddle()
        self.left -= 1
        return self.cursor.execute(*given)


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("again", [False, True], ids=["deleted", "deleted and saved again"])
async def test_a_key_deleted_while_its_version_is_looked_up_is_no_fault(tmp_path, at, again):
    """A save looks for the greater version without the lock: it is the record's, or the clock's."""
    path = tmp_path / "store"
    async with SQLiteAdapter(path) as other:

        def meddle():
            assert other.commit_now({"key": None}) is not None
            assert not again or other.commit_now({"key": b"again"}) is not None

        version = int(other.commit_now({"key": b"value"})["key"])
        with closing(sqlite3.connect(path)) as connection:
            clock = Clock(0)
            clock.catch_up(Meddled(connection, at, meddle), ["key"], version)
            assert clock.last >= version


HOLD = """
async def hold():
    async with SQLiteAdapter(path) as adapter:
        await adapter.commit({"theirs": b"1"})
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(hold())
"""


async def test_who_opens_a_store_that_this_process_inspects_can_write(tmp_path):
    """SQLite opens the index once for a process, to be read only where who inspects was the first."""
    path, began, go_on = tmp_path / "store", threading.Event(), threading.Event()
    holding = [sys.executable, "-c", HEAD + HOLD, path]
    with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert await asyncio.to_thread(other.stdout.readline) == b"open\n"

        def reading(connection):
            connection.execute("BEGIN")
            found = connection.execute("SELECT key FROM record").fetchall()
            began.set()
            go_on.wait(30)
            return found

        inspected = asyncio.create_task(asyncio.to_thread(Inspector(str(path), "test", 5).run, reading))
        await asyncio.to_thread(began.wait)
        with pytest.raises(StorageLockedError, match="this process is inspecting"):
            await SQLiteAdapter(path, lock_timeout=0.05).aopen()
        adapter = SQLiteAdapter(path)
        opening = asyncio.create_task(adapter.aopen())
        await asyncio.sleep(0.05)
        go_on.set()
        assert await inspected == [("theirs",)]
        await opening
        await adapter.commit({"ours": b"2"})
        await adapter.aclose()
        other.stdin.close()
    assert (await contents(path)).keys() == {"ours", "theirs"}
