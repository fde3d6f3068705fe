"""Records of earlier versions, read by a program that knows later ones; and what an older program may do."""

import pytest

from axiom_persistence import Client, Migrations, client_state
from axiom_persistence.errors import ConfigurationError, MigrationError, SchemaTooNewError
from axiom_persistence.records.record import open_record
from support.embedded import listed, raw


def split(value):
    first, _, last = value.pop("name").partition(" ")
    return value | {"first": first, "last": last}


def join(value):
    return {"name": f"{value.pop('first')} {value.pop('last')}", **value}


def versions(current="2.0", *, down=join):
    migrations = Migrations(current)
    if current != "1.0":
        migrations.value("1.0", "2.0", key="profile*", down=down)(split)
    return migrations


async def test_an_old_record_is_read_as_today_and_rewritten_when_it_is_saved(kept):
    """A load runs the steps and writes nothing; an update keeps the result."""
    async with kept.open() as old:
        await old.save_many({"profile": {"name": "Ada Lovelace", "age": 36}, "window": [800, 600]})
        before = await raw(old, "profile")
    async with kept.open(migrations=versions()) as new:
        for _ in range(3):
            assert await new.load("profile", dict) == {"age": 36, "first": "Ada", "last": "Lovelace"}
        assert await new.load_many(["profile"], dict) == {
            "profile": {"age": 36, "first": "Ada", "last": "Lovelace"}
        }
        assert await raw(new, "profile") == before
        await new.update("profile", dict, lambda value: value | {"age": 37}, default={})
        record = open_record("profile", await raw(new, "profile"), "2.0")
        assert record.schema == "2.0"
        assert record.compat == b'{"name":"Ada Lovelace","age":37}'
        assert open_record("window", await raw(new, "window")).schema == "1.0"
        assert await new.load("window", list) == [800, 600]


@pytest.mark.parametrize("down", [join, None])
async def test_an_older_program_reads_what_it_can_and_saves_nothing(kept, down):
    """Of the major version before it reads ``compat``, or raises; and it never saves again."""
    async with kept.open() as old:
        await old.save_many({"profile": {"name": "Ada Lovelace"}, "profile/2": {"name": "Emmy Noether"}})
    async with kept.open(migrations=versions(down=down)) as new:
        await new.update("profile", dict, lambda value: value | {"age": 37}, default={})
        await new.save("other", 1)
        kept_bytes = {key: await raw(new, key) for key in await listed(new)}
    async with kept.open() as old:
        if down is None:
            with pytest.raises(SchemaTooNewError, match="profile"):
                await old.load("profile", dict)
        else:
            assert await old.load("profile", dict) == {"name": "Ada Lovelace", "age": 37}
        assert await old.load("profile/2", dict) == {"name": "Emmy Noether"}
        assert await old.load("other", int) == 1
        for key in ("profile", "profile/2", "other", "never"):
            with pytest.raises(SchemaTooNewError, match="may only read"):
                await old.save(key, {})
            with pytest.raises(SchemaTooNewError, match="may only read"):
                await old.delete(key)
        assert {key: await raw(old, key) for key in await listed(old)} == kept_bytes


async def test_an_open_older_program_notices_a_newer_one(tmp_path):
    """Its next save is refused, on its own side of an open store."""
    from axiom_persistence import open_persistence

    for where in (tmp_path / "notes.db", tmp_path / "notes"):
        async with open_persistence(where) as old:
            await old.save("profile", {"name": "Ada Lovelace"})
            await old.save("profile", {"name": "Ada Lovelace"}, durability="process_exit")
            async with open_persistence(where, migrations=versions()) as new:
                assert await new.load("profile", dict) == {"first": "Ada", "last": "Lovelace"}
                await old.save("profile", {"name": "Ada King"})
                assert await new.load("profile", dict) == {"first": "Ada", "last": "King"}
                await new.save("b", 1)
                for durability in (None, "process_exit"):
                    with pytest.raises(SchemaTooNewError):
                        await old.save("profile", {"name": "lost"}, durability=durability)
                assert await old.load("profile", dict) == {"name": "Ada King"}


async def test_store_steps_close_the_store_until_they_are_done(kept):
    """A program that knows store steps reads and saves nothing before ``migrate``."""
    migrations = Migrations("2.0")

    @migrations.store("1.0", "2.0")
    async def rename(tx):
        await tx.rename("a", "b")

    async with kept.open() as old:
        await old.save("a", 1)
    async with kept.open(migrations=migrations) as new:
        for refused in (new.load("a", int), new.load("b", int), new.save("c", 1), listed(new)):
            with pytest.raises(MigrationError, match="migrate"):
                await refused
    async with kept.open() as old:
        await old.save("a", 2)


async def test_a_failing_step_names_itself_and_the_key(kept):
    """The record stays as it is, and the rest can be used."""
    async with kept.open() as old:
        await old.save_many({"profile": [], "other": 1})
        before = await raw(old, "profile")
    async with kept.open(migrations=versions()) as new:
        with pytest.raises(MigrationError, match=r"'split'.*profile") as caught:
            await new.load("profile", dict)
        assert (caught.value.step, caught.value.key) == ("split", "profile")
        assert await new.load("other", int) == 1
        assert await raw(new, "profile") == before


class Preferences(Client, schema="2.0"):
    size: int = client_state(10)
    theme: str = client_state("system")


class Earlier(Client, name="Preferences"):
    size: str = client_state("10")
    theme: str = client_state("system")


async def test_a_client_type_has_versions_of_its_own(kept):
    """A whole client is migrated when it is restored; an older program may only read that client."""
    migrations = Migrations()
    migrations.value("1.0", "2.0", client="Preferences", field="size")(int)
    async with kept.open() as old, Earlier(old, instance="one") as client:
        client.size = "12"
    async with kept.open(migrations=migrations) as new:
        async with Preferences(new, instance="one") as client:
            assert (client.size, client.theme) == (12, "system")
            assert client.restore_report.migrated == ("size",)
            client.size = 13
        assert open_record("Preferences/one/size", await raw(new, "Preferences/one/size")).schema == "2.0"
        with pytest.raises(ConfigurationError, match=r"schema='2.0'"):
            Earlier(new)
    async with kept.open() as old:
        await old.save("other", 1)
        with pytest.raises(SchemaTooNewError):
            await old.save("Preferences/one/theme", "dark")
