"""Every spelling of a place means what it seems to mean, or is refused with the right spelling."""

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

import axiom_persistence
from axiom_persistence import (
    AdapterBasedPersistence,
    Durability,
    FileStorageAdapter,
    MemoryAdapter,
    SQLiteAdapter,
    open_persistence,
)
from axiom_persistence.errors import (
    AccessDeniedError,
    ConfigurationError,
    CorruptedDataError,
    ForeignStoreError,
    InsecureStorageError,
    StoreNotFoundError,
)
from axiom_persistence.layers.cached import Cached
from axiom_persistence.opening.addresses import Address, adapter_for, address_of
from axiom_persistence.platform.places import application_directory
from axiom_persistence.storage.layer import Layer
from axiom_persistence.testing import ConfidentialMemory
from support.embedded import listed, plant


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A home, a directory of applications and a working directory of this test."""
    for name in ("home", "apps", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path / "apps"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("XDG_DOCUMENTS_DIR", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


class Shelf(ConfidentialMemory):
    """A confidential place that promises as much as a disk, so that it would be worth a cache."""

    @property
    def traits(self):
        return replace(super().traits, durability=Durability.POWER_LOSS)


def leaf(persistence):
    """The adapter below all layers."""
    adapter = persistence.adapter
    while isinstance(adapter, Layer):
        adapter = adapter.inner
    return adapter


SPELLINGS = [
    # an application
    ("notes", SQLiteAdapter, "{apps}/notes/state.db"),
    ("state", SQLiteAdapter, "{apps}/state/state.db"),
    ("memory", SQLiteAdapter, "{apps}/memory/state.db"),
    ("My Notes 2.0", SQLiteAdapter, "{apps}/My Notes 2.0/state.db"),
    ("org.example.notes", SQLiteAdapter, "{apps}/org.example.notes/state.db"),
    # a path
    ("notes.db", SQLiteAdapter, "{work}/notes.db"),
    ("notes.DB", SQLiteAdapter, "{work}/notes.DB"),
    ("notes.SQLite3", SQLiteAdapter, "{work}/notes.SQLite3"),
    ("sub/notes.sqlite", SQLiteAdapter, "{work}/sub/notes.sqlite"),
    ("./notes", FileStorageAdapter, "{work}/notes"),
    ("sub/notes", FileStorageAdapter, "{work}/sub/notes"),
    ("./settings.json", FileStorageAdapter, "{work}/settings.json"),
    ("~/state.db", SQLiteAdapter, "{home}/state.db"),
    ("~/state", FileStorageAdapter, "{home}/state"),
    (Path("notes"), FileStorageAdapter, "{work}/notes"),
    (Path("settings.json"), FileStorageAdapter, "{work}/settings.json"),
    (Path("notes.db"), SQLiteAdapter, "{work}/notes.db"),
    (Path("~/state.db"), SQLiteAdapter, "{home}/state.db"),
    (Path("what?.db"), SQLiteAdapter, "{work}/what?.db"),
    # an address
    ("sqlite:notes.db", SQLiteAdapter, "{work}/notes.db"),
    ("sqlite:notes", SQLiteAdapter, "{work}/notes"),
    ("sqlite:///notes.db", SQLiteAdapter, "{work}/notes.db"),
    ("sqlite:////abs/x.db", SQLiteAdapter, "/abs/x.db"),
    ("sqlite:a%20b.db", SQLiteAdapter, "{work}/a b.db"),
    ("sqlite:~/x.db", SQLiteAdapter, "{home}/x.db"),
    ("SQLite:notes.db", SQLiteAdapter, "{work}/notes.db"),
    ("file:notes", FileStorageAdapter, "{work}/notes"),
    ("file:///p/dir", FileStorageAdapter, "/p/dir"),
    ("file://localhost/p/dir", FileStorageAdapter, "/p/dir"),
    ("file:/p/dir", FileStorageAdapter, "/p/dir"),
    ("file+documents:notes", FileStorageAdapter, "{home}/Documents/notes"),
    ("memory:", MemoryAdapter, "the memory of this process"),
    ("memory://", MemoryAdapter, "the memory of this process"),
    (":memory:", MemoryAdapter, "the memory of this process"),
    ("sqlite::memory:", MemoryAdapter, "the memory of this process"),
]


@pytest.mark.parametrize(("where", "adapter", "location"), SPELLINGS, ids=lambda value: str(value)[:30])
def test_a_spelling_means_what_it_seems_to(world, where, adapter, location):
    """Names, paths and addresses lead to the place that the table says, and nothing is made yet."""
    persistence = open_persistence(where)
    places = {name: world / name for name in ("home", "apps", "work")}
    assert type(leaf(persistence)) is adapter
    assert persistence.location == location.format(**places)
    assert set(world.rglob("*")) == set(places.values())


REFUSED = [
    ("", "notes"),
    ("  ", "notes"),
    (".", "./notes"),
    ("..", "./notes"),
    ("~", "notes.db"),
    ("settings.json", "Path('settings.json')"),
    ("settings.json", "'settings.db'"),
    ("config.toml", "config.db"),
    ("notes.", "letters"),
    ("a*b", "letters"),
    ("a\nb", "letters"),
    ("a\0b", "NUL"),
    (Path("a\0b"), "NUL"),
    ("localhost:6379", "'memory:'"),
    ("notes:dev", "an application's name has no ':'"),
    ("reddis://x", "'sqlite:notes.db'"),
    ("sqlit:notes.db", "known are 'sqlite:notes.db'"),
    ("files:notes", "known are 'file:notes'"),
    ("http://example.org/x", "no known kind"),
    ("sqlite:", "sqlite:notes.db"),
    ("sqlite://notes.db", "sqlite:notes.db"),
    ("sqlite://host/notes.db", "sqlite:////abs"),
    ("sqlite:notes.db?mode=ro", "no options"),
    ("file:", "file:notes"),
    ("file:/", "file:notes"),
    ("file://host/p", "file:host/p"),
    ("file+documents:", "file+documents:notes"),
    ("file+documents:../x", "plain name"),
    ("memory:name", "memory:"),
    (5, "a name, an address, a path or an adapter"),
    (None, "a name, an address, a path or an adapter"),
    (b"notes.db", "a name, an address, a path or an adapter"),
    ({"path": "x"}, "a name, an address, a path or an adapter"),
]


@pytest.mark.parametrize(("where", "says"), REFUSED, ids=lambda value: repr(value)[:30])
def test_a_spelling_that_misleads_is_refused_with_the_right_one(world, where, says):
    """What only looks like something is ConfigurationError, at once, naming what to write instead."""
    with pytest.raises(ConfigurationError) as caught:
        open_persistence(where)
    assert says in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_the_nearest_kind_is_named_first(world):
    """A misspelt scheme gets the list of those there are, the likely one first."""
    for wrong, right in {
        "memori:": "'memory:'",
        "flie:x": "'file:notes'",
        "sqlte:x": "'sqlite:notes.db'",
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            open_persistence(wrong)
        known = str(caught.value).split("known are ")[1]
        assert known.startswith(right)


def test_an_adapter_is_taken_as_it_is(world):
    """An adapter given is the adapter used."""
    adapter = MemoryAdapter()
    assert leaf(open_persistence(adapter)) is adapter
    assert adapter_for(adapter) is adapter
    assert AdapterBasedPersistence(adapter).adapter is adapter


def test_the_bare_class_takes_an_adapter_only():
    """AdapterBasedPersistence("notes.db") names the function that takes an address."""
    with pytest.raises(ConfigurationError, match="open_persistence"):
        AdapterBasedPersistence("notes.db")


def test_a_mode_that_is_none_is_refused(world):
    """mode= is normal or inspect."""
    with pytest.raises(ConfigurationError, match="inspect"):
        open_persistence("memory:", mode="ro")


# -- where applications live ------------------------------------------------------------------------


async def test_one_variable_moves_all_applications(world):
    """AXIOM_PERSISTENCE_HOME moves every application's store as a whole."""
    async with open_persistence("notes") as persistence:
        await persistence.save("k", 1)
    assert {path.name for path in (world / "apps").iterdir()} == {"notes"}
    assert not list((world / "home").iterdir())


def test_the_variable_may_begin_with_a_tilde(world, monkeypatch):
    """~ is expanded there as well; an empty variable counts as not set."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", "~/moved")
    assert application_directory("notes") == world / "home" / "moved" / "notes"
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", "")
    assert application_directory("notes") == world / "home" / ".local" / "share" / "notes"


async def test_without_the_variable_the_data_directory_is_used(world, monkeypatch):
    """An application's place is the platform's directory for user data, private to the user."""
    monkeypatch.delenv("AXIOM_PERSISTENCE_HOME")
    async with open_persistence("notes") as persistence:
        await persistence.save("k", 1)
        place = Path(persistence.location)
    assert place == world / "home" / ".local" / "share" / "notes" / "state.db"
    assert place.stat().st_mode & 0o077 == 0
    assert place.parent.stat().st_mode & 0o077 == 0


def test_an_account_without_a_home_is_told_what_to_set(world, monkeypatch):
    """No HOME and no entry for the user: the error names the variable."""
    import pwd

    def no_entry(_):
        raise KeyError("no such user")

    monkeypatch.delenv("AXIOM_PERSISTENCE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    with pytest.raises(ConfigurationError, match=r"no home directory.*AXIOM_PERSISTENCE_HOME"):
        open_persistence("notes")
    with pytest.raises(ConfigurationError, match="home directory"):
        open_persistence("~/x.db")


def test_a_home_that_is_no_directory_is_named(world, monkeypatch):
    """A HOME such as /dev/null gets an error of its own, before anything is tried."""
    monkeypatch.delenv("AXIOM_PERSISTENCE_HOME")
    monkeypatch.setenv("HOME", "/dev/null")
    with pytest.raises(AccessDeniedError, match=r"/dev/null is no directory.*AXIOM_PERSISTENCE_HOME"):
        open_persistence("notes")


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
def test_a_home_that_may_not_be_written_is_named(world):
    """A read-only home: AccessDeniedError names the directory and the variable that moves the store."""
    program = (
        "import os, platformdirs, axiom_persistence.adapters.sqlite\n"
        "from axiom_persistence import open_persistence\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "open_persistence('notes')\n"
    )
    with tempfile.TemporaryDirectory() as directory:  # one that other users can reach
        home = Path(directory) / "home"
        home.mkdir()
        home.chmod(0o555)
        Path(directory).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "HOME": str(home), "AXIOM_PERSISTENCE_HOME": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert "AccessDeniedError" in done.stderr
    assert f"{home} may not be written to" in done.stderr
    assert "AXIOM_PERSISTENCE_HOME" in done.stderr


# -- other distributions ----------------------------------------------------------------------------


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """An installed distribution with the given entry points and module."""

    def install(entries, module):
        site = tmp_path / "site"
        info = site / "acme_store-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-store\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[axiom_persistence.adapters]\n{lines}")
        (site / "acme_store.py").write_text(module)
        monkeypatch.syspath_prepend(site)

    yield install
    sys.modules.pop("acme_store", None)


async def test_another_distribution_adds_a_kind_of_store(world, distribution):
    """An entry point makes a scheme known; it gets the rest of the address and inspect=."""
    distribution(
        {"acme": "acme_store:make", "acme+odd": "acme_store:odd"},
        "from axiom_persistence import MemoryAdapter\n"
        "class AcmeAdapter(MemoryAdapter):\n"
        "    def __init__(self, rest, inspect): super().__init__(); self.asked = rest, inspect\n"
        "def make(rest, *, inspect): return AcmeAdapter(rest, inspect)\n"
        "def odd(rest, *, inspect): return rest\n",
    )
    async with open_persistence("acme://host/a%20b?x=1") as persistence:
        await persistence.save("k", 1)
        assert leaf(persistence).asked == ("//host/a%20b?x=1", False)
    assert adapter_for("ACME:x", inspect=True).asked == ("x", True)
    with pytest.raises(ConfigurationError, match="made no StorageAdapter"):
        open_persistence("acme+odd:x")
    with pytest.raises(ConfigurationError, match="known are 'acme:"):
        open_persistence("acmee:x")


def test_a_distribution_that_lacks_something_is_named(world, distribution):
    """An entry point that cannot be imported is ConfigurationError with the distribution's name."""
    distribution({"acme": "acme_store:make"}, "import a_module_that_is_not_there\n")
    with pytest.raises(ConfigurationError, match=r"acme-store.*a_module_that_is_not_there"):
        open_persistence("acme:x")


# -- looking only -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["store.db", "./store"])
async def test_inspect_reads_and_changes_nothing(world, where):
    """mode="inspect" loads and lists, refuses every change, and repairs nothing."""
    async with open_persistence(where) as persistence:
        await persistence.save("k", [1])
        await persistence.save("k", [2])
        await plant(persistence, "bad", b"damaged")
    before = {path: path.read_bytes() for path in (world / "work").rglob("*") if path.is_file()}
    async with open_persistence(where, mode="inspect") as persistence:
        assert await persistence.load("k", list) == [2]
        assert await listed(persistence) == ["bad", "k"]
        assert await persistence.exists("k")
        assert (await persistence.describe("k")).has_previous
        with pytest.raises(CorruptedDataError):
            await persistence.load("bad", list)
        assert [finding.key for finding in (await persistence.verify()).findings] == ["bad"]

        async def in_transaction():
            async with persistence.transaction() as tx:
                await tx.save("k", 1)

        for change in (
            lambda: persistence.save("k", 1),
            lambda: persistence.save_many({"k": 1}),
            lambda: persistence.delete("k"),
            lambda: persistence.delete_many(["k"]),
            lambda: persistence.update("k", list, lambda old: old),
            in_transaction,
        ):
            with pytest.raises(AccessDeniedError):
                await change()
    after = {path: path.read_bytes() for path in (world / "work").rglob("*") if path.is_file()}
    assert {path: after.get(path) for path in before if not path.name.endswith(("-shm", "-wal"))} == {
        path: data for path, data in before.items() if not path.name.endswith(("-shm", "-wal"))
    }


@pytest.mark.parametrize("where", ["notes", "store.db", "./store", "sqlite:x.db", "file:x"])
async def test_inspect_creates_nothing(world, where):
    """Inspecting what is not there is StoreNotFoundError, also a FileNotFoundError, and leaves no trace."""
    with pytest.raises(StoreNotFoundError) as caught:
        await open_persistence(where, mode="inspect")
    assert isinstance(caught.value, FileNotFoundError)
    assert not [path for path in world.rglob("*") if path.name not in ("home", "apps", "work")]


async def test_an_adapter_can_be_inspected_too(world):
    """mode="inspect" around an adapter refuses its commits."""
    adapter = MemoryAdapter()
    async with open_persistence(adapter) as persistence:
        await persistence.save("k", 1)
    async with open_persistence(adapter, mode="inspect") as persistence:
        assert await persistence.load("k", int) == 1
        with pytest.raises(AccessDeniedError):
            await persistence.save("k", 2)


async def test_what_is_not_ours_is_left_alone(world):
    """Another program's database or directory is ForeignStoreError, and stays byte for byte."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect("other.db")) as other:
        other.execute("CREATE TABLE theirs(x)")
        other.commit()
    Path("text.db").write_text("this is no database at all, but a text that is long enough to be one" * 20)
    Path("photos").mkdir()
    Path("photos/holiday.jpg").write_bytes(b"jpeg")
    for where in ("other.db", "text.db", "./photos"):
        before = {path: path.read_bytes() for path in world.rglob("*") if path.is_file()}
        with pytest.raises(ForeignStoreError):
            await open_persistence(where)
        assert {path: path.read_bytes() for path in world.rglob("*") if path.is_file()} == before


# -- options ----------------------------------------------------------------------------------------


def test_a_durability_that_cannot_be_promised_is_refused_when_built(world):
    """Asking memory to survive a loss of power fails at construction, naming what it can do."""
    with pytest.raises(ConfigurationError, match="'memory'"):
        open_persistence("memory:", durability="power_loss")
    with pytest.raises(ConfigurationError, match="'process_exit'"):
        open_persistence("notes.db", durability="forever")
    assert open_persistence("notes.db", durability="process_exit")


def test_a_place_for_secrets_must_be_confidential(world):
    """secure= takes a confidential adapter only, and says so at construction."""
    with pytest.raises(InsecureStorageError, match="confidential"):
        open_persistence("notes.db", secure=MemoryAdapter())


async def test_secrets_have_a_store_of_their_own(world):
    """persistence.secure opens and closes with the store, and its namespaces are apart."""
    secrets = ConfidentialMemory()
    async with open_persistence("memory:", secure=secrets) as persistence:
        await persistence.secure.save("token", "s")
        await persistence.namespace("a").secure.save("token", "sa")
        assert await listed(persistence) == []
        assert await listed(persistence.secure) == ["a/token", "token"]
        assert await persistence.namespace("a").secure.load("token", str) == "sa"
    assert not persistence.secure.is_available
    async with open_persistence(ConfidentialMemory()) as persistence:
        assert persistence.secure is persistence
    with pytest.raises(InsecureStorageError, match="secure="):
        assert open_persistence("memory:").secure


async def test_the_secure_store_is_opened_like_the_other(world):
    """It has change streams, which tell what is committed through it; and secrets are never cached."""
    async with open_persistence("notes.db", secure=Shelf()) as persistence:
        changes = persistence.secure.changes("to")
        await persistence.save("token", "plain")
        await persistence.secure.save("token", "s")
        change = await anext(changes)
        assert change.key == "token"
        assert change.version is not None
        assert persistence.adapter.find(Cached) is not None
        assert persistence.secure.adapter.find(Cached) is None


async def test_inspect_refuses_to_write_into_the_secure_store_as_well(world):
    """mode="inspect" is of the whole: nothing is stored among the secrets either."""
    secrets = Shelf()
    async with open_persistence("notes.db", secure=secrets) as persistence:
        await persistence.save("k", 1)
        await persistence.secure.save("token", "s")
    async with open_persistence("notes.db", secure=secrets, mode="inspect") as persistence:
        assert await persistence.secure.load("token", str) == "s"
        with pytest.raises(AccessDeniedError):
            await persistence.secure.save("token", "t")


async def test_a_bare_persistence_takes_a_bare_adapter_for_secrets(world):
    """AdapterBasedPersistence(adapter, secure=...) stacks nothing: what is not there is said."""
    async with AdapterBasedPersistence(MemoryAdapter(), secure=Shelf()) as persistence:
        await persistence.secure.save("token", "s")
        assert await persistence.secure.load("token", str) == "s"
        with pytest.raises(ConfigurationError, match="Observed"):
            persistence.secure.changes()


def test_an_account_without_a_home_has_no_documents(world, monkeypatch):
    """Both ways to a directory among the documents say so in the same words."""

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("platformdirs.user_documents_path", nowhere)
    with pytest.raises(ConfigurationError, match="no documents for 'notes'"):
        open_persistence("file+documents:notes")
    with pytest.raises(ConfigurationError, match="no documents for 'notes'"):
        FileStorageAdapter.in_documents("notes")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a:b", "what?", "a\tb"])
def test_both_ways_to_the_documents_refuse_the_same_names(world, name):
    """What is no plain name on every system is refused by the address as by the adapter."""
    with pytest.raises(ConfigurationError, match="plain name"):
        open_persistence(f"file+documents:{name}")
    with pytest.raises(ConfigurationError, match="plain name"):
        FileStorageAdapter.in_documents(name)


def test_an_address_is_data():
    """What an address means is known before anything is made or looked for."""
    assert address_of("notes") == ("application", "notes")
    assert address_of("./notes") == ("file", "./notes")
    assert address_of("sqlite:a%20b.db") == ("sqlite", "a b.db")
    assert address_of("file+documents:notes") == Address("file+documents", "notes")
    assert address_of(":memory:") == address_of("sqlite::memory:") == Address("memory", "")


def test_the_version_is_the_distributions():
    """axiom_persistence.__version__ is what is installed."""
    from importlib.metadata import version

    assert axiom_persistence.__version__ == version("axiom-persistence")
