"""The database file itself: how it comes to be, and how one that is not ours is told apart."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from typing import Final

from ...errors import (
    AccessDeniedError,
    CorruptedDataError,
    ForeignStoreError,
    PersistenceError,
    StoreNotFoundError,
    from_os_error,
    way_out_of_ruin,
)
from ...platform.making import FILE_MODE, hand_over, make_directories
from . import errors
from .witness import latest

__all__ = [
    "APPLICATION_ID",
    "NOTE",
    "connect",
    "create_file",
    "creating",
    "foreign",
    "pragma",
    "probe",
    "read_only_uri",
    "stranger",
]

APPLICATION_ID: Final = 0x41785073
"""The four bytes "AxPs" at offset 68 of the file, by which ``file`` and this library know a store.

The SQLite file format keeps that field for the application; its register of ids (magic.txt in SQLite's
sources) has no such entry.
"""

_MAGIC: Final = b"SQLite format 3\0"

NOTE: Final = b"axiom-persistence: this store is being repaired. What was here is in the directory\n"
"""How the file begins that takes the place of a database while that is repaired; the name follows."""

_LONGEST_SUFFIX: Final = "-journal"
_PATH_BYTES_MAX: Final = 511
"""Of a path and suffix: what SQLite takes on POSIX (MAX_PATHNAME, with the end of the string)."""

_LEAST_PAGE: Final = 512
"""The smallest page of an SQLite file, and so the smallest file."""

_BUSY_WAIT_S: Final = 0.005
"""How long SQLite itself waits for a lock: the longest an inline commit may take to give up."""

# Closing any descriptor of a file drops all POSIX locks that this process has on it, SQLite's included.
# So a new file is created, and its descriptor closed, before anything in this process may connect to it;
# and nothing here opens a database file and closes it again.
creating = threading.Lock()


def connect(path: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY_WAIT_S, isolation_level=None, check_same_thread=False, uri=uri)


def read_only_uri(path: str, option: str) -> str:
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{quoted}?mode=ro&{option}"


def pragma(connection: sqlite3.Connection, name: str) -> object:
    row = connection.execute(f"PRAGMA {name}").fetchone()
    return None if row is None else row[0]


def create_file(path: str) -> bool:
    """Make an empty file 0600, in directories 0700 where they are missing. False: it was there."""
    make_directories(os.path.dirname(path))
    _check_length(path)
    with creating:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE)
        except FileExistsError:
            return False
        try:
            hand_over(descriptor, FILE_MODE, os.stat(os.path.dirname(path) or "."))
        finally:
            os.close(descriptor)
    return True


def _check_length(path: str) -> None:
    """Raise before an empty file is made that SQLite, or the names beside it, would be too long for."""
    if os.name == "posix" and len(os.fsencode(os.path.abspath(path) + _LONGEST_SUFFIX)) > _PATH_BYTES_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    try:
        os.stat(path + _LONGEST_SUFFIX)
    except FileNotFoundError:
        pass


def probe(path: str, adapter: object, *, create: bool) -> None:
    """Raise unless the file at ``path`` is a store of ours or, with ``create``, may become one.

    Raises OSError, sqlite3.Error where it cannot be read. Reads it as an immutable file: no lock, no
    recovery and no checkpoint at close, so that whatever is there stays byte for byte.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        _refuse_lost("is not there", path, adapter)
        if create:
            return
        raise _nothing_there(adapter) from None
    except OSError as error:
        raise from_os_error(error, "cannot look at the store", adapter=adapter) from error
    if os.path.isdir(path):
        raise foreign("it is a directory, not a database file", adapter)
    if not os.access(path, os.R_OK | (os.W_OK if create else 0)):
        needed = "read and write" if create else "read"
        raise AccessDeniedError(
            f"this user may not {needed} the database file", adapter=adapter, hint="check its owner and mode"
        )
    if status.st_size == 0:
        _refuse_lost("is empty", path, adapter)
        if create:
            return
        raise _nothing_there(adapter)
    if status.st_size < _LEAST_PAGE:  # SQLite would take it for an empty file
        raise _no_database(path, adapter)
    with creating:
        connection = connect(read_only_uri(path, "immutable=1"), uri=True)
    try:
        # Without its log a file may be shorter than it says, while pages are copied into it or after a crash
        # then. This has SQLite read its mark all the same.
        connection.execute("PRAGMA writable_schema=ON")
        why = stranger(connection)
        blank = why is None and pragma(connection, "application_id") != APPLICATION_ID
        _refuse_other_log(connection, path, adapter)
    except errors.FAULTS as error:
        if errors.is_foreign(error):
            raise _no_database(path, adapter) from error
        raise
    finally:
        connection.close()
    if blank and not create:
        raise _nothing_there(adapter)
    if blank and _has_log(path):
        why = "it has no mark of ours and a write-ahead log of another program"
    if why is not None:
        raise foreign(why, adapter)


def _refuse_lost(what: str, path: str, adapter: object) -> None:
    """Raise if a log is there without its database: it holds saves, and a new database would delete it."""
    if _has_log(path):
        raise CorruptedDataError(
            f"the database file {what}, but its write-ahead log {path}-wal holds saves; nothing was changed",
            adapter=adapter,
            hint=f"put the database file back that belongs to this log; {way_out_of_ruin(path)}",
        )


def _refuse_other_log(connection: sqlite3.Connection, path: str, adapter: object) -> None:
    """Raise if the log was made on another state of the database: to open it would mix the two."""
    if pragma(connection, "application_id") != APPLICATION_ID or not _has_log(path):
        return
    from .lineage import is_of_another_time  # a log is seldom there

    def clock() -> int | None:
        try:
            time = latest(connection)
        except errors.FAULTS:
            return None  # without its log the file need not be whole
        return time if isinstance(time, int) else None

    try:
        is_another = is_of_another_time(path, clock)
    except FileNotFoundError:
        return  # who had the store open as the last has just copied it back, and removed it
    if is_another:
        raise CorruptedDataError(
            f"the write-ahead log {path}-wal does not belong to this database file, but to another state of "
            "it, or its end is missing; nothing was changed",
            adapter=adapter,
            hint="put back the database and the log of one time, or move the log away where the database was "
            f"copied without one; {way_out_of_ruin(path)}",
        )


def _no_database(path: str, adapter: object) -> PersistenceError:
    """What to raise for a file that SQLite does not take for a database: foreign, or what is left of ours."""
    # Opened and closed, although that drops the locks of this process on it: nobody can use it as it is.
    with open(path, "rb") as file:
        head = file.read(100)
    if head.startswith(NOTE):
        what = "is away: the store is being repaired, or that was broken off"
    elif not any(head):
        what = "holds zeros: that is what is left of one"
    elif head.startswith(_MAGIC) or _MAGIC.startswith(head):
        what = "is cut off: that is what is left of one"
    elif _holds_records(path):
        what = "was overwritten at its beginning, and holds records"
    else:
        return foreign("it is not an SQLite database", adapter)
    return CorruptedDataError(
        f"the database file {what}; nothing was changed",
        adapter=adapter,
        hint=f"keep it and the files beside it; {way_out_of_ruin(path)}",
    )


def _holds_records(path: str) -> bool:
    from .images import holds_records  # what few programs ever need

    return holds_records(path)


def stranger(connection: sqlite3.Connection) -> str | None:
    """Why the database is not ours. None: it is, or it is blank."""
    application = pragma(connection, "application_id")
    if application == APPLICATION_ID:
        return None
    if application != 0:
        return f"it is an SQLite database of another application (id {application})"
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables or pragma(connection, "user_version") != 0 or pragma(connection, "encoding") != "UTF-8":
        return "it is an SQLite database of another program (it has no mark of ours)"
    return None


def foreign(why: str, adapter: object) -> ForeignStoreError:
    return ForeignStoreError(
        f"what is at this place is left alone: {why}",
        adapter=adapter,
        hint="choose another path, or move that file away; `axiom-persistence import-legacy` takes over what "
        "it holds, where it is a table of keys and values",
    )


def _nothing_there(adapter: object) -> StoreNotFoundError:
    return StoreNotFoundError(
        "there is no store at this place", adapter=adapter, hint="check the path, or save something first"
    )


def _has_log(path: str) -> bool:
    try:
        return os.stat(path + "-wal").st_size > 0
    except OSError:
        return False
