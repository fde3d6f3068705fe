"""Copying the log back into the database file, so that it stays small, on the writer thread only."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Final

from . import errors
from .file import connect

__all__ = ["COPY_FRAMES", "Checkpointer"]

COPY_FRAMES: Final = 2000
"""Frames not yet copied that make a copy worth its two syncs (8 MiB at pages of 4 KiB)."""
RESTART_FRAMES: Final = 2000
"""The size from which the log is started again: a file that no longer grows is faster to sync."""
_LITTLE: Final = 200
"""So few frames left are copied in about a millisecond, with the write lock held."""
_PASSES: Final = 8


class Checkpointer:
    """A connection of its own, so that callers go on committing while pages are copied.

    A passive checkpoint alone never lets the log start again beside a busy writer, as there is always one
    more frame. So: passive until little is left; then, under the write lock, what is left, a restart, and
    the first commit of the new log, which syncs its header, so that no caller has to.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._copied = 0  # frames seen by a checkpoint; a reader may have held some of them back
        self.lock = threading.Lock()
        self.count = 0

    def left(self, frames: int) -> int:
        """How many of the log's ``frames`` were not yet seen by a checkpoint."""
        if frames < self._copied:
            self._copied = 0  # somebody started the log again
        return frames - self._copied

    def run(self, restart: Callable[[sqlite3.Connection], bool], *, whole: bool) -> None:
        """Copy, and ``restart`` a log that is long or, with ``whole``, any. Raises sqlite3.Error, but
        not for a lock that another process holds.
        """
        with self.lock:
            connection = self._connection
            if connection is None:
                connection = self._connection = connect(self._path)
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute("PRAGMA fullfsync=ON")
                connection.execute("PRAGMA checkpoint_fullfsync=ON")
            frames, copied = self._copy(connection)
            for _ in range(_PASSES):
                if frames - copied <= _LITTLE:
                    break
                frames, copied = self._copy(connection)
            if (whole or frames >= RESTART_FRAMES) and restart(connection):
                self._copied = 0

    def _copy(self, connection: sqlite3.Connection) -> tuple[int, int]:
        try:
            _, frames, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError as error:
            if not errors.is_busy(error):
                raise
            return self._copied, self._copied  # another process is at it
        self.count += 1
        self._copied = frames
        return frames, copied

    def close(self) -> None:
        with self.lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
