"""The preferences of macOS and Windows over doubles of the system's functions, which answer as documented.

The doubles keep what they are given in a file, as the systems do, so that several processes see one store.
"""

import fcntl
import os
import pickle
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.adapters.preferences import UserDefaultsAdapter
from axiom_persistence.errors import AccessDeniedError, ConfigurationError, StorageError, StorageFullError
from axiom_persistence.platform._mac_preferences import MacPreferences
from axiom_persistence.platform._windows_preferences import WindowsPreferences
from axiom_persistence.testing.conformance import AdapterSuite
from axiom_persistence.testing.machine import check_against_dict

SUITE = "org.example.notes"


class Domain:
    """The values of one suite, in a file."""

    def __init__(self, file):
        self.file = Path(file)

    def values(self):
        return pickle.loads(self.file.read_bytes()) if self.file.exists() else {}

    @contextmanager
    def changed(self):
        with open(f"{self.file}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            values = self.values()
            yield values
            new = self.file.with_suffix(f".{os.getpid()}")
            new.write_bytes(pickle.dumps(values))
            new.replace(self.file)


class NSNumber(int):
    """What pyobjc makes of an NSNumber: a subclass of Python's own."""


class NSString(str):
    """The same for an NSString."""


class NSData:
    """Bytes, offered as a buffer is."""

    def __init__(self, data):
        self.data = data

    @classmethod
    def dataWithBytes_length_(cls, data, length):
        return cls(data[:length])

    def __bytes__(self):
        return self.data


class NSUserDefaults:
    """What Foundation offers of it; values are those of a property list."""

    domain = None
    takes = True

    @classmethod
    def alloc(cls):
        return cls()

    def initWithSuiteName_(self, suite):
        return None if suite == "NSGlobalDomain" else self

    def persistentDomainForName_(self, suite):
        bridged = {str: NSString, int: NSNumber}
        return {
            k: bridged.get(type(v), lambda same: same)(v) for k, v in self.domain.values().items()
        } or None

    def setObject_forKey_(self, value, key):
        assert type(value) in (str, bool, int, float, NSData), "no property list"
        assert type(value) is not int or -(1 << 63) <= value < 1 << 63
        with self.domain.changed() as values:
            values[key] = value

    def removeObjectForKey_(self, key):
        with self.domain.changed() as values:
            values.pop(key, None)

    def synchronize(self):
        return self.takes


def foundation(file):
    """The module ``Foundation`` over a file."""
    made = type("NSUserDefaults", (NSUserDefaults,), {"domain": Domain(file)})
    return types.SimpleNamespace(NSUserDefaults=made, NSData=NSData)


class Winreg:
    """The functions of ``winreg``. Names are the same whatever their case; types take what is documented."""

    HKEY_CURRENT_USER, KEY_READ, KEY_WRITE = object(), 0x20019, 0x20006

    def __init__(self, file):
        self.domain = Domain(file)
        self.refuses = None

    class Key:
        def __init__(self, access):
            self.access = access

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.access = 0

    def OpenKeyEx(self, key, path, reserved, access):
        if self.refuses:
            raise self.refuses
        assert key is self.HKEY_CURRENT_USER
        assert path == rf"Software\{SUITE}"
        if not self.domain.file.exists():
            raise FileNotFoundError(2, "the system cannot find the file specified")
        return self.Key(access)

    def CreateKeyEx(self, key, path, reserved, access):
        with self.domain.changed():
            return (
                self.OpenKeyEx(key, path, reserved, access) if self.domain.file.exists() else self.Key(access)
            )

    def QueryValueEx(self, key, name):
        assert key.access & 1
        found = self.domain.values().get(name.lower())
        if found is None:
            raise FileNotFoundError(2, "the system cannot find the file specified")
        return found[1:]

    def EnumValue(self, key, number):
        found = list(self.domain.values().values())
        if number >= len(found):
            error = OSError(22, "no more data is available")
            error.winerror = 259
            raise error
        return found[number]

    def SetValueEx(self, key, name, reserved, kind, value):
        assert key.access & 2
        assert len(name) <= 16_383
        if kind in (1, 2):
            assert isinstance(value, str)
            value = value.partition("\0")[0]  # where it ends there
        elif kind == 3:
            assert isinstance(value, bytes)
            value = value or None  # as winreg answers for no bytes
        else:
            assert 0 <= value < 1 << {4: 32, 11: 64}[kind]
        with self.domain.changed() as values:
            shown = values.get(name.lower(), (name,))[0]
            values[name.lower()] = shown, value, kind

    def DeleteValue(self, key, name):
        with self.domain.changed() as values:
            if values.pop(name.lower(), None) is None:
                raise FileNotFoundError(2, "the system cannot find the file specified")


def mac(file):
    preferences = MacPreferences.__new__(MacPreferences)
    preferences._suite, preferences._api, preferences._defaults = SUITE, foundation(file), None
    return preferences


def windows(file):
    return WindowsPreferences(SUITE, Winreg(file))


class Doubled(UserDefaultsAdapter):
    """The adapter over a double."""

    def __init__(self, place, make):
        os.environ["AXIOM_PERSISTENCE_HOME"] = str(place)
        super().__init__(SUITE)
        self._double = make(place / "double")
        self._traits = type(self._traits)(
            atomic=False, durability=self._traits.durability, shared=False, max_value_bytes=65_536
        )

    def _local(self):
        self._double.open()
        return self._double


@pytest.fixture(autouse=True)
def home(monkeypatch):
    """Set by the adapters, and forgotten after the test."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", "/nowhere")


class TestOnMac(AdapterSuite):
    many, questions = 40, 40

    def adapter(self, place):
        return Doubled(place, mac)

    def test_it_agrees_with_a_dict(self):
        check_against_dict(self.adapter, examples=8)


class TestOnWindows(AdapterSuite):
    many, questions = 40, 40

    def adapter(self, place):
        return Doubled(place, windows)

    def test_it_agrees_with_a_dict(self):
        check_against_dict(self.adapter, examples=8)


VALUES = {
    "theme": "dark",
    "on": True,
    "off": False,
    "size": 12,
    "minus": -3,
    "ratio": 0.5,
    "A/b": "1.5",
    "nul": "\0",
}


@pytest.mark.parametrize("make", [mac, windows])
async def test_plain_values_are_the_systems_own(make, tmp_path):
    """What the system's tools show, and that it comes back with its type."""
    adapter = Doubled(tmp_path, make)
    async with open_persistence(adapter) as persistence:
        for key, value in VALUES.items():
            await persistence.save(key, value)
        with pytest.raises(ConfigurationError, match="put Journaled around it"):
            await persistence.save_many(VALUES)
    async with open_persistence(Doubled(tmp_path, make)) as persistence:
        for key, value in VALUES.items():
            assert await persistence.load(key, type(value)) == value
    kept = Domain(tmp_path / "double").values()
    if make is mac:
        assert {key: kept[key] for key in VALUES if key != "nul"} == {
            k: v for k, v in VALUES.items() if k != "nul"
        }
        assert kept["nul"].startswith('{"axiom"')
    else:
        assert kept["theme"][1:] == ("dark", 1)
        assert (kept["on"][1:], kept["off"][1:]) == ((1, 4), (0, 4))
        assert (kept["size"][1:], kept["minus"][1:]) == ((12, 11), ((1 << 64) - 3, 11))
        assert (kept["ratio"][1:], kept["%41/b"][1:]) == (("0.5", 2), ("1.5", 1))


def test_what_others_write_into_the_registry():
    """A DWORD, a path with variables, an odd type, capitals, a name that is no escape."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        api = Winreg(Path(place) / "double")
        preferences = WindowsPreferences(SUITE, api)
        with api.CreateKeyEx(
            api.HKEY_CURRENT_USER, rf"Software\{SUITE}", 0, api.KEY_READ | api.KEY_WRITE
        ) as key:
            for name, kind, value in (
                ("Size", 4, 7),
                ("home", 2, r"%HOME%\a"),
                ("one", 2, "1"),
                ("", 1, "the default"),
                ("%ff", 1, "no text"),
                ("a b", 1, "fine"),
            ):
                api.SetValueEx(key, name, 0, kind, value)
        with api.domain.changed() as values:
            values["list"] = "list", ["a"], 7
        found = preferences.read(None)
        assert found == preferences.read(["size", "home", "one", "a b", "list", "absent"])
        assert found.pop("list").kind == "registry type 7"
        assert found == {"size": 7, "home": r"%HOME%\a", "one": "1", "a b": "fine"}


async def test_what_macos_gives_of_other_types(tmp_path):
    """A date or a list is strange; half a character is told."""
    adapter = Doubled(tmp_path, mac)
    with Domain(tmp_path / "double").changed() as values:
        values.update({"list": ["a"], "half": "\ud800"})
    async with adapter:
        found = await adapter.fetch(["list", "half"])
        assert "with the type 'list'" in found["list"].damage
        assert "JSON cannot say" in found["half"].damage


def test_what_the_systems_refuse(tmp_path, monkeypatch):
    """A suite that macOS keeps for itself, a full home, another's registry key; a missing package."""
    preferences = mac(tmp_path / "double")
    preferences.open()
    preferences._defaults.takes = False
    with pytest.raises(StorageError, match="did not take"):
        preferences.write({"a": 1})
    preferences = mac(tmp_path / "double")
    preferences._suite = "NSGlobalDomain"
    with pytest.raises(ConfigurationError, match="global domain"):
        preferences.open()
    monkeypatch.setitem(sys.modules, "Foundation", None)
    with pytest.raises(ConfigurationError, match=r"axiom-persistence\[preferences\]"):
        MacPreferences(SUITE)
    api = Winreg(tmp_path / "registry")
    for refusal, kind in (
        (PermissionError(13, "denied"), AccessDeniedError),
        (OSError(28, "no room"), StorageFullError),
    ):
        api.refuses = refusal
        with pytest.raises(kind, match="HKEY_CURRENT_USER"):
            WindowsPreferences(SUITE, api).open()
