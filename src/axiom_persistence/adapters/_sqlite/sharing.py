"""Who may open the index of a log (-shm) when: SQLite opens it once for all connections of a process.

Where the first of them only reads, those that join it can never write, however long they live. So whoever
inspects a store and whoever opens it to write do so one after the other. Once it is open to write, all may
read.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import StorageLockedError

__all__ = ["inspecting", "opening"]

_turn = threading.Condition()
_inspecting: Counter[tuple[int, int, int]] = Counter()
_opening: set[tuple[int, int, int]] = set()


def _database(path: str) -> tuple[int, int, int]:
    status = os.stat(path)
    return os.getpid(), status.st_dev, status.st_ino  # a child of a fork has no connection of its parent


@contextmanager
def inspecting(path: str) -> Iterator[None]:
    """To be held from before a connection that only reads the index is opened, until it is closed."""
    database = _database(path)
    with _turn:
        _turn.wait_for(lambda: database not in _opening)
        _inspecting[database] += 1
    try:
        yield
    finally:
        with _turn:
            _inspecting[database] -= 1
            _turn.notify_all()


@contextmanager
def opening(path: str, adapter: object, timeout: float) -> Iterator[None]:
    """To be held while a connection that writes is opened. Raises ``StorageLockedError``."""
    database = _database(path)
    with _turn:
        if not _turn.wait_for(lambda: not _inspecting[database] and database not in _opening, timeout):
            raise StorageLockedError(
                "this process is inspecting the store",
                adapter=adapter,
                hint="wait until that ends, or open SQLiteAdapter(path, lock_timeout=...) with a longer one",
            )
        _opening.add(database)
    try:
        yield
    finally:
        with _turn:
            _opening.remove(database)
            _turn.notify_all()
