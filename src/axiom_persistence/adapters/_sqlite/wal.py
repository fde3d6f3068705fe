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
from typing import Final

__all__ = ["HEADER", "Index", "Log", "present"]

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
        self._descriptor = os.open(path + "-wal", os.O_RDWR)
        self._directory = os.path.dirname(path) or "."
        self._places = (
            (path, _identity(os.stat(path))),
            (path + "-wal", _identity(os.fstat(self._descriptor))),
        )
        self._looked_at: tuple[tuple[int, int], int] | None = None

    def sync(self) -> None:
        """Bring all that was committed before the call to the disk, and check the files. Raises OSError."""
        _sync(self._descriptor)
        self.check_not_replaced()

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
        return os.lseek(self._descriptor, 0, os.SEEK_END)  # fstat would ask for the time of change

    def lengthen(self, length: int) -> None:
        """Write ``length`` zeros behind the end of the file, if there is plenty of room; else change nothing.

        With SQLite's write lock held: nobody else appends then, so they overwrite nothing. A log that is
        longer than what it holds is what every restarted log is: readers and recovery stop at the first
        frame that is none.
        """
        if not hasattr(os, "fstatvfs"):
            return
        room = os.fstatvfs(self._descriptor)
        if room.f_bavail * room.f_frsize < 32 * length:
            return
        size, written = self.size(), 0
        try:
            written = os.pwrite(self._descriptor, bytes(length), size)
        except OSError:
            pass  # nobody asked for it; whoever needs the space is told when it is not there
        if written < length:
            os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        os.close(self._descriptor)


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

    def frames(self) -> int:
        """How many pages the log holds."""
        return int.from_bytes(self.memory[16:20], sys.byteorder)

    def end(self) -> int:
        """Where in the file the last frame ends."""
        page = int.from_bytes(self.memory[14:16], sys.byteorder)
        return 32 + self.frames() * (24 + (page if page > 1 else 65_536))


_MAPPED: Final = 4096


class _Presence:
    """Who of this process is connected to one database, and the mappings of its index."""

    def __init__(self) -> None:
        self.count = 0
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


# SQLite holds POSIX locks on the -shm file, and they vanish when this process closes *any* descriptor of
# it. So all who connect to a database from here say so before, and share one mapping, which the last one
# to leave closes.
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
