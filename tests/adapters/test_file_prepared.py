"""Files made ready before they are needed."""

import asyncio
import errno
import os
import time

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.platform.filesystem import local_filesystem

pytestmark = pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name")


@pytest.fixture
def files(tmp_path):
    files = local_filesystem(tmp_path / "root")
    files.attach(create=True)
    files.mkdir("d")
    yield files
    files.detach()


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("umask", [0, 0o777])
def test_a_prepared_file_is_like_any_new_one(files, umask):
    """It is empty, its owner's alone, named only when created, and refuses a name that is taken."""
    before = os.umask(umask)
    try:
        for folder in ("", "d/"):
            files.prepare(folder.rstrip("/"))
            assert files.scan(folder.rstrip("/")) == ([] if folder else files.scan(""))
            assert files._prepared
            handle = files.create(f"{folder}new")
            assert not files._prepared
            assert os.fstat(handle).st_nlink == 1
            files.write(handle, b"data")
            files.close(handle)
            assert files.read(f"{folder}new") == b"data"
            assert files.status(f"{folder}new").mode == 0o600
            files.prepare(folder.rstrip("/"))
            with pytest.raises(FileExistsError):
                files.create(f"{folder}new")
            assert files.read(f"{folder}new") == b"data"
            files._nameless = os.O_TMPFILE
    finally:
        os.umask(before)


def test_a_prepared_file_leaves_nothing(files):
    """One is held at a time, whatever directory it is for, and it goes with the file system."""
    files.prepare("d")
    held = descriptors()
    for folder in ("", "d", "d", "", "missing"):
        files.prepare(folder)
        assert descriptors() <= held
    files.detach()
    assert descriptors() < held - 1
    files.attach(create=False)
    assert {entry.name for entry in files.scan("")} == {"d"}
    assert files.scan("d") == []
    files.close(files.create("d/x"))


def test_a_prepared_file_whose_directory_is_gone(files):
    """Creating says so, as without; made again, the directory takes new files."""
    files.prepare("d")
    files.rmdir("d")
    with pytest.raises(FileNotFoundError):
        files.create("d/x")
    files.mkdir("d")
    files.close(files.create("d/x"))
    assert len(files.scan("d")) == 1


def test_a_prepared_file_of_somebody_else_is_not_used(files, monkeypatch):
    """A program that gives up its rights gets files that it can read."""
    files.prepare("")
    (prepared,) = files._prepared.values()
    kept = os.dup(prepared.handle)  # so that its number is not given again
    monkeypatch.setattr(os, "geteuid", lambda: prepared.user + 1)
    handle = files.create("x")
    assert not os.path.sameopenfile(handle, kept)
    os.close(kept)


def test_where_no_file_can_be_prepared(files, monkeypatch):
    """A file system without nameless files, or without links to them, creates them as ever."""
    really = os.open

    def refuse(path, flags, *arguments, **options):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no files without a name")
        return really(path, flags, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        files.prepare("")
        files.close(files.create("one"))
    files.prepare("")
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", lambda *_, **__: refuse("", os.O_TMPFILE))
        files.close(files.create("two"))
    held = descriptors()
    files.prepare("")
    assert descriptors() == held
    files.close(files.create("three"))
    assert len(files.scan("")) == 4


async def test_a_store_prepares_its_next_save(tmp_path):
    """After a save the next one finds its file made; nothing of it is seen, and closing removes it."""
    place = tmp_path / "store"

    def values():
        return {path.name for path in (place / "n").iterdir()}

    async with FileStorageAdapter(place) as adapter:
        for i in range(3):
            await adapter.commit({"n/a": b"%d" % i})
            while "n" not in adapter._files._prepared:
                await asyncio.sleep(0.001)
            assert values() - {"a.json~"} == {"a.json"}
            assert await adapter.check() == []
    assert values() == {"a.json", "a.json~"}


async def test_an_empty_value_says_when_it_was_saved(tmp_path):
    """Also one in a file that was made ready long before: writing nothing does not say so by itself."""
    async with FileStorageAdapter(tmp_path / "store") as adapter:
        await adapter.commit({"a": b"1"})
        await asyncio.sleep(0.5)
        before = time.time()
        await adapter.commit({"b": b""})
        saved = await adapter.saved_at("b")
        assert saved is not None
        assert saved >= before - 0.1
