"""Whether a log belongs to the database file that it lies beside.

SQLite does not ask: it applies any log to any database, and mixes the pages of two times. But the clock row
tells. Before a log is copied back whole, the row goes to a new multiple of ``LOG_TICKS``, and one further in
the first commit of the next log. So a database file that belongs to that log says that multiple at least,
and nothing later than the log says. A log that begins with another commit tells nothing: another program
began it, or SQLite itself did, as it may with any commit once all of a log is copied back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Final

from .pages import Image, Pages
from .wal import LOG_TICKS

__all__ = ["is_of_another_time"]

_HEAD, _FRAME = 32, 24
_LEAF_OF_ONE: Final = b"\x0d\0\1"
"""A leaf of a table, with one row."""
_SIZES: Final = {1 << power for power in range(9, 17)}


def is_of_another_time(path: str, clock_in_file: Callable[[], int | None]) -> bool:
    """Whether the log beside ``path`` was made on another state of the database. Raises OSError.

    ``clock_in_file``: what the clock row is in the database file alone; None: nobody can tell.
    """
    with open(path + "-wal", "rb") as log:  # SQLite takes no lock on it
        head = log.read(_HEAD)
        size = int.from_bytes(head[8:12])
        if size not in _SIZES:
            return False
        first = log.read(_FRAME + size)
        began = _clock(first) if first[8:16] == head[16:24] and any(first[4:8]) else None
        if began is None or began % LOG_TICKS != 1:
            return False
        now = clock_in_file()  # after the log was read: of two that belong together the file only goes on
        if now is None or now == began - 1:
            return False
        if began <= now <= _latest(log, head[16:24], size):
            return False
        log.seek(0)
        return log.read(_HEAD) == head  # else somebody who uses both has just begun another log


def _clock(frame: bytes) -> int | None:
    """What the clock row is in a frame. None: it is no frame of the clock's page."""
    if frame[_FRAME : _FRAME + 1] + frame[_FRAME + 3 : _FRAME + 5] != _LEAF_OF_ONE:
        return None
    rows, whole = Pages(len(frame) - _FRAME).read(Image(2, memoryview(frame)[_FRAME:], 0))
    if not whole or len(rows) != 1 or len(rows[0].values) != 2:
        return None
    identity, last = rows[0].values
    return last if identity is None and isinstance(last, int) else None


def _latest(log: BinaryIO, salts: bytes, size: int) -> int:
    """The latest time that the clock row is in any frame: a VACUUM may have given it another page."""
    latest = 0
    log.seek(_HEAD)
    while (frame := log.read(_FRAME + size))[8:16] == salts:
        latest = max(latest, _clock(frame) or 0)
    return latest
