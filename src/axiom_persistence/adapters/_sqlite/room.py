"""The room on the disk: how much may be committed, so that the log can be copied back and keys be deleted."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from . import errors
from .lock import WriteLock
from .transactions import Transactions
from .wal import TIGHT_BYTES, Log

__all__ = ["FRAME_BYTES", "Room"]

_PAGE_BYTES: Final = 4096
FRAME_BYTES: Final = _PAGE_BYTES + 24
_PLENTY_BYTES: Final = 1 << 32
"""So much is not worth a closer look."""
_LOG_BYTES: Final = 1 << 25
_TIGHT_LOG_BYTES: Final = 1 << 18
_RESERVE_BYTES: Final = 1 << 18
"""Left free by every commit, for deletions and for the index beside the log."""
_KEPT_BYTES_MAX: Final = 1 << 23
_KEPT_PART: Final = 8
"""What the database must leave free for the log, of all there is: what is saved in the place of something
deleted has to go through the log, too."""
_MARGIN_BYTES: Final = 1 << 19
"""How many pages a commit writes is estimated: not all that is free is allowed for."""


class Room:
    """What is committed needs room twice: in the log, and in the database where no page is free there."""

    def __init__(self, path: str, transactions: Transactions, log: Log, lock: WriteLock) -> None:
        self._path = path
        self._transactions = transactions
        self._log = log
        self._lock = lock

    def measure(self, log_end: Callable[[], int]) -> int:
        """Look at the disk, and tell the transactions how much they may write.

        The frames of the log end at ``log_end()``. Returns how many pages the log may hold before it is worth
        copying: an eighth of what is free.
        """
        transactions = self._transactions
        room = self._log.room()
        if room is None or room > _PLENTY_BYTES:
            transactions.room = transactions.pages + _PLENTY_BYTES // _PAGE_BYTES // 4
            return _PLENTY_BYTES // _PAGE_BYTES
        try:
            # Under the lock, and asked again: a commit between the question and the answer would count twice.
            with self._lock.first():
                now = self._log.room()
                return self._allow(room if now is None else now, log_end())
        except (*errors.FAULTS, OSError):
            return room // 8 // _PAGE_BYTES  # whoever commits is told

    def _allow(self, room: int, log_end: int) -> int:
        transactions = self._transactions
        tight = room < TIGHT_BYTES  # then the file of the log is cut when it is started again
        transactions.save_room(tight, _TIGHT_LOG_BYTES if tight else _LOG_BYTES)
        pages, free = transactions.extent()
        size = os.stat(self._path).st_size
        log_size = self._log.size()
        most = room // 8 // _PAGE_BYTES
        free *= _PAGE_BYTES
        room -= max(0, pages * _PAGE_BYTES - size)  # what copying the log takes
        once_cut = room + max(0, log_size - _TIGHT_LOG_BYTES)
        kept = max(_RESERVE_BYTES, min(_KEPT_BYTES_MAX, (once_cut + size) // _KEPT_PART))
        less, more = sorted((max(0, log_size - log_end), free))
        left = max(0, room - _RESERVE_BYTES)
        allowed = min(less + left, (less + more + left) // 2, free + max(0, once_cut - kept))
        transactions.room = transactions.pages + max(allowed - _MARGIN_BYTES, allowed // 2) // FRAME_BYTES
        return most
