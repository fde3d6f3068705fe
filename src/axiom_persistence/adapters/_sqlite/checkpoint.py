"""Copying the log back into the database file, so that it stays small, on the writer thread only."""

from __future__ import annotations

import sqlite3
import threading
from typing import Final

from . import errors
from .file import connect
from .lock import WriteLock
from .transactions import Transactions

__all__ = ["COPY_FRAMES", "Checkpointer"]

COPY_FRAMES: Final = 2000
"""Frames not yet copied that make a copy worth its two syncs (8 MiB at pages of 4 KiB)."""
RESTART_FRAMES: Final = 2000
"""The size from which the log is started again: a file that no longer grows is faster to sync."""
_LITTLE: Final = 200
"""So few frames left are copied in about a millisecond, with the write lock held."""
_PASSES: Final = 8


class Checkpointer:
    """Two connections of its own, so that callers go on committing while pages are copied.

    A passive checkpoint alone never lets the log start again beside a busy writer, as there is always one
    more frame. So: passive until little is left; then, under the write lock, what is left, a restart, and
    the first commit of the new log, which syncs its header, so that no caller has to.
    """

    def __init__(self, path: str, transactions: Transactions, writing: WriteLock) -> None:
        self._path = path
        self._transactions = transactions
        self._writing = writing
        self._connections: list[sqlite3.Connection] = []
        self._copied = 0  # frames seen by a checkpoint; a reader may have held some of them back
        self.lock = threading.Lock()
        self.count = 0

    def left(self, frames: int) -> int:
        """How many of the log's ``frames`` were not yet seen by a checkpoint."""
        if frames < self._copied:
            self._copied = 0  # somebody started the log again
        return frames - self._copied

    def run(self, *, whole: bool) -> None:
        """Copy, and restart a log that is long or, with ``whole``, any. Raises sqlite3.Error, but
        not for a lock that another process holds.
        """
        with self.lock:
            copying, holding = self._connect()
            frames, copied = self._copy(copying, holding)
            for _ in range(_PASSES):
                if frames - copied <= _LITTLE:
                    break
                frames, copied = self._copy(copying, holding)
            if whole or frames >= RESTART_FRAMES:
                with self._writing.first():
                    if self._transactions.restart_log(copying):
                        self._copied = 0
                self._tell(copying, holding)  # as all was copied, the clock row too

    def bear_witness(self) -> None:
        """Have the database file alone say that a log goes with it. Raises as ``run``."""
        with self.lock:
            self._tell(*self._connect())

    def _connect(self) -> list[sqlite3.Connection]:
        """The connection that copies, and one that reads meanwhile."""
        while len(self._connections) < 2:
            connection = connect(self._path)
            self._connections.append(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA fullfsync=ON")
            connection.execute("PRAGMA checkpoint_fullfsync=ON")
        return self._connections

    def _copy(self, copying: sqlite3.Connection, holding: sqlite3.Connection) -> tuple[int, int]:
        """One passive checkpoint, with the witness where that can be."""
        try:
            self._witness(holding)
            return self._copy_seen(copying)
        finally:
            _let_go(holding)

    def _tell(self, copying: sqlite3.Connection, holding: sqlite3.Connection) -> None:
        """The same for the sake of the witness: without it nothing is copied."""
        try:
            if self._witness(holding):
                self._copy_seen(copying)
        finally:
            _let_go(holding)

    def _witness(self, holding: sqlite3.Connection) -> bool:
        """Have ``holding`` read what is copied next. False: there is no room, or another process writes."""

        def hold() -> None:
            holding.execute("BEGIN")
            holding.execute("SELECT last FROM clock").fetchone()

        try:
            with self._writing.first():
                self._transactions.bear_witness(hold)
        except sqlite3.OperationalError as error:
            if errors.is_busy(error) or errors.is_full(error):
                return False
            raise
        return True

    def _copy_seen(self, copying: sqlite3.Connection) -> tuple[int, int]:
        try:
            _, frames, copied = copying.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError as error:
            if not errors.is_busy(error):
                raise
            return self._copied, self._copied  # another process is at it
        self.count += 1
        self._copied = frames
        return frames, copied

    def close(self) -> None:
        with self.lock:
            while self._connections:
                self._connections.pop().close()


def _let_go(holding: sqlite3.Connection) -> None:
    if holding.in_transaction:
        holding.execute("ROLLBACK")
