"""Records about somebody are still that when they are migrated, and so is what is kept of them."""

import pytest

from axiom_persistence import Migrations, open_persistence
from axiom_persistence.jobs._originals import ORIGINALS
from axiom_persistence.records._subject import ENTRIES, tag_in
from axiom_persistence.security import StaticKey


async def moved(tx):
    await tx.rename("address", "place")


def migrations():
    made = Migrations("2.0")
    made.value("1.0", "2.0", key="name")(lambda value: {"name": value})
    made.store("1.0", "2.0")(moved)
    return made


async def about(persistence):
    """The tags of users' records, and the keys that are found as somebody's."""
    adapter = persistence.adapter
    keys = [key async for key in adapter.keys("")]
    found = await adapter.fetch([key for key in keys if key[0] != "\x01"])
    entries = {key.removeprefix(ENTRIES).partition("/")[2] for key in keys if key.startswith(ENTRIES)}
    return {key: tag_in(stored.data) for key, stored in found.items()}, entries


@pytest.mark.parametrize("keys", [None, StaticKey(bytes(range(32)))], ids=["plain", "encrypted"])
async def test_a_record_stays_about_its_subject(keys, tmp_path):
    """In its new form, under its new key, in its original; and on the way back."""
    path = tmp_path / "a.db"
    async with open_persistence(path, keys=keys) as old:
        await old.save("name", "Ada", subject="ada")
        await old.save("address", "London", subject="ada")
        await old.save("other", "of nobody")
        before = await about(old)
        (tag,) = {tag for tag in before[0].values() if tag}
    async with open_persistence(path, keys=keys, migrations=migrations()) as new:
        await new.migrate("1.0", "2.0")
        assert await new.load("name", dict) == {"name": "Ada"}
        tags, entries = await about(new)
        assert tags == {"name": tag, "place": tag, "other": None}
        places = [key async for key in new.adapter.keys(ORIGINALS)]
        kept = await new.adapter.fetch(places)
        assert sum(tag_in(stored.data) == tag for stored in kept.values()) == 2
        assert not any(b"Ada" in stored.data and not tag_in(stored.data) for stored in kept.values())
        assert entries >= {"name", "place"}
        assert "address" not in entries
        await new.rollback("1.0")
        assert await about(new) == before
    async with open_persistence(path, keys=keys) as old:
        assert await old.load("name", str) == "Ada"
        assert await old.load("address", str) == "London"
    async with open_persistence(path, keys=keys, migrations=migrations()) as new:
        await new.migrate("1.0", "2.0")
        assert await new.finalize() == 3
        assert not [key async for key in new.adapter.keys(ORIGINALS)]
        assert (await about(new))[1] == {"name", "place"}
