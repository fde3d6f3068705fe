"""What a loss of power leaves of a file store that was purging: every state, looked at."""

import re

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.testing.crash import explore
from axiom_persistence.testing.recording import RecordingFileSystem

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
MARKER = b"marker-5d41402abc4b2a76"
SAVED = {"a": MARKER + b"2", "b/c": MARKER + b"1", "stays": b"1"}


async def recorded(place):
    recording = RecordingFileSystem(local_filesystem(place))
    async with FileStorageAdapter(place, filesystem=recording) as adapter:
        for changes in ({"stays": b"1"}, {"a": MARKER + b"1"}, {"a": MARKER + b"2"}, {"b/c": MARKER + b"1"}):
            await adapter.commit(changes)
        recording.acknowledge("saved")
        await adapter.purge(["a", "b/c"])
        recording.acknowledge("purged")
        return list(recording.operations)


async def test_no_crash_state_breaks_the_promise(tmp_path):
    """A purged key is there, whole, or gone; once it is acknowledged no file has a byte of it."""
    both = set()

    async def check(place, acknowledged):
        async with FileStorageAdapter(place) as adapter:
            found = {key: stored.data for key, stored in (await adapter.fetch([*SAVED])).items()}
            if "saved" in acknowledged:
                assert found == {key: SAVED[key] for key in found}
                assert "stays" in found
                both.add(tuple(found))
            if "purged" in acknowledged:
                assert [*found] == ["stays"]
                left = [file for file in place.rglob("*") if file.is_file() and MARKER in file.read_bytes()]
                assert left == []
            assert await adapter.check() == []

    operations = await recorded(tmp_path / "recorded")
    found = await explore(operations, check, scratch=tmp_path, random_names=TEMPORARY)
    print(f"\n{found.states} crash states")
    assert not found.violations, str(found.violations[0])
    assert found.states > 20
    assert {("a", "b/c", "stays"), ("stays",)} <= both
