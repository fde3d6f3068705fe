"""After a loss of power no change is without its audit entry, and no entry without its change."""

import os
import random
import tempfile
from pathlib import Path

import pytest

from axiom_persistence import FileStorageAdapter
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.security import AuditLog
from axiom_persistence.testing.crash import explore
from axiom_persistence.testing.recording import RecordingFileSystem
from support import audit_kills, audited_saves
from support.known import Known
from support.sqlite_replay import Disk, fingerprint, record
from support.strace import needs_strace


@pytest.fixture
def scratch():
    """A place in memory for thousands of small images."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as place:
        yield Path(place)


def explored(calls, directory, scratch, samples):
    """How many states there were, and what is wrong in which of them."""
    disk, known, rng, seen, faults = Disk(str(directory)), Known(), random.Random(7), set(), []
    for call in calls:
        if call.kind in ("try", "ack"):
            known.note(call.kind, *call.words)
        else:
            disk.apply(call)
        for content in disk.images(samples, rng):
            mark = fingerprint(content, known.acked)
            if mark in seen:
                continue
            seen.add(mark)
            place = scratch / f"{len(seen)}"
            place.mkdir()
            for name, data in content.items():
                (place / name).write_bytes(data)
            fault = audited_saves.fault_at(place, known)
            if fault is not None:
                faults.append(fault)
            for file in place.iterdir():
                file.unlink()
            place.rmdir()
    return len(seen), faults


@needs_strace
@pytest.mark.parametrize(
    ("plant", "said"),
    [
        ("none", None),
        ("second-commit", "changes without an entry"),
        ("entry-first", "entries without a change"),
        ("seal-first", "two entries"),
        ("removed-first", "changes without an entry"),
    ],
)
def test_in_sqlite_entries_and_changes_are_there_together(tmp_path, scratch, plant, said):
    """In every state that a disk may hold; and each planted bug is found."""
    directory = tmp_path / "store"
    directory.mkdir()
    saves = 24 if said is None else 8
    calls = record(directory, ["a"], saves, plant, program=audited_saves.__file__)
    states, faults = explored(calls, directory, scratch, 3 if said is None else 1)
    print(f"\n{plant}: {states} crash states, {len(faults)} faults")
    if said is None:
        assert faults == []
        assert states > 500
    else:
        assert any(fault.startswith(said) for fault in faults), faults[:3]


@needs_strace
def test_two_processes_seal_one_trail(tmp_path, scratch):
    directory = tmp_path / "store"
    directory.mkdir()
    calls = record(directory, ["a", "b"], 8, program=audited_saves.__file__)
    states, faults = explored(calls, directory, scratch, 1)
    print(f"\n{states} crash states")
    assert faults == []


@pytest.mark.parametrize("plant", ["none", "second-commit", "entry-first"])
async def test_in_files_entries_and_changes_are_there_together(scratch, plant):
    """Of saves that are synced: of others, a loss of power may take the one and leave the other."""
    place = scratch / "recorded"
    place.mkdir()
    recording = RecordingFileSystem(local_filesystem(place))

    def tell(kind, number, key):
        if kind == "ack":
            recording.acknowledge(key)

    adapter = FileStorageAdapter(place, filesystem=recording)
    async with audited_saves.PLANTED[plant]()(adapter, AuditLog()) as audited:
        await audited_saves.save(audited, "a", 2, tell, weak=False, every=2)

    async def check(place, acknowledged):
        async with FileStorageAdapter(place) as adapter:
            keys = [key async for key in adapter.keys("")]
            records = {key: stored.data for key, stored in (await adapter.fetch(keys)).items()}
        assert set(acknowledged) <= records.keys()
        assert audited_saves.fault_in(records) is None, audited_saves.fault_in(records)

    found = await explore(
        recording.operations, check, scratch=scratch, stop_at=None if plant == "none" else 1
    )
    print(f"\n{plant}: {found.states} crash states, {len(found.violations)} violations")
    assert bool(found.violations) is (plant != "none"), found.violations[:1]


@pytest.mark.parametrize("store", ["sqlite", "file"])
def test_a_killed_program_leaves_each_change_with_its_entry(tmp_path, store):
    entries = audit_kills.kill(store, tmp_path, 3)
    print(f"\n{entries} entries")
    assert entries >= 3
