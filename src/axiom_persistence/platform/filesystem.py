"""The one object through which every file operation of the library goes.

A ``FileSystem`` is bound to a root directory; names are relative to it, already escaped, and
separated by ``/`` (``""`` is the root itself). The primitives are few, so that a test can record,
fail, tear and reorder every one of them. They raise ``OSError`` and nothing else.
"""

from __future__ import annotations

import errno
import os
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Entry", "FileKind", "FileStatus", "FileSystem"]

FIRST_WAIT: Final = 0.0002
LONGEST_WAIT: Final = 0.005
"""Seconds between two tries for a lock: a commit to a good disk takes half a millisecond."""

INTERRUPTIONS_MAX: Final = 100
"""Python repeats interrupted calls itself (PEP 475); this bounds what an odd file system reports."""


class FileKind(Enum):
    """What a directory entry is; OTHER is anything that is never opened, symbolic links first."""

    FILE = "file"
    DIRECTORY = "directory"
    OTHER = "other"


class Entry(NamedTuple):
    """One entry of a directory, by its last component."""

    name: str
    kind: FileKind


class FileStatus(NamedTuple):
    """What is known of a file without reading it. ``modified``: seconds since 1970 UTC."""

    modified: float
    size: int
    links: int
    mode: int
    kind: FileKind


class FileSystem(ABC):
    """File operations below one directory, following no symbolic link below it.

    Directories are made with mode 0700 and files with 0600 under any umask, before data is written.
    Any number of threads may use one object; a handle belongs to whoever opened it.
    """

    syncs_directories: bool
    """Whether a directory's entries can be made durable, so that a rename can outlive power loss."""

    root: Path

    @abstractmethod
    def attach(self, *, create: bool) -> None:
        """Open the root; with ``create``, make it and its parents, durably, where missing."""

    @abstractmethod
    def detach(self) -> None:
        """Close the root and every handle still open. Also what a forked child calls: no lock is undone."""

    @abstractmethod
    def create(self, name: str) -> int:
        """A handle for writing a new file. Raises ``FileExistsError``, for a symbolic link too."""

    @abstractmethod
    def open(self, name: str, *, write: bool, create: bool = False) -> int:
        """A handle on a file at its beginning; nothing is truncated."""

    @abstractmethod
    def write_some(self, handle: int, data: memoryview) -> int:
        """Write at the handle's position what the medium takes at once, and say how much that was."""

    def write(self, handle: int, data: bytes) -> None:
        """Write all of ``data``, however small the pieces the medium takes."""
        rest = memoryview(data)
        interruptions = 0
        while rest:
            try:
                rest = rest[self.write_some(handle, rest) :]
            except InterruptedError:
                interruptions += 1
                if interruptions > INTERRUPTIONS_MAX:
                    raise

    @abstractmethod
    def sync(self, handle: int) -> None:
        """Put the file's data on the medium. After a failure nothing may be assumed, and no retry helps."""

    @abstractmethod
    def close(self, handle: int) -> None: ...

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The whole file."""

    @abstractmethod
    def link(self, source: str, target: str) -> None:
        """Give a file a second name in the same directory. Raises ``FileExistsError``."""

    @abstractmethod
    def replace(self, source: str, target: str) -> None:
        """Rename atomically within a directory, over whatever file ``target`` was."""

    @abstractmethod
    def unlink(self, name: str) -> None: ...

    @abstractmethod
    def mkdir(self, name: str) -> None: ...

    @abstractmethod
    def rmdir(self, name: str) -> None: ...

    @abstractmethod
    def sync_directory(self, name: str) -> None:
        """Put the directory's entries on the medium, where ``syncs_directories``."""

    @abstractmethod
    def scan(self, name: str) -> list[Entry]:
        """The entries of a directory, in no order."""

    @abstractmethod
    def status(self, name: str) -> FileStatus:
        """Of the entry itself, were it a symbolic link."""

    def identity(self, file: str | int) -> tuple[int, int]:
        """Device and number of the file behind a handle, or of whatever is at the path of a name now.

        The path is looked up as anybody else would, so that a root which was moved away is noticed.
        """
        found = os.fstat(file) if isinstance(file, int) else os.stat(f"{self.root}/{file}")
        return found.st_dev, found.st_ino

    @abstractmethod
    def try_lock(self, handle: int, *, exclusive: bool) -> bool:
        """Lock the file between processes and handles, unless somebody else holds it."""

    @abstractmethod
    def unlock(self, handle: int) -> None: ...

    def lock(self, handle: int, *, exclusive: bool, deadline: float) -> None:
        """``try_lock`` until the monotonic time ``deadline``; then ``BlockingIOError``."""
        wait = FIRST_WAIT
        while not self.try_lock(handle, exclusive=exclusive):
            left = deadline - time.monotonic()
            if left <= 0:
                raise BlockingIOError(errno.EAGAIN, "somebody else holds the lock")
            time.sleep(min(wait, left))
            wait = min(wait * 1.5, LONGEST_WAIT)

    @abstractmethod
    def read_at(self, handle: int, size: int) -> bytes:
        """The first ``size`` bytes, or fewer where the file ends, wherever the handle's position is."""

    @abstractmethod
    def write_at(self, handle: int, offset: int, data: bytes) -> None:
        """Overwrite a few bytes, of which no other process sees only some."""

    @abstractmethod
    def steady(self) -> AbstractContextManager[None]:
        """Inside, this thread may keep directories open between its operations, to look them up once."""
