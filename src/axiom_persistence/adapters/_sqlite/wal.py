"""The two files beside the database: the write-ahead log, to sync, and its index, to watch."""

from __future__ import annotations

import errno
import mmap
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Never

from .errors import ChangedError

__all__ = [
    "HEADER",
    "LOG_TICKS",
    "TIGHT_BYTES",
    "Index",
    "Log",
    "database_descriptor",
    "is_present",
    "present",
]

if sys.platform == "darwin":
    import fcntl

    def _sync(descriptor: int) -> None:
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync there does not reach the medium
elif hasattr(os, "fdatasync"):
    _sync = os.fdatasync
else:
    _sync = os.fsync


_TICK_NS: Final = 50_000_000
"""No kernel's clock for the times of files ticks slower than that (Linux: 1 to 10 ms)."""
_COARSE_TICK_NS: Final = 4_000_000_000
"""Where the file system keeps whole seconds only; FAT keeps every other one."""

LOG_TICKS: Final = 1024
"""The clock row in a database file whose log was copied back whole is a multiple of it, in microseconds."""

TIGHT_BYTES: Final = 1 << 26
"""So little room on the disk that the log is kept small."""

_MAGIC: Final = b"\x37\x7f\x06"
_HEAD: Final = 32
_FRAME: Final = 24
_WIPED: Final = 1 << 20
"""Bytes overwritten in one step."""
_LEAST_PAGE: Final = 512
"""SQLite never makes a database smaller than its first page."""


class Log:
    """The ``-wal`` file, through a descriptor of our own. SQLite takes no lock on it, so that is safe.

    Syncing it after a commit, outside SQLite's lock, is as good as ``synchronous=FULL``. Between the
    commit and the sync another process may checkpoint, and may start the log again from its beginning.
    But a checkpoint syncs the log before it copies pages (so the frames of our commit are on the disk
    then), syncs the database file before it calls the log copied, and only a log copied whole is started
    again, with a synced header. Whichever comes first, the commit is on the disk in the log or in the
    database file when this sync returns. Nobody can unlink the log while a connection is open.
    """

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path + "-wal", os.O_RDWR)
        self.longest = self.size()
        """Its size when it was last looked at. Only who starts it again may shorten it."""
        self._index: Index | None = None
        self._path = path
        self._directory = os.path.dirname(path) or "."
        status = os.stat(path)
        self._places = (
            (path, _identity(status)),
            (path + "-wal", _identity(os.fstat(self.descriptor))),
        )
        self._looked_at: tuple[tuple[int, int], int] | None = None
        self._database_size = status.st_size
        self._begun = self._begins()
        self._changed: str | None = None
        self._log_lost = False

    def share(self, index: Index) -> None:
        """Know how long the log must be by ``index``; without one, nobody else may shorten it."""
        self._index = index

    def sync(self) -> None:
        """Bring all that was committed before the call to the disk, and check the files. Raises OSError,
        ChangedError.
        """
        _sync(self.descriptor)
        self.check()

    def check(self) -> None:
        """Raise unless the files are there, and as long as they must be. Raises OSError, ChangedError."""
        self.check_not_replaced()
        self.check_not_cut()
        if self._begins():
            self._begun = True
        elif self._begun and self.longest and (self._index is None or self._index.frames()):
            self._log_lost = True
            self._refuse(f"overwrote {self._path}-wal")
        size = os.stat(self._path).st_size
        if size < self._database_size and (size < _LEAST_PAGE or self._lacks(size)):
            self._refuse(f"cut {self._path} to {size} bytes")
        self._database_size = size

    def check_not_cut(self) -> None:
        """Raise ChangedError if the log is shorter than what it holds, or a file was changed before."""
        index = self._index
        while self._changed is None:
            header = None if index is None else index.header()
            size = self.size()
            if size >= (self.longest if index is None else index.end()):
                self.longest = size
                return
            if index is None or index.header() == header:  # else somebody has just started it again
                self._log_lost = True
                self._refuse(f"cut {self._path}-wal to {size} bytes")
        raise ChangedError(self._changed)

    def _refuse(self, what: str) -> Never:
        """Raise now, and at every later check: what is written from now on may hide the change."""
        self._changed = f"somebody {what} while the store was open"
        raise ChangedError(self._changed)

    def may_be_copied(self) -> bool:
        """Whether to copy the log into the database, after a check that raised, loses nothing."""
        try:
            return not self._log_lost and not self._lacks(os.stat(self._path).st_size)
        except OSError:
            return False

    def _begins(self) -> bool:
        try:
            return os.pread(self.descriptor, 3, 0) == _MAGIC
        except OSError:
            return True  # whoever reads from it is told that the disk refuses

    def _lacks(self, size: int) -> bool:
        """Whether a page is in neither the log nor a database file of ``size`` bytes.

        Another program may have made the database smaller, which is no reason to refuse it.
        """
        while True:
            header = None if self._index is None else self._index.header()
            page, found, pages, _ = self._walk()
            if self._index is not None:
                page, pages = self._index.page(), self._index.pages()
            if pages and all(number in found for number in range(size // page + 1, pages + 1)):
                return False
            if self._index is None or self._index.header() == header:
                return True
            size = os.stat(self._path).st_size

    def _walk(self) -> tuple[int, set[int], int, int]:
        """The size of a page, the numbers of those in the log, of how many the database consists, and where
        the last frame ends.

        Layout: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
        """
        head = os.pread(self.descriptor, _HEAD, 0)
        page, salts, at = int.from_bytes(head[8:12]), head[16:24], _HEAD
        found: set[int] = set()
        begun: set[int] = set()
        pages = 0
        end = self.size() if self._index is None else self._index.end()
        while at < end:
            frame = os.pread(self.descriptor, _FRAME, at)
            if len(frame) < _FRAME or frame[8:16] != salts:
                break
            begun.add(int.from_bytes(frame[:4]))
            after = int.from_bytes(frame[4:8])
            if after:  # the last frame of a commit
                found |= begun
                pages = after
            at += _FRAME + page
        return page, found, pages, at

    def check_not_replaced(self) -> None:
        """Raise OSError if somebody deleted, moved or replaced one of the files.

        What is written to it goes on succeeding, and whoever opens the store next will not find it.
        """
        status = os.stat(self._directory)
        seen = _identity(status), status.st_ctime_ns  # which nobody can set
        if seen == self._looked_at:
            return
        # Nothing was renamed or deleted in a directory that is what it was when the files were looked at,
        # unless that was within one tick of the clock that stamps it. Looking at the log each time would
        # cost more than the look: once asked for, its time of change must be kept exactly, and every
        # write that follows changes the inode as well (Linux 6.13 and later).
        for place, identity in self._places:
            if _identity(os.stat(place)) != identity:
                raise FileNotFoundError(errno.ENOENT, "it was replaced while the store was open", place)
        tick = _TICK_NS if status.st_ctime_ns % 1_000_000_000 else _COARSE_TICK_NS
        settled = abs(time.time_ns() - status.st_ctime_ns) > tick
        self._looked_at = seen if settled else None

    def size(self) -> int:
        return os.lseek(self.descriptor, 0, os.SEEK_END)  # fstat would ask for the time of change

    def room(self) -> int | None:
        """How many bytes are free on its file system; None where nobody can tell."""
        if not hasattr(os, "fstatvfs"):
            return None
        try:
            room = os.fstatvfs(self.descriptor)
        except OSError:
            return None
        return room.f_bavail * room.f_frsize

    def is_disk_full(self, code: int | None) -> bool:
        """Whether it is the disk, a quota or a limit of files that had no room: ``code`` is its errno."""
        room = self.room()
        return code is not None or (room is not None and room < TIGHT_BYTES)

    def lengthen(self, length: int) -> None:
        """Write ``length`` zeros behind the end of the file, if there is plenty of room; else change nothing.

        With SQLite's write lock held: nobody else appends then, so they overwrite nothing. A log that is
        longer than what it holds is what every restarted log is: readers and recovery stop at the first
        frame that is none.
        """
        room = self.room()
        if room is None or room < 32 * length:
            return
        size, written = self.size(), 0
        try:
            written = os.pwrite(self.descriptor, bytes(length), size)
        except OSError:
            pass  # nobody asked for it; whoever needs the space is told when it is not there
        if written < length:
            os.ftruncate(self.descriptor, size)

    def salts(self) -> bytes:
        """What differs once somebody has started the log again. Raises OSError."""
        return os.pread(self.descriptor, 8, 16)

    def wipe(self) -> None:
        """Overwrite what is behind the last frame, frames of an earlier round, and sync. Raises OSError.

        With SQLite's write lock held, as ``lengthen``: nobody reads there, and nobody else writes.
        """
        at, size = max(_HEAD, self._end()), self.size()
        while at < size:
            at += os.pwrite(self.descriptor, bytes(min(_WIPED, size - at)), at)
        _sync(self.descriptor)

    def _end(self) -> int:
        """Where the last frame ends. With SQLite's write lock held."""
        return self._walk()[3] if self._index is None else self._index.end()

    def close(self) -> None:
        os.close(self.descriptor)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


HEADER: Final = 48


class Index:
    """The header of the ``-shm`` file, mapped read-only: it differs after every commit by anybody.

    For one who is ``present`` at ``database``, and as long.

    Layout: https://www.sqlite.org/walformat.html#the_wal_index_header
    """

    def __init__(self, path: str, database: tuple[int, int]) -> None:
        with _lock:
            self.memory = _presences[database].mapping(path + "-shm")
        """Of which the first ``HEADER`` bytes are rewritten by every commit (a counter, sizes, checksums)."""

    def header(self) -> bytes:
        return self.memory[:HEADER]

    def frames(self) -> int:
        """How many pages the log holds."""
        return int.from_bytes(self.memory[16:20], sys.byteorder)

    def pages(self) -> int:
        """How many pages the database has."""
        return int.from_bytes(self.memory[20:24], sys.byteorder)

    def page(self) -> int:
        """The size of a page in bytes."""
        size = int.from_bytes(self.memory[14:16], sys.byteorder)
        return size if size > 1 else 65_536

    def end(self) -> int:
        """Where in the file the last frame ends; 0 if there is none."""
        frames = self.frames()
        return _HEAD + frames * (_FRAME + self.page()) if frames else 0


_MAPPED: Final = 4096


class _Presence:
    """Who of this process is connected to one database, and the mappings of its index."""

    def __init__(self) -> None:
        self.count = 0
        self.database: int | None = None
        self.mappings: dict[tuple[int, int], tuple[int, mmap.mmap]] = {}

    def mapping(self, path: str) -> mmap.mmap:
        identity = _identity(os.stat(path))
        known = self.mappings.get(identity)
        if known is None:
            descriptor = os.open(path, os.O_RDONLY)
            known = descriptor, mmap.mmap(descriptor, _MAPPED, access=mmap.ACCESS_READ)
            self.mappings[identity] = known
        return known[1]

    def let_go(self) -> None:
        for descriptor, memory in self.mappings.values():
            memory.close()
            os.close(descriptor)
        self.mappings.clear()
        if self.database is not None:
            os.close(self.database)
            self.database = None


# SQLite holds POSIX locks on the database and the -shm file, and they vanish when this process closes *any*
# descriptor of them. So all who connect to a database from here say so before, and share one mapping, and one
# descriptor where somebody needs it, which the last one to leave closes.
_presences: dict[tuple[int, int], _Presence] = {}
_lock = threading.Lock()


@contextmanager
def present(path: str) -> Iterator[tuple[int, int]]:
    """To be entered before a connection to the database is opened, and left after it is closed."""
    identity = _identity(os.stat(path))
    with _lock:
        presence = _presences.setdefault(identity, _Presence())
        presence.count += 1
    try:
        yield identity
    finally:
        with _lock:
            presence.count -= 1
            if not presence.count:
                del _presences[identity]
                presence.let_go()


def is_present(path: str) -> bool:
    """Whether somebody of this process is connected to the database."""
    with _lock:
        return _identity(os.stat(path)) in _presences


def database_descriptor(path: str, database: tuple[int, int]) -> int:
    """To read the file itself, for one who is ``present`` at ``database``, and as long. Raises OSError."""
    with _lock:
        presence = _presences[database]
        if presence.database is None:
            presence.database = os.open(path, os.O_RDONLY)
        return presence.database
