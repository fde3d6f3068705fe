"""Preferences on a real dconf, and in the file that is used where there is none."""

import asyncio
import json
import os
import subprocess
import sys
from hashlib import sha256

import pytest

from axiom_persistence import Client, client_state, open_persistence
from axiom_persistence.adapters.preferences import UserDefaultsAdapter
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    CorruptedDataError,
    ForeignStoreError,
    PersistenceError,
    StorageError,
    StorageFullError,
    StorageLockedError,
    StorageUnavailableError,
)
from axiom_persistence.platform._gvariant import Database, value_in
from axiom_persistence.platform.preferences import Strange
from axiom_persistence.security import StaticKey
from axiom_persistence.testing.conformance import AdapterSuite
from axiom_persistence.testing.machine import check_against_dict
from support.dconf import DESKTOP, MISSING, REASON, Dconf
from support.embedded import listed
from support.keyring import stop_bus

pytest.importorskip("jeepney")
needs_dconf = pytest.mark.skipif(bool(MISSING), reason=REASON)

SUITE = "org.example.notes"
HERE = "/org/example/notes/"


@pytest.fixture(scope="module")
def bus(tmp_path_factory):
    """One bus and database for the tests of this file."""
    if MISSING:
        pytest.skip(REASON)
    dconf = Dconf(tmp_path_factory.mktemp("dconf"))
    yield dconf
    dconf.close()


@pytest.fixture
def dconf(bus, monkeypatch, tmp_path):
    """That dconf in the environment of this test, empty, and no place chosen yet."""
    for name in DESKTOP:
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.setenv(name, bus.environment[name])
    yield bus
    bus.tool("reset", "-f", "/")
    for noted in (bus.home / ".config").glob("*/preferences.json"):
        noted.unlink()


@pytest.fixture
def no_bus(monkeypatch, tmp_path):
    """An account without a desktop."""
    for name in (*DESKTOP, "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    return tmp_path / ".config" / SUITE / "preferences.json"


def suite_of(place):
    return f"org.example.s{sha256(str(place).encode()).hexdigest()[:12]}"


class TestOnDconf(AdapterSuite):
    many, questions = 600, 300

    @pytest.fixture(autouse=True)
    def environment(self, dconf):
        """The bus, in the environment of the processes of the suite, too."""

    def adapter(self, place):
        return UserDefaultsAdapter(suite_of(place), backend="dconf")

    def test_it_agrees_with_a_dict(self):
        """Fewer examples: the service replaces its file at each change."""
        check_against_dict(self.adapter, examples=8)


class TestInTheFile(AdapterSuite):
    many, questions = 600, 300

    @pytest.fixture(autouse=True)
    def environment(self, no_bus):
        """No desktop."""

    def adapter(self, place):
        return UserDefaultsAdapter(suite_of(place))

    def test_it_agrees_with_a_dict(self):
        """Fewer examples: the file is replaced at each change."""
        check_against_dict(self.adapter, examples=8)


VALUES = {
    "theme": "dark",
    "text": 'it\'s "é" 😀\n\t\\',
    "empty": "",
    "on": True,
    "off": False,
    "zero": 0,
    "minus": -5,
    "large": 1 << 40,
    "least": -(1 << 63),
    "ratio": 0.5,
    "whole": 2.0,
    "tiny": -5e-324,
    "Preferences/font size": 12,
}
SHOWN = {
    "theme": "'dark'",
    "on": "true",
    "zero": "0",
    "minus": "-5",
    "large": "int64 1099511627776",
    "ratio": "0.5",
    "whole": "2.0",
    "Preferences:font%20size": "12",
}


async def test_dconf_shows_plain_values_as_they_are(dconf):
    """Strings, booleans and numbers are dconf's own types, and come back with their types."""
    async with open_persistence(f"defaults:{SUITE}") as persistence:
        await persistence.save_many(VALUES)
        await persistence.save("list", [1, 2])
    assert {name: dconf.tool("read", HERE + name) for name in SHOWN} == SHOWN
    assert dconf.tool("read", HERE + "list").startswith('\'{"axiom":1')
    async with open_persistence(f"defaults:{SUITE}") as persistence:
        for key, value in VALUES.items():
            assert await persistence.load(key, type(value)) == value
        assert await persistence.load("list", list[int]) == [1, 2]


async def test_what_dconf_write_writes_arrives_typed(dconf):
    """Into a new suite, over values of ours, and while the store is open."""
    dconf.tool("write", HERE + "theme", "'light'")
    async with open_persistence(f"defaults:{SUITE}") as persistence:
        assert await persistence.load("theme", str) == "light"
        await persistence.save_many({"size": 10, "ratio": 0.5, "on": False})
        for name, text in {
            "size": "11",
            "ratio": "0.25",
            "on": "true",
            "more": "uint64 7",
            "y": "byte 3",
        }.items():
            dconf.tool("write", HERE + name, text)
        expected = {"theme": "light", "size": 11, "ratio": 0.25, "on": True, "more": 7, "y": 3}
        assert {key: await persistence.load(key, type(value)) for key, value in expected.items()} == expected
        dconf.tool("load", HERE, input="[/]\ntheme='blue'\n")
        assert await persistence.load("theme", str) == "blue"
        dconf.tool("reset", HERE + "theme")
        assert await persistence.load("theme", str) is None


async def test_what_no_type_of_ours_can_hold_is_told(dconf):
    """Another type, a fraction that is none: damage of that key. Names of another form are not seen."""
    dconf.tool("write", HERE + "list", "['a']")
    dconf.tool("write", HERE + "nan", "nan")
    dconf.tool("write", HERE + "a=b", "1")
    dconf.tool("write", HERE + "deep/er", "1")
    async with UserDefaultsAdapter(SUITE) as adapter:
        assert await listed(adapter) == ["list", "nan"]
        found = await adapter.fetch(["list", "nan"])
        assert "with the type 'as'" in found["list"].damage
        assert "JSON cannot say" in found["nan"].damage
        assert len(await adapter.check()) == 2
    async with open_persistence(f"defaults:{SUITE}", on_corruption="raise") as persistence:
        with pytest.raises(CorruptedDataError, match="another program wrote it with the type 'as'"):
            await persistence.load("list", list[str])
    assert dconf.tool("read", HERE + "list") == "['a']"


async def test_changes_of_other_programs_are_told(dconf):
    """dconf's signal moves the change mark, and a stream gives the change."""
    async with open_persistence(f"defaults:{SUITE}") as persistence:
        await persistence.save("theme", "dark")
        changes = persistence.changes("theme")
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        dconf.tool("write", HERE + "theme", "'light'")
        change = await asyncio.wait_for(waiting, 60)
        assert (change.key, await persistence.load("theme", str)) == ("theme", "light")
    async with UserDefaultsAdapter(SUITE) as adapter:
        told = adapter._preferences._told
        dconf.tool("write", HERE + "theme", "'blue'")
        while adapter._preferences._told == told:
            adapter.change_mark()
            await asyncio.sleep(0.01)
        dconf.tool("write", "/org/other/theme", "'blue'")
        dconf.tool("write", HERE + "last", "1")
        while adapter._preferences._told < told + 2:
            adapter.change_mark()
            await asyncio.sleep(0.01)
        assert adapter._preferences._told == told + 2


async def test_five_hundred_keys_in_one_commit(dconf):
    """All of them, in one change of the service, with values long enough for offsets of every width."""
    for size in (0, 1, 200, 2000):
        changes = {f"key {n:03}": bytes([n % 256]) * size for n in range(500)}
        async with UserDefaultsAdapter(SUITE) as adapter:
            mark = dconf.home / ".config/dconf/user"
            before = mark.stat().st_ino if mark.exists() else None
            await adapter.commit(changes)
            assert mark.stat().st_ino != before
            found = await adapter.fetch(list(changes))
            assert {key: stored.data for key, stored in found.items()} == changes
            assert (await adapter.delete_prefix("key"), await listed(adapter)) == (500, [])


class Preferences(Client):
    theme: str = client_state("system")
    size: int = client_state(12, key="font size")
    recent: list[str] = client_state(default_factory=list)


async def test_a_client_keeps_its_fields_there(dconf):
    """Fields are visible to dconf, and what it writes is restored."""
    async with open_persistence(f"defaults:{SUITE}") as persistence, Preferences(persistence) as preferences:
        preferences.theme, preferences.recent = "dark", ["a.txt"]
        await preferences.persist_state()
    assert dconf.tool("read", HERE + "Preferences:theme") == "'dark'"
    dconf.tool("write", HERE + "Preferences:theme", "'light'")
    async with open_persistence(f"defaults:{SUITE}") as persistence, Preferences(persistence) as preferences:
        assert (preferences.theme, preferences.size, preferences.recent) == ("light", 12, ["a.txt"])


async def test_the_chosen_place_never_changes_by_itself(dconf, monkeypatch):
    """dconf is noted; without a bus it is read all the same, and a change is refused, not made elsewhere."""
    async with open_persistence(f"defaults:{SUITE}") as persistence:
        await persistence.save("theme", "dark")
    noted = dconf.home / ".config" / SUITE / "preferences.json"
    assert json.loads(noted.read_bytes()) == {"axiom": "preferences", "backend": "dconf"}
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    for _ in range(2):
        async with open_persistence(f"defaults:{SUITE}") as persistence:
            assert await persistence.load("theme", str) == "dark"
            with pytest.raises(StorageUnavailableError, match="there is no session bus"):
                await persistence.save("theme", "light")
        noted.unlink(missing_ok=True)  # what dconf holds says enough
    noted.write_text('{"axiom": "preferences", "backend": "dconf"}')
    with pytest.raises(ConfigurationError, match="kept in 'dconf', and 'file' was asked for"):
        await UserDefaultsAdapter(SUITE, backend="file").aopen()


async def test_a_service_that_writes_elsewhere_is_noticed(dconf, monkeypatch, tmp_path):
    """Another XDG_CONFIG_HOME than the service has: the change would not be found again."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with UserDefaultsAdapter(SUITE, backend="dconf") as adapter:
        with pytest.raises(StorageUnavailableError, match="does not show it"):
            await adapter.write("a", b"1")


async def test_a_bus_that_was_restarted(dconf, monkeypatch):
    """The next change connects anew."""
    async with UserDefaultsAdapter(SUITE) as adapter:
        await adapter.write("a", b"1")
        stop_bus(dconf.bus)
        while adapter.change_mark()[1] == 0 and adapter._preferences._bus is not None:
            await asyncio.sleep(0.01)
        with pytest.raises(StorageUnavailableError, match="cannot be reached"):
            await adapter.write("a", b"2")
        assert await adapter.read("a") == b"1"
        dconf.start()
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", dconf.environment["DBUS_SESSION_BUS_ADDRESS"])
        await adapter.write("a", b"3")
        assert await adapter.read("a") == b"3"


async def test_a_profile_without_a_database_of_the_user(dconf, monkeypatch, tmp_path):
    """A read-only profile: the file is taken, and dconf refused by name; another database is used by name."""
    profile = tmp_path / "data" / "dconf" / "profile" / "special"
    profile.parent.mkdir(parents=True)
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "data"))
    monkeypatch.setenv("DCONF_PROFILE", "special")
    profile.write_text("# locked down\nsystem-db:site\n")
    with pytest.raises(StorageUnavailableError, match="profile 'special' has no database"):
        await UserDefaultsAdapter(SUITE, backend="dconf").aopen()
    async with UserDefaultsAdapter(SUITE) as adapter:
        assert adapter.backend == "file"
    profile.write_text("user-db:other\nsystem-db:site\n")
    async with UserDefaultsAdapter(SUITE) as adapter:
        await adapter.write("a", b"1")
        assert (adapter.backend, await adapter.read("a")) == ("dconf", b"1")
    assert (dconf.home / ".config/dconf/other").exists()


async def test_a_database_that_is_damaged(dconf):
    """Not an empty store: said, and left alone."""
    async with UserDefaultsAdapter(SUITE) as adapter:
        await adapter.write("a", b"1")
        file = dconf.home / ".config/dconf/user"
        whole = file.read_bytes()
        for damaged in (b"nothing of the kind", whole[:20], whole[:40] + b"\xff" * 40):
            file.write_bytes(damaged)
            with pytest.raises(StorageError, match=r"cannot be read.*UserDefaultsAdapter"):
                await adapter.read("a")
        file.write_bytes(whole)
        assert await adapter.read("a") == b"1"


async def test_the_file_can_be_read_and_edited(no_bus):
    """Where there is no desktop: plain JSON, mode 600, noted, and read typed after an edit."""
    async with open_persistence(f"defaults:{SUITE}") as persistence:
        await persistence.save_many(VALUES)
        document = json.loads(no_bus.read_bytes())
        assert document["backend"] == "file"
        assert {key: document["values"][key] for key in VALUES} == VALUES
        assert no_bus.stat().st_mode & 0o777 == 0o600
        document["values"] |= {"theme": "light", "list": [1], "none": None, "bytes": {"base64": "!"}}
        document["values"]["huge"] = 10**40
        no_bus.write_text(json.dumps(document))
        assert await persistence.load("theme", str) == "light"
    async with UserDefaultsAdapter(SUITE) as adapter:
        found = await adapter.fetch(["list", "none", "bytes"])
        kinds = ["a list", "null", "an object"]
        assert [kind in stored.damage for kind, stored in zip(kinds, found.values(), strict=True)] == [
            True
        ] * 3


async def test_a_link_or_a_pipe_in_its_place(no_bus):
    """Neither followed, nor waited for, nor replaced."""
    no_bus.parent.mkdir(parents=True)
    elsewhere = no_bus.parent / "elsewhere.json"
    elsewhere.write_text('{"axiom":"preferences","values":{"theme":"dark"}}')
    no_bus.symlink_to(elsewhere)
    with pytest.raises(StorageError, match="cannot read"):
        await UserDefaultsAdapter(SUITE).aopen()
    no_bus.unlink()
    os.mkfifo(no_bus)
    with pytest.raises(PersistenceError):
        await UserDefaultsAdapter(SUITE).aopen()


@pytest.mark.parametrize("keys", [None, StaticKey(bytes(32))])
async def test_what_others_take_away_while_it_is_open(dconf, keys):
    """``dconf reset``: everything is absent, and the next save begins anew; an encrypted store says so."""
    async with open_persistence(f"defaults:{SUITE}", keys=keys) as persistence:
        await persistence.save_many({"theme": "dark", "list": [1]})
        if keys is not None:
            assert "dark" not in dconf.tool("dump", HERE)
        dconf.tool("reset", "-f", HERE)
        assert await persistence.load("theme", str) is None
        if keys is not None:
            with pytest.raises(CorruptedDataError, match="record with the store's keys is gone"):
                await persistence.save("theme", "light")
            return
        await persistence.save("theme", "light")
    async with open_persistence(f"defaults:{SUITE}") as persistence:
        assert await persistence.load("theme", str) == "light"


async def test_a_file_that_is_not_ours_or_broken(no_bus):
    """Refused when it is opened and when it is written to, and left as it is."""
    no_bus.parent.mkdir(parents=True)
    async with UserDefaultsAdapter(SUITE) as adapter:
        for text, kind in (
            ('{"axiom":"preferences","values":{', CorruptedDataError),
            ('{"theme":"dark"}', ForeignStoreError),
            ("[]", ForeignStoreError),
        ):
            no_bus.write_text(text)
            for attempt in (UserDefaultsAdapter(SUITE).aopen, lambda: adapter.write("a", b"1")):
                with pytest.raises(kind):
                    await attempt()
            assert no_bus.read_text() == text
        no_bus.write_text('{"axiom":"preferences","backend":"registry"}')
        with pytest.raises(ConfigurationError, match="in 'registry', which this system does not have"):
            await UserDefaultsAdapter(SUITE).aopen()
        with pytest.raises(ConfigurationError, match="another process has begun to keep"):
            await adapter.write("a", b"1")


async def test_the_home_variable_moves_preferences_too(dconf, monkeypatch, tmp_path):
    """AXIOM_PERSISTENCE_HOME: a file there, whatever the desktop offers; what was chosen before stays."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path))
    async with open_persistence(f"defaults:{SUITE}") as persistence:
        await persistence.save("theme", "dark")
    assert (tmp_path / SUITE / "preferences.json").exists()
    assert dconf.tool("dump", "/") == ""


async def test_without_jeepney(dconf, monkeypatch):
    """The file is taken, and noted; dconf, asked for by name, says which extra it needs."""
    for name in ("_bus", "_dconf"):
        monkeypatch.delitem(sys.modules, f"axiom_persistence.platform.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "jeepney", None)
    with pytest.raises(ConfigurationError, match=r"axiom-persistence\[preferences,gates\]"):
        await UserDefaultsAdapter(SUITE, backend="dconf").aopen()
    async with UserDefaultsAdapter(SUITE) as adapter:
        await adapter.write("a", b"1")
        assert adapter.backend == "file"
    monkeypatch.undo()
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.setenv(name, dconf.environment[name])
    async with UserDefaultsAdapter(SUITE) as adapter:
        assert adapter.backend == "file"  # what was chosen stays


async def test_inspecting_creates_nothing(no_bus):
    """Neither a note nor a directory."""
    async with open_persistence(f"defaults:{SUITE}", mode="inspect") as persistence:
        assert await persistence.load("theme", str) is None
    assert not no_bus.parent.exists()


async def test_another_process_holds_the_lock(no_bus, monkeypatch):
    """A commit waits for it, and says so when it is not let go."""
    monkeypatch.setattr("axiom_persistence.platform._preferences_file._LOCK_WAIT_S", 0.05)
    async with UserDefaultsAdapter(SUITE) as adapter:
        with adapter._file.locked(), pytest.raises(StorageLockedError, match="does not let go"):
            await adapter.write("a", b"1")
        await adapter.write("a", b"2")


async def test_limits_and_names(no_bus):
    """A record of 64 KiB at most; a suite is a name; a backend is one of this system."""
    async with UserDefaultsAdapter(SUITE) as adapter:
        with pytest.raises(StorageFullError, match="at most 65,536 bytes"):
            await adapter.write("a", b"x" * 65_537)
    for suite in ("", "a..b", ".a", "a/b", "a b", "é", "x" * 201, None):
        with pytest.raises(ConfigurationError, match="suite"):
            UserDefaultsAdapter(suite)
    with pytest.raises(ConfigurationError, match="'dconf', 'file'"):
        UserDefaultsAdapter(SUITE, backend="registry")


async def test_a_forked_child_is_told(no_bus):
    """An adapter belongs to the process that opened it."""
    async with UserDefaultsAdapter(SUITE) as adapter:
        adapter._pid = os.getpid() + 1
        with pytest.raises(CapabilityUnavailableError, match="forked"):
            await adapter.read("a")
        adapter._pid = os.getpid()


KILLED = """
import asyncio, os, signal, sys
from axiom_persistence import open_persistence

async def main():
    async with open_persistence("defaults:org.example.notes") as persistence:
        for n in range(1000):
            await persistence.save_many({"a": n, "b": n})
            print(n, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("place", ["dconf", "file"])
def test_a_kill_loses_no_acknowledged_save_and_halves_none(request, place):
    """A process is killed while it saves two keys at a time."""
    request.getfixturevalue("dconf" if place == "dconf" else "no_bus")

    async def both():
        async with open_persistence(f"defaults:{SUITE}") as persistence:
            return await persistence.load("a", int), await persistence.load("b", int)

    for _ in range(3):
        program = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
        said = [int(program.stdout.readline()) for _ in range(5)]
        program.kill()
        said += [int(line) for line in program.stdout.read().splitlines()]
        program.wait()
        program.stdout.close()
        a, b = asyncio.run(both())
        assert a == b >= said[-1]


def test_bytes_of_variants_that_are_none():
    """A value of the wrong size, text without its end, no table: strange, or refused as no database."""
    assert value_in(b"\1\2\0i") == Strange("i", b"\1\2")
    assert value_in(b"ab\0s") == Strange("s", b"ab")
    assert value_in(b"\xff\0\0s") == Strange("s", b"\xff\0")
    assert value_in(b"") == Strange("", b"")
    with pytest.raises(ValueError, match="does not begin"):
        Database(b"GVari")
