"""What a crash leaves of migrate, rollback and finalize, at every moment; and bugs that are noticed by it."""

import shutil
import tempfile
from pathlib import Path

import pytest

from axiom_persistence import AdapterBasedPersistence, FileStorageAdapter, SQLiteAdapter
from axiom_persistence.jobs import _migration, _undoing, migrate, rollback
from axiom_persistence.jobs._migration import Headline
from axiom_persistence.jobs._originals import ORIGINALS
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.records.migrations import Migrations
from axiom_persistence.records.record import seal_record
from axiom_persistence.storage import Layer
from axiom_persistence.testing.crash import Image, explore
from axiom_persistence.testing.recording import RecordingFileSystem
from support.migrations import chain, first_values
from torture.migration import judge, look, make, persistence

KINDS = ("sqlite", "file")
COUNT = 5


@pytest.fixture
def scratch():
    """Memory, where there is some."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="axiom-migrate-", dir=memory if memory.is_dir() else None))
    yield place
    shutil.rmtree(place)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    for module in (migrate, _undoing, rollback, _migration):
        monkeypatch.setattr(module, "CHUNK", 3)


class Photographed(Layer):
    """Copies the store before and after each commit: what a kill there leaves."""

    def __init__(self, inner, place, album):
        super().__init__(inner)
        self.place, self.album = place, album
        self.count = 0

    async def commit(self, changes, *, expect=None, durability=None):
        self.photograph()
        versions = await self.inner.commit(changes, expect=expect, durability=durability)
        self.photograph()
        return versions

    async def set_previous(self, generations):
        await self.inner.set_previous(generations)
        self.photograph()

    def photograph(self):
        self.count += 1
        shutil.copytree(self.place, self.album / f"{self.count:03}")


async def do(store, verb):
    if verb == "migrate":
        await store.migrate("1.0", "4.0")
    elif verb == "finalize":
        await store.finalize()
    else:
        await store.rollback("1.0")


async def states_of(kind, verb, scratch):
    """The store after each moment of ``verb``; its records before any migration, and after one."""
    place, album = scratch / "store", scratch / "album"
    place.mkdir()
    album.mkdir()
    old = await make(kind, place, COUNT)
    async with persistence(kind, place, chain(downs=True)) as store:
        await store.migrate("1.0", "4.0")
    new = (await look(kind, place))[1]
    if verb == "downs":
        async with persistence(kind, place, chain(downs=True)) as store:
            await store.finalize()
    if verb == "migrate":
        shutil.rmtree(place)
        place.mkdir()
        old = await make(kind, place, COUNT)
    adapter = FileStorageAdapter(place / "store") if kind == "file" else SQLiteAdapter(place / "store.db")
    seen = Photographed(adapter, place, album)
    async with AdapterBasedPersistence(seen, migrations=chain(downs=True)) as store:
        await do(store, verb)
    return sorted(album.iterdir()), old, new


async def violations(kind, verb, scratch):
    """Why states of ``verb`` are not as promised, and how many there are."""
    states, old, new = await states_of(kind, verb, scratch)
    found = []
    for state in states:
        try:
            header, records, _ = await look(kind, state)
            judge(header, records, old, new)
            async with persistence(kind, state, chain(downs=verb != "rollback")) as store:
                await do(store, verb)
            header, records, kept = await look(kind, state)
            assert records == (old if verb in ("rollback", "downs") else new)
            assert header.running is None
            if verb != "migrate":
                assert kept == 0
        except Exception as error:
            found.append(f"{state.name}: {error!r:.300}")
    return found, len(states)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ["migrate", "rollback", "finalize", "downs"])
async def test_a_kill_at_any_commit_leaves_what_was_promised(kind, verb, scratch):
    """Each record is its old or its new one, and the same verb ends as if it had not been killed."""
    found, count = await violations(kind, verb, scratch)
    print(f"\n{kind} {verb}: {count} states")
    assert found == []
    assert count >= 6


def progress_first(monkeypatch):
    """The header says that records are done before they are."""
    commit = Headline.commit

    async def early(self, header, changes=None, expect=None, durability=None):
        if changes and header.running is not None and header.running.after:
            await commit(self, header)
        await commit(self, header, changes, expect, durability)

    monkeypatch.setattr(Headline, "commit", early)


def originals_first(monkeypatch):
    """Originals go before what they are the originals of is back."""

    restore = _undoing.Undoing._restore

    async def early(self, originals, kept, target):
        gone = [key async for key in self.store.adapter.keys(ORIGINALS)]
        await self.store.adapter.commit(dict.fromkeys(gone))
        await restore(self, originals, kept, target)

    monkeypatch.setattr(_undoing.Undoing, "_restore", early)


def twice(monkeypatch):
    """A new value says of itself that it is old, so that its step is applied again."""
    monkeypatch.setattr(
        Migrations,
        "sealed",
        lambda self, key, body, expires: seal_record(key, body, "1.0", expires=expires),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("verb", "plant"), [("migrate", progress_first), ("rollback", originals_first), ("migrate", twice)]
)
async def test_planted_bugs_are_caught(kind, verb, plant, scratch, monkeypatch):
    """The same look at the same states finds progress that runs ahead, lost originals, a step done twice."""
    plant(monkeypatch)
    try:
        found, _ = await violations(kind, verb, scratch)
    except AssertionError as error:
        found = [str(error)]
    except Exception as error:  # a step that meets its own result raises
        found = [repr(error)]
    assert found


async def test_a_loss_of_power_leaves_files_whole(scratch):
    """Whatever the disk kept of a migration of files: each record is old or new, and it can be ended."""
    place = scratch / "recorded"
    values = {key: first_values(1)[key] for key in ("profile", "colour", "font", "item/000")}
    async with AdapterBasedPersistence(FileStorageAdapter(place)) as store:
        await store.save_many(values)
        old = await records_of(store)
    initial = Image.read_from(place)
    recording = RecordingFileSystem(local_filesystem(place))
    adapter = FileStorageAdapter(place, filesystem=recording)
    async with AdapterBasedPersistence(adapter, migrations=chain(downs=True)) as store:
        recording.acknowledge("opened")
        await store.migrate("1.0", "4.0")
        recording.acknowledge("migrated")
        new = await records_of(store)
        operations = list(recording.operations)

    async def check(directory, acknowledged):
        adapter = FileStorageAdapter(directory)
        async with AdapterBasedPersistence(adapter, migrations=chain(downs=True)) as store:
            found = await records_of(store)
            if "migrated" in acknowledged:
                assert found == new
            judge(store.place("x")[0].header, found, old, new)
            await store.migrate("1.0", "4.0")
            assert await records_of(store) == new

    found = await explore(operations, check, scratch=scratch, initial=initial, limit=8)
    print(f"\n{found.states} states of a loss of power")
    assert not found.violations, str(found.violations[0])
    assert found.states > 30


async def records_of(store):
    keys = [key async for key in store.adapter.keys("") if key[0] != "\x01"]
    return {key: stored.data for key, stored in (await store.adapter.fetch(keys)).items()}
