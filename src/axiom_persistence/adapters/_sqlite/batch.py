"""The changes of several commits folded into one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ...storage.adapter import Expect, Stored, verify_expected
from ...storage.generations import Generations
from ...storage.listing import Listing
from .errors import MalformedError, NoRoomError, UndoneError
from .reader import within

__all__ = [
    "DELETING_PAGES",
    "PUT",
    "Batch",
    "Clock",
    "ClockBehindError",
    "advance_clock",
    "last_deleted",
]

# Nothing is written unless the new version is greater than the one it replaces and than the clock row,
# which has passed every version that was ever deleted. So a version never comes twice for a key, whatever
# the clock does and however many processes write; it costs nothing, the row is on the page anyway.
_ROW: Final = (
    " ON CONFLICT(key) DO UPDATE SET data=excluded.data, version=excluded.version"
    " WHERE excluded.version>record.version"
)
_AFTER_CLOCK: Final = " WHERE ?3>(SELECT last FROM clock)"
_TEXT: Final = "INSERT INTO record(key, data, version) SELECT ?1, CAST(?2 AS TEXT), ?3"
_BLOB: Final = "INSERT INTO record(key, data, version) SELECT ?1, ?2, ?3"
# Two of them in one statement: where the clock is behind one, the version is NULL, which the table refuses,
# and neither is written. A condition on both rows, as above, takes ten times as long as the second row.
_TWO: Final = (
    "INSERT INTO record(key, data, version)"
    " VALUES(?1, {}, ?5), (?3, {}, CASE WHEN ?5>(SELECT last FROM clock) THEN ?5 END)"
    " ON CONFLICT(key) DO UPDATE SET data=excluded.data,"
    " version=CASE WHEN excluded.version>record.version THEN excluded.version END"
)
_FIRST: Final = {True: "CAST(?2 AS TEXT)", False: "?2"}
_SECOND: Final = {True: "CAST(?4 AS TEXT)", False: "?4"}
PUT: Final[Mapping[tuple[bool, ...], str]] = {
    (True,): _TEXT + _AFTER_CLOCK + _ROW,  # the same bytes, shown as text by every SQLite tool
    (False,): _BLOB + _AFTER_CLOCK + _ROW,
    **{(a, b): _TWO.format(_FIRST[a], _SECOND[b]) for a in _FIRST for b in _SECOND},
}
"""One value or two in a statement that is a transaction of its own, by whether each is to be text."""
# In a transaction the clock row is looked at once. VALUES takes two thirds of the time that SELECT takes.
_PUT_TEXT_LATER: Final = "INSERT INTO record(key, data, version) VALUES(?1, CAST(?2 AS TEXT), ?3)" + _ROW
_PUT_BLOB_LATER: Final = "INSERT INTO record(key, data, version) VALUES(?1, ?2, ?3)" + _ROW

_VERSION: Final = "SELECT key, version FROM record WHERE key=?"
_VERSIONS: Final = (
    "SELECT r.key, r.version FROM json_each(?) AS wanted CROSS JOIN record AS r ON r.key=wanted.value"
)

# What another process kept within the last minute stays. By the clock on the wall, the only one they share:
# where it was set back, what was kept at a time still to come counts for nothing.
_KEEP: Final = (
    "INSERT INTO previous(key, data, version, kept) SELECT r.key, r.data, r.version, ?2"
    " FROM json_each(?1) AS wanted CROSS JOIN record AS r ON r.key=wanted.value"
    " WHERE NOT EXISTS (SELECT 1 FROM previous AS p WHERE p.key=r.key AND p.kept BETWEEN ?2-60000000 AND ?2)"
    " ON CONFLICT(key) DO UPDATE SET data=excluded.data, version=excluded.version, kept=excluded.kept"
    " RETURNING key, length(CAST(data AS BLOB))"
)
_DELETE: Final = ("DELETE FROM record WHERE key=? RETURNING version", "DELETE FROM previous WHERE key=?")
_DELETE_ALL: Final = (
    "DELETE FROM record WHERE key IN (SELECT value FROM json_each(?)) RETURNING version",
    "DELETE FROM previous WHERE key IN (SELECT value FROM json_each(?))",
)
_SET_PREVIOUS: Final = (
    "INSERT INTO previous(key, data, version, kept) SELECT key, {}, ?3, 0 FROM record WHERE key=?1"
    " ON CONFLICT(key) DO UPDATE SET data=excluded.data, version=excluded.version, kept=excluded.kept"
)
DELETING_PAGES: Final = 32
"""What deletions may write beyond the room there is: they make some."""
_MANY: Final = 8
"""Keys that are deleted by one statement."""
_LARGEST: Final = 1 << 62  # in microseconds, the year 148,000


class ClockBehindError(Exception):
    """A version was not greater than one already given: the clock stepped back. Nothing was written."""


class Clock:
    """Versions: microseconds since 1970 UTC, each greater than the one before."""

    def __init__(self, last: int) -> None:
        self.last = last

    def next(self) -> int:
        now, last = time.time_ns() // 1000, self.last
        self.last = version = now if now > last else last + 1
        return version

    def catch_up(
        self, cursor: sqlite3.Cursor, keys: Iterable[str], tried: int, listings: Iterable[Listing] = ()
    ) -> None:
        """Pass every version that any process gave to these keys or deleted.

        Without the write lock, another process may delete a key meanwhile: the clock row has passed its
        version then, so that row is read last.

        Raises UndoneError where none reaches the first version that was ``tried``: it was not the clock.
        """
        found = [_last_of(cursor, listing) for listing in listings]
        for key in keys:
            row = cursor.execute("SELECT version FROM record WHERE key=?", (key,)).fetchone()
            if row is not None:
                found.append(_number(row[0]))
        found.append(last_deleted(cursor))
        if max(found) < tried:
            raise UndoneError("another program's trigger on the table keeps it from being written")
        self.last = max(self.last, *found)


def last_deleted(cursor: sqlite3.Cursor | sqlite3.Connection) -> int:
    """The clock row: no less than any version that was ever deleted."""
    row = cursor.execute("SELECT last FROM clock").fetchone()
    if row is None:
        raise MalformedError("the clock row is not there")
    return _number(row[0])


def _last_of(cursor: sqlite3.Cursor, listing: Listing) -> int:
    """The greatest version among the keys of ``listing``; 0 where there is none."""
    condition, given = within(listing)
    row = cursor.execute(f"SELECT max(version) FROM record WHERE {condition}", given).fetchone()  # noqa: S608
    return 0 if row[0] is None else _number(row[0])


def _number(version: object) -> int:
    """A version as the file has it, which damage may have made anything."""
    if type(version) is not int or version > _LARGEST:
        raise MalformedError(f"a version is {version!r}, which this library never gives")
    return version


class Batch:
    """Commits applied one after the other in memory, then written together.

    ``add`` sees what earlier commits of the batch did; only the last value of a key reaches the disk.
    ``sweep`` writes what came before it.
    """

    def __init__(
        self, cursor: sqlite3.Cursor, clock: Clock, generations: Generations, adapter: object, room: int
    ) -> None:
        """``room``: how many pages may be written."""
        self._cursor = cursor
        self._room = room
        self._clock = clock
        self._generations = generations
        self._adapter = adapter
        self._final: dict[str, tuple[bytes | None, int]] = {}
        self._first = 0  # the least of their versions, which only grow
        self._deleted: dict[str, None] = {}
        self._durable: dict[str, str] = {}
        self._kept: list[str] = []
        self._swept: list[Listing] = []
        self.rows = 0
        """How many were asked for."""
        self.pages = 0
        self.wrote = False
        """Whether a page was changed: then, and only then, the log's count of commits rises."""

    def add(
        self, changes: Mapping[str, bytes | None], expect: Expect | None, durable: bool
    ) -> dict[str, str]:
        """The new versions. Raises ``ConflictError``; then nothing is added."""
        if expect is not None:
            found = self._versions(expect)
            if found != {key: version for key, version in expect.items() if version is not None}:
                verify_expected({key: Stored(b"", found[key]) for key in found}, expect, self._adapter)
        version = self._clock.next()
        text = str(version)
        given = {}
        final = self._final
        if not final:
            self._first = version
        for key, data in changes.items():
            final[key] = (data, version)
            if data is None:
                self._deleted[key] = None
            else:
                given[key] = text
        if durable:
            self._durable.update(given)
        return given

    def sweep(self, listing: Listing) -> int:
        """Delete every key of ``listing``; how many there were. Raises as ``write`` does."""
        self.write()
        self._swept.append(listing)
        version = self._clock.next()
        if _last_of(self._cursor, listing) >= version:
            raise ClockBehindError
        condition, given = within(listing)
        deleted = self._cursor.execute(f"DELETE FROM record WHERE {condition}", given).rowcount  # noqa: S608
        kept = self._cursor.execute(f"DELETE FROM previous WHERE {condition}", given).rowcount  # noqa: S608
        self._generations.forget_all(listing.wants)
        if deleted:
            advance_clock(self._cursor, version)
        self.wrote = self.wrote or deleted > 0 or kept > 0
        self.rows += deleted
        self.pages += 2 + deleted
        return deleted

    def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        """Replace what is kept before current values. Raises as ``write`` does."""
        self.write()
        for key, data in generations.items():
            if data is None:
                self._cursor.execute("DELETE FROM previous WHERE key=?", (key,))
            else:
                form = "CAST(?2 AS TEXT)" if data[:1] == b"{" else "?2"
                self._cursor.execute(_SET_PREVIOUS.format(form), (key, data, self._clock.next()))
            self._generations.forget(key)
            self.pages += 2 + len(data or b"") // 4096
            self.wrote = self.wrote or self._cursor.rowcount > 0

    def forget_previous(self, keys: Iterable[str]) -> None:
        """Delete the generations before the current values of ``keys``. Raises as ``write`` does."""
        self.write()  # what comes before may keep some
        for key in keys:
            gone = self._cursor.execute("DELETE FROM previous WHERE key=?", (key,)).rowcount
            self.wrote = self.wrote or gone > 0
            self._generations.forget(key)
            self.pages += 2 * gone

    def write(self) -> None:
        """Execute what was added, if there is room for it, or it frees some.

        Raises ``ClockBehindError``, sqlite3.Error, ``NoRoomError``.
        """
        deleted = list(self._deleted)
        if deleted:
            self._delete(deleted)
        if self._final and self._first <= last_deleted(self._cursor):
            raise ClockBehindError
        due = [key for key in self._durable if self._generations.is_due(key)]
        if due:
            self._keep(due)
        texts: list[tuple[str, bytes, int]] = []
        blobs: list[tuple[str, bytes, int]] = []
        for key, (data, version) in self._final.items():
            if data is not None:
                (texts if data[:1] == b"{" else blobs).append((key, data, version))
                self.pages += 2 + len(data) // 4096
        self.pages += 2 + 3 * len(deleted)
        if self.pages + 5 * len(deleted) > self._room + (0 if texts or blobs else DELETING_PAGES):
            raise NoRoomError("too little room would be left on the disk to copy the log back")
        self.wrote = self.wrote or bool(texts or blobs)
        for statement, rows in ((_PUT_TEXT_LATER, texts), (_PUT_BLOB_LATER, blobs)):
            if len(rows) == 1:
                self._cursor.execute(statement, rows[0])
            elif rows:
                self._cursor.executemany(statement, rows)
            if rows and self._cursor.rowcount != len(rows):
                raise ClockBehindError
        self.rows += len(deleted) + len(texts) + len(blobs)
        self._final, self._deleted, self._durable = {}, {}, {}

    def committed(self) -> None:
        """To be called once the transaction is committed."""
        for key in self._kept:
            self._generations.remember(key)

    def catch_up(self) -> None:
        self._clock.catch_up(self._cursor, self._final, self._first, self._swept)

    def _versions(self, expect: Expect) -> dict[str, str]:
        """The versions of those that are there."""
        found, waiting = {}, []
        for key in expect:
            pending = self._final.get(key)
            if pending is None:
                waiting.append(key)
            elif pending[0] is not None:
                found[key] = str(pending[1])
        for key, version in self._stored_versions(waiting):
            found[key] = str(version)
        return found

    def _stored_versions(self, keys: list[str]) -> list[tuple[str, object]]:
        if len(keys) <= 1:
            return self._cursor.execute(_VERSION, (keys or [None])).fetchall()
        return self._cursor.execute(_VERSIONS, (msgspec.json.encode(keys).decode(),)).fetchall()

    def _delete(self, keys: list[str]) -> None:
        """Forget keys and their previous generation; the clock row passes their versions."""
        first, cursor, found = self._first, self._cursor, False
        # One statement for many is a third of the work.
        from_record, from_previous = _DELETE if len(keys) < _MANY else _DELETE_ALL
        for given in keys if len(keys) < _MANY else [msgspec.json.encode(keys).decode()]:
            versions = cursor.execute(from_record, (given,)).fetchall()
            if any(_number(version) >= first for (version,) in versions):
                raise ClockBehindError
            previous = cursor.execute(from_previous, (given,)).rowcount
            found = found or bool(versions)
            self.wrote = self.wrote or bool(versions) or previous > 0
        for key in keys:
            self._generations.forget(key)
        # Past all that was deleted, and not past the puts of this batch, which come after it. Where nothing
        # was, nothing is written: a commit of the clock row alone says to which file a log belongs.
        if found and advance_clock(self._cursor, first - 1):
            self.wrote = True

    def _keep(self, keys: list[str]) -> None:
        wanted, now = msgspec.json.encode(keys).decode(), time.time_ns() // 1000
        for key, size in self._cursor.execute(_KEEP, (wanted, now)).fetchall():
            self._kept.append(key)
            self.pages += 2 + size // 4096


def advance_clock(cursor: sqlite3.Cursor, last: int) -> bool:
    """Make sure that every later version is greater than ``last``; whether that took writing."""
    return cursor.execute("UPDATE clock SET last=?1 WHERE last<?1", (last,)).rowcount > 0
