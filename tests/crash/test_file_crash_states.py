"""What a loss of power leaves of a file store: every state, looked at."""

import asyncio
import errno
import re
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.errors import StorageError
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.testing.crash import Image, explore, final_image
from axiom_persistence.testing.failing import FailingFileSystem, Fault
from axiom_persistence.testing.recording import Action, RecordingFileSystem
from support import planted_files as planted
from support.known import Known
from support.nothing_to_sync import nothing_to_sync
from support.verbs import RELYING, Padded, User

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
LENGTH = 24  # all values are as long, so that a write in place can do without truncation


def value(number, key=""):
    return f"{number}:{key}:".encode().ljust(LENGTH, b"v")


SAVES = [{("window", "theme", "client/font", "a/b/deep")[i % 4]: value(i, "one")} for i in range(17)] + [
    {"theme": None},
    {"theme": value(18, "again")},
    {"client/font": None},
]

BATCHES = [
    {"window": value(0, "w"), "client/font": value(0, "f")},
    {"window": value(1, "w"), "theme": value(1, "t")},
    {"client/font": value(2, "f"), "client/size": value(2, "s")},
    {"window": None, "theme": value(3, "t")},
    {"window": value(4, "w"), "client/size": None, "theme": value(4, "t")},
]

MIXED = [
    {"window": value(0, "w"), "client/font": value(0, "f")},
    {"client/font": value(1, "f")},
    {"client/font": value(2, "f")},
]
"""Were the journal of the first to come back, it would undo the others, which sync another directory."""

LARGE = [{"theme": value(0), "window": value(0) * 20}]
"""A tear falls inside the last value, where nothing but a checksum can tell."""

REVIVED = [{"theme": value(0)}, {"theme": value(1)}, {"theme": None}, {"theme": value(2)}]


@pytest.fixture
def scratch():
    """Memory, where there is some: thousands of states are written and none has to stay."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="axiom-crash-", dir=memory if memory.is_dir() else None))
    yield place
    shutil.rmtree(place)


def after(history, count):
    """The whole store after the first commits of a history."""
    state = {}
    for changes in history[:count]:
        for key, data in changes.items():
            state.pop(key, None)
            if data is not None:
                state[key] = data
    return state


async def record(kind, place, history, *, fault=None):
    """Run a history through a recording file system; what raised is not acknowledged."""
    failing = FailingFileSystem(local_filesystem(place))
    recording = RecordingFileSystem(failing)
    adapter = kind(place, filesystem=recording)
    await adapter.aopen()
    failing.fault = fault
    for number, changes in enumerate(history):
        try:
            await adapter.commit(changes)
        except StorageError:
            break
        recording.acknowledge(number)
    operations = list(recording.operations)
    failing.fault = None
    await adapter.aclose()
    return operations


def checking(kind, history):
    """The promise: all that was acknowledged, at most the one commit under way, nothing by halves."""
    known = {key for changes in history for key in changes}
    seen = set()

    async def check(place, acknowledged):
        allowed = [after(history, len(acknowledged)), after(history, len(acknowledged) + 1)]
        # Leftover temporary files are removed unread: all else is tried once without regard to them.
        new = (left := (lasting(place), acknowledged)) not in seen
        seen.add(left)
        recording = RecordingFileSystem(local_filesystem(place))
        async with kind(place, filesystem=recording) as adapter:
            recovery = list(recording.operations)
            found = {key: stored.data for key, stored in (await adapter.fetch(known)).items()}
            assert found in allowed, f"found {found}"
            if new:
                await still_usable(adapter, found)
        return recovery if new and any(op.action is not Action.OPEN for op in recovery) else None

    return check


def lasting(place):
    """Everything in a directory but temporary files."""
    left = Image.read_from(place)
    kept = {name: at for name, at in left.files.items() if not TEMPORARY.search(name)}
    return Image(left.directories, kept, left.contents).key()


async def still_usable(adapter, found):
    assert {key async for key in adapter.keys()} == {*found}  # noqa: SIM118 - not a dict
    assert await adapter.check() == []
    await adapter.commit({"window": b"new", "theme": b"new"}, durability=Durability.PROCESS_EXIT)
    for key in ("window", "theme"):
        earlier = await adapter.previous(key)
        # A value that was deleted does not come back as the one before.
        assert (None if earlier is None else earlier.data) == found.get(key)


async def explored(kind, history, scratch, *, fault=None, stop_at=None):
    operations = await record(kind, scratch / "recorded", history, fault=fault)
    return await explore(
        operations, checking(kind, history), scratch=scratch, stop_at=stop_at, random_names=TEMPORARY
    )


@pytest.mark.parametrize(("name", "history"), [("20 saves", SAVES), ("5 batches", BATCHES), ("mixed", MIXED)])
async def test_no_crash_state_breaks_the_promise(name, history, scratch):
    """After any loss of power every acknowledged commit is there, whole, and the store works."""
    found = await explored(FileStorageAdapter, history, scratch)
    print(f"\n{name}: {found.states} crash states, {found.recoveries} of them during recovery")
    assert not found.violations, str(found.violations[0])
    assert found.exhaustive
    assert found.states > 100


PLANTED = [
    (planted.WithoutFileSync, SAVES, None),
    (planted.WithoutDirectorySync, SAVES, None),
    (planted.WithoutParentSync, SAVES, None),
    (planted.InPlace, SAVES, None),
    (planted.AcknowledgedBeforeSync, SAVES, None),
    (planted.JournalWithoutChecksum, LARGE, None),
    (planted.JournalClearedBeforeApply, BATCHES, None),
    (planted.JournalNotSynced, BATCHES, None),
    (planted.JournalClearingNotSynced, MIXED, None),
    (planted.WithoutJournal, BATCHES, None),
    (planted.RetriedSync, SAVES, Fault(code=errno.EIO, operation="sync", at=3)),
    (planted.RetriedSync, SAVES, Fault(code=errno.EIO, operation="sync_directory", at=3)),
    (planted.RevivingTree, REVIVED, None),
]


@pytest.mark.parametrize(
    ("tree", "history", "fault"),
    PLANTED,
    ids=[f"{tree.__name__}-{i}" for i, (tree, _, _) in enumerate(PLANTED)],
)
async def test_a_planted_bug_is_caught(tree, history, fault, scratch):
    """The explorer finds each of the classic mistakes."""
    found = await explored(planted.planted(tree), history, scratch, fault=fault, stop_at=1)
    print(
        f"\n{tree.__name__}: caught in state {found.states}: {found.violations and found.violations[0].error}"
    )
    assert found.violations
    assert isinstance(found.violations[0].error, AssertionError | StorageError)


@pytest.mark.parametrize("operation", ["sync", "sync_directory"])
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_failed_sync_is_never_retried(operation, at, scratch):
    """After a failed sync the commit raises, and nothing that is acknowledged rests on that file."""
    fault = Fault(code=errno.EIO, operation=operation, at=at)
    for history in (SAVES[:3], BATCHES[:1]):
        found = await explored(FileStorageAdapter, history, scratch, fault=fault)
        assert not found.violations, str(found.violations[0])
        shutil.rmtree(scratch / "recorded")


async def test_commits_that_share_their_syncs(scratch):
    """Commits written together: each is whole or absent after a crash, all are there once acknowledged."""
    jobs = [{"a": value(1)}, {"a": value(2)}, {"b": value(3), "n/c": value(3)}, {"a": None}]
    jobs.append({"a": value(5)})
    for some in (jobs, [jobs[0], jobs[1], {"n/d": value(4)}]):
        place = scratch / "recorded"
        recording = RecordingFileSystem(local_filesystem(place))
        adapter = FileStorageAdapter(place, filesystem=recording)
        async with adapter:
            await adapter.commit({"a": value(9)})
            await adapter.commit({"a": value(0)})
            recording.acknowledge("first")
            with adapter._tree.place.reading(exclusive=True):  # the writer has to wait, the others gather
                waiting = [asyncio.ensure_future(adapter.commit(changes)) for changes in some]
                await asyncio.sleep(0.01)
            await asyncio.gather(*waiting)
            assert adapter.stats()["groups"] == 3
            operations = list(recording.operations)
            recording.acknowledge("all")
            assert (await adapter.fetch(("a",)))["a"].data == after(some, len(some))["a"]
            earlier = await adapter.previous("a")
            # Only the first two were there when the group began, and the second not for a minute.
            assert (None if earlier is None else earlier.data) == (None if some is jobs else value(9))
        operations.append(recording.operations[len(operations)])

        async def check(place, acknowledged, some=some):
            async with FileStorageAdapter(place) as store:
                found = {k: s.data for k, s in (await store.fetch(("a", "b", "n/c", "n/d"))).items()}
            whole = after([{"a": value(0)}, *some], 1 + len(some))
            if "all" in acknowledged:
                assert found == whole
            elif "first" in acknowledged:
                assert ("b" in found) == ("n/c" in found)
                assert found.get("a") in (value(0), whole["a"])
                assert all(found[key] == whole[key] for key in found if key != "a")

        found = await explore(operations, check, scratch=scratch, random_names=TEMPORARY)
        print(f"\n{len(some)} commits together: {found.states} crash states")
        assert found.exhaustive
        assert not found.violations, str(found.violations[0])
        shutil.rmtree(place)


# -- every verb ------------------------------------------------------------------------------------


class Both(RecordingFileSystem):
    """What one of several adapters over a directory asks for, in the record of all."""

    def __init__(self, place, others):
        super().__init__(local_filesystem(place))
        if others:
            self.operations, self._lock = others[0].operations, others[0]._lock
        self._count = len(others) << 20


async def used(kind, place, names):
    """The record of one adapter that uses every verb, or of two that rely on each other."""
    here = place.parent
    recordings, users = [], []

    def tell(*words):
        recordings[0].acknowledge(" ".join(map(str, words)))

    async with AsyncExitStack() as stack:
        for name in names:
            recordings.append(Both(place, recordings))
            adapter = kind(place, filesystem=recordings[-1])
            persistence = await stack.enter_async_context(open_persistence(adapter))
            users.append(User(persistence, name, tell, pads=(10,)))
        if len(users) == 1:
            await users[0].alone()
        else:
            await asyncio.gather(users[0].publish(here, RELYING), users[1].rely(here, RELYING))
        return list(recordings[0].operations)


async def all_kept(place, said):
    """What a persistence finds in an image, compared with what was said."""
    known = Known()
    for words in said:
        known.note(*words.split())
    async with open_persistence(FileStorageAdapter(place)) as persistence:
        keys = [key async for key in persistence.keys("")]
        found = {key: await persistence.load(key, Padded) for key in keys}
    fault = known.compare({key: value.n for key, value in found.items() if value is not None})
    assert fault is None, fault


@pytest.mark.parametrize("names", ["a", "ab"])
async def test_what_was_found_done_is_as_durable_as_was_asked(names, scratch):
    """Deletions, empty work and work already done by somebody, here or there, who promised less."""
    operations = await used(FileStorageAdapter, scratch / "recorded", names)
    found = await explore(operations, all_kept, scratch=scratch, random_names=TEMPORARY, ordered=True)
    print(f"\n{names}: {found.states} crash states")
    assert not found.violations, str(found.violations[0])
    assert found.states > 100


class NothingToSync(FileStorageAdapter):
    commit = nothing_to_sync(FileStorageAdapter.commit)


@pytest.mark.parametrize(
    ("kind", "names"),
    [(NothingToSync, "a"), (NothingToSync, "ab"), (planted.planted(planted.ReliesOnNothing), "ab")],
)
async def test_nothing_to_do_and_nothing_to_sync_is_caught(kind, names, scratch):
    """The same exploration finds an adapter that syncs only what it writes itself."""
    operations = await used(kind, scratch / "recorded", names)
    found = await explore(operations, all_kept, scratch=scratch, random_names=TEMPORARY, stop_at=1)
    assert found.violations
    assert "was acknowledged" in str(found.violations[0].error)


async def test_the_record_is_complete(scratch):
    """Following the recorded operations gives exactly the directory that is really there."""
    for history in (SAVES, BATCHES, REVIVED):
        operations = await record(FileStorageAdapter, scratch / "recorded", history)
        real, followed = Image.read_from(scratch / "recorded"), final_image(operations)
        for image in (real, followed):  # written through mapped memory, and nothing that must survive
            image.contents.pop(image.files[".axiom.mark"])
            image.files.pop(".axiom.mark")
        assert followed.key() == real.key()
        shutil.rmtree(scratch / "recorded")
