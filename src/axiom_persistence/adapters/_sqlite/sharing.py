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

Database = tuple[int, int]
"""As ``present`` tells it."""

_turn = threading.Condition()
# With the process: a child of a fork has no connection of its parent.
_inspecting: Counter[tuple[int, Database]] = Counter()
_opening: set[tuple[int, Database]] = set()


@contextmanager
def inspecting(database: Database) -> Iterator[None]:
    """To be held from before a connection that only reads the index is opened, until it is closed."""
    here = os.getpid(), database
    with _turn:
        _turn.wait_for(lambda: here not in _opening)
        _inspecting[here] += 1
    try:
        yield
    finally:
        with _turn:
            _inspecting[here] -= 1
            _turn.notify_all()


@contextmanager
def opening(database: Database, adapter: object, timeout: float) -> Iterator[None]:
    """To be held while a connection that writes is opened. Raises ``StorageLockedError``."""
    here = os.getpid(), database
    with _turn:
        if not _turn.wait_for(lambda: not _inspecting[here] and here not in _opening, timeout):
            raise StorageLockedError(
                "this process is inspecting the store",
                adapter=adapter,
                hint="wait until that ends, or open SQLiteAdapter(path, lock_timeout=...) with a longer one",
            )
        _opening.add(here)
    try:
        yield
    finally:
        with _turn:
            _opening.remove(here)
            _turn.notify_all()
