"""Preferences of the system, and gates."""

from axiom_persistence import open_persistence
from axiom_persistence.adapters.preferences import UserDefaultsAdapter
from axiom_persistence.errors import (
    AuthenticationError,
    CapabilityUnavailableError,
    ConfigurationError,
    CorruptedDataError,
    ForeignStoreError,
)
from axiom_persistence.security import (
    Authenticator,
    FingerprintAuthenticator,
    Gate,
    PolkitAuthenticator,
    StaticKey,
    TouchIDAuthenticator,
    WindowsHelloAuthenticator,
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


class Stranger(Authenticator):
    name = "stranger"

    async def authenticate(self, reason):
        raise AuthenticationError("the person was not recognised", hint="try again")


@case(
    AuthenticationError,
    "the person was not recognised [in SQLiteAdapter(<path>/notes.db)]; try again",
    place=True,
)
async def load_behind_a_gate(world):
    async with open_persistence(world.db(), guard=Gate(Stranger())) as persistence:
        await persistence.load("k", str)


@case(
    AuthenticationError,
    "there were too many failures, and nobody is asked for a while [in SQLiteAdapter(<path>/notes.db)]; try "
    "again in 60 seconds",
    place=True,
)
async def load_behind_a_gate_that_is_locked(world):
    async with open_persistence(world.db(), guard=Gate(Stranger(), attempts=1)) as persistence:
        try:
            await persistence.load("k", str)
        except AuthenticationError:
            await persistence.load("k", str)


@case(
    ConfigurationError,
    "guard is a Gate, not <StaticKey> [in SQLiteAdapter(<path>/notes.db)]; from axiom_persistence.security "
    "import FingerprintAuthenticator, Gate; guard=Gate(...)",
    place=True,
)
async def guard_a_store_by_a_key(world):
    open_persistence(world.db(), guard=StaticKey(bytes(32)))


@case(
    ConfigurationError,
    "a gate is opened by an Authenticator, not by <str of 11 characters>; for example "
    "Gate(FingerprintAuthenticator())",
)
async def a_gate_without_an_authenticator(world):
    Gate("fingerprint")


@case(
    ConfigurationError,
    "grace and lockout of a gate are seconds from 0 on, attempts is at least 1; Gate(authenticator, "
    "grace=60.0, attempts=5, lockout=60.0)",
)
async def a_gate_with_no_attempts(world):
    Gate(Stranger(), attempts=0)


@case(ConfigurationError, "a fingerprint needs a try and some time; tries=3, timeout=30.0")
async def a_fingerprint_without_a_try(world):
    FingerprintAuthenticator(tries=0)


@case(
    ConfigurationError,
    "polkit is asked about an action; PolkitAuthenticator('org.example.notes.open'), an action of an "
    "installed .policy file",
)
async def polkit_without_an_action(world):
    PolkitAuthenticator("")


@case(
    ConfigurationError,
    "Touch ID needs macOS and the package pyobjc-framework-LocalAuthentication; pip install "
    "'axiom-persistence[gates]'",
)
async def touch_id_elsewhere(world):
    await TouchIDAuthenticator().authenticate("open it")


@case(
    ConfigurationError,
    "Windows Hello needs Windows and the package winrt-Windows.Security.Credentials.UI; pip install "
    "'axiom-persistence[gates]'",
)
async def windows_hello_elsewhere(world):
    await WindowsHelloAuthenticator().authenticate("open it")


@case(
    AuthenticationError,
    "the fingerprint service cannot be used: the system bus cannot be reached: [Errno 2] No such file or "
    "directory; install and start fprintd, or use another way",
)
async def a_fingerprint_without_a_bus(world):
    world.monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={world.path}/nothing")
    await FingerprintAuthenticator().authenticate("open it")


@case(
    AuthenticationError,
    "polkit cannot be asked: the system bus cannot be reached: [Errno 2] No such file or directory; install "
    "and start polkit",
)
async def polkit_without_a_bus(world):
    world.monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={world.path}/nothing")
    await PolkitAuthenticator("a.b").authenticate("open it")
