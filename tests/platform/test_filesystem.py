"""The one seam through which every file operation goes."""

import ast
import errno
import os
import stat
import time
from pathlib import Path

import pytest

import axiom_persistence
from axiom_persistence.platform.filesystem import FileKind, FileSystem
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.testing.crash import Image, crash_states, explore, final_image
from axiom_persistence.testing.failing import FailingFileSystem, Fault
from axiom_persistence.testing.recording import RecordingFileSystem

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX links and modes")


@pytest.fixture
def files(tmp_path):
    files = local_filesystem(tmp_path / "root")
    files.attach(create=True)
    yield files
    files.detach()


def put(files, name, data):
    handle = files.create(name)
    files.write(handle, data)
    files.close(handle)


def test_files_and_directories(files):
    """Create, write, read, link, replace, list and remove, in nested directories."""
    files.mkdir("a")
    files.mkdir("a/b")
    put(files, "a/b/one", b"1")
    put(files, "two", b"")
    files.link("a/b/one", "a/b/linked")
    assert files.status("a/b/one").links == 2
    assert files.read("a/b/linked") == b"1"
    put(files, "a/b/new", b"2")
    files.replace("a/b/new", "a/b/one")
    assert (files.read("a/b/one"), files.read("a/b/linked"), files.read("two")) == (b"2", b"1", b"")
    assert set(files.scan("")) == {("a", FileKind.DIRECTORY), ("two", FileKind.FILE)}
    assert {entry.name for entry in files.scan("a/b")} == {"one", "linked"}
    for name in ("", "a", "a/b"):
        files.sync_directory(name)
    for name in ("a/b/one", "a/b/linked", "two"):
        files.unlink(name)
    files.rmdir("a/b")
    files.rmdir("a")
    assert files.scan("") == []
    with pytest.raises(FileNotFoundError):
        files.read("two")
    with pytest.raises(FileNotFoundError):
        files.create("a/x")


def test_creation_is_exclusive(files):
    """create refuses whatever is there already; open with create takes it as it is."""
    put(files, "a", b"there")
    with pytest.raises(FileExistsError):
        files.create("a")
    with pytest.raises(FileExistsError):
        files.mkdir("a")
    with pytest.raises(FileExistsError):
        files.link("a", "a")
    files.close(files.open("a", write=True, create=True))
    assert files.read("a") == b"there"


@posix
@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_modes_under_any_umask(tmp_path, umask):
    """Directories are 0700 and files 0600, the root and its parents included."""
    files = local_filesystem(tmp_path / "new" / "root")
    before = os.umask(umask)
    try:
        files.attach(create=True)
        files.mkdir("a")
        put(files, "a/b", b"")
        files.close(files.open("a/c", write=True, create=True))
    finally:
        os.umask(before)
        files.detach()
    for path in (tmp_path / "new").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@posix
def test_no_link_is_followed(files, tmp_path):
    """Neither the last component nor a directory on the way may be a symbolic link."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (files.root / "file").symlink_to(outside / "secret")
    (files.root / "dir").symlink_to(outside)
    files.mkdir("real")
    (files.root / "real" / "dir").symlink_to(outside)
    for attempt in (
        lambda: files.read("file"),
        lambda: files.open("file", write=True, create=True),
        lambda: files.create("file"),
        lambda: files.read("dir/secret"),
        lambda: files.create("dir/new"),
        lambda: files.mkdir("real/dir/new"),
        lambda: files.unlink("real/dir/secret"),
        lambda: files.replace("dir/secret", "dir/moved"),
        lambda: files.status("dir/secret"),
        lambda: files.scan("dir"),
        lambda: files.sync_directory("dir"),
    ):
        with pytest.raises(OSError):
            attempt()
        with files.steady(), pytest.raises(OSError):
            attempt()
    assert {entry.name: entry.kind for entry in files.scan("")}["dir"] is FileKind.OTHER
    assert [path.name for path in outside.iterdir()] == ["secret"]
    files.unlink("file")
    assert (outside / "secret").read_text() == "secret"


def test_deep_directories(files):
    """Names far deeper than a path may be long work, with few lookups inside steady()."""
    deep = "/".join(["d" * 100] * 60)
    with files.steady():
        for end in range(1, 61):
            files.mkdir("/".join(["d" * 100] * end))
        put(files, deep + "/x", b"deep")
    assert files.read(deep + "/x") == b"deep"
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with files.steady():
        assert [entry.name for entry in files.scan(deep)] == ["x"]
        files.unlink(deep + "/x")
    if descriptors is not None:
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_locks_exclude_handles_of_one_process(files):
    """Two handles in one process are as good as two processes; shared ones go together."""
    put(files, "lock", b"")
    one, two = files.open("lock", write=True), files.open("lock", write=False)
    assert files.try_lock(one, exclusive=True)
    assert not files.try_lock(two, exclusive=False)
    with pytest.raises(BlockingIOError):
        files.lock(two, exclusive=True, deadline=time.monotonic() + 0.01)
    files.unlock(one)
    assert files.try_lock(one, exclusive=False)
    assert files.try_lock(two, exclusive=False)
    assert not files.try_lock(two, exclusive=True)
    files.close(one)
    assert files.try_lock(two, exclusive=True)
    files.close(two)


def test_a_mark_is_shared(files):
    """What is written in place through one handle is read through another at once; a short file says so."""
    put(files, "mark", bytes(8))
    writing, reading = files.open("mark", write=True), files.open("mark", write=False)
    assert files.read_at(reading, 16) == bytes(8)
    files.write_at(writing, 3, b"\7\7")
    assert files.read_at(reading, 16) == b"\0\0\0\7\7\0\0\0"
    for handle in (writing, reading):
        files.close(handle)


def test_nothing_works_after_detaching(tmp_path):
    """A detached file system refuses everything and holds no descriptor."""
    files = local_filesystem(tmp_path)
    files.attach(create=False)
    put(files, "a", b"")
    kept = files.open("a", write=False)
    files.detach()
    files.detach()
    with pytest.raises(OSError):
        os.fstat(kept)
    with pytest.raises(OSError, match="not open"):
        files.read("a")


def test_no_other_module_opens_files():
    """Adapters and layers reach files through FileSystem only."""
    package = Path(axiom_persistence.__file__).parent
    judged = [
        package / "adapters" / "file.py",
        # A salvage copies the whole directory to a place outside it.
        *(path for path in (package / "adapters" / "_file").glob("*.py") if path.name != "salvage.py"),
        package / "storage" / "journal.py",
    ]
    forbidden = {
        "open",
        "mkdir",
        "unlink",
        "rename",
        "replace",
        "fsync",
        "link",
        "write_bytes",
        "read_bytes",
        "flock",
    }
    for path in judged:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "open", path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert node.attr not in forbidden, path


# The file systems of axiom_persistence.testing


def failing(files, **fault):
    return FailingFileSystem(files, Fault(**fault))


def test_a_fault_strikes_where_it_is_told(files):
    """The nth operation of a kind fails, once or from then on, before or after it is done."""
    strange = failing(files, code=errno.EIO, operation="mkdir", at=2)
    strange.mkdir("a")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        strange.mkdir("b")
    strange.mkdir("b")
    strange.fault = Fault(code=errno.ENOSPC, operation="mkdir", sticky=True, done=True)
    for name in ("c", "d"):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            strange.mkdir(name)
    assert strange.struck == ["mkdir(c)", "mkdir(d)"]
    assert {entry.name for entry in files.scan("")} == {"a", "b", "c", "d"}


def test_interruptions_and_short_writes_are_continued(files):
    """A write goes on after an interruption and after short counts; one interrupted for ever ends."""
    strange = failing(files, code=errno.EINTR, operation="write_some", at=1)
    put(strange, "a", b"x" * 1000)
    strange.fault = Fault(short=True, sticky=True)
    put(strange, "b", b"y" * 1000)
    assert len(strange.struck) == 11  # 500, 250, 125, ... 1, 1
    assert (files.read("a"), files.read("b")) == (b"x" * 1000, b"y" * 1000)
    strange.fault = Fault(code=errno.EINTR, operation="write_some", sticky=True)
    with pytest.raises(InterruptedError):
        put(strange, "c", b"z")


def test_every_operation_passes_the_wrappers(tmp_path):
    """A wrapper forwards each abstract operation to what it wraps, and sees it."""
    seen = []

    class Watching(FailingFileSystem):
        def around(self, operation, arguments, perform):
            seen.append(operation)
            return super().around(operation, arguments, perform)

    files = Watching(local_filesystem(tmp_path))
    files.attach(create=False)
    test_files_and_directories(files)
    test_locks_exclude_handles_of_one_process(files)
    test_a_mark_is_shared(files)
    handle = files.create("s")
    files.sync(handle)
    files.detach()
    assert set(seen) == FileSystem.__abstractmethods__ - {"steady"}


async def replace_safely(files, data):
    """The classic: new file, sync, rename, sync of the directory."""
    handle = files.create("new")
    files.write(handle, data)
    files.sync(handle)
    files.close(handle)
    files.replace("new", "value")
    files.sync_directory("")


async def test_the_explorer_accepts_the_classic_replacement(files, tmp_path):
    """No false alarm: a protocol known to be right passes in every state, and every step is a state."""
    recording = RecordingFileSystem(files)
    for number in range(20):
        await replace_safely(recording, b"%02d" % number * 8)
        recording.acknowledge(number)

    async def check(place, acknowledged):
        value = place / "value"
        count = len(acknowledged)
        allowed = {b"%02d" % count * 8, b"%02d" % (count - 1) * 8 if count else None}
        assert (value.read_bytes() if value.exists() else None) in allowed

    found = await explore(recording.operations, check, scratch=tmp_path)
    assert found.violations == []
    assert found.exhaustive
    assert 100 < found.states < 1000
    assert final_image(recording.operations).key() == Image.read_from(files.root).key()


@pytest.mark.parametrize("forgotten", ["sync", "sync_directory"])
async def test_the_explorer_finds_a_forgotten_sync(files, tmp_path, forgotten):
    """The same protocol without one of its syncs is refused."""

    class Forgetful(RecordingFileSystem):
        def around(self, operation, arguments, perform):
            return None if operation == forgotten else super().around(operation, arguments, perform)

    recording = Forgetful(files)
    await replace_safely(recording, b"first")
    recording.acknowledge("first")

    async def check(place, acknowledged):
        left = place / "value"
        assert left.exists() or not acknowledged
        assert not left.exists() or left.read_bytes() == b"first"

    assert (await explore(recording.operations, check, scratch=tmp_path)).violations


def test_the_model_knows_its_states(files):
    """Lost, torn and zeroed data; entries without data, data without entries; links; directories."""
    recording = RecordingFileSystem(files)
    recording.mkdir("d")
    put(recording, "d/a", b"12345678")
    recording.link("d/a", "d/b")
    states = [state.image for state in crash_states(recording.operations)]
    shapes = {frozenset(image.files) for image in states}
    assert shapes == {frozenset(), frozenset({"d/a"}), frozenset({"d/b"}), frozenset({"d/a", "d/b"})}
    contents = {image.contents[image.files["d/a"]] for image in states if "d/a" in image.files}
    assert contents == {b"", b"12345678", b"1234", bytes(4) + b"5678", bytes(8), b"1234\0\0\0\0"}
    both = [image for image in states if len(image.files) == 2]
    assert all(image.files["d/a"] == image.files["d/b"] for image in both)
    recording.sync_directory("d")
    recording.acknowledge("entries")
    # The entries of the directory are durable; the entry that is the directory may be lost with them.
    assert shapes_after("entries", recording) == {frozenset(), frozenset({"d/a", "d/b"})}
    recording.sync_directory("")
    recording.acknowledge("directory")
    assert shapes_after("directory", recording) == {frozenset({"d/a", "d/b"})}


def shapes_after(label, recording):
    states = crash_states(recording.operations)
    return {frozenset(state.image.files) for state in states if label in state.acknowledged[-1:]}


def test_the_model_keeps_the_order_of_one_name(files):
    """A name that was removed and made anew never shows the older file after the newer was synced."""
    recording = RecordingFileSystem(files)
    put(recording, "a", b"old")
    recording.sync_directory("")
    recording.unlink("a")
    put(recording, "a", b"new")
    recording.sync_directory("")
    recording.acknowledge("new")
    kept = [state.image for state in crash_states(recording.operations) if state.acknowledged]
    assert kept
    assert all(b"old" not in image.contents.values() for image in kept)


def test_a_failed_sync_dooms_what_was_written(files):
    """After a failed sync a second one that succeeds proves nothing."""
    strange = failing(files, code=errno.EIO, operation="sync")
    recording = RecordingFileSystem(strange)
    handle = recording.create("a")
    recording.sync_directory("")
    recording.write(handle, b"data")
    with pytest.raises(OSError):
        recording.sync(handle)
    recording.sync(handle)
    recording.acknowledge("a")
    left = {
        state.image.contents[state.image.files["a"]]
        for state in crash_states(recording.operations)
        if state.acknowledged
    }
    assert {b"", b"data"} <= left


async def test_a_second_crash_during_recovery_is_explored(files, tmp_path):
    """What check returns as its recovery is crashed into as well."""
    recording = RecordingFileSystem(files)
    put(recording, "a", b"1")
    places = []

    async def check(place, acknowledged):
        places.append(place)
        again = RecordingFileSystem(local_filesystem(place))
        again.attach(create=False)
        for entry in again.scan(""):
            again.unlink(entry.name)
        put(again, "done", b"2")
        again.detach()
        return again.operations

    found = await explore(recording.operations, check, scratch=tmp_path)
    assert found.recoveries > 0
    assert found.states == len(places)
    assert found.states > found.recoveries
