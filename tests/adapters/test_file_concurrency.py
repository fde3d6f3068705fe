"""The file store among tasks, threads and processes."""

import asyncio
import os
import subprocess
import sys
import threading
import time

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.errors import CapabilityUnavailableError, ConflictError, StorageLockedError
from axiom_persistence.storage.adapter import NOT_NOW, Durability
from axiom_persistence.storage.journal import encode_journal

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes, links and fork")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


def tree(place):
    """Every file of a directory, by relative name."""
    return {
        path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()
    }


def values(place):
    return {name: data for name, data in tree(place).items() if not name.startswith(".axiom")}


async def test_commits_keep_the_order_of_the_calls(place):
    """Of commits to one key that are under way together, the last call wins."""
    async with FileStorageAdapter(place) as adapter:
        for _ in range(10):
            await asyncio.gather(*(adapter.commit({"a": b"%d" % i}) for i in range(20)))
            assert await adapter.read("a") == b"19"


async def test_cancelling_leaves_done_or_not_done(place):
    """A cancelled commit is whole or absent, and the store goes on."""
    async with FileStorageAdapter(place) as adapter:
        for i in range(20):
            task = asyncio.ensure_future(adapter.commit({"a": b"%d" % i, "b": b"%d" % i}))
            for _ in range(i % 4):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            found = await adapter.fetch(("a", "b"))
            assert len({stored.data for stored in found.values()}) <= 1
        await adapter.commit({"a": b"end"})
        assert await adapter.read("a") == b"end"


async def test_readers_see_whole_commits_only(place):
    """Two adapters, one committing pairs without a pause: the other never reads half of one."""
    stop = threading.Event()

    async def write(adapter):
        number = 0
        while not stop.is_set():
            number += 1
            await adapter.commit(
                {"a": b"%d" % number, "z/b": b"%d" % number}, durability=Durability.PROCESS_EXIT
            )
        return number

    async with FileStorageAdapter(place) as writer, FileStorageAdapter(place) as reader:
        await writer.commit({"a": b"0", "z/b": b"0"})
        mark = reader.change_mark()
        task = asyncio.ensure_future(write(writer))
        last = reads = 0
        while reads < 400 or last <= 10:  # however slow the writer is
            reads += 1
            found = await reader.fetch(("a", "z/b"))
            assert found["a"].data == found["z/b"].data
            alone = int((await reader.fetch(("a",)))["a"].data)
            assert int((await reader.fetch(("z/b",)))["z/b"].data) >= alone >= last
            last = alone
            await asyncio.sleep(0)
        stop.set()
        assert await task > 10
        assert reader.change_mark() != mark


async def test_an_interrupted_writer_blocks_no_reader(place):
    """A process that died in the middle of its renames is cleaned up after by the next reader."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"1", "b": b"1"})
        with adapter._tree.place.reading(exclusive=True):
            (place / ".axiom.journal").write_bytes(encode_journal({"a": b"2", "b": b"2", "c": None}))
            adapter._tree.place.mark.begin()
            (place / "a.json").write_bytes(b"2")
        found = await adapter.fetch(("a", "b"))
        assert {key: stored.data for key, stored in found.items()} == {"a": b"2", "b": b"2"}
        assert adapter.stats()["recovered"] == 1
        assert (await adapter.previous("b")).data == b"1"
        assert await adapter.previous("a") is None  # what was in place is not its own previous generation
        assert adapter.fetch_now("a").data == b"2"


async def test_a_writer_that_died_between_two_renames(place):
    """Where nothing is left to finish, the next reader says so, and readers need no lock again."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"1"})
        adapter._tree.place.mark.begin()
        assert adapter.fetch_now("a") is NOT_NOW
        assert await adapter.read("a") == b"1"
        assert adapter.fetch_now("a").data == b"1"


async def test_who_waits_comes_before_who_comes_back(place):
    """Whoever waits for the lock gets it before its holder can take it again."""
    async with FileStorageAdapter(place) as one, FileStorageAdapter(place) as two:
        first, second = one._tree.place._writer, two._tree.place._writer
        first.acquire(exclusive=True, timeout=1)
        waiting = asyncio.ensure_future(asyncio.to_thread(second.acquire, exclusive=True, timeout=10))
        while two._files.try_lock(first.gate, exclusive=True):
            two._files.unlock(first.gate)
            await asyncio.sleep(0.001)
        first.release()
        with pytest.raises(BlockingIOError):
            first.acquire(exclusive=True, timeout=0)
        await waiting
        second.release()


async def test_a_torn_journal_is_forgotten(place):
    """A journal that was never whole changes nothing and is removed."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"1", "b": b"1"})
    whole = encode_journal({"a": b"2", "b": b"2"})
    for data in (b"", whole[:-1], whole[: len(whole) // 2], bytes(len(whole)), whole + b"\0"):
        (place / ".axiom.journal").write_bytes(data)
        async with FileStorageAdapter(place) as adapter:
            assert await adapter.read("a") == b"1"
        assert values(place) == {"a.json": b"1", "b.json": b"1"}
        assert not (place / ".axiom.journal").exists()


async def test_the_lock_is_waited_for_and_named(place):
    """Who cannot get the lock in time says so, with the key, and has changed nothing."""
    async with FileStorageAdapter(place) as holder, FileStorageAdapter(place, lock_timeout=0.05) as waiter:
        with holder._tree.place.reading(exclusive=True):
            with pytest.raises(StorageLockedError) as caught:
                await waiter.commit({"a": b"1"})
            assert caught.value.key == "a"
            assert await waiter.read("a") is None
        await waiter.commit({"a": b"2"})


async def test_a_busy_writer_starves_nobody(place):
    """Beside a process that commits without a pause, another one gets its turn again and again."""
    script = (
        "import asyncio, sys\n"
        "from axiom_persistence.adapters.file import FileStorageAdapter\n"
        "from axiom_persistence.storage.adapter import NOT_NOW, Durability\n"
        "async def main():\n"
        "    async with FileStorageAdapter(sys.argv[1]) as a:\n"
        "        print('ready', flush=True)\n"
        "        while await a.read('stop') is None:\n"
        "            await asyncio.gather(*(a.commit({'busy': b'%d' % i}) for i in range(20)))\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(place), stdout=subprocess.PIPE
    )
    await child.stdout.readline()
    async with FileStorageAdapter(place, lock_timeout=5) as adapter:
        for i in range(20):
            await adapter.commit({"mine": b"%d" % i})
        await adapter.commit({"stop": b""})
    assert await child.wait() == 0


async def test_expectations_hold_between_commits_of_one_group(place):
    """Of many compare-and-sets on one version exactly one wins, and its value is the one stored."""
    async with FileStorageAdapter(place) as adapter:
        version = (await adapter.commit({"a": b"0"}))["a"]
        results = await asyncio.gather(
            *(adapter.commit({"a": b"%d" % i, "b": b"%d" % i}, expect={"a": version}) for i in range(1, 20)),
            return_exceptions=True,
        )
        won = [result for result in results if isinstance(result, dict)]
        assert len(won) == 1
        assert sum(isinstance(result, ConflictError) for result in results) == 18
        found = await adapter.fetch(("a", "b"))
        assert {key: stored.version for key, stored in found.items()} == won[0]


@posix
async def test_a_forked_child_must_reopen(place):
    """In a forked child the inherited adapter says so, and holds on to no lock of the parent."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"1"})
        with adapter._tree.place.reading(exclusive=True):
            child = os.fork()
            if not child:
                os._exit(in_child(adapter, place))
        # Had the child kept a descriptor of the lock, this would wait for its end.
        await adapter.commit({"a": b"2"})
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert await adapter.read("a") == b"2"


def in_child(adapter, place):
    """How many of the ways to use the inherited adapter are not refused, and locks are not let go of."""
    wrong = 0
    for use in (adapter.aopen(), adapter.fetch(("a",)), adapter.commit({"a": b"3"}), adapter.saved_at("a")):
        try:
            use.send(None)
        except CapabilityUnavailableError as error:
            wrong += "forked" not in str(error)
        except BaseException:
            wrong += 1
        else:
            wrong += 1
    if os.path.isdir("/proc/self/fd"):
        links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        wrong += any(link.startswith(str(place)) for link in links)
    time.sleep(0.05)
    return wrong


async def test_what_is_queued_when_the_program_ends_is_written(place):
    """A program that ends without closing has written what it had called for, and ends."""
    script = (
        "import asyncio, sys\n"
        "from axiom_persistence.adapters.file import FileStorageAdapter\n"
        "async def main():\n"
        "    a = FileStorageAdapter(sys.argv[1])\n"
        "    await a.aopen()\n"
        "    for i in range(50):\n"
        "        asyncio.ensure_future(a.commit({'k%d' % i: b'1'}))\n"
        "    await asyncio.sleep(0)\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(place), stderr=subprocess.PIPE
    )
    _, errors = await child.communicate()
    assert child.returncode == 0, errors
    assert errors == b""
    async with FileStorageAdapter(place) as adapter:
        assert len([key async for key in adapter.keys()]) == 50  # noqa: SIM118


async def test_a_dropped_adapter_ends_its_thread(place):
    """An adapter that is dropped without closing leaves no thread and no lock behind."""
    adapter = FileStorageAdapter(place)
    await adapter.aopen()
    await adapter.commit({"a": b"1"}, durability=Durability.PROCESS_EXIT)
    thread = adapter._writer._thread
    del adapter
    await asyncio.to_thread(thread.join)
    async with FileStorageAdapter(place) as store:
        assert await store.read("a") == b"1"
