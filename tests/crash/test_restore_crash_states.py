"""What a crash leaves of a restore, at every moment: the store before, or the restored one, no mixture."""

import asyncio
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from axiom_persistence import AdapterBasedPersistence, FileStorageAdapter, SQLiteAdapter
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.testing.crash import Image, explore
from axiom_persistence.testing.recording import RecordingFileSystem
from support.restores import changed, fault_in, in_two
from support.sqlite_replay import STORE, Disk, fingerprint, record
from support.strace import needs_strace

PROGRAM = Path(__file__).parents[1] / "support" / "restores.py"


@pytest.fixture
def scratch():
    """Memory, where there is some."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="axiom-restore-", dir=memory) as place:
        yield Path(place)


# -- SQLite ----------------------------------------------------------------------------------------


def violations_of_sqlite(tmp_path, scratch, plant="none"):
    """What is wrong in the states of a database that SQLite's own calls may leave; how many there are."""
    directory = tmp_path / "store"
    directory.mkdir()
    calls = record(directory, ["a"], 0, plant, program=PROGRAM)
    disk, rng, said, seen, found = Disk(str(directory)), random.Random(7), [], set(), []
    for call in calls:
        if call.kind == "ack":
            said.append(call.words[1])
        else:
            disk.apply(call)
        if not said:
            continue
        for content in disk.images(2, rng):
            mark = fingerprint(content, {"said": tuple(said)})
            if mark in seen:
                continue
            seen.add(mark)
            place = scratch / str(len(seen))
            place.mkdir()
            for name, data in content.items():
                (place / name).write_bytes(data)
            fault = asyncio.run(looked_at(SQLiteAdapter(place / STORE), said))
            if fault is not None:
                found.append(fault)
            shutil.rmtree(place)
    return found, len(seen)


async def looked_at(adapter, said):
    async with AdapterBasedPersistence(adapter) as persistence:
        return await fault_in(persistence, said)


@needs_strace
def test_a_database_is_the_one_or_the_other(tmp_path, scratch):
    """Whatever of SQLite's writes reached the disk."""
    found, states = violations_of_sqlite(tmp_path, scratch)
    print(f"\n{states} crash states")
    assert found == []
    assert states > 15


@needs_strace
def test_a_restore_of_a_database_in_two_steps_is_caught(tmp_path, scratch):
    """The same look at the same states finds the mixture."""
    found, _ = violations_of_sqlite(tmp_path, scratch, "in-two")
    assert any("mixture" in fault for fault in found)


# -- files -----------------------------------------------------------------------------------------


async def explored(kind, scratch, **options):
    place = scratch / "recorded"
    async with AdapterBasedPersistence(FileStorageAdapter(place)) as persistence:
        made = await changed(persistence, scratch / "copies")
    before = Image.read_from(place)
    recording = RecordingFileSystem(local_filesystem(place))
    async with AdapterBasedPersistence(kind(place, filesystem=recording)) as persistence:
        await persistence.restore(made)
        recording.acknowledge("old")
        operations = list(recording.operations)

    async def check(directory, said):
        fault = await looked_at(FileStorageAdapter(directory), ["new", *said])
        assert fault is None, fault

    return await explore(operations, check, scratch=scratch, initial=before, **options)


async def test_files_are_the_one_or_the_other(scratch):
    """Whatever of renames and writes reached the disk."""
    found = await explored(FileStorageAdapter, scratch, limit=16)
    print(f"\n{found.states} crash states")
    assert not found.violations, str(found.violations[0])
    assert found.states > 90


class InTwo(FileStorageAdapter):
    commit = in_two(FileStorageAdapter.commit)


async def test_a_restore_of_files_in_two_steps_is_caught(scratch):
    """The same look at the same states finds the mixture."""
    found = await explored(InTwo, scratch, limit=4, stop_at=1)
    assert found.violations
    assert "mixture" in str(found.violations[0].error)
