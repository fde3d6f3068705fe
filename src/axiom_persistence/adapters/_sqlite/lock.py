"""The one lock in a process that a commit to a store needs, whichever path it takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["WriteLock"]

_INLINE_WAIT_S: Final = 1.0
"""Longer than a transaction takes, unless the disk does not answer."""


class WriteLock:
    """A lock in which the writer thread goes first.

    A plain lock is not fair: a caller that commits in a tight loop takes it again before a waiting
    thread has woken up, and the writer would starve, checkpoints included.
    """

    def __init__(self) -> None:
        self.inner = threading.Lock()
        self._turn = threading.Lock()
        self._wanted = False
        self.release = self.inner.release

    def acquire_inline(self) -> bool:
        """For a caller's thread, which waits for the transaction under way. False: the disk hangs."""
        if self._wanted:
            if not self._turn.acquire(timeout=_INLINE_WAIT_S):
                return False
            self._turn.release()
        return self.inner.acquire(False) or self.inner.acquire(timeout=_INLINE_WAIT_S)

    def acquire_now(self) -> bool:
        """For a caller's thread that will not wait. False: somebody has it, or the writer thread wants it."""
        return not self._wanted and self.inner.acquire(False)

    @contextmanager
    def first(self) -> Iterator[None]:
        """For the writer thread: held within the block."""
        with self._turn:
            self._wanted = True
            try:
                self.inner.acquire()
            finally:
                self._wanted = False
        try:
            yield
        finally:
            self.inner.release()
