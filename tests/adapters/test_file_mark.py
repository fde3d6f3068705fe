"""What processes share in memory: whose commits the mark tells of, and whether there is a journal."""

import asyncio
import sys
import threading

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.adapters._file.edits import Edit
from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.errors import ConflictError, StorageError
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.storage.journal import encode_journal
from axiom_persistence.testing.failing import FailingFileSystem, Fault
from axiom_persistence.testing.recording import Action, RecordingFileSystem

COMMITS = ({"a": b"1"}, {"a": b"2", "b": b"2"}, {"c": b"1"}, {"a": None}, {"b": None, "c": b"2"})


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


async def test_own_commits_leave_the_mark(place):
    """Saves, batches and deletions of this object do not move its mark, but everybody else's."""
    async with FileStorageAdapter(place) as one, FileStorageAdapter(place) as two:
        await two.commit({"x": b"0"})
        own, others = one.change_mark(), [two.change_mark()]
        for durability in Durability:
            for changes in COMMITS:
                await one.commit(changes, durability=durability)
                assert one.change_mark() == own
                others.append(two.change_mark())
        with pytest.raises(ConflictError):
            await one.commit({"a": b"3"}, expect={"c": "another"})
        assert one.change_mark() == own
        assert others == sorted(set(others))


async def test_the_mark_tells_of_every_commit_in_between(place):
    """However own commits and others' take turns, each of the others' moves the mark."""
    async with FileStorageAdapter(place) as one, FileStorageAdapter(place) as two:
        for turns in ("12", "121", "212", "1221", "11211", "2112"):
            marks = [one.change_mark()]
            for turn in turns:
                await (one if turn == "1" else two).commit({"a": turn.encode()})
                marks.append(one.change_mark())
            for turn, before, after in zip(turns, marks, marks[1:], strict=False):
                assert (before == after) == (turn == "1"), turns
        marks = [one.change_mark()]
        for turn in ("12", "21", "112", "211"):  # nobody looks in between
            for who in turn:
                await (one if who == "1" else two).commit({"a": turn.encode()})
            marks.append(one.change_mark())
        assert len(set(marks)) == len(marks)


async def test_no_look_takes_an_own_commit_for_somebody_elses(place):
    """While an own commit is on its way, another thread finds the mark unmoved at every moment."""
    stop = threading.Event()
    seen = set()

    def look(adapter):
        while not stop.is_set():
            seen.add(adapter.change_mark())

    interval = sys.getswitchinterval()
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"0"})
        looking = asyncio.ensure_future(asyncio.to_thread(look, adapter))
        sys.setswitchinterval(1e-5)
        try:
            for i in range(200):
                await adapter.commit({"a": b"%d" % i}, durability=Durability.PROCESS_EXIT)
        finally:
            sys.setswitchinterval(interval)
            stop.set()
            await looking
        assert seen == {adapter.change_mark()}


async def test_a_cache_asks_again_only_after_others_commits(place):
    """Own saves leave what is cached; a save of somebody else is seen by the next load."""
    async with open_persistence(place) as one, open_persistence(place) as two:
        await one.save_many({"a": 1, "b": 1})
        assert await one.load_many(["a", "b"], int) == {"a": 1, "b": 1}
        misses = one.adapter.stats()["cache_misses"]
        for i in range(10):
            await one.save("a", i)
            assert await one.load("b", int) == 1
            assert await one.load("a", int) == i
        assert one.adapter.stats()["cache_misses"] == misses
        await two.save("b", 2)
        assert await one.load("b", int) == 2


async def test_a_cache_misses_no_commit_of_a_busy_neighbour(place):
    """While both commit without a pause, what the other has acknowledged is what is loaded."""
    async with open_persistence(place) as one, open_persistence(place) as two:
        done = 0

        async def own():
            while done < 150:
                await one.save("own", done, durability="process_exit")

        task = asyncio.ensure_future(own())
        for done in range(1, 151):
            await two.save("theirs", done, durability="process_exit")
            assert await one.load("theirs", int) == done
        await task


async def test_a_commit_finished_for_somebody_else_is_not_our_own(place):
    """What another process decided and could not apply moves the mark of whoever applies it."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"1", "b": b"1"})
        mark = adapter.change_mark()
        (place / ".axiom.journal").write_bytes(encode_journal({"a": b"2", "b": b"2"}))
        assert (await adapter.fetch([*"ab", *(f"{i}" for i in range(99))]))["a"].data == b"1"
        assert (await adapter.previous("a")).data == b"1"  # takes the lock, and finishes it first
        assert await adapter.read("a") == b"2"
        assert adapter.change_mark() != mark


async def test_an_own_commit_finished_late_is_not_hidden_from_others(place):
    """A commit that failed half way is finished by the next one, and others see that it changed."""
    failing = FailingFileSystem(local_filesystem(place))
    async with FileStorageAdapter(place, filesystem=failing) as one, FileStorageAdapter(place) as two:
        await one.commit({"a": b"1", "b": b"1"})
        mark = two.change_mark()
        failing.fault = Fault(code=5, operation="replace", at=3)
        with pytest.raises(StorageError):
            await one.commit({"a": b"2", "b": b"2"})
        failing.fault = None
        assert await two.read("b") == b"2"
        assert two.change_mark() != mark


# The journal


async def test_a_decided_commit_comes_before_the_next_one(place):
    """A journal that its writer did not live to apply is found by the next commit of another process."""
    async with FileStorageAdapter(place) as one, FileStorageAdapter(place) as two:
        await two.commit({"a": b"1", "b": b"1"})
        with one._tree.writing():
            staged = one._tree.stage({"a": Edit(b"2"), "b": Edit(b"2")}, durable=True)
            one._tree._write_journal(staged)  # and is killed
        await two.commit({"b": b"3"})
        assert await two.read("a") == b"2"
        assert await two.read("b") == b"3"
        assert two.stats()["recovered"] == 1
        assert not (place / ".axiom.journal").exists()


async def test_an_opening_looks_for_the_journal_itself(place):
    """What the shared memory says of a journal is not believed across a loss of power."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"1", "b": b"1"})
    (place / ".axiom.journal").write_bytes(encode_journal({"a": b"2", "b": b"2"}))
    async with FileStorageAdapter(place) as adapter:
        assert await adapter.read("a") == b"2"


async def test_a_save_takes_no_more_operations_than_it_needs(place):
    """Written, synced, renamed, directory synced: a warm save does nothing else that could take its time."""
    recording = RecordingFileSystem(local_filesystem(place))
    looked = []
    around = recording.around

    def watched(operation, arguments, perform):
        looked.append(operation)
        return around(operation, arguments, perform)

    recording.around = watched
    async with FileStorageAdapter(place, filesystem=recording) as adapter:
        for data in (b"1", b"2"):
            await adapter.commit({"n/a": data})
        start = len(recording.operations)
        looked.clear()
        await adapter.commit({"n/a": b"3"})
        assert [op.action for op in recording.operations[start:]] == [
            Action.CREATE,
            Action.WRITE,
            Action.SYNC,
            Action.REPLACE,
            Action.SYNC_DIRECTORY,
        ]
        assert {"read", "scan"} & {*looked} == set()
        assert looked.count("status") == 1  # that a symbolic link is not in its place
        assert looked.count("try_lock") == 2
