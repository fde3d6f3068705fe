"""``FileStorageAdapter``: what is particular to files."""

import errno
import json
import os
import shutil
import stat

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.errors import (
    AccessDeniedError,
    ConfigurationError,
    ForeignStoreError,
    SchemaTooNewError,
    StorageError,
    StoreNotFoundError,
)
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.storage import generations
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.storage.basic import content_version
from axiom_persistence.storage.journal import encode_journal
from axiom_persistence.testing.failing import FailingFileSystem, Fault
from axiom_persistence.testing.recording import Action, RecordingFileSystem

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes, links and fork")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


def tree(place):
    """Every file of a directory, by relative name."""
    return {
        path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()
    }


def values(place):
    return {name: data for name, data in tree(place).items() if not name.startswith(".axiom")}


# What is on the disk


async def test_the_files_are_the_values(place):
    """A value is its file, byte for byte, and the one before is beside it."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"Prefs/theme": b'{"v":1}'})
        versions = await adapter.commit({"Prefs/theme": b'{"v":2}'})
        assert values(place) == {"+prefs/theme.json": b'{"v":2}', "+prefs/theme.json~": b'{"v":1}'}
        assert versions == {"Prefs/theme": content_version(b'{"v":2}')}
        assert json.loads((place / "+prefs/theme.json").read_text()) == {"v": 2}
        assert (place / ".axiom").read_text().startswith("axiom-persistence file store, format 1\n")
        saved_at = await adapter.saved_at("Prefs/theme")
        assert saved_at == (place / "+prefs/theme.json").stat().st_mtime
        assert await adapter.saved_at("absent") is None
        await adapter.commit({"Prefs/theme": None})
        assert values(place) == {}
        assert await adapter.check() == []


@posix
@pytest.mark.parametrize("umask", [0, 0o022, 0o277])
async def test_only_the_owner_has_access(place, umask):
    """Directories are 0700 and files 0600 under any umask."""
    before = os.umask(umask)
    try:
        async with FileStorageAdapter(place / "made") as adapter:
            await adapter.commit({"a": b"1", "b/c": b"2"})
            await adapter.commit({"a": b"3"})
    finally:
        os.umask(before)
    for path in [place, *place.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@posix
async def test_modes_are_set_before_data_is_written(place):
    """No byte of a value is ever in a file that others can read."""
    seen = []

    class Watching(RecordingFileSystem):
        def around(self, operation, arguments, perform):
            if operation == "write_some":
                seen.append(stat.S_IMODE(os.fstat(arguments[0]).st_mode))
            return super().around(operation, arguments, perform)

    before = os.umask(0)
    try:
        async with FileStorageAdapter(place, filesystem=Watching(local_filesystem(place))) as adapter:
            await adapter.commit({"a": b"1", "b": b"2"})
    finally:
        os.umask(before)
    assert set(seen) == {0o600}
    assert len(seen) >= 4


async def test_check_names_what_is_wrong(place):
    """Foreign files, leftovers and open modes are reported, and none of them is taken for a value."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"1", "b/c": b"2"})
        (place / "notes.txt").write_text("mine")
        (place / "B.json").write_text("{}")
        (place / "gone.json~").write_text("{}")
        (place / ("." + "0" * 16 + ".tmp")).write_text("half")
        (place / "a.json").chmod(0o644)
        (place / "link.json").symlink_to("a.json")
        faults = await adapter.check()
        assert len(faults) == 6
        for name in ("notes.txt", "B.json", "gone.json~", ".tmp", "a.json", "link.json"):
            assert any(name in fault for fault in faults), name
        assert [key async for key in adapter.keys()] == ["a", "b/c"]  # noqa: SIM118
    async with FileStorageAdapter(place) as adapter:
        assert len(await adapter.check()) == 4  # opening removed what crashes leave, and nothing else
        assert (place / "notes.txt").read_text() == "mine"


# Places


async def test_an_empty_directory_is_adopted(place):
    """An empty or missing directory becomes a store; so does one with a broken-off creation."""
    cut = [b"", b"\0" * 40, b"axiom-pers", b"axiom" + bytes(30)]
    for start in ({}, {".DS_Store": b"x"}, {".axiom.mark": b"1"}, *({".axiom": text} for text in cut)):
        place.mkdir()
        for name, data in start.items():
            (place / name).write_bytes(data)
        async with FileStorageAdapter(place) as adapter:
            await adapter.commit({"a": b"1"})
        async with FileStorageAdapter(place) as adapter:
            assert await adapter.read("a") == b"1"
        for path in place.iterdir():
            path.unlink()
        place.rmdir()


@pytest.mark.parametrize("name", ["photo.jpg", "a.json", ".git", ".axiom"])
async def test_a_foreign_directory_is_refused(place, name):
    """A directory of somebody else's is not adopted, and left as it was."""
    place.mkdir()
    (place / name).write_bytes(b"somebody's")
    before = tree(place)
    for inspect in (False, True):
        with pytest.raises(ForeignStoreError) as caught:
            await FileStorageAdapter(place, inspect=inspect).aopen()
        assert str(place) in str(caught.value)
    assert tree(place) == before


async def test_a_file_is_no_store(place):
    """The path of a file is refused by name."""
    place.write_text("")
    with pytest.raises(ForeignStoreError):
        await FileStorageAdapter(place).aopen()
    with pytest.raises(ForeignStoreError):
        await FileStorageAdapter(place / "below").aopen()


async def test_a_newer_format_is_refused(place):
    """A store of a later version of this library is not touched."""
    place.mkdir()
    (place / ".axiom").write_text("axiom-persistence file store, format 2\nand more\n")
    before = tree(place)
    with pytest.raises(SchemaTooNewError):
        await FileStorageAdapter(place).aopen()
    assert tree(place) == before


async def test_documents(monkeypatch, tmp_path):
    """in_documents finds the user's documents directory; a path is no name."""
    monkeypatch.setenv("XDG_DOCUMENTS_DIR", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_documents_path", lambda: tmp_path)
    assert FileStorageAdapter.in_documents("notes").directory == tmp_path / "notes"
    for name in ("", ".", "..", "a/b", "a\\b", "C:"):
        with pytest.raises(ConfigurationError):
            FileStorageAdapter.in_documents(name)


@posix
@pytest.mark.parametrize("durability", Durability)
@pytest.mark.parametrize("kind", ["moved", "removed", "replaced", "parent", "marker", "mark"])
async def test_a_directory_that_is_no_longer_at_its_path(tmp_path, kind, durability):
    """A save that whoever opens the path next would not find is not acknowledged."""
    place, away = tmp_path / "parent" / "store", tmp_path / "away"
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"1"})
        files = {"marker": place / ".axiom", "mark": place / ".axiom.mark"}
        moved = {"parent": place.parent, **files}.get(kind, place)
        moved.rename(away)
        if kind == "removed":
            shutil.rmtree(away)
        if kind == "replaced":
            async with FileStorageAdapter(place) as other:
                await other.commit({"a": b"other"})
        if kind in files:
            shutil.copy(away, moved)
        for changes in ({"a": b"2"}, {"a": b"2", "b": b"2"}, {"a": None}):
            with pytest.raises(StorageError) as caught:
                await adapter.commit(changes, durability=durability)
            assert caught.value.key == "a"
            assert str(place) in str(caught.value)
        if kind == "replaced":
            assert values(place) == {"a.json": b"other"}
        elif kind != "removed":
            moved.unlink(missing_ok=True) if kind in files else None
            away.rename(moved)
            await adapter.commit({"a": b"back"}, durability=durability)
            assert values(place)["a.json"] == b"back"


# Inspection


async def test_inspection_creates_nothing(place):
    """What is not there is reported, not made."""
    with pytest.raises(StoreNotFoundError):
        await FileStorageAdapter(place, inspect=True).aopen()
    assert not place.exists()
    place.mkdir()
    with pytest.raises(StoreNotFoundError):
        await FileStorageAdapter(place, inspect=True).aopen()
    assert tree(place) == {}


async def test_inspection_repairs_nothing(place):
    """An interrupted commit is shown as decided and left on the disk; leftovers stay."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"1", "b": b"1", "c": b"1"})
    (place / ".axiom.journal").write_bytes(encode_journal({"a": b"2", "b": None, "d": b"2"}))
    (place / ("." + "0" * 16 + ".tmp")).write_text("half")
    before = tree(place)
    async with FileStorageAdapter(place, inspect=True) as adapter:
        found = await adapter.fetch(["a", "b", "c", "d"])
        assert {key: stored.data for key, stored in found.items()} == {"a": b"2", "c": b"1", "d": b"2"}
        assert [key async for key in adapter.keys()] == ["a", "c", "d"]  # noqa: SIM118
        assert await adapter.previous("b") is None
        assert any("interrupted commit" in fault for fault in await adapter.check())
        with pytest.raises(AccessDeniedError):
            await adapter.commit({"a": b"3"})
    assert tree(place) == before
    async with FileStorageAdapter(place) as adapter:
        assert [key async for key in adapter.keys()] == ["a", "c", "d"]  # noqa: SIM118
    assert ".axiom.journal" not in tree(place)


@posix
async def test_inspection_beside_a_writer_changes_nothing(place):
    """Inspection makes no operation that could change the medium, and takes no exclusive lock."""
    kinds = []

    class Watching(RecordingFileSystem):
        def around(self, operation, arguments, perform):
            kinds.append((operation, arguments[-1] if operation in ("try_lock", "open", "attach") else None))
            return super().around(operation, arguments, perform)

    async with FileStorageAdapter(place) as writer:
        await writer.commit({"a": b"1"})
        watching = Watching(local_filesystem(place))
        async with FileStorageAdapter(place, inspect=True, filesystem=watching) as adapter:
            assert await adapter.read("a") == b"1"
            await writer.commit({"a": b"2"})
            assert await adapter.read("a") == b"2"
            assert [key async for key in adapter.keys()] == ["a"]  # noqa: SIM118
    assert {op.action for op in watching.operations} == {Action.OPEN}
    assert {kind for kind, last in kinds if last} == set()  # exclusive locks, creating opens


# Links that somebody planted


@posix
async def test_symbolic_links_are_not_followed(place, tmp_path):
    """A link in place of a value, directory, marker, mark, journal or temporary file is refused."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_bytes(b"secret")
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"1", "d/x": b"1"})
        (place / "secret.json").symlink_to(outside / "secret.json")
        (place / "sub").symlink_to(outside)
        for key in ("secret", "sub/secret"):
            with pytest.raises(StorageError) as caught:
                await adapter.read(key)
            assert caught.value.key == key
        with pytest.raises(StorageError):
            await adapter.write("sub/new", b"2")
        with pytest.raises(StorageError):
            await adapter.delete("sub/secret")
        assert [key async for key in adapter.keys()] == ["a", "d/x"]  # noqa: SIM118
        assert [key async for key in adapter.keys("sub/")] == []
        for change in ({"secret": b"mine"}, {"secret": b"mine", "a": b"2"}, {"secret": None}):
            with pytest.raises(StorageError, match=r"secret\.json is not a regular file") as caught:
                await adapter.commit(change)
            assert caught.value.key == "secret"
        assert (place / "secret.json").is_symlink()
        (place / ("." + "0" * 16 + ".tmp")).symlink_to(outside / "secret.json")
    async with FileStorageAdapter(place):
        pass  # removed the link, not what it points to
    for name in (".axiom", ".axiom.mark", ".axiom.journal"):
        kept = (place / name).read_bytes() if (place / name).exists() else None
        (place / name).unlink(missing_ok=True)
        (outside / name).write_bytes(kept or b"")
        (place / name).symlink_to(outside / name)
        before = tree(outside)
        with pytest.raises(StorageError):
            await FileStorageAdapter(place).aopen()
        assert tree(outside) == before
        (place / name).unlink()
        if kept is not None:
            (place / name).write_bytes(kept)
    assert tree(outside)["secret.json"] == b"secret"
    assert {path.name for path in outside.iterdir()} == {
        "secret.json",
        ".axiom",
        ".axiom.mark",
        ".axiom.journal",
    }


@posix
async def test_special_files_do_not_block(place):
    """A FIFO in place of a value is an error, not a reader that waits for ever."""
    async with FileStorageAdapter(place) as adapter:
        os.mkfifo(place / "pipe.json")
        with pytest.raises(StorageError):
            await adapter.read("pipe")
        (place / "folder.json").mkdir()
        with pytest.raises(StorageError):
            await adapter.read("folder")


# Previous generations


@pytest.fixture
def clock(monkeypatch):
    """What tells a generation's age: ``clock.now`` is moved by hand."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(generations, "time", clock)
    return clock


async def test_the_previous_generation(place, clock):
    """previous is the value before; of an absent key there is none, also right after it comes back."""
    async with FileStorageAdapter(place) as adapter:
        assert await adapter.previous("a") is None
        await adapter.commit({"a": b"1"})
        assert await adapter.previous("a") is None
        await adapter.commit({"a": b"2"})
        assert (await adapter.previous("a")).data == b"1"
        clock.now += 60
        await adapter.commit({"a": b"3", "b": b"1"})
        assert (await adapter.previous("a")).data == b"2"
        await adapter.commit({"a": None})
        (place / "a.json~").write_bytes(b"left by a crash")
        assert await adapter.previous("a") is None
        await adapter.commit({"a": b"5"})
        assert await adapter.previous("a") is None


async def test_generations_are_kept_once_a_minute(place, clock):
    """Bytes that were there for a minute are kept when they are overwritten; younger ones need not be."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"0"})
        await adapter.commit({"a": b"1"})
        for since in range(1, 7):
            clock.now += 10
            await adapter.commit({"a": b"%d" % (since + 1)})
            assert (await adapter.previous("a")).data == (b"0" if since < 6 else b"6")
        clock.now += 60
        await adapter.commit({"a": b"8"})
        assert (await adapter.previous("a")).data == b"7"
        # A new life of the key begins anew, and a save that may be lost keeps what it could lose.
        await adapter.commit({"a": None})
        await adapter.commit({"a": b"9"})
        await adapter.commit({"a": b"10"})
        assert (await adapter.previous("a")).data == b"9"
        await adapter.commit({"a": b"11"}, durability=Durability.PROCESS_EXIT)
        assert (await adapter.previous("a")).data == b"10"


async def test_many_kept_generations_take_no_memory(monkeypatch, place):
    """Of more keys than are remembered, generations are kept more often, not less."""
    monkeypatch.setattr(generations, "REMEMBERED", 3)
    async with FileStorageAdapter(place) as adapter:
        for data in (b"1", b"2", b"3"):
            for key in "abcdef":
                await adapter.commit({key: data})
                assert len(adapter._tree._generations._since) <= 3
        assert (await adapter.previous("f")).data == b"2"


async def test_the_previous_generation_after_a_crash_in_between(place):
    """Two names of one file, as a crash before the rename leaves them, are no obstacle and no leftover."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"1"})
        (place / "a.json~").hardlink_to(place / "a.json")
        await adapter.commit({"a": b"2"})
        assert values(place) == {"a.json": b"2", "a.json~": b"1"}


async def test_without_hard_links(place, clock):
    """Where the file system knows no links, the previous generation is a copy."""
    failing = FailingFileSystem(
        local_filesystem(place), Fault(code=errno.EPERM, operation="link", sticky=True)
    )
    async with FileStorageAdapter(place, filesystem=failing) as adapter:
        for data in (b"1", b"2", b"3"):
            await adapter.commit({"a": data})
            clock.now += 60
        assert values(place) == {"a.json": b"3", "a.json~": b"2"}
    assert len(failing.struck) == 2


async def test_unsynced_values_do_not_displace_synced_ones(place, clock):
    """Until a value is synced, the previous generation stays the last one that was."""
    async with FileStorageAdapter(place) as adapter:
        await adapter.commit({"a": b"synced"})
        for i in range(3):
            await adapter.commit({"a": b"%d" % i}, durability=Durability.PROCESS_EXIT)
        assert (await adapter.previous("a")).data == b"synced"
        await adapter.commit({})
        clock.now += 60
        await adapter.commit({"a": b"4"})
        assert (await adapter.previous("a")).data == b"2"
