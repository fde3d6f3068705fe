"""The stores of every release so far are read by this one, value by value.

`scripts/golden.py` adds those of a release.
"""

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.errors import SchemaTooNewError
from axiom_persistence.keys import MISSING
from axiom_persistence.security import StaticKey

RELEASES = sorted(place for place in Path(__file__).parent.iterdir() if (place / "contents.py").exists())
STORES = [
    pytest.param(release, store, id=f"{release.name}-{store.name}")
    for release in RELEASES
    for store in sorted(release.iterdir())
    if not store.name.startswith(("contents", "migrated")) and store.name != "__pycache__"
]


def contents_of(release):
    """What that release put into its stores."""
    name = "golden_" + release.name.replace(".", "_")
    spec = importlib.util.spec_from_file_location(name, release / "contents.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["normal", "inspect"])
def opened(request, release, store, tmp_path):
    """Open a copy of a golden store: none of them is ever written to."""
    copy = tmp_path / store.name
    (shutil.copytree if store.is_dir() else shutil.copyfile)(store, copy)
    for file in (copy, *copy.rglob("*")):  # a checkout gives them modes of its own
        file.chmod(0o700 if file.is_dir() else 0o600)
    keys = StaticKey(contents_of(release).KEY) if "encrypted" in store.name else None
    return lambda **options: open_persistence(copy, keys=keys, mode=request.param, **options)


MIGRATED = [
    pytest.param(release, store, id=f"{release.name}-{store.name}")
    for release in RELEASES
    for store in sorted(release.glob("migrated*"))
]


@pytest.mark.parametrize(("release", "store"), MIGRATED)
@pytest.mark.parametrize("opened", ["normal"], indirect=True)
async def test_a_migrated_store_of_every_release_goes_back(release, store, opened):
    """Its records are those of 2.0, and what it kept of 1.0 comes back."""
    contents = contents_of(release)
    async with opened(migrations=contents.migrations()) as persistence:
        found = {key: await persistence.load(key, Any) async for key in persistence.keys("")}
        assert found == contents.NEW
        report = await persistence.rollback("1.0")
        assert not report.set_aside
    async with opened() as persistence:
        found = {key: await persistence.load(key, Any) async for key in persistence.keys("")}
        assert found == contents.OLD
        await persistence.save("goes", "on")


def test_there_is_one_of_each_kind():
    assert {store.values[1].name for store in MIGRATED} >= {"migrated.db", "migrated"}
    assert {store.values[1].name for store in STORES} >= {"state.db", "files", "encrypted.db"}


@pytest.mark.parametrize(("release", "store"), STORES)
async def test_every_value_of_every_release_is_read(release, store, opened):
    contents = contents_of(release)
    async with opened() as persistence:
        for key, stored in contents.CONTENTS.items():
            kind = Any if stored.kind is None else stored.kind
            value = await persistence.load(key, kind, default=MISSING)
            assert value == stored.value, key
            assert type(value) is type(stored.value), key
            info = await persistence.describe(key)
            assert (info.damage, info.schema) == (None, "1.0"), key
            assert (info.expires_at is not None) == ("ttl" in stored.options), key
        assert (await persistence.describe("zero")).has_previous
        assert await persistence.load(contents.GONE, int) is None
        assert await persistence.load(contents.COMPATIBLE, dict) == {"form": 1}
        with pytest.raises(SchemaTooNewError):
            await persistence.load(contents.NEWER, dict)
        notes = persistence.collection("notes", contents.Note)
        assert await notes.load_all() == {str(n): contents.Note(f"note {n}") for n in range(3)}
        client = contents.Preferences(persistence)
        await client.restore_state()
        assert client.restore_report.restored == ("theme", "recent", "size")
        assert (client.theme, client.recent) == (contents.Theme.DARK, ["a.txt"])
        assert client.size == contents.Size(8, 6)
        await client.close(discard=True)
        keys = {key async for key in persistence.keys("")} - {contents.GONE}
        fields = {f"Preferences/{name}" for name in ("theme", "recent", "size")}
        extra = {contents.NEWER, contents.COMPATIBLE, *(f"notes/{n}" for n in range(3))}
        assert keys == {*contents.CONTENTS, *fields, *extra}


@pytest.mark.parametrize(("release", "store"), STORES)
async def test_reading_changes_no_record(release, store, opened):
    async def records(persistence):
        raw, _ = persistence.place("")
        keys = [key async for key in raw.adapter.keys("")]
        return {key: stored.data for key, stored in (await raw.adapter.fetch(keys)).items()}

    async with opened() as persistence:
        before = await records(persistence)
        for key, stored in contents_of(release).CONTENTS.items():
            await persistence.load(key, Any if stored.kind is None else stored.kind)
        assert await persistence.verify()
    async with opened() as persistence:
        assert await records(persistence) == before
