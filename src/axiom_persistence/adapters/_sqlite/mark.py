"""Whether anybody else has committed: what a cache compares before every answer."""

from __future__ import annotations

import struct
import threading
from typing import Final, Protocol, TypeAlias

from .wal import HEADER, Index

__all__ = ["ChangeMark", "Own"]

_AT: Final = 8
_COUNT: Final = struct.Struct("=I").unpack_from
"""``iChange`` of the WAL-index header, which every commit that writes a page raises by one."""

_WORD: Final = 1 << 32


Own: TypeAlias = tuple[int, bool, bool]
"""What this adapter has committed itself, exactly: a commit too many would hide one of somebody else.

How many commits wrote a page, which are those that the log's own count rises by; whether SQLite's write lock
is held, so that the next commit that the log counts, if any, is ours; whether a statement that is a
transaction of its own is on its way.
"""


class OwnCommits(Protocol):
    """Who commits. ``own`` is replaced as a whole: a look from another thread sees no half of a change."""

    own: Own


class ChangeMark:
    """A number that grows when the log holds commits that are not ours.

    Compared are the log's count of commits and our own since both were last known together. While our
    commit is on its way under SQLite's write lock, nobody else can commit before it: the first one more in
    the log is ours, whether it is in our count yet or not. Of a statement that takes and drops that lock by
    itself nobody else can tell when it did: between its effect and its end every look gives a number that
    never comes again, so that what is read meanwhile is asked for anew, and nothing else is. The mark may
    grow without need: after a crash of another process the log's count begins anew.
    """

    def __init__(self, index: Index, commits: OwnCommits) -> None:
        self.memory = index.memory
        self._commits = commits
        self._lock = threading.Lock()
        self.seen = (self.memory[:HEADER], commits.own[0], 0)
        """The log's header, our own commits in it, those of others: one tuple, for it is read unlocked."""
        self._doubts = 0

    def look(self) -> int:
        """Count. While ``memory`` begins with the header of ``seen``, the number there is still the one.

        Also to be called once SQLite's write lock is held, before ``committing`` is said.
        """
        commits = self._commits
        with self._lock:
            while True:
                now = commits.own
                header = self.memory[:HEADER]
                if commits.own is now:
                    break  # else a commit of ours has just begun or ended
            own, committing, putting = now
            seen, seen_own, foreign = self.seen
            count, before = _COUNT(header, _AT)[0], _COUNT(seen, _AT)[0]
            ahead = (count - before - (own - seen_own)) % _WORD
            if putting:
                if header == seen:
                    return foreign
                self._doubts -= 1  # ours or theirs: it is counted when that is known
                return self._doubts
            if not committing:
                self.seen = (header, own, foreign + 1 if ahead else foreign)
            elif ahead > 1:
                self.seen = (header, own + 1, foreign + 1)
            return self.seen[2]
