"""A durable delete of what another has deleted without a sync makes that durable, whoever did it."""

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.store.store import Store
from axiom_persistence.testing.recording import Action, RecordingFileSystem


@pytest.mark.parametrize("key", ["token", "deep/er/token"])
async def test_what_another_deleted_is_synced(tmp_path, key):
    """The directory of the value is synced by the one who finds nothing there, before it returns."""
    place = tmp_path / "store"
    recording = RecordingFileSystem(local_filesystem(place))
    other = Store(FileStorageAdapter(place))
    mine = Store(FileStorageAdapter(place, filesystem=recording))
    await other.aopen()
    await mine.aopen()
    try:
        await other.save(key, "secret")
        assert await other.delete([key], durability=Durability.PROCESS_EXIT) == 1
        recording.operations.clear()
        assert await mine.delete([key]) == 0
        folders = {each.name for each in recording.operations if each.action is Action.SYNC_DIRECTORY}
        assert key.rpartition("/")[0] in folders
        assert "" in folders
        # Where not even the directory is there, its absence is durable.
        assert await mine.delete(["never/there"]) == 0
    finally:
        await mine.aclose()
        await other.aclose()
