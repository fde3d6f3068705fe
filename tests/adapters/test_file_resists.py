"""The file store where somebody else changes its own files, and where a file system lacks a call."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from axiom_persistence import Client, client_state, open_persistence
from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.errors import (
    AccessDeniedError,
    ConfigurationError,
    CorruptedDataError,
    ForeignStoreError,
    StorageError,
    StorageFullError,
)
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.testing.failing import FailingFileSystem, Fault

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes, links and owners")
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may change to another user"
)

MARKER, MARK = ".axiom", ".axiom.mark"


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


def tree(place):
    """Every file of a directory, by relative name."""
    return {
        path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()
    }


async def fill(place):
    """A store with two values, closed."""
    async with open_persistence(place) as persistence:
        await persistence.save_many({"a": 1, "n/b": 2})


# Files of its own that change while it is open

HARM = {
    "emptied": lambda path: os.truncate(path, 0),
    "cut": lambda path: os.truncate(path, 5),
    "zeros": lambda path: (os.truncate(path, 0), os.truncate(path, 4096)),
    "noise": lambda path: path.write_bytes(b"\xff" * 64),
    "odd": lambda path: path.write_bytes(b"\1" * 16),
}

STORY = """
import asyncio, sys
from pathlib import Path
from axiom_persistence import PersistenceError, open_persistence
async def main():
    place = Path(sys.argv[1])
    async with open_persistence(place) as one, open_persistence(place) as two:
        await one.save_many({"a": 1, "b": 1})
        assert await two.load_many(["a", "b"], int) == {"a": 1, "b": 1}
        print("ready", flush=True)
        sys.stdin.readline()
        for step, (writer, reader) in enumerate([(one, two), (two, one), (one, two)], 2):
            await reader.load("a", int)
            await writer.save("a", step)
            assert await reader.load("a", int) == step, step
            await writer.save_many({"a": -step, "b": step})
            assert await reader.load_many(["a", "b"], int) == {"a": -step, "b": step}
            assert await reader.load("a", int) == -step
            await writer.delete("b")
            assert await reader.load("b", int) is None
asyncio.run(main())
"""


@pytest.mark.parametrize("harm", HARM)
def test_a_mark_that_is_changed_under_an_open_store(place, harm):
    """However the shared mark is cut or rewritten, no signal ends the process and no load is stale."""
    child = subprocess.Popen(
        [sys.executable, "-c", STORY, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "ready\n"
    HARM[harm](place / MARK)
    _, said = child.communicate("go\n", timeout=60)
    assert child.returncode == 0, signal.Signals(-child.returncode) if child.returncode < 0 else said


async def test_a_mark_that_stays_short_is_told_or_mended(place):
    """A single store goes on over a mark that is emptied before every call, with or without a lock."""
    async with open_persistence(place) as persistence:
        for step in range(5):
            for verb, *arguments in (
                (persistence.save, "a", step),
                (persistence.load, "a", int),
                (persistence.save_many, {"b": step, "c": step}),
                (persistence.load_many, ["a", "b"], int),
                (persistence.delete, "c"),
            ):
                os.truncate(place / MARK, 0)
                await verb(*arguments)
        assert await persistence.load_many(["a", "b"], int) == {"a": 4, "b": 4}


async def test_a_backup_copied_over_an_open_store_is_seen(place, tmp_path):
    """``cp -r backup/. store/`` takes the mark back to an earlier one: what is cached is asked for anew."""
    await fill(place)
    shutil.copytree(place, tmp_path / "backup")
    async with open_persistence(place) as persistence:
        for step in range(10):
            await persistence.save("a", 10 + step)
        assert await persistence.load("a", int) == 19
        shutil.copytree(tmp_path / "backup", place, dirs_exist_ok=True)
        assert await persistence.load("a", int) == 1
        await persistence.save("a", 3)
        assert await persistence.load_many(["a", "n/b"], int) == {"a": 3, "n/b": 2}


async def test_a_mark_that_cannot_be_read_is_no_damage(place):
    """Where the medium refuses the mark, the lock does for it, or the error says so; then all goes on."""
    failing = FailingFileSystem(local_filesystem(place))
    async with FileStorageAdapter(place, filesystem=failing) as adapter:
        await adapter.commit({"a": b"1", "b": b"1"})
        failing.fault = Fault(code=errno.EIO, operation="read_at", sticky=True)
        await adapter.commit({"a": b"2", "b": b"2"})  # under the lock, where nothing needs it
        assert (await adapter.fetch(("a", "b")))["b"].data == b"2"
        failing.fault = Fault(code=errno.EIO, operation="write_at", sticky=True)
        with pytest.raises(StorageError) as caught:
            await adapter.commit({"a": b"3", "b": b"3"})
        assert caught.value.errno == errno.EIO
        failing.fault = None
        found = await adapter.fetch(("a", "b"))
        assert len({stored.data for stored in found.values()}) == 1
        await adapter.commit({"a": b"4", "b": b"4"})
        assert (await adapter.fetch(("a", "b")))["b"].data == b"4"


# The marker


LOSSES = {
    "gone": lambda marker: marker.unlink(),
    "emptied": lambda marker: os.truncate(marker, 0),
    "zeros": lambda marker: marker.write_bytes(bytes(marker.stat().st_size)),
    "cut": lambda marker: os.truncate(marker, 20),
    "rewritten": lambda marker: marker.write_bytes(b"mine\n"),
}


@pytest.mark.parametrize("inspect", [False, True])
@pytest.mark.parametrize("mark", ["kept", "gone"])
@pytest.mark.parametrize("loss", LOSSES)
async def test_values_without_their_marker_are_no_new_store(place, loss, mark, inspect):
    """The values are named, nothing is changed, and with the marker put back all is there."""
    await fill(place)
    before = (place / MARKER).read_bytes()
    LOSSES[loss](place / MARKER)
    if mark == "gone":
        (place / MARK).unlink()
    harmed = tree(place)
    for _ in range(2):
        with pytest.raises(CorruptedDataError, match=r"a\.json") as caught:
            await FileStorageAdapter(place, inspect=inspect).aopen()
        assert "put .axiom back" in str(caught.value)
        assert "remove" not in caught.value.hint
        assert tree(place) == harmed
    (place / MARKER).write_bytes(before)
    async with open_persistence(place) as persistence:
        assert await persistence.load_many(["a", "n/b"], int) == {"a": 1, "n/b": 2}


async def test_a_journal_without_a_marker_is_no_new_store(place):
    """What an interrupted commit decided is not taken for a broken-off creation."""
    await fill(place)
    shutil.rmtree(place / "n")
    for name in (MARKER, MARK, "a.json"):
        (place / name).unlink()
    for path in place.iterdir():
        path.unlink()
    (place / ".axiom.journal").write_bytes(b"decided")
    with pytest.raises(CorruptedDataError, match="journal"):
        await FileStorageAdapter(place).aopen()
    assert tree(place) == {".axiom.journal": b"decided"}


async def test_an_empty_marker_adopts_nobodys_directory(place):
    """A directory of somebody else's with an empty file of our name in it is still somebody else's."""
    place.mkdir()
    (place / "photo.jpg").write_bytes(b"theirs")
    (place / MARKER).write_bytes(b"")
    with pytest.raises(ForeignStoreError):
        await FileStorageAdapter(place).aopen()
    assert tree(place) == {"photo.jpg": b"theirs", MARKER: b""}


@pytest.mark.parametrize(
    "edit",
    [lambda text: text.replace(b"\n", b"\r\n"), lambda text: b"\xef\xbb\xbf" + text],
    ids=["crlf", "bom"],
)
async def test_a_marker_that_an_editor_saved(place, edit):
    """Carriage returns and a byte order mark leave the store what it is."""
    await fill(place)
    edited = edit((place / MARKER).read_bytes())
    (place / MARKER).write_bytes(edited)
    async with open_persistence(place) as persistence:
        assert await persistence.load("a", int) == 1
        await persistence.save("a", 2)
    assert (place / MARKER).read_bytes() == edited


# Links


@posix
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("dangling", [False, True])
async def test_a_record_that_is_a_symbolic_link(place, tmp_path, warm, dangling):
    """It is neither followed nor replaced nor removed; the error says what it is, and the rest goes on."""
    await fill(place)
    async with open_persistence(place) as persistence:
        if warm:
            await persistence.save("a", 5)
        elsewhere = tmp_path / "elsewhere.json"
        (place / "a.json").rename(elsewhere)
        kept = elsewhere.read_bytes()
        if dangling:
            elsewhere.unlink()
        (place / "a.json").symlink_to(elsewhere)
        for verb in (
            lambda: persistence.save("a", 6),
            lambda: persistence.save("a", 6, durability="process_exit"),
            lambda: persistence.save_many({"a": 6, "n/b": 6}),
            lambda: persistence.delete("a"),
        ):
            with pytest.raises(StorageError, match="symbolic link") as caught:
                await verb()
            assert caught.value.key == "a"
        assert (place / "a.json").is_symlink()
        assert dangling or elsewhere.read_bytes() == kept
        assert await persistence.load("n/b", int) == 2
        await persistence.save("n/b", 7)
    async with open_persistence(place) as persistence:
        with pytest.raises(StorageError, match="symbolic link"):
            await persistence.load("a", int)
        assert await persistence.load("n/b", int) == 7


@posix
@pytest.mark.parametrize("name", [MARKER, MARK])
async def test_a_link_in_place_of_the_stores_own_file(place, tmp_path, name):
    """What stands in place of a file of the store's own is named, and the way out loses nothing."""
    await fill(place)
    (place / name).rename(tmp_path / "moved")
    (place / name).symlink_to(tmp_path / "moved")
    with pytest.raises(ForeignStoreError) as caught:
        await FileStorageAdapter(place).aopen()
    assert f"{name} is not a regular file" in str(caught.value)
    assert "remove" not in caught.value.hint


# A medium that fails


async def test_what_the_medium_refuses_is_no_damage(place):
    """EIO at a read is told with its number, not as corruption, and the value is there after it."""
    failing = FailingFileSystem(local_filesystem(place))
    persistence = open_persistence(FileStorageAdapter(place, filesystem=failing), cache=None)
    async with persistence:
        await persistence.save_many({"a": 1, "b": 2})
        before = tree(place)
        failing.fault = Fault(code=errno.EIO, operation="read", sticky=True)
        for verb in (
            lambda: persistence.load("a", int),
            lambda: persistence.load_many(["a", "b"], int),
            lambda: persistence.update("a", int, lambda n: n + 1),
            lambda: persistence.verify(repair=True),
        ):
            with pytest.raises(StorageError) as caught:
                await verb()
            assert caught.value.errno == errno.EIO
            assert "backup" not in str(caught.value)
        failing.fault = None
        assert tree(place) == before
        assert await persistence.load_many(["a", "b"], int) == {"a": 1, "b": 2}
        assert persistence.reports == ()


# File systems that lack a call

CODES = [errno.EPERM, errno.ENOTSUP, errno.EINVAL, errno.EDQUOT]
OPERATIONS = [
    *("attach", "create", "open", "write_some", "sync", "read", "link", "replace", "unlink", "mkdir"),
    *("sync_directory", "scan", "status", "try_lock", "unlock", "read_at", "write_at"),
]


async def life(place, failing, first):
    """Everything a store does, once: the error, and what was acknowledged before it."""
    adapter = FileStorageAdapter(place, filesystem=failing, lock_timeout=1)
    acknowledged = {}
    try:
        async with adapter:
            for changes in (
                {"a": b"1"},
                {"a": b"2"},
                {"a": b"3", "n/b": b"3"},
                {"new/x": b"1"},
                {"gone": None},
            ):
                await adapter.commit(changes)
                acknowledged |= changes
            await adapter.commit({"a": b"4"}, durability=Durability.PROCESS_EXIT)
            acknowledged["a"] = b"4"
            assert (await adapter.fetch(("a", "n/b")))["a"].data == b"4"
            assert [key async for key in adapter.keys()] == sorted({"a", "n/b", "new/x", *first})  # noqa: SIM118
            await adapter.commit({"new/x": None})
            acknowledged["new/x"] = None
    except StorageError as error:
        return error, acknowledged
    return None, acknowledged


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_call_refused(tmp_path, operation, code):
    """It works or says why, twice in a row alike, on a new place and an old one, and loses nothing."""
    for start in ("new", "old"):
        place = tmp_path / start
        if start == "old":
            async with FileStorageAdapter(place) as adapter:
                await adapter.commit({"first": b"1"})
        else:
            place.mkdir()
        first = {"first": b"1"} if start == "old" else {}
        outcomes = []
        for _ in range(2):
            failing = FailingFileSystem(local_filesystem(place))
            failing.fault = Fault(code=code, operation=operation, sticky=True)
            error, acknowledged = await life(place, failing, first)
            outcomes.append(None if error is None else (type(error), error.errno))
            if error is not None:
                kinds = {errno.EDQUOT: StorageFullError, errno.EPERM: AccessDeniedError}
                assert outcomes[-1] == (kinds.get(code, StorageError), code)
                assert str(place) in str(error)
                assert "remove" not in error.hint
        assert outcomes[0] == outcomes[1]
        async with FileStorageAdapter(place) as adapter:
            for key, data in (first | acknowledged).items():
                assert await adapter.read(key) in (data, b"4"), key
            assert await adapter.check() == []
            await adapter.commit({"a": b"5", "n/b": b"5"})


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EPERM])
async def test_directories_that_cannot_be_synced(place, code):
    """The store runs, promises what it can keep, and refuses what it cannot by name, at every start."""
    for start in range(3):
        failing = FailingFileSystem(
            local_filesystem(place), Fault(code=code, operation="sync_directory", sticky=True)
        )
        async with open_persistence(FileStorageAdapter(place, filesystem=failing)) as persistence:
            assert persistence.adapter.traits.durability is Durability.PROCESS_EXIT
            assert await persistence.load("a", int) == (start or None)
            await persistence.save("a", start + 1)
            await persistence.save_many({"b": start, "c": start})
            await persistence.flush()
            with pytest.raises(ConfigurationError, match="power_loss"):
                await persistence.save("a", 0, durability="power_loss")
    failing = FailingFileSystem(
        local_filesystem(place), Fault(code=code, operation="sync_directory", sticky=True)
    )
    asked = open_persistence(FileStorageAdapter(place, filesystem=failing), durability="power_loss")
    with pytest.raises(ConfigurationError, match="syncs no directories"):
        async with asked:
            await asked.save("a", 0)
    async with FileStorageAdapter(place) as adapter:
        assert adapter.traits.durability is Durability.POWER_LOSS


@posix
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EINVAL])
@pytest.mark.parametrize("name", ["new.db", "files"])
async def test_modes_that_cannot_be_set(tmp_path, monkeypatch, code, name):
    """On a file system without modes both stores run, at every start alike."""

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    for call in ("chmod", "fchmod", "fchown", "chown"):
        monkeypatch.setattr(os, call, refuse)
    for start in range(2):
        async with open_persistence(tmp_path / "made" / name) as persistence:
            assert await persistence.load("n/a", int) == (start or None)
            await persistence.save("n/a", start + 1)


@posix
@pytest.mark.parametrize("name", ["new.db", "files"])
async def test_directories_that_cannot_be_synced_while_they_are_made(tmp_path, monkeypatch, name):
    """Directories above a new store are made where their sync is refused, for both stores."""
    real = os.fsync

    def refuse(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    for start in range(2):
        async with open_persistence(tmp_path / "made" / "deep" / name) as persistence:
            assert await persistence.load("a", int) == (start or None)
            await persistence.save("a", start + 1)


async def test_names_of_143_bytes(place):
    """No component is longer than what an encrypted home directory takes, whatever the key."""
    keys = ["x" * 1000, "x.y" * 300, "X" * 500, "é" * 300, "a/" * 400 + "b", "y" * 143, "y" * 130]
    async with FileStorageAdapter(place) as adapter:
        for key in keys:
            await adapter.commit({key: b"1"})
            await adapter.commit({key: b"2"})
        assert sorted([key async for key in adapter.keys()]) == sorted(keys)  # noqa: SIM118
    assert max(len(path.name) for path in place.rglob("*")) <= 143


@pytest.mark.parametrize(
    "name",
    ["x" * 300, "x" * 300 + ".db", "x" * 250 + ".db", "d" * 200 + "/" + "e" * 200 + "/" + "f" * 150 + ".db"],
)
async def test_a_path_that_is_too_long(tmp_path, name):
    """It says so, and leaves no empty file."""
    for _ in range(2):
        with pytest.raises(StorageError, match="too long"):
            await open_persistence(tmp_path / name).activate()
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# Another user


def as_user(user, script, *arguments):
    """Run a script in a process that becomes that user when it has run once for another store."""
    become = (
        "\nimport os, tempfile\n"
        "real = sys.argv[1]\n"
        "with tempfile.TemporaryDirectory() as sys.argv[1], open(os.devnull, 'w') as sys.stdout:\n"
        "    sys.argv[1] += '/' + os.path.basename(real)\n"
        "    asyncio.run(prepare())\n"
        "    asyncio.run(main())\n"
        f"sys.argv[1], sys.stdout = real, sys.__stdout__\n"
        f"os.setgroups([]); os.setresgid({user}, {user}, {user}); os.setresuid({user}, {user}, {user})\n"
        "asyncio.run(main())\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script + become, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


NOBODY = 65534
SAVE = """
import asyncio, sys
from pathlib import Path
from axiom_persistence import open_persistence
async def main():
    async with open_persistence(Path(sys.argv[1])) as persistence:
        count = await persistence.update("count", int, lambda n: n + 1, default=0)
        await persistence.save_many({f"{sys.argv[2]}/a": 1, f"{sys.argv[2]}/b/c": 2})
        print(count, await persistence.load("root/a", int))
async def prepare():
    pass
"""


@pytest.fixture
def home():
    """A directory of another user, below directories that everybody may enter."""
    path = Path("/tmp") / f"axiom-home-{os.getpid()}"
    path.mkdir(mode=0o755)
    os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


@posix
@as_root
@pytest.mark.parametrize("first", ["user", "root"])
@pytest.mark.parametrize("name", ["data/notes", "data/notes.db"])
def test_one_run_with_sudo_locks_nobody_out(home, name, first):
    """What root makes in a user's directory belongs to the user, whoever comes first."""
    place = home / name
    order = [NOBODY, 0, NOBODY] if first == "user" else [0, NOBODY]
    for count, user in enumerate(order, 1):
        ran = as_user(user, SAVE, place, "root" if user == 0 else "user")
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout == f"{count} {1 if 0 in order[:count] else None}\n"
    for path in home.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY), path


READ = """
import asyncio, os, sys
from pathlib import Path
from axiom_persistence import Client, client_state, open_persistence
from axiom_persistence.errors import AccessDeniedError
class Prefs(Client):
    one: int = client_state(0)
    two: int = client_state(0)
async def prepare():
    async with open_persistence(Path(sys.argv[1])) as persistence, Prefs(persistence) as client:
        client.one, client.two = 1, 2
async def main():
    async with open_persistence(Path(sys.argv[1])) as persistence:
        client = Prefs(persistence)
        report = await client.restore_state()
        assert client.two == 2, client.two
        if os.geteuid() == 0:
            return await client.close()
        assert client.one == 0
        assert isinstance(report.unreadable["one"], AccessDeniedError), report
        assert "two" in report.restored
        client.two = 3
        await client.persist_state("two")
        print(client.phase.value)
"""


@posix
@as_root
def test_a_record_of_somebody_else_degrades_its_field_only(home):
    """A field whose file may not be read takes its default; the other fields are restored and saved."""
    place = home / "notes"

    async def made():
        class Prefs(Client):
            one: int = client_state(0)
            two: int = client_state(0)

        async with open_persistence(place) as persistence, Prefs(persistence) as client:
            client.one, client.two = 1, 2

    import asyncio

    asyncio.run(made())
    record = next(place.rglob("one.json"))
    os.chown(record, 0, 0)
    ran = as_user(NOBODY, READ, place)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "degraded\n"
    assert b'"value":1' in record.read_bytes()
