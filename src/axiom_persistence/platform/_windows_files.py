"""Files by paths, for Windows. Written against the vendor's documentation; not run there yet.

Windows offers no way to flush a directory, so a rename is as durable as NTFS makes it and
``syncs_directories`` is False: the store promises the end of the process, not the loss of power.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from .filesystem import Entry, FileKind, FileStatus, FileSystem

if sys.platform == "win32":
    import msvcrt

__all__ = ["WindowsFileSystem"]

T = TypeVar("T")

LOCK_OFFSET: Final = 0x7FFF0000
"""Where the locked byte is: locks are mandatory on Windows, so it lies behind all data."""

SHARING_WAIT: Final = 1.0
"""Seconds in which a reader's or a virus scanner's short-lived handle may refuse a rename."""


class WindowsFileSystem(FileSystem):
    """Files of Windows. Access is governed by the inherited ACL: 0700 and 0600 have no meaning there."""

    syncs_directories = False

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        self._attached = False
        self._handles: set[int] = set()
        self._position = threading.Lock()  # a handle has one for all threads

    def attach(self, *, create: bool) -> None:
        if create:
            self.root.mkdir(parents=True, exist_ok=True)
        if not self.root.is_dir():
            kind = NotADirectoryError if self.root.exists() else FileNotFoundError
            code = errno.ENOTDIR if self.root.exists() else errno.ENOENT
            raise kind(code, os.strerror(code), str(self.root))
        self._attached = True

    def detach(self) -> None:
        self._attached = False
        for handle in list(self._handles):
            self.close(handle)

    def _path(self, name: str) -> str:
        """The extended-length form, which has no limit of 260 characters. No reparse point is passed."""
        if not self._attached:
            raise OSError(errno.EBADF, "the directory is not open")
        path = f"\\\\?\\{self.root}"
        for component in name.split("/") if name else ():
            path = f"{path}\\{component}"
            try:
                attributes = getattr(os.lstat(path), "st_file_attributes", 0)
            except FileNotFoundError:
                continue
            if attributes & getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0x400):
                raise OSError(errno.ELOOP, "a symbolic link or junction is not followed", path)
        return path

    @contextmanager
    def steady(self) -> Iterator[None]:
        yield

    def create(self, name: str) -> int:
        return self._keep(os.open(self._path(name), os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o600))

    def open(self, name: str, *, write: bool, create: bool = False) -> int:
        flags = (os.O_RDWR if write else os.O_RDONLY) | (os.O_CREAT if create else 0) | _BINARY
        return self._keep(os.open(self._path(name), flags, 0o600))

    def _keep(self, handle: int) -> int:
        self._handles.add(handle)
        return handle

    def write_some(self, handle: int, data: memoryview) -> int:
        return os.write(handle, data)

    def sync(self, handle: int) -> None:
        os.fsync(handle)

    def close(self, handle: int) -> None:
        self._handles.discard(handle)
        os.close(handle)

    def read(self, name: str) -> bytes:
        path = self._path(name)

        def whole() -> bytes:
            with open(path, "rb") as file:
                return file.read()

        return _shared(whole)

    def link(self, source: str, target: str) -> None:
        os.link(self._path(source), self._path(target))

    def replace(self, source: str, target: str) -> None:
        old, new = self._path(source), self._path(target)
        _shared(lambda: os.replace(old, new))

    def unlink(self, name: str) -> None:
        path = self._path(name)
        _shared(lambda: os.unlink(path))

    def mkdir(self, name: str) -> None:
        os.mkdir(self._path(name))

    def rmdir(self, name: str) -> None:
        os.rmdir(self._path(name))

    def sync_directory(self, name: str) -> None:
        """Nothing: see ``syncs_directories``."""

    def scan(self, name: str) -> list[Entry]:
        with os.scandir(self._path(name)) as entries:
            return [Entry(entry.name, _kind_of(entry.stat(follow_symlinks=False))) for entry in entries]

    def status(self, name: str) -> FileStatus:
        found = os.lstat(self._path(name))
        kind = _kind_of(found)
        return FileStatus(found.st_mtime, found.st_size, found.st_nlink, stat.S_IMODE(found.st_mode), kind)

    def try_lock(self, handle: int, *, exclusive: bool) -> bool:  # noqa: ARG002 - msvcrt has only exclusive ones
        if sys.platform == "win32":
            with self._position:
                os.lseek(handle, LOCK_OFFSET, os.SEEK_SET)
                try:
                    msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
                except PermissionError:
                    return False
                finally:
                    os.lseek(handle, 0, os.SEEK_SET)
        return True

    def unlock(self, handle: int) -> None:
        if sys.platform == "win32":
            with self._position:
                os.lseek(handle, LOCK_OFFSET, os.SEEK_SET)
                msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
                os.lseek(handle, 0, os.SEEK_SET)

    def read_at(self, handle: int, size: int) -> bytes:
        with self._position:
            os.lseek(handle, 0, os.SEEK_SET)
            return os.read(handle, size)

    def write_at(self, handle: int, offset: int, data: bytes) -> None:
        with self._position:
            os.lseek(handle, offset, os.SEEK_SET)
            self.write(handle, data)


_BINARY: Final[int] = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)


def _kind_of(found: os.stat_result) -> FileKind:
    if getattr(found, "st_file_attributes", 0) & getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0x400):
        return FileKind.OTHER
    if stat.S_ISREG(found.st_mode):
        return FileKind.FILE
    return FileKind.DIRECTORY if stat.S_ISDIR(found.st_mode) else FileKind.OTHER


def _shared(operation: Callable[[], T]) -> T:
    """Repeat while another handle, opened without FILE_SHARE_DELETE, stands in the way."""
    deadline = time.monotonic() + SHARING_WAIT
    while True:
        try:
            return operation()
        except PermissionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
