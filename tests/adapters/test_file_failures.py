"""The file store on a medium that loses, refuses and breaks."""

import asyncio
import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.errors import PersistenceError, StorageError, StorageFullError
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.testing.failing import FailingFileSystem, Fault
from axiom_persistence.testing.recording import Action, RecordingFileSystem


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def memory_path():
    """Memory, where there is some: for tests that save thousands of times and need no disk for it."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="axiom-file-", dir=memory if memory.is_dir() else None))
    yield place
    shutil.rmtree(place)


def tree(place):
    """Every file of a directory, by relative name."""
    return {
        path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()
    }


def values(place):
    return {name: data for name, data in tree(place).items() if not name.startswith(".axiom")}


# Durability


async def test_a_stronger_commit_flushes_everything_older(place):
    """A commit for POWER_LOSS, an empty one too, and closing sync what PROCESS_EXIT left unsynced."""
    recording = RecordingFileSystem(local_filesystem(place))

    def synced(start):
        return [op.name for op in recording.operations[start:] if op.action is Action.SYNC_DIRECTORY]

    def files(start):
        return sum(op.action is Action.SYNC for op in recording.operations[start:])

    async with FileStorageAdapter(place, filesystem=recording) as adapter:
        start = len(recording.operations)
        await adapter.commit({"x/a": b"1"}, durability=Durability.PROCESS_EXIT)
        await adapter.commit({"y/b": b"1", "y/c": b"1"}, durability=Durability.PROCESS_EXIT)
        assert synced(start) == []
        assert files(start) == 0
        await adapter.commit({})
        assert set(synced(start)) == {"", "x", "y"}
        assert files(start) == 3
        start = len(recording.operations)
        await adapter.commit({"x/a": b"2"}, durability=Durability.PROCESS_EXIT)
        await adapter.commit({"z": b"1"})
        assert set(synced(start)) == {"", "x"}
        assert files(start) == 2
        start = len(recording.operations)
        await adapter.commit({"x/a": b"3"}, durability=Durability.PROCESS_EXIT)
    assert synced(start) == ["x"]
    assert files(start) == 1


async def test_the_removal_of_a_journal_is_synced_by_whoever_syncs_next(place):
    """A journal removed without a sync could come back and undo what another process commits."""
    recording = RecordingFileSystem(local_filesystem(place))
    async with FileStorageAdapter(place) as one, FileStorageAdapter(place, filesystem=recording) as two:
        await two.commit({"x/a": b"1"})
        for expected in ({"", "x"}, {"x"}):
            start = len(recording.operations)
            if "" in expected:
                await one.commit({"x/a": b"2", "x/b": b"2"}, durability=Durability.PROCESS_EXIT)
            await two.commit({"x/a": b"3"})
            synced = {op.name for op in recording.operations[start:] if op.action is Action.SYNC_DIRECTORY}
            assert synced == expected


async def test_readers_need_no_lock_after_a_failed_rename(place):
    """A single save that failed leaves the store readable at full speed."""
    failing = FailingFileSystem(local_filesystem(place))
    async with FileStorageAdapter(place, filesystem=failing) as adapter:
        await adapter.commit({"a": b"1"})
        failing.fault = Fault(code=errno.EIO, operation="replace")
        with pytest.raises(StorageError):
            await adapter.commit({"a": b"2"})
        assert adapter.fetch_now("a").data == b"1"
        assert values(place) == {"a.json": b"1"}


async def test_unsynced_commits_are_synced_in_the_background(place):
    """What PROCESS_EXIT left unsynced is synced soon, with no further call."""
    recording = RecordingFileSystem(local_filesystem(place))
    async with FileStorageAdapter(place, filesystem=recording) as adapter:
        start = len(recording.operations)
        await adapter.commit({"a": b"1"}, durability=Durability.PROCESS_EXIT)
        while not any(op.action is Action.SYNC_DIRECTORY for op in recording.operations[start:]):
            await asyncio.sleep(0.02)


async def test_after_a_failed_sync_the_store_refuses_writes(place):
    """A failed sync fails its commit and every later one, until the store is reopened; reads go on."""
    for operation in ("sync", "sync_directory"):
        failing = FailingFileSystem(local_filesystem(place))
        adapter = FileStorageAdapter(place, filesystem=failing)
        async with adapter:
            await adapter.commit({"a": b"kept"})
            failing.fault = Fault(code=errno.EIO, operation=operation)
            with pytest.raises(StorageError):
                await adapter.commit({"a": b"new"})
            failing.fault = None
            with pytest.raises(StorageError, match="reopened"):
                await adapter.commit({"b": b"2"})
            assert await adapter.read("a") in (b"kept", b"new")
        async with adapter:
            await adapter.commit({"b": b"3"})
            assert await adapter.read("b") == b"3"


async def test_a_failed_background_sync_is_raised_at_closing(place):
    """What could not be made durable is not kept quiet."""
    failing = FailingFileSystem(local_filesystem(place))
    adapter = FileStorageAdapter(place, filesystem=failing)
    await adapter.aopen()
    await adapter.commit({"a": b"1"}, durability=Durability.PROCESS_EXIT)
    failing.fault = Fault(code=errno.EIO, operation="sync", sticky=True)
    with pytest.raises(StorageError, match="syncing"):
        await adapter.aclose()
    failing.fault = None
    async with adapter:
        assert await adapter.read("a") == b"1"


# A medium that fails


async def outcome(adapter, action):
    """The error of an action, which is of our tree or a bug."""
    try:
        await action(adapter)
    except PersistenceError as error:
        return error
    return None


ACTIONS = {
    "open": (lambda adapter: adapter.aopen(), {}),
    "save": (lambda adapter: adapter.commit({"n/a": b"new"}), {"n/a": b"new"}),
    "create": (lambda adapter: adapter.commit({"fresh/x": b"new"}), {"fresh/x": b"new"}),
    "save_many": (
        lambda adapter: adapter.commit({"n/a": b"new", "b": b"new", "fresh/x": b"new"}),
        {"n/a": b"new", "b": b"new", "fresh/x": b"new"},
    ),
    "delete": (lambda adapter: adapter.delete("n/a"), {"n/a": None}),
    "close": (lambda adapter: adapter.aclose(), {}),
}
FIRST = {"n/a": b"old", "b": b"old"}
CODES = [errno.EIO, errno.ENOSPC, errno.EACCES, errno.EINTR]


async def prepared(place, name):
    failing = FailingFileSystem(local_filesystem(place))
    adapter = FileStorageAdapter(place, filesystem=failing, lock_timeout=1)
    if name != "open":
        await adapter.aopen()
        await adapter.commit(FIRST)
        await adapter.commit({"n/a": b"old"}, durability=Durability.PROCESS_EXIT)
    return failing, adapter


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "sticky"])
@pytest.mark.parametrize("name", ACTIONS)
async def test_every_failing_operation(memory_path, name, sticky):
    """Each operation failing in each way: an error of ours, nothing acknowledged lost, saving works again."""
    action, changes = ACTIONS[name]
    failing, adapter = await prepared(memory_path / "count", name)
    failing.fault = None
    await action(adapter)
    count = failing.count
    await adapter.aclose()
    assert count >= 3
    faults = 0
    for at in range(1, count + 1):
        for code in CODES:
            for done in (False, True)[: 1 if code == errno.EINTR else 2]:  # interrupted means not done
                place = memory_path / f"{at}-{code}-{done}"
                failing, adapter = await prepared(place, name)
                failing.fault = Fault(code=code, at=at, sticky=sticky, done=done)
                error = await outcome(adapter, action)
                faults += bool(failing.struck)
                if error is not None:
                    assert str(place) in str(error), error
                    assert not changes or error.key in changes, error
                failing.fault = None
                await outcome(adapter, FileStorageAdapter.aclose)
                await look_again(place, {} if name == "open" else FIRST, changes, failed=error is not None)
    print(f"\n{name}: {faults} faults in {count} operations")
    assert faults >= count * len(CODES)


async def look_again(place, before, changes, *, failed):
    whole = {key: data for key, data in (before | changes).items() if data is not None}
    async with FileStorageAdapter(place) as store:
        found = {key: stored.data for key, stored in (await store.fetch([*before, *changes])).items()}
        assert found in ([before, whole] if failed else [whole])
        assert await store.check() == []
        await store.commit({"n/a": b"again", "b": b"again"})
        assert await store.read("n/a") == b"again"


async def test_short_writes(place):
    """A medium that takes half of what it is given gets all of it in the end."""
    failing = FailingFileSystem(local_filesystem(place), Fault(short=True, sticky=True))
    data = os.urandom(100_000)
    async with FileStorageAdapter(place, filesystem=failing) as adapter:
        await adapter.commit({"a": data, "b": data})
    assert len(failing.struck) > 30
    assert values(place) == {"a.json": data, "b.json": data}


async def test_in_a_group_only_the_failing_commit_fails(place):
    """Of commits written together, those whose values can be written succeed."""

    class Choosy(FailingFileSystem):
        def around(self, operation, arguments, perform):
            if operation == "write_some" and bytes(arguments[1]) == b"bad":
                raise OSError(errno.ENOSPC, "no room for this one")
            return super().around(operation, arguments, perform)

    async with FileStorageAdapter(place, filesystem=Choosy(local_filesystem(place))) as adapter:
        with adapter._tree.place.reading(exclusive=True):  # the writer waits, and the commits gather
            changes = ({"a": b"1"}, {"b": b"bad"}, {"c": b"1", "d": b"bad"}, {"e": b"1"})
            waiting = [asyncio.ensure_future(adapter.commit(some)) for some in changes]
            await asyncio.sleep(0.01)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [getattr(error, "key", None) for error in results] == [None, "b", "d", None]
        assert all(isinstance(results[i], StorageFullError) for i in (1, 2))
        assert values(place) == {"a.json": b"1", "e.json": b"1"}
