"""Files by POSIX calls, every name looked up below one directory descriptor."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from .filesystem import Entry, FileKind, FileStatus, FileSystem
from .making import FILE_MODE, hand_over, make_directories, make_directory

__all__ = ["PosixFileSystem"]

STEADY_DIRECTORIES_MAX: Final = 64

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A planted FIFO would block an open for ever without O_NONBLOCK; regular files do not mind it.
_FILE: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FULLFSYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)


class _Steady(threading.local):
    directories: dict[str, int] | None = None


class _Steadily:
    """Directories stay open until the outermost of these ends."""

    __slots__ = ("_opened", "_steady")

    def __init__(self, steady: _Steady) -> None:
        self._steady = steady
        self._opened: dict[str, int] | None = None

    def __enter__(self) -> None:
        if self._steady.directories is None:
            self._steady.directories = self._opened = {}

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._steady.directories = None
            for directory in self._opened.values():
                os.close(directory)


class PosixFileSystem(FileSystem):
    """Files of Linux, macOS and the BSDs.

    The root itself may be reached through a symbolic link; below it O_NOFOLLOW on each component
    refuses them, directories included (O_NOFOLLOW on a whole path would only guard its end).
    Locks are ``flock``: a POSIX record lock vanishes when any descriptor of the file closes.
    """

    syncs_directories = True

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._root = -1
        self._owner: os.stat_result | None = None
        self._handles: set[int] = set()
        self._steady = _Steady()

    def attach(self, *, create: bool) -> None:
        if create:
            make_directories(str(self.root.absolute()))
        self._root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._owner = os.fstat(self._root)

    def detach(self) -> None:
        handles, self._handles = self._handles, set()
        if self._root >= 0:
            handles.add(self._root)
            self._root = -1
        failed = None
        for handle in handles:
            try:
                os.close(handle)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    # Directories

    def _enter(self, name: str) -> int:
        """A descriptor of the directory; ``_leave`` gives it back."""
        if not name:
            if self._root < 0:
                raise OSError(errno.EBADF, "the directory is not open")
            return self._root
        steady = self._steady.directories
        if steady is None:
            return self._descend("", name)
        known = steady.get(name)
        if known is None:
            start = name.rpartition("/")[0]
            while start and start not in steady:
                start = start.rpartition("/")[0]
            known = self._descend(start, name[len(start) :].lstrip("/"))
            if len(steady) >= STEADY_DIRECTORIES_MAX:
                os.close(steady.pop(next(iter(steady))))
            steady[name] = known
        return known

    def _descend(self, start: str, rest: str) -> int:
        steady = self._steady.directories
        here = steady[start] if start and steady is not None else self._enter("")
        borrowed = True
        for component in rest.split("/"):
            try:
                there = os.open(component, _DIRECTORY, dir_fd=here)
            finally:
                if not borrowed:
                    os.close(here)
            here, borrowed = there, False
        return here

    def _leave(self, name: str, directory: int) -> None:
        if name and self._steady.directories is None:
            os.close(directory)

    def steady(self) -> AbstractContextManager[None]:
        return _Steadily(self._steady)

    def mkdir(self, name: str) -> None:
        folder, _, last = name.rpartition("/")
        parent = self._enter(folder)
        try:
            make_directory(last, self._owner, within=parent)
        finally:
            self._leave(folder, parent)

    def rmdir(self, name: str) -> None:
        folder, _, last = name.rpartition("/")
        parent = self._enter(folder)
        try:
            os.rmdir(last, dir_fd=parent)
        finally:
            self._leave(folder, parent)

    def sync_directory(self, name: str) -> None:
        directory = self._enter(name)
        try:
            _sync(directory)
        finally:
            self._leave(name, directory)

    def scan(self, name: str) -> list[Entry]:
        directory = self._enter(name)
        try:
            # A descriptor of its own: those of one open() share a position, so that of two threads which
            # list through the same one, each would miss what the other has read.
            own = os.open(".", _DIRECTORY, dir_fd=directory)
            try:
                with os.scandir(own) as entries:
                    return [Entry(entry.name, _kind(entry)) for entry in entries]
            finally:
                os.close(own)
        finally:
            self._leave(name, directory)

    # Files

    def create(self, name: str) -> int:
        return self._own(self._open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FILE))

    def open(self, name: str, *, write: bool, create: bool = False) -> int:
        flags = (os.O_RDWR if write else os.O_RDONLY) | (os.O_CREAT if create else 0) | _FILE
        handle = self._open(name, flags)
        try:
            _regular(handle)
        except OSError:
            os.close(handle)
            raise
        return self._own(handle) if create else self._keep(handle)

    def _open(self, name: str, flags: int) -> int:
        folder, _, last = name.rpartition("/")
        directory = self._enter(folder)
        try:
            return os.open(last, flags, FILE_MODE, dir_fd=directory)
        finally:
            self._leave(folder, directory)

    def _own(self, handle: int) -> int:
        self._keep(handle)
        try:
            hand_over(handle, FILE_MODE, self._owner)
        except OSError:
            self.close(handle)
            raise
        return handle

    def _keep(self, handle: int) -> int:
        self._handles.add(handle)
        return handle

    def write_some(self, handle: int, data: memoryview) -> int:
        return os.write(handle, data)

    def sync(self, handle: int) -> None:
        _sync(handle)

    def close(self, handle: int) -> None:
        self._handles.discard(handle)
        os.close(handle)

    def read(self, name: str) -> bytes:
        handle = self._open(name, os.O_RDONLY | _FILE)
        try:
            size = _regular(handle).st_size
            data = os.read(handle, size + 1)
            while len(data) < size:
                more = os.read(handle, size - len(data))
                if not more:
                    break
                data += more
            return data
        finally:
            os.close(handle)

    def status(self, name: str) -> FileStatus:
        folder, _, last = name.rpartition("/")
        parent = self._enter(folder)
        try:
            found = os.stat(last, dir_fd=parent, follow_symlinks=False)
        finally:
            self._leave(folder, parent)
        mode = found.st_mode
        kind = FileKind.FILE if stat.S_ISREG(mode) else FileKind.OTHER
        if stat.S_ISDIR(mode):
            kind = FileKind.DIRECTORY
        return FileStatus(found.st_mtime, found.st_size, found.st_nlink, stat.S_IMODE(mode), kind)

    def link(self, source: str, target: str) -> None:
        folder, last, new = _siblings(source, target)
        parent = self._enter(folder)
        try:
            os.link(last, new, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            self._leave(folder, parent)

    def replace(self, source: str, target: str) -> None:
        folder, last, new = _siblings(source, target)
        parent = self._enter(folder)
        try:
            os.replace(last, new, src_dir_fd=parent, dst_dir_fd=parent)
        finally:
            self._leave(folder, parent)

    def unlink(self, name: str) -> None:
        folder, _, last = name.rpartition("/")
        parent = self._enter(folder)
        try:
            os.unlink(last, dir_fd=parent)
        finally:
            self._leave(folder, parent)

    # Between processes

    def try_lock(self, handle: int, *, exclusive: bool) -> bool:
        try:
            fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self, handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)

    def read_at(self, handle: int, size: int) -> bytes:
        return os.pread(handle, size, 0)

    def write_at(self, handle: int, offset: int, data: bytes) -> None:
        if os.pwrite(handle, data, offset) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _siblings(source: str, target: str) -> tuple[str, str, str]:
    folder, _, last = source.rpartition("/")
    other, _, new = target.rpartition("/")
    if folder != other:
        raise OSError(errno.EXDEV, "a file stays in its directory")
    return folder, last, new


def _kind(entry: os.DirEntry[str]) -> FileKind:
    if entry.is_file(follow_symlinks=False):
        return FileKind.FILE
    return FileKind.DIRECTORY if entry.is_dir(follow_symlinks=False) else FileKind.OTHER


def _regular(handle: int) -> os.stat_result:
    status = os.fstat(handle)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.ESPIPE, "not a regular file")
    return status


def _sync(handle: int) -> None:
    if sys.platform == "darwin" and _FULLFSYNC is not None:
        try:
            # fsync(2) of macOS leaves the data in the drive's own cache.
            fcntl.fcntl(handle, _FULLFSYNC)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
    os.fsync(handle)
