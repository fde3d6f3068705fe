"""What all processes with one file store open share in memory."""

from __future__ import annotations

import mmap
import threading
from typing import Final

__all__ = ["ChangeMark"]

_WORD: Final = 8
_LARGEST: Final = 2**64 - 1


class ChangeMark:
    """What every process with the store open shares in memory: two words.

    The first is a generation, odd while files are being replaced and even in between: a reader that finds
    the same even number before and after has read one state, with no lock. The second holds two flags.
    All of it says nothing after a loss of power, and need not: nobody who remembers an earlier generation
    is left then, and every opening looks for a journal itself.

    ``foreign`` is this object's own view: how often the generation was moved by somebody else. The
    generations of a commit of our own are known before its first file is replaced, since nobody else can
    move them before we let go of the lock, so that no look in between takes it for somebody else's.
    """

    SIZE: Final = 2 * _WORD

    def __init__(self, memory: mmap.mmap) -> None:
        self._words = memoryview(memory).cast("Q")
        self._flags = memoryview(memory)[_WORD:]
        self._looking = threading.Lock()
        # The generations with nobody else's commit since, from and to; the commits of others before
        # them: one tuple, for it is read unlocked.
        self._seen = (self._words[0], self._words[0], 0)

    @property
    def generation(self) -> int:
        return self._words[0]

    @property
    def busy(self) -> bool:
        return bool(self._words[0] & 1)

    def begin(self) -> None:
        """Say that files are being replaced. Only under the exclusive lock."""
        with self._looking:
            now = self._words[0]
            first, last, foreign = self._seen
            during = now | 1
            self._seen = (now, during + 1, foreign if first <= now <= last else foreign + 1)
            self._words[0] = during

    def end(self) -> None:
        self._words[0] = ((self._words[0] | 1) + 1) & _LARGEST

    def foreign(self) -> int:
        """A number that grows when somebody else has committed."""
        first, last, foreign = self._seen
        if first <= self._words[0] <= last:
            return foreign
        with self._looking:
            now = self._words[0]
            first, last, foreign = self._seen
            if not first <= now <= last:
                foreign += 1
                self._seen = (now, now, foreign)
            return foreign

    def disown(self) -> None:
        """What was just done was the commit of somebody who could not finish it."""
        with self._looking:
            now = self._words[0]
            self._seen = (now, now, self._seen[2] + 1)

    @property
    def loose(self) -> bool:
        """Whether some process removed a journal without making the removal durable."""
        return bool(self._flags[0])

    @loose.setter
    def loose(self, loose: bool) -> None:
        self._flags[0] = loose

    @property
    def finished(self) -> bool:
        """Whether whoever held the exclusive lock last left no file half replaced, and no journal."""
        return bool(self._flags[1]) and not self._words[0] & 1

    def journal(self, written: bool) -> None:
        """Say that there may be a journal, before there is, or that there is none."""
        self._flags[1] = not written
