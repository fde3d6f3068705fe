"""Reading: statements over one connection, each of which sees one committed state."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import Final, TypeVar

import msgspec

from ...storage.adapter import Stored
from ...storage.listing import Listing
from . import errors
from .file import connect, creating

__all__ = [
    "BUSY",
    "PAGE",
    "REFUSED",
    "Reader",
    "data_version",
    "exists",
    "faults",
    "fetch",
    "fetch_range",
    "is_whole",
    "opens_whole",
    "page",
    "previous",
    "version_of",
    "within",
]

_ONE: Final = "SELECT CAST(data AS BLOB), version FROM record WHERE key=?"
_MANY: Final = (  # a fifth faster than IN, with one statement to prepare for any number of keys
    "SELECT r.key, CAST(r.data AS BLOB), r.version"
    " FROM json_each(?) AS wanted CROSS JOIN record AS r ON r.key=wanted.value"
)
_PREVIOUS: Final = (
    "SELECT CAST(p.data AS BLOB), p.version FROM previous AS p JOIN record AS r ON r.key=p.key WHERE p.key=?"
)
_PREVIOUS_MANY: Final = (
    "SELECT p.key, CAST(p.data AS BLOB), p.version FROM json_each(?) AS wanted"
    " CROSS JOIN previous AS p ON p.key=wanted.value JOIN record AS r ON r.key=p.key"
)
_PLACE: Final = "SELECT rowid, typeof(data) IN ('text', 'blob') FROM record WHERE key=?"
PAGE: Final = 1000
"""Keys that are listed by one statement."""
BUSY: Final = object()
REFUSED: Final = "the disk refused ({}): check it, and check the store again; no damage is known"
_UNREAD: Final = re.compile(r"error code=([0-9]+)")

T = TypeVar("T")


class Reader:
    """A connection and the lock under which it is used, by any thread."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.Lock) -> None:
        self._connection = connection
        # One for all single reads. After the only row it is at its end, so that it holds no state back.
        self._cursor = connection.cursor()
        self.lock = lock

    def run(self, reading: Callable[[sqlite3.Connection], T]) -> T:
        with self.lock:
            return reading(self._connection)

    def one(self, key: str) -> Stored | None:
        """What is stored under ``key``: the shortest way, for the most frequent question."""
        with self.lock:
            row = self._row(key)
        return None if row is None else _stored(row)

    def one_now(self, key: str) -> Stored | None | object:
        """The same, or ``BUSY`` if another thread is reading."""
        if self.lock.locked():
            return BUSY
        with self.lock:  # not ``acquire``, as in ``WriteLock``
            row = self._row(key)
        return None if row is None else _stored(row)

    def _row(self, key: str) -> tuple[bytes, int] | None:
        try:
            row: tuple[bytes, int] | None = self._cursor.execute(_ONE, (key,)).fetchone()
        except BaseException:
            self._cursor.fetchall()  # after Ctrl-C: a cursor that is not at its end holds its state back
            raise
        return row

    def close(self) -> None:
        with self.lock:
            self._cursor.close()
            self._connection.close()  # idempotent: the writer's, where it is the only one


def _stored(row: tuple[bytes, int]) -> Stored:
    return Stored(row[0] or b"", str(row[1]))


def fetch(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Stored]:
    """What is stored under ``keys``, in their order."""
    rows = connection.execute(_MANY, (msgspec.json.encode(keys).decode(),)).fetchall()
    return {key: Stored(data or b"", str(version)) for key, data, version in rows}


def within(listing: Listing) -> tuple[str, list[str]]:
    """The rows that a listing is about, as a condition and its parameters.

    What damage made no text is left out, and found by ``faults``.
    """
    # One bound a side: of two, SQLite searches by one and walks to the other.
    above, least, end = ">=", listing.prefix, listing.end
    if listing.after is not None and listing.reverse:
        end = listing.after if end is None else min(end, listing.after)
    elif listing.after is not None and listing.after >= least:
        above, least = ">", listing.after
    bounds = [f"key{above}?", *([] if end is None else ["key<?"]), "typeof(key)='text'"]
    return " AND ".join(bounds), [least, *([] if end is None else [end])]


def page(connection: sqlite3.Connection, listing: Listing) -> list[str]:
    """The first keys of a listing, at most ``PAGE``. SQLite compares their UTF-8 bytes."""
    condition, given = within(listing)
    limit = PAGE if listing.limit is None else min(PAGE, listing.limit)
    order = "DESC" if listing.reverse else "ASC"
    rows = connection.execute(
        f"SELECT key FROM record WHERE {condition} ORDER BY key {order} LIMIT ?",  # noqa: S608
        (*given, limit),
    ).fetchall()
    return [key for (key,) in rows]


def exists(connection: sqlite3.Connection, key: str) -> bool:
    return connection.execute("SELECT 1 FROM record WHERE key=?", (key,)).fetchone() is not None


def fetch_range(
    connection: sqlite3.Connection, keys: Collection[str], start: int, length: int
) -> dict[str, bytes]:
    """Parts of values, from one snapshot. Of a large one only the pages that hold the part are read."""
    found: dict[str, bytes] = {}
    try:
        connection.execute("BEGIN")
        for key in keys:
            row = connection.execute(_PLACE, (key,)).fetchone()
            if row is None:
                continue
            if not row[1]:
                found[key] = b""  # damage made it a number
                continue
            with connection.blobopen("record", "data", row[0], readonly=True) as data:
                data.seek(min(start, len(data)))
                found[key] = data.read(length)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return found


def previous(connection: sqlite3.Connection, key: str) -> Stored | None:
    row = connection.execute(_PREVIOUS, (key,)).fetchone()
    return None if row is None else Stored(row[0] or b"", str(row[1]))


def previous_many(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Stored]:
    rows = connection.execute(_PREVIOUS_MANY, (msgspec.json.encode(keys).decode(),)).fetchall()
    return {key: _stored((data, version)) for key, data, version in rows}


def version_of(connection: sqlite3.Connection, key: str) -> int | None:
    row = connection.execute("SELECT version FROM record WHERE key=?", (key,)).fetchone()
    return row[0] if row is not None and type(row[0]) is int else None


def data_version(connection: sqlite3.Connection) -> int:
    """A number that differs after a commit through any other connection."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def is_whole(connection: sqlite3.Connection) -> bool:
    """Whether SQLite reads all of it, and finds nothing that contradicts itself."""
    try:
        tables = connection.execute("SELECT count(*) FROM record, clock").fetchone()
        return tables is not None and connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
    except errors.FAULTS:
        return False


def opens_whole(path: str, *, exclusive: bool) -> bool:
    """The same through a connection of its own, which copies nothing; also true if there can be none."""
    try:
        with creating, closing(connect(path)) as connection:
            if exclusive:
                connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            whole = is_whole(connection)
            connection.interrupt()  # as the last one to be closed it would copy the log
    except errors.FAULTS:
        return True
    return whole


def faults(connection: sqlite3.Connection) -> list[str]:
    """What SQLite's own check finds, and rows that this library cannot have written."""
    try:
        said = connection.execute("PRAGMA integrity_check(100)").fetchall()
        found = [row[0] for row in said if row[0] != "ok"]
        if any(int(code) & 0xFF == 10 for text in found for code in _UNREAD.findall(text)):  # SQLITE_IOERR
            return [REFUSED.format("SQLite could not read every page")]
        triggers = "SELECT name, tbl_name FROM sqlite_master WHERE type='trigger'"
        for name, table in connection.execute(triggers).fetchall():
            found.append(f"another program's trigger {name!r} on {table} may undo what is saved")
        for table in ("record", "previous"):
            odd = connection.execute(
                f"SELECT count(*) FROM {table} WHERE typeof(key)<>'text' OR key='' OR instr(key, char(0))"  # noqa: S608
                " OR typeof(version)<>'integer' OR version<=0 OR typeof(data) NOT IN ('text', 'blob')"
            ).fetchone()[0]
            if odd:
                found.append(f"{odd} rows of the table {table} have a key, version or data of a wrong kind")
    except errors.FAULTS as error:
        if errors.is_busy(error):
            raise
        if errors.is_refusal(error):
            return [REFUSED.format(error)]
        return [f"the database file cannot be read to its end: {error}"]
    return found
