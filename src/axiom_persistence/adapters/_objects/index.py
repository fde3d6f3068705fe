"""Where every value lies, as of one number of the log."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec.json import decode, encode

from ...storage.listing import Listing
from .entry import Checkpoint, Entry, Spot, entry_name

__all__ = ["Index"]

_REMEMBERED: Final = 10_000
"""Entries whose keys are known, for whoever asks what has changed."""
_CACHE_KIB: Final = 16_384


class Index:
    """All keys and the spots of their values: a private, temporary database, which spills to the disk.

    It holds no value. Any thread may use it. ``last``: the number of the log that it is true of.
    """

    def __init__(self, number: int = 0, checkpoint: Checkpoint | None = None) -> None:
        self.lock = threading.RLock()
        """Held while several things are to be read as of one number."""
        self.number: int = number
        """Of the checkpoint that it began with; 0: of none."""
        self.base: int = checkpoint.last if checkpoint else 0
        """The number of the log of that checkpoint."""
        self.cleared: int = checkpoint.cleared if checkpoint else 0
        self.last: int = self.base
        self.count: int = len(checkpoint.rows) if checkpoint else 0
        """About how many keys there are."""
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.executescript(
            f"PRAGMA cache_size=-{_CACHE_KIB}; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE spot (key TEXT PRIMARY KEY, version TEXT, object TEXT, start INT, length INT, "
            "size INT) WITHOUT ROWID; CREATE TABLE entry (number INTEGER PRIMARY KEY, keys TEXT)"
        )
        if checkpoint:
            self._put(checkpoint.rows)

    def __del__(self) -> None:
        self._db.close()  # nobody else uses it any more

    def _put(self, rows: Iterable[Sequence[object]]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO spot VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")

    def take(self, number: int, entry: Entry, begin: int, size: int) -> None:
        """Apply an entry, unless it is applied already. Its values begin at ``begin``."""
        with self.lock:
            if number != self.last + 1:
                return
            name, start = entry_name(number), begin
            for commit, puts, deleted in entry.commits:
                self._db.executemany("DELETE FROM spot WHERE key = ?", [(key,) for key in deleted])
                rows = []
                for key, length in puts:
                    rows.append((key, commit, name, start, length, size))
                    start += length
                self._put(rows)
            self._db.execute("INSERT INTO entry VALUES (?, ?)", (number, encode(entry.keys).decode()))
            self._db.execute("DELETE FROM entry WHERE number <= ?", (number - _REMEMBERED,))
            self.last = number

    def find(self, keys: Collection[str]) -> dict[str, Spot]:
        """Of one moment."""
        ask = "SELECT version, object, start, length, size FROM spot WHERE key = ?"
        with self.lock:
            found = ((key, self._db.execute(ask, (key,)).fetchone()) for key in keys)
            return {key: Spot(*row) for key, row in found if row is not None}

    def page(self, listing: Listing, size: int) -> list[str]:
        """The next keys of a listing."""
        # One bound at each end: with two, SQLite would begin at the first of them.
        first, last, after = listing.prefix, listing.end, listing.after
        where, order = ["key >= ?"], "ASC"
        if listing.reverse:
            order = "DESC"
            if after is not None and (last is None or after < last):
                last = after
        elif after is not None and after >= first:
            where, first = ["key > ?"], after
        arguments = [first]
        if last is not None:
            where.append("key < ?")
            arguments.append(last)
        ask = f"SELECT key FROM spot WHERE {' AND '.join(where)} ORDER BY key {order} LIMIT {size}"  # noqa: S608
        with self.lock:
            return [key for (key,) in self._db.execute(ask, arguments)]

    def changed(self, since: int) -> frozenset[str] | None:
        """The keys of the entries behind ``since``; None: not all of them are known."""
        with self.lock:
            rows = self._db.execute("SELECT keys FROM entry WHERE number > ?", (since,)).fetchall()
            if since > self.last or len(rows) != self.last - since:
                return None
        return frozenset(key for (keys,) in rows for key in decode(keys, type=list[str]))

    def rows(self) -> list[tuple[str, str, str, int, int, int]]:
        """Everything, for a checkpoint."""
        with self.lock:
            return self._db.execute("SELECT * FROM spot ORDER BY key").fetchall()

    def rebase(self, number: int, checkpoint: Checkpoint) -> None:
        """A checkpoint was made of it, which may have moved values."""
        rows = [(name, start, size, key, version) for key, version, name, start, _, size in checkpoint.rows]
        with self.lock:
            self._db.execute("BEGIN")
            self._db.executemany(
                "UPDATE spot SET object = ?, start = ?, size = ? WHERE key = ? AND version = ?", rows
            )
            self._db.execute("COMMIT")
            self.number, self.base, self.cleared = number, checkpoint.last, checkpoint.cleared
            self.count = len(rows)
