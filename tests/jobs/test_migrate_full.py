"""A migration on a disk that fills up: everything is as it was, and the old application works."""

import subprocess

import pytest

from axiom_persistence import AdapterBasedPersistence, FileStorageAdapter, Migrations, SQLiteAdapter
from axiom_persistence.errors import StorageFullError
from axiom_persistence.jobs import migrate as job

COUNT = 300


@pytest.fixture
def disk(tmp_path):
    """A file system of its own in memory, of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8000000", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("nothing may be mounted here")
    yield place
    if subprocess.run(["umount", str(place)]).returncode != 0:
        subprocess.run(["umount", "-l", str(place)])
        raise AssertionError("something keeps the file system busy")


def longer(value):
    return {"text": value["text"] * 20}


async def renamed(tx):
    await tx.rename("alone", "moved")


def migrations():
    made = Migrations("2.0")
    made.value("1.0", "2.0", key="item/*")(longer)
    made.store("1.0", "2.0")(renamed)
    return made


async def everything(persistence):
    adapter = persistence.adapter
    keys = [key async for key in adapter.keys("")]
    before = await adapter.previous_many([key for key in keys if key[0] != "\x01"])
    found = await adapter.fetch(keys)
    return [{key: stored.data for key, stored in part.items()} for part in (found, before)]


@pytest.mark.parametrize("kind", [SQLiteAdapter, FileStorageAdapter], ids=["sqlite", "file"])
async def test_a_full_disk_changes_nothing(disk, kind, monkeypatch):
    """It fills up in the middle of the rewriting; records and generations before them are put back."""
    monkeypatch.setattr(job, "CHUNK", 20)
    place = disk / "store.db" if kind is SQLiteAdapter else disk / "store"
    values = {f"item/{n:03}": {"text": f"{n:04}" * 350} for n in range(COUNT)}
    async with AdapterBasedPersistence(kind(place)) as old:
        await old.save_many({key: {"text": "before"} for key in list(values)[::3]})
        for key, value in values.items():
            await old.save(key, value)
        await old.save("alone", 1)
        before = await everything(old)
        assert len(before[1]) >= COUNT // 3
    rewritten = 0
    rewrite = job._Migration._rewrite

    async def counted(self, keys, id):
        nonlocal rewritten
        await rewrite(self, keys, id)
        rewritten += 1

    monkeypatch.setattr(job._Migration, "_rewrite", counted)
    async with AdapterBasedPersistence(kind(place), migrations=migrations()) as new:
        with pytest.raises(StorageFullError) as caught:
            await new.migrate("1.0", "2.0")
        assert not hasattr(caught.value, "__notes__"), caught.value.__notes__
        assert caught.value.key is not None
        assert rewritten > 2
        assert await everything(new) == before
    async with AdapterBasedPersistence(kind(place)) as old:
        assert await everything(old) == before
        for key, value in values.items():
            assert await old.load(key, dict) == value
        await old.save("item/000", {"text": "goes on"})
        assert await old.load("item/000", dict) == {"text": "goes on"}
