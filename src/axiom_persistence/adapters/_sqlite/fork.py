"""What a fork must find and leave: SQLite keeps locks per process and believes that they are inherited.

A child has SQLite's own table of open files, which says that the locks of its parent are held, while the
kernel gave it none. So before a fork everything here comes to rest, so that no lock for reading or writing
is in that table; and the child takes, for real, the two shared locks that an idle connection has: then the
table is true again, and a connection that the child opens is as safe as any. Its inherited connections are
never used, closed or collected. https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol

from ...runtime.ending import ADAPTERS, after_fork, after_fork_in_parent, before_fork
from .file import creating

__all__ = ["watch_forks"]

REFUSAL: Final = "the store was opened in the process that this one was forked from"

# The bytes that a shared lock covers: https://www.sqlite.org/src/file/src/os.h (SHARED_FIRST, SHARED_SIZE)
# and os_unix.c (UNIX_SHM_DMS).
_SHARED_BYTES: Final = (0x40000000 + 2, 510)
_INDEX_BYTES: Final = (128, 1)

_forking = threading.Lock()
_held: list[threading.Lock] = []
_pipe: list[int] = []


class Forkable(Protocol):
    """What a fork needs to know of an open store."""

    path: str
    lifecycle: threading.Lock
    forked: bool

    @property
    def is_open(self) -> bool: ...

    @property
    def is_exclusive(self) -> bool: ...

    def resting(self) -> list[threading.Lock]: ...

    def refuse(self, reason: str) -> None: ...


def watch_forks(writers: Callable[[], Iterable[Forkable]]) -> None:
    """Register for every fork from now on. ``writers`` tells the ones that are open."""

    def before() -> None:
        _hold(_forking)
        writers_now = list(writers())
        for writer in writers_now:
            _hold(writer.lifecycle)
        _hold(creating)
        for writer in writers_now:
            if writer.is_open:
                for lock in writer.resting():
                    _hold(lock)
        if writers_now:
            # What the child needs: a thread that imports it now will not be there to let its lock go.
            with suppress(ImportError):
                import ctypes  # noqa: F401
                import fcntl  # noqa: F401

            _pipe.extend(os.pipe())

    def after_in_parent() -> None:
        _release()
        if _pipe:
            reading, writing = _pipe
            _pipe.clear()
            os.close(writing)
            os.read(reading, 1)  # until the child has its locks: we might be gone before
            os.close(reading)

    def after_in_child() -> None:
        for writer in writers():
            _leave_alone(writer)
        _release()
        for descriptor in _pipe:
            os.close(descriptor)
        _pipe.clear()

    before_fork(ADAPTERS, before)
    after_fork_in_parent(ADAPTERS, after_in_parent)
    after_fork(ADAPTERS, after_in_child)


def _hold(lock: threading.Lock) -> None:
    lock.acquire()
    _held.append(lock)


def _release() -> None:
    held = _held[::-1]
    _held.clear()
    for lock in held:
        lock.release()


def _leave_alone(writer: Forkable) -> None:
    import ctypes
    import fcntl

    writer.forked = True
    # For ever: closing or collecting an inherited connection would write to the memory it shares.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(writer))
    if not writer.is_open:
        return
    writer.refuse(REFUSAL)
    if writer.is_exclusive:
        return  # exclusive: SQLite refuses the child another connection, and rightly
    for path, (start, length) in ((writer.path, _SHARED_BYTES), (writer.path + "-shm", _INDEX_BYTES)):
        try:
            # Never closed: that would drop the lock.
            fcntl.lockf(os.open(path, os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)
        except OSError:
            continue  # not at its path any more: what this process may open there is another file
