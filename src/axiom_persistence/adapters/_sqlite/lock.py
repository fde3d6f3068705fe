"""The one lock in a process that a commit to a store needs, whichever path it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["WriteLock"]

_INLINE_WAIT_S: Final = 1.0
"""Longer than a transaction takes, unless the disk does not answer."""
_LOOK_S: Final = 0.0001


class WriteLock:
    """A lock in which the writer thread goes first. A caller's thread looks whether it is free, then takes
    it by ``with lock.inner:``.

    A plain lock is not fair: a caller that commits in a tight loop takes it again before a waiting
    thread has woken up, and the writer would starve, checkpoints included.

    Nobody calls ``acquire``: Ctrl-C raises wherever the main thread is, also between an ``acquire`` and the
    ``try`` behind it. Between the taking of a ``threading.Lock`` by ``with`` and the body CPython raises
    nothing.
    """

    def __init__(self) -> None:
        self.inner = threading.Lock()
        self._wanted = False

    def is_free(self) -> bool:
        """Whether it can be had now, or after the transaction under way.

        A commit within a commit (a signal handler that saves) is told that it cannot.
        """
        if not (self._wanted or self.inner.locked()):
            return True
        deadline = time.monotonic() + _INLINE_WAIT_S
        while time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            if self.is_free_now():
                return True
        return False

    def is_free_now(self) -> bool:
        """Whether nobody has it, and the writer thread does not want it."""
        return not (self._wanted or self.inner.locked())

    @contextmanager
    def first(self) -> Iterator[None]:
        """For the writer thread: held within the block."""
        self._wanted = True
        try:
            with self.inner:
                self._wanted = False
                yield
        finally:
            self._wanted = False
