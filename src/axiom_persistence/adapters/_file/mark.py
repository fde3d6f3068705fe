"""What all processes with one file store open tell each other: a few bytes of a file."""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

from ...platform.filesystem import FileSystem

__all__ = ["ChangeMark"]

_WORD: Final = 8
_LARGEST: Final = 2**64 - 1
_SIZE: Final = 2 * _WORD
_LOOSE: Final = _WORD
_FINISHED: Final = _WORD + 1
_NEVER: Final = bytes(_WORD)
_BROKEN: Final = _LARGEST.to_bytes(_WORD, sys.byteorder) + bytes(_WORD)


class ChangeMark:
    """Two words at the beginning of a file that every process with the store open reads and writes.

    The first is a generation, odd while files are being replaced and even in between: a reader that finds
    the same even number before and after has read one state, with no lock. The second holds two flags.
    All of it says nothing after a loss of power, and need not: nobody who remembers an earlier generation
    is left then, and every opening looks for a journal itself.

    The file is read and written by calls (0.7 microseconds a read), not mapped: mapped memory of a file
    that somebody shortens ends the process. A mark that is too short, all zeros or cannot be read counts as
    busy, so that whoever meets it takes the lock and makes the mark anew, or is told there what is wrong.

    ``foreign`` is this object's own view: how often the generation was moved by somebody else. The
    generations of a commit of our own are known before its first file is replaced, since nobody else can
    move them before we let go of the lock, so that no look in between takes it for somebody else's.
    """

    def __init__(self, files: FileSystem, handle: int) -> None:
        self._files = files
        self._handle = handle
        self._looking = threading.Lock()
        now = self.generation
        # The generations with nobody else's commit since, from and to; the commits of others before
        # them: one tuple, for it is read unlocked.
        self._seen = (now, now, 0)
        # What was last read, and ``foreign`` then: the short way for what every cached load asks.
        self._same = (b"", 0)

    def _read(self) -> bytes:
        try:
            words = self._files.read_at(self._handle, _SIZE)
        except OSError:
            return _BROKEN  # whoever takes the lock for it is told why
        return _BROKEN if len(words) < _SIZE or words.startswith(_NEVER) else words

    def _write(self, generation: int) -> None:
        self._files.write_at(self._handle, 0, generation.to_bytes(_WORD, sys.byteorder))

    @property
    def generation(self) -> int:
        return _generation(self._read())

    @property
    def busy(self) -> bool:
        return bool(self.generation & 1)

    def begin(self) -> None:
        """Say that files are being replaced. Only under the exclusive lock."""
        with self._looking:
            now = self.generation
            first, last, foreign = self._seen
            during = now | 1
            self._seen = (now, during + 1, foreign if first <= now <= last else foreign + 1)
            self._same = (b"", 0)
            self._write(during)

    def end(self) -> None:
        self._write(((self.generation | 1) + 1) & _LARGEST)

    def foreign(self) -> int:
        """A number that grows when somebody else has committed."""
        words = self._read()
        same, foreign = self._same
        if words == same:
            return foreign
        with self._looking:
            words = self._read()
            now = _generation(words)
            first, last, foreign = self._seen
            if not first <= now <= last:
                foreign += 1
                self._seen = (now, now, foreign)
            self._same = (words, foreign)
            return foreign

    def disown(self) -> None:
        """What was just done was the commit of somebody who could not finish it."""
        with self._looking:
            now = self.generation
            self._seen = (now, now, self._seen[2] + 1)
            self._same = (b"", 0)

    def heal(self) -> None:
        """Make a mark that is new, or that somebody damaged or put back. Only under the exclusive lock."""
        if self.generation == _LARGEST or self.generation < self._seen[0]:
            # A generation that nobody remembers: counted on from an older one, it would come again. The
            # file may just be short of its flags: a journal's removal is then taken for not durable.
            generation = int.from_bytes(os.urandom(_WORD - 1), sys.byteorder) * 2 + 2
            words = generation.to_bytes(_WORD, sys.byteorder) + bytes([True, *bytes(_WORD - 1)])
            self._files.write_at(self._handle, 0, words)

    @property
    def loose(self) -> bool:
        """Whether some process removed a journal without making the removal durable."""
        return bool(self._read()[_LOOSE])

    @loose.setter
    def loose(self, loose: bool) -> None:
        self._files.write_at(self._handle, _LOOSE, bytes([loose]))

    @property
    def finished(self) -> bool:
        """Whether whoever held the exclusive lock last left no file half replaced, and no journal."""
        words = self._read()
        return bool(words[_FINISHED]) and not _generation(words) & 1

    def journal(self, written: bool) -> None:
        """Say that there may be a journal, before there is, or that there is none."""
        self._files.write_at(self._handle, _FINISHED, bytes([not written]))


def _generation(words: bytes) -> int:
    return int.from_bytes(words[:_WORD], sys.byteorder)
