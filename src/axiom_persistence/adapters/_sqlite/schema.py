"""The tables of a store in SQLite and the settings its connections run with."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from typing import Final, TypeVar

from ...errors import (
    CapabilityUnavailableError,
    CorruptedDataError,
    SchemaTooNewError,
    StorageUnavailableError,
    way_out_of_ruin,
)
from ...platform.making import sync_directory
from . import errors
from .file import APPLICATION_ID, connect, foreign, pragma, stranger
from .witness import TABLE, is_ahead

__all__ = ["FORMAT", "open_reader", "open_writer", "patiently", "verify"]

FORMAT: Final = 1
"""``PRAGMA user_version``: raised when an older version of the library could not keep the file right."""

# Rowid tables: a put of 1 KiB costs half of what it costs WITHOUT ROWID. `data` has no type, so that a
# JSON record stays TEXT, which every SQLite tool shows, and any other a BLOB. One transaction in rollback
# mode, before the WAL exists: a crash leaves an empty file or a whole store with its mark.
_TABLES: Final = (
    "CREATE TABLE record(key TEXT PRIMARY KEY NOT NULL, data NOT NULL, version INTEGER NOT NULL)",
    "CREATE TABLE previous(key TEXT PRIMARY KEY NOT NULL, data NOT NULL, version INTEGER NOT NULL,"
    " kept INTEGER NOT NULL)",
    "CREATE TABLE clock(id INTEGER PRIMARY KEY CHECK(id=1), last INTEGER NOT NULL)",
    "INSERT INTO clock(id, last) VALUES(1, 0)",
    TABLE,
    f"PRAGMA application_id={APPLICATION_ID}",
    f"PRAGMA user_version={FORMAT}",
)
_SETTINGS: Final = (
    # A commit writes and does not sync; the writer syncs the WAL afterwards, outside SQLite's lock. Not
    # OFF: every checkpoint, another process's too, syncs the WAL before it copies pages into the database
    # file, syncs that file before the WAL starts again, and syncs the header of the new WAL.
    "PRAGMA synchronous=NORMAL",
    "PRAGMA secure_delete=ON",  # what is deleted or has expired is overwritten, not only forgotten
    "PRAGMA wal_autocheckpoint=0",  # no checkpoint on a caller's thread
    "PRAGMA journal_size_limit=33554432",  # what one burst needed is given back
    "PRAGMA fullfsync=ON",  # these two: a flush that reaches the medium on macOS
    "PRAGMA checkpoint_fullfsync=ON",
)
_LEAST_SQLITE: Final = (3, 38)  # RETURNING came with 3.35, json_each built in with 3.38

T = TypeVar("T")


def patiently(doing: Callable[[], T], deadline: float) -> T:
    """``doing()``, again and again while another connection holds the lock, until ``deadline``."""
    while True:
        try:
            return doing()
        except sqlite3.OperationalError as error:
            if not errors.is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.001)


def open_writer(path: str, adapter: object, *, exclusive: bool, deadline: float) -> sqlite3.Connection:
    """A connection that writes, to a store that exists from now on. Raises sqlite3.Error and ours."""
    if sqlite3.sqlite_version_info < _LEAST_SQLITE:
        raise CapabilityUnavailableError(
            f"SQLite {'.'.join(map(str, _LEAST_SQLITE))} is needed, this Python has {sqlite3.sqlite_version}",
            adapter=adapter,
        )
    connection = connect(path)
    try:
        if exclusive:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        new = patiently(lambda: pragma(connection, "application_id"), deadline) != APPLICATION_ID
        if new:
            patiently(lambda: _create(connection, adapter), deadline)
        mode = patiently(lambda: pragma(connection, "journal_mode=WAL"), deadline)
        if mode != "wal":
            raise StorageUnavailableError(
                f"the file system does not allow SQLite's write-ahead log (it stays in mode {mode!r})",
                adapter=adapter,
                hint="choose a local disk, or exclusive=True if only one process uses the store",
            )
        for setting in _SETTINGS:
            connection.execute(setting)
        patiently(lambda: verify(connection, adapter), deadline)
        if new:
            # The name of the file. SQLite does the same for the name of a log when it syncs its header, so
            # that one who commits to a file that another process just made may rely on it too.
            sync_directory(os.path.dirname(path))
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: str) -> sqlite3.Connection:
    connection = connect(path)
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("SELECT last FROM clock").fetchone()  # so that what fails, fails now
    except BaseException:
        connection.close()
        raise
    return connection


def verify(connection: sqlite3.Connection, adapter: object) -> None:
    """Raise unless this library can read the store."""
    version = pragma(connection, "user_version")
    if not isinstance(version, int) or version > FORMAT:
        raise SchemaTooNewError(
            f"the file has format {version}; this version of the library knows up to {FORMAT}",
            adapter=adapter,
            hint="use the newer version of the application",
        )
    found = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type='table' AND name IN ('record','previous','clock')"
    ).fetchone()[0]
    if found != 3 or connection.execute("SELECT last FROM clock").fetchone() is None:
        raise CorruptedDataError(
            "the file is marked as a store of this library, but its tables are not there",
            adapter=adapter,
            hint=way_out_of_ruin(_path_of(connection)),
        )
    if is_ahead(connection):
        path = _path_of(connection)
        raise CorruptedDataError(
            f"the database file was copied without its log {path}-wal while the store was in use, "
            "or somebody took the log away; nothing was changed",
            adapter=adapter,
            hint="put the log beside it that belongs to it, or take another copy with `axiom-persistence "
            f"snapshot`; {way_out_of_ruin(path)}",
        )


def _path_of(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA database_list").fetchone()[2])


def _create(connection: sqlite3.Connection, adapter: object) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        why = stranger(connection)  # looked at again, now that nobody else can write
        if why is not None:
            raise foreign(why, adapter)
        if pragma(connection, "application_id") != APPLICATION_ID:
            for statement in _TABLES:
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
