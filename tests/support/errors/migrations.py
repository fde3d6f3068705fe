"""Migrations: how they are declared, their steps, and the way back."""

import msgspec

from axiom_persistence import Client, Migrations, client_state, open_persistence
from axiom_persistence.errors import ConfigurationError, CorruptedDataError, MigrationError, SchemaTooNewError
from axiom_persistence.jobs._migration import Headline
from axiom_persistence.jobs._originals import ORIGINALS
from axiom_persistence.security import StaticKey
from axiom_persistence.store._standing import REWRITING, ROLLING_BACK, Running

from . import MARK, NUMBER, case
from .places import change, fill
from .verbs import Shelf


def failing(value):
    raise ValueError(f"the value was {value}")


async def async_by_mistake(value):
    return value


def unwritable(value):
    return [object(), value]


def stepping(function=str.upper, start="1.0", end="2.0", **more) -> Migrations:
    """One value step for every key."""
    migrations = Migrations(current=end)
    migrations.value(start, end, key="*", name="raise_voice", **more)(function)
    return migrations


def moving(function, **more) -> Migrations:
    """One store step."""
    migrations = Migrations(current="2.0")
    migrations.store("1.0", "2.0", name="move", **more)(function)
    return migrations


async def renamed(tx):
    await tx.rename("k", "moved")


async def load(world, migrations: Migrations, key: str = "k") -> None:
    async with open_persistence(world.db(), migrations=migrations) as persistence:
        await persistence.load(key, str)


async def migrate(world, migrations: Migrations, start: str = "1.0", end: str = "2.0") -> None:
    async with open_persistence(world.db(), migrations=migrations) as persistence:
        await persistence.migrate(start, end)


async def standing(world, **header: object) -> None:
    """Have the header of the store say this."""
    async with open_persistence(world.db()) as persistence:
        head = Headline(persistence._store)
        await head.commit(msgspec.structs.replace(await head.read(), **header))


# -- declaring ------------------------------------------------------------------------------------------


@case(ConfigurationError, "a version is numbers with dots, not <str of 7 characters>; write it as '2.0'")
def a_version_that_is_none(world):
    Migrations(current=MARK)


@case(ConfigurationError, "a version is numbers with dots, not <int>; write it as '2.0'")
def a_version_that_is_a_number(world):
    Migrations(current=NUMBER)


@case(
    ConfigurationError,
    "a step leads from a version to a later one, not from 3.0 to 2.0; name the version that "
    "comes first, then the one that the step leads to",
)
def a_step_that_leads_to_an_earlier_version(world):
    stepping(start="3.0", end="2.0")


@case(
    ConfigurationError,
    "from 1.0 one step leads to 2.0 and another to 3.0; let both lead to the same version: data "
    "then takes one way only",
)
def steps_that_part(world):
    stepping().value("1.0", "3.0", key="*")(str.lower)


@case(
    ConfigurationError, 'a value step is for keys or for a client type; key="profile" or client="Preferences"'
)
def a_step_for_nothing(world):
    Migrations(current="2.0").value("1.0", "2.0")


@case(
    ConfigurationError,
    "the steps of the store from 1.0 end at 2.0; its current version is 3.0; write a step from "
    "'2.0', or set the current version to '2.0'",
)
def steps_that_lead_nowhere(world):
    migrations = Migrations(current="3.0")
    migrations.value("1.0", "2.0", key="*")(str.upper)
    open_persistence(world.db(), migrations=migrations)


@case(
    ConfigurationError,
    "these Migrations are in use: a store was opened with them; declare all steps before open_persistence",
)
async def a_step_that_is_declared_too_late(world):
    migrations = stepping()
    async with open_persistence("memory:", migrations=migrations):
        migrations.value("2.0", "3.0", key="*")(str.lower)


@case(
    ConfigurationError,
    "migrations is a Migrations, not <str of 7 characters> [in MemoryAdapter(the memory of this "
    "process)]; migrations=Migrations(current='2.0'), with the steps declared on it",
    place=True,
)
def migrations_that_are_none(world):
    open_persistence("memory:", migrations=MARK)


@case(
    ConfigurationError,
    "there are steps for the client type Preferences, whose class names no schema; write class "
    "Preferences(Client, schema='2.0')",
)
async def steps_for_a_class_without_a_schema(world):
    class Preferences(Client):
        theme: str = client_state("")

    migrations = Migrations()
    migrations.value("1.0", "2.0", client="Preferences", field="theme")(str.upper)
    async with open_persistence("memory:", migrations=migrations) as persistence, Preferences(persistence):
        pass


# -- steps of values ------------------------------------------------------------------------------------


@case(
    MigrationError,
    "the step 'raise_voice' (1.0 to 2.0) failed: failing raised ValueError [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; correct the step; the record is as it was",
    key="k",
    place=True,
)
async def load_with_a_step_that_raises(world):
    await fill(world.db())
    await load(world, stepping(failing))


@case(
    MigrationError,
    "the step 'raise_voice' failed; the value is confidential [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; correct the step; the record is as it was",
    key="k",
    place=True,
)
async def load_a_secret_with_a_step_that_raises(world):
    keys = StaticKey(bytes(32))
    async with open_persistence(world.db(), keys=keys) as persistence:
        await persistence.save("k", MARK)
    async with open_persistence(world.db(), keys=keys, migrations=stepping(failing)) as persistence:
        await persistence.load("k", str)


@case(
    MigrationError,
    "the step 'raise_voice' (1.0 to 2.0) is async, and a value step is a plain function [key "
    "'k'] [in SQLiteAdapter(<path>/notes.db)]; write it with def; a store step is async, and "
    "changes several keys at once",
    key="k",
    place=True,
)
async def load_with_a_step_that_is_async(world):
    await fill(world.db())
    await load(world, stepping(async_by_mistake))


@case(
    MigrationError,
    "what the step 'raise_voice' made cannot be written: object is a class this library cannot write (at "
    "$[0]) [key 'k'] [in SQLiteAdapter(<path>/notes.db)]; save what it can be built from, its "
    "text or a list of its items, and build it after loading",
    key="k",
    place=True,
)
async def load_with_a_step_that_makes_what_cannot_be_written(world):
    await fill(world.db())
    await load(world, stepping(unwritable))


@case(
    MigrationError,
    "no way is known from version 1.0 of the store to 3.0 [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; declare a step that begins at '1.0'",
    key="k",
    place=True,
)
async def load_what_no_step_begins_at(world):
    await fill(world.db())
    async with open_persistence(world.db(), migrations=stepping()) as persistence:
        await persistence.save("another", MARK)
    await load(world, stepping(start="2.0", end="3.0"))


@case(
    MigrationError,
    "the store is at version 1.0; no steps lead from there to 3.0 [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; declare a step that begins at '1.0'",
    key="k",
    place=True,
)
async def load_from_a_store_that_no_step_begins_at(world):
    await fill(world.db())
    await load(world, stepping(start="2.0", end="3.0"))


@case(
    MigrationError,
    "the step 'raise_voice' (1.0 to 2.0) failed: failing raised ValueError [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; correct the step; the record is as it was",
    key="k",
    place=True,
)
async def migrate_with_a_step_that_raises(world):
    await fill(world.db())
    await migrate(world, stepping(failing))


@case(
    MigrationError,
    "what the step 'raise_voice' made would not load: the stored value is not of type str: Expected `str`, "
    "got `int` at $; it is a JSON number [key 'k'] [in SQLiteAdapter(<path>/notes.db)]; correct "
    "the step, or what validate() says of this key",
    key="k",
    place=True,
)
async def migrate_to_what_is_not_valid(world):
    await fill(world.db())
    migrations = stepping(len)
    migrations.validate("k", str)
    await migrate(world, migrations)


@case(
    MigrationError,
    "what the step 'raise_voice' made would not load; the value is confidential [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; correct the step, or what validate() says of this key",
    key="k",
    place=True,
)
async def migrate_a_secret_to_what_is_not_valid(world):
    keys = StaticKey(bytes(32))
    async with open_persistence(world.db(), keys=keys) as persistence:
        await persistence.save("k", MARK)
    migrations = stepping(len)
    migrations.validate("k", str)
    async with open_persistence(world.db(), keys=keys, migrations=migrations) as persistence:
        await persistence.migrate("1.0", "2.0")


# -- steps of stores ------------------------------------------------------------------------------------


@case(
    MigrationError,
    "the store is at version 1.0, and store steps lead to 2.0 [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; call `migrate(...)` first, or `axiom-persistence migrate`",
    key="k",
    place=True,
)
async def load_before_a_store_step(world):
    await fill(world.db())
    await load(world, moving(renamed))


@case(
    MigrationError,
    "the store step 'move' (1.0 to 2.0) failed: "
    "migrate_with_a_store_step_that_raises.<locals>.raising raised LookupError [in "
    "SQLiteAdapter(<path>/notes.db)]; correct the step; every record is as it was",
    place=True,
)
async def migrate_with_a_store_step_that_raises(world):
    async def raising(tx):
        raise LookupError(await tx.read("k"))

    await fill(world.db())
    await migrate(world, moving(raising))


@case(
    MigrationError,
    "the store step 'move' (1.0 to 2.0) is not async [in SQLiteAdapter(<path>/notes.db)]; make "
    "it a coroutine function, and wait for every verb of what it is given",
    place=True,
)
async def migrate_with_a_store_step_that_is_not_async(world):
    await fill(world.db())
    await migrate(world, moving(lambda tx: None))


@case(
    MigrationError,
    "the store step 'move' (1.0 to 2.0) failed: a key cannot be empty [key ''] [in "
    "SQLiteAdapter(<path>/notes.db)]; correct the step; every record is as it was",
    key="",
    place=True,
)
async def migrate_with_a_store_step_that_writes_no_key(world):
    async def naming_nothing(tx):
        await tx.write("", MARK)

    await fill(world.db())
    await migrate(world, moving(naming_nothing))


@case(
    MigrationError,
    "what the step 'move' made cannot be written: object is a class this library cannot write [key "
    "'k'] [in SQLiteAdapter(<path>/notes.db)]; save what it can be built from, its text or a "
    "list of its items, and build it after loading",
    key="k",
    place=True,
)
async def migrate_with_a_store_step_that_writes_what_cannot_be_written(world):
    async def writing(tx):
        await tx.write("k", object())

    await fill(world.db())
    await migrate(world, moving(writing))


@case(
    MigrationError,
    "a store step cannot read this record: it does not begin like a record; 7 bytes are there "
    "[key 'k'] [in SQLiteAdapter(<path>/notes.db)]; verify(repair=True) brings its earlier "
    "generation back, where there is one",
    key="k",
    place=True,
)
async def migrate_with_a_store_step_that_reads_what_is_damaged(world):
    await fill(world.db())
    change(world.db(), "UPDATE record SET data = ? WHERE key = 'k'", MARK)

    async def reading(tx):
        await tx.read("k")

    await migrate(world, moving(reading))


# -- migrating ------------------------------------------------------------------------------------------


@case(
    ConfigurationError,
    "no migration from '1.0' to '3.0' is known [in SQLiteAdapter(<path>/notes.db)]; the steps "
    "lead from '1.0' to '2.0'",
    place=True,
)
async def migrate_to_a_version_that_is_not_known(world):
    await fill(world.db())
    await migrate(world, stepping(), "1.0", "3.0")


@case(ConfigurationError, "a version is numbers with dots, not <str of 7 characters>; write it as '2.0'")
async def migrate_from_what_is_no_version(world):
    await fill(world.db())
    await migrate(world, stepping(), MARK)


@case(
    MigrationError,
    "the store is at version 1.0, before 2.0 [in SQLiteAdapter(<path>/notes.db)]; declare a step "
    "that begins at '1.0'",
    place=True,
)
async def migrate_from_a_version_that_is_too_late(world):
    await fill(world.db())
    await migrate(world, stepping(start="2.0", end="3.0"), "2.0", "3.0")


@case(
    SchemaTooNewError,
    "the store is at version 3.0; this program knows 2.0 [in SQLiteAdapter(<path>/notes.db)]; "
    "update the program; nothing was changed",
    place=True,
)
async def migrate_a_store_of_a_newer_program(world):
    async with open_persistence(world.db(), migrations=Migrations("3.0")) as persistence:
        await persistence.save("k", MARK)
    await migrate(world, stepping())


@case(
    ConfigurationError,
    "a migration changes several records at once, which this adapter cannot do [in "
    "Shelf(shelf://…@attic/top)]; put Journaled around it; without, each record is migrated when "
    "it is saved",
    place=True,
)
async def migrate_what_is_not_atomic(world):
    async with open_persistence(Shelf(), cache=None, migrations=stepping()) as persistence:
        await persistence.migrate("1.0", "2.0")


@case(
    MigrationError,
    "the store is being rolled back to 1.0 [in SQLiteAdapter(<path>/notes.db)]; wait until it "
    "has ended, or call rollback, which goes on with it",
    place=True,
)
async def migrate_while_it_is_rolled_back(world):
    await fill(world.db())
    await standing(world, running=Running("id", "2.0", "1.0", ROLLING_BACK))
    await migrate(world, stepping())


@case(
    MigrationError,
    "the store is being rolled back to 1.0 [key 'k'] [in SQLiteAdapter(<path>/notes.db)]; wait "
    "until it has ended, or go on with rollback",
    key="k",
    place=True,
)
async def save_while_it_is_rolled_back(world):
    await fill(world.db())
    await standing(world, running=Running("id", "2.0", "1.0", ROLLING_BACK))
    async with open_persistence(world.db()) as persistence:
        await persistence.save("k", MARK)


@case(
    SchemaTooNewError,
    "a program with schema 3.0 has saved here; this one knows 1.0, and may only read [key 'k'] "
    "[in SQLiteAdapter(<path>/notes.db)]; update the program; nothing was changed",
    key="k",
    place=True,
)
async def save_beside_a_newer_program(world):
    async with open_persistence(world.db(), migrations=Migrations("3.0")) as persistence:
        await persistence.save("another", MARK)
    await fill(world.db())


@case(
    SchemaTooNewError,
    "the keys of this store were rearranged for schema 2.0; this program is older [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; update the program; nothing was changed",
    key="k",
    place=True,
)
async def load_a_key_that_a_newer_program_has_moved(world):
    await fill(world.db())
    await migrate(world, moving(renamed))
    await load(world, Migrations())


# -- the way back ---------------------------------------------------------------------------------------


async def roll_back(world, migrations: Migrations, to_version: str = "1.0") -> None:
    """After the originals are gone."""
    await fill(world.db())
    async with open_persistence(world.db(), migrations=migrations) as persistence:
        await persistence.migrate("1.0", "2.0")
        await persistence.finalize()
        await persistence.rollback(to_version)


@case(
    MigrationError,
    "the step 'raise_voice' (1.0 to 2.0) has no down, so nothing leads back [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; declare the step with down=, or restore a snapshot",
    key="k",
    place=True,
)
async def roll_back_a_step_without_a_way_down(world):
    await roll_back(world, stepping())


@case(
    MigrationError,
    "the step 'raise_voice' (1.0 to 2.0) failed: failing raised ValueError [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; correct the step; the record is as it was",
    key="k",
    place=True,
)
async def roll_back_by_a_way_down_that_raises(world):
    await roll_back(world, stepping(down=failing))


@case(
    MigrationError,
    "the store step 'move' (1.0 to 2.0) has no down, and no originals are kept [in "
    "SQLiteAdapter(<path>/notes.db)]; declare the step with down=, or restore a snapshot",
    place=True,
)
async def roll_back_a_store_step_without_a_way_down(world):
    await roll_back(world, moving(renamed))


@case(
    CorruptedDataError,
    "the originals that a migration kept, from this key on, are damaged [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; restore a snapshot; or call finalize, then rollback goes back "
    "by the down of each step",
    key="k",
    place=True,
)
async def roll_back_from_originals_that_are_damaged(world):
    await fill(world.db())
    async with open_persistence(world.db(), migrations=stepping()) as persistence:
        await persistence.migrate("1.0", "2.0")
        (place,) = [key async for key in persistence.adapter.keys(ORIGINALS)]
        await persistence.adapter.commit({place: b"not what was kept"})
        await persistence.rollback("1.0")


@case(
    ConfigurationError,
    "no way back from 2.0 to 0.5 is known [in SQLiteAdapter(<path>/notes.db)]; give the program "
    "that migrated the store, with its Migrations",
    place=True,
)
async def roll_back_to_a_version_before_every_step(world):
    await roll_back(world, stepping(), "0.5")


@case(ConfigurationError, "a version is numbers with dots, not <str of 7 characters>; write it as '2.0'")
async def roll_back_to_what_is_no_version(world):
    await roll_back(world, stepping(), MARK)


@case(
    MigrationError,
    "a migration to 3.0 is not finished [in SQLiteAdapter(<path>/notes.db)]; call migrate, which "
    "goes on with it, or rollback",
    place=True,
)
async def finalize_a_migration_that_is_not_finished(world):
    await fill(world.db())
    await migrate(world, stepping())
    await standing(world, running=Running("id", "2.0", "3.0", REWRITING))
    async with open_persistence(world.db(), migrations=stepping()) as persistence:
        await persistence.finalize()
