"""Preferences of the system."""

from axiom_persistence import open_persistence
from axiom_persistence.adapters.preferences import UserDefaultsAdapter
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    CorruptedDataError,
    ForeignStoreError,
)
from support.errors import MARK, case

SUITE = "org.example.notes"


def noted(world, text):
    """The suite's file, with ``text`` in it, below the home of this case."""
    world.monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(world.path))
    file = world.path / SUITE / "preferences.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


@case(
    ConfigurationError,
    "a suite of preferences is named by words of letters, digits, '-' and '_' with dots between; "
    "for example UserDefaultsAdapter('org.example.notes')",
)
async def preferences_without_a_name(world):
    open_persistence("defaults:")


@case(
    ConfigurationError,
    "this system keeps preferences in one of 'dconf', 'file'; leave backend out for the usual one",
)
async def preferences_of_another_system(world):
    UserDefaultsAdapter(SUITE, backend="registry")


@case(
    CapabilityUnavailableError,
    "the preferences are not open [in UserDefaultsAdapter(the preferences of 'org.example.notes')]; "
    "open them first, in `async with`",
    place=True,
)
async def fetch_from_preferences_that_are_closed(world):
    await UserDefaultsAdapter(SUITE).fetch(["k"])


@case(
    ConfigurationError,
    "the preferences of 'org.example.notes' are kept in 'file', and 'dconf' was asked for [in "
    "UserDefaultsAdapter(the preferences of 'org.example.notes')]; export them, remove "
    "<path>/org.example.notes, and import them into the other",
    place=True,
)
async def preferences_that_are_elsewhere(world):
    noted(world, '{"axiom":"preferences","backend":"file"}')
    await UserDefaultsAdapter(SUITE, backend="dconf").aopen()


@case(
    ConfigurationError,
    "the preferences of 'org.example.notes' are kept in 'registry', which this system does not have [in "
    "UserDefaultsAdapter(the preferences of 'org.example.notes')]; open them on the system where they were "
    "made, and export them there",
    place=True,
)
async def preferences_of_a_shared_home(world):
    noted(world, '{"axiom":"preferences","backend":"registry"}')
    await UserDefaultsAdapter(SUITE).aopen()


@case(
    ConfigurationError,
    "another process has begun to keep these preferences in 'dconf', not 'file' [in "
    "UserDefaultsAdapter(the preferences of 'org.example.notes')]; open them again",
    place=True,
)
async def preferences_that_two_programs_begin(world):
    world.monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(world.path))
    async with UserDefaultsAdapter(SUITE) as adapter:
        noted(world, '{"axiom":"preferences","backend":"dconf"}')
        await adapter.write("k", b"1")


@case(
    CorruptedDataError,
    "<path>/org.example.notes/preferences.json is no JSON: Input data was truncated [in "
    "UserDefaultsAdapter(the preferences of 'org.example.notes')]; mend it in an editor; nothing was changed",
    place=True,
)
async def preferences_with_a_typing_error(world):
    noted(world, '{"axiom":"preferences","values":{"theme":"' + MARK)
    await UserDefaultsAdapter(SUITE).aopen()


@case(
    ForeignStoreError,
    "<path>/org.example.notes/preferences.json is not a file of preferences that this library made [in "
    "UserDefaultsAdapter(the preferences of 'org.example.notes')]; choose another suite, or move the file "
    "away",
    place=True,
)
async def preferences_of_another_program(world):
    noted(world, '{"theme":"' + MARK + '"}')
    await UserDefaultsAdapter(SUITE).aopen()
