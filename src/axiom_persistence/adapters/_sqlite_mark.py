"""Whether anybody else has committed: what a cache compares before every answer."""

from __future__ import annotations

import sys
from typing import Final, Protocol

from ._sqlite_wal import Index

__all__ = ["ChangeMark"]

_COUNTER: Final = slice(8, 12)
"""``iChange`` of the WAL-index header, which every commit that writes a page raises by one."""

_WORD: Final = 1 << 32


class OwnCommits(Protocol):
    """What this adapter has committed itself, exactly: a commit too many would hide one of somebody else."""

    own: int
    committing: bool


class ChangeMark:
    """A number that grows when the log holds commits that are not ours.

    Compared are the log's count of commits and our own since the last look. While our commit is on its
    way under SQLite's write lock, the log may be one ahead of our count; nobody else can be then.
    It may grow without need: after a crash of another process the log's count begins anew.
    """

    def __init__(self, index: Index, commits: OwnCommits) -> None:
        self._index = index
        self._commits = commits
        self._foreign = 0
        self._seen = (index.mark(), commits.own)

    def read(self) -> int:
        if self._index.mark() == self._seen[0]:
            return self._foreign
        return self._look()

    def _look(self) -> int:
        commits = self._commits
        while True:
            own, committing = commits.own, commits.committing
            header = self._index.mark()
            if own != commits.own or committing != commits.committing:
                continue  # a commit of ours has just begun or ended
            seen, seen_own = self._seen
            ahead = (_count(header) - _count(seen) - (own - seen_own)) % _WORD
            if ahead == 1 and committing:
                return self._foreign
            if ahead:
                self._foreign += 1
            self._seen = (header, own)
            return self._foreign


def _count(header: bytes) -> int:
    return int.from_bytes(header[_COUNTER], sys.byteorder)
