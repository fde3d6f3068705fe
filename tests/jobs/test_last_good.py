"""Where both generations of a record are damaged, the value of the last snapshot that has it comes back."""

import logging
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from axiom_persistence import Corruption, open_persistence
from axiom_persistence.errors import CorruptedDataError
from axiom_persistence.records.migrations import Migrations
from axiom_persistence.security import StaticKey
from axiom_persistence.storage import generations
from support.embedded import listed, quarantined
from support.sweep import FilePlace, SQLitePlace, damages

KEY = StaticKey(b"k" * 32)
KINDS = [(SQLitePlace, None), (FilePlace, None), (SQLitePlace, KEY), (FilePlace, KEY)]


@pytest.fixture(params=KINDS, ids=["sqlite", "file", "encrypted sqlite", "encrypted file"])
def held(request, tmp_path, monkeypatch):
    """A closed place, whose every save keeps the generation before it, and how it is opened."""
    monkeypatch.setattr(generations, "MINUTE_S", 0.0)
    make, keys = request.param
    place = make(tmp_path)
    place.open = lambda **options: open_persistence(place.path, keys=keys, **options)
    return place


def ruin(place, key="k", data=b"no record of ours"):
    """Damage both generations of a key."""
    place.put(key, data)
    place.put_previous(key, data)


async def history(place, *values):
    """Save the values one after the other, with a snapshot behind each but the last two."""
    made = []
    async with place.open() as persistence:
        for value in values:
            await persistence.save("k", value)
            if value not in values[-2:]:
                made.append(await persistence.snapshot())
    return made


async def test_the_last_snapshot_has_the_value(held, caplog):
    """It is read as if nothing was; the report says from which snapshot, and how old that is."""
    made = await history(held, "first", "second", "third", "fourth")
    ruin(held)
    async with held.open() as persistence:
        with caplog.at_level(logging.WARNING, "axiom_persistence"):
            assert await persistence.load("k", str) == "second"
        (report,) = persistence.reports
        assert (report.recovered, report.snapshot) == (True, made[-1].path)
        assert 0 <= report.age <= time.time() - made[-1].at
        assert f"the value of the snapshot {made[-1].path}, 0:0" in caplog.text
        assert await persistence.load("k", str) == "second"
        assert len(persistence.reports) == 1
        assert ("k", b"no record of ours") in await quarantined(persistence)
    async with held.open() as persistence:
        assert await persistence.load("k", str) == "second"
        assert await persistence.verify()


async def test_the_previous_generation_is_first(held):
    """A snapshot is older than it, and is not looked into."""
    await history(held, "first", "second", "third")
    held.put("k", b"damaged")
    async with held.open() as persistence:
        assert await persistence.load("k", str) in ("first", "second")
        assert persistence.reports[0].snapshot is None
        assert persistence.reports[0].outcome == "the previous generation is back"


async def test_a_snapshot_that_is_damaged_is_passed_over(held):
    """Whether the record in it is, or all of it: the one before it has a value, too."""
    made = await history(held, "first", "second", "third", "fourth", "fifth")
    snapshot = type(held)(held.path.parent)
    snapshot.path = Path(made[2].path)
    snapshot.put("k", b"damaged, too")
    last = Path(made[1].path)
    for file in [last, *last.rglob("*")]:
        if file.is_file():
            file.write_bytes(b"nothing that could be opened")
    ruin(held)
    async with held.open() as persistence:
        assert await persistence.load("k", str) == "first"
        assert persistence.reports[0].snapshot == made[0].path


async def test_what_was_deleted_does_not_come_back(held):
    """The last snapshot has no such key: what an earlier one has was deleted before that."""
    async with held.open() as persistence:
        await persistence.save("k", "secret of yesterday")
        await persistence.snapshot()
        await persistence.delete("k")
        await persistence.snapshot()
        await persistence.save_many({"k": "a"})
        await persistence.save_many({"k": "b"})
    ruin(held)
    async with held.open() as persistence:
        assert await persistence.load("k", str, default=None) is None
        assert not persistence.reports[0].recovered


async def test_snapshots_of_another_store_are_left_alone(held):
    """One that was here before: its values are none of this store's."""
    await history(held, "theirs", "x", "y")
    for path in held.path.parent.iterdir():
        if path.suffix != ".snapshots":
            os.rename(path, path.with_name("away-" + path.name))
    async with held.open() as persistence:
        await persistence.save("k", "a")
        await persistence.save("k", "b")
    ruin(held)
    async with held.open() as persistence:
        assert await persistence.load("k", str, default="none") == "none"


async def test_raise_changes_nothing_and_repair_takes_the_ladder(held):
    """RAISE raises; a function is shown what would come back; verify(repair=True) says where it is from."""
    made = await history(held, "first", "second", "third")
    ruin(held)
    async with held.open(on_corruption="raise") as persistence:
        with pytest.raises(CorruptedDataError, match="snapshot"):
            await persistence.load("k", str)
    asked = []

    def ask(report):
        asked.append(report)
        return Corruption.RAISE

    async with held.open(on_corruption=ask) as persistence:
        with pytest.raises(CorruptedDataError):
            await persistence.load("k", str)
        assert asked[0].snapshot == made[-1].path
        found = await persistence.verify(repair=True)
        assert found
        assert [finding.outcome for finding in found.findings] == ["recovered"]
        assert made[-1].path in found.findings[0].reason
        assert await persistence.load("k", str) == "first"


async def test_the_header_comes_back_too(held):
    """The store is still the same one, which its snapshots can be restored to."""
    made = await history(held, "first", "second", "third")
    header = "\x01store"
    held.put(header, b"damaged")
    async with held.open() as persistence:
        assert await persistence.load("k", str) == "third"
        assert persistence.reports[0].snapshot == made[-1].path
        assert await persistence.restore(made[-1])
        assert await persistence.load("k", str) == "first"


async def test_a_snapshot_from_before_a_migration_has_another_form(held):
    """Its values would be taken for what they are not: it is passed over."""
    await history(held, "first", "second", "third")
    migrations = Migrations(current="2.0")

    @migrations.store("1.0", "2.0")
    async def moved(tx):
        await tx.write("other", await tx.read("k"))
        await tx.write("k", ["now", "a", "list"])

    async with held.open(migrations=migrations) as persistence:
        await persistence.migrate("1.0", "2.0")
        await persistence.finalize()
        await persistence.save("k", ["again"])
    ruin(held)
    async with held.open(migrations=migrations) as persistence:
        assert await persistence.load("k", list, default=[]) == []
        await persistence.save("k", ["new"])
        await persistence.snapshot()
        await persistence.save("k", ["newer"])
        await persistence.save("k", ["newest"])
    ruin(held)
    async with held.open(migrations=migrations) as persistence:
        assert await persistence.load("k", list) == ["new"]


@pytest.mark.parametrize("make", [FilePlace, SQLitePlace])
async def test_every_damage_of_both_generations(make, tmp_path):
    """Whatever the damage is: the value is the current one, or that of the snapshot."""
    place = make(tmp_path)
    async with open_persistence(place.path) as persistence:
        await persistence.save("k", "snapshot")
        await persistence.snapshot()
        await persistence.save("k", "current")
    whole, tried = place.get("k"), 0
    for what, data in list(damages(whole))[::7]:
        place.put("k", data)
        async with open_persistence(place.path, cache=None) as persistence:
            found = await persistence.load("k", str)
            assert found == ("snapshot" if persistence.reports else "current"), what
            tried += bool(persistence.reports)
    assert tried > 30


async def test_an_expired_record_of_a_snapshot_stays_gone(held):
    """Its time is over, wherever it is held."""
    async with held.open() as persistence:
        await persistence.save("k", "short", ttl=timedelta(milliseconds=1))
        await persistence.snapshot()
        await persistence.save("k", "b")
        await persistence.save("k", "c")
    ruin(held)
    async with held.open() as persistence:
        assert await persistence.load("k", str, default=None) is None
        assert await listed(persistence) == []
