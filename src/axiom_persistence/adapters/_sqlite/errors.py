"""SQLite's errors in the library's own tree."""

from __future__ import annotations

import sqlite3
from typing import Final

from ...errors import (
    AccessDeniedError,
    CapabilityUnavailableError,
    CorruptedDataError,
    PersistenceError,
    StorageError,
    StorageFullError,
    StorageLockedError,
    StorageUnavailableError,
    way_out_of_ruin,
)

__all__ = [
    "CHANGED",
    "FAULTS",
    "BusyError",
    "ChangedError",
    "Fault",
    "MalformedError",
    "NoRoomError",
    "UndoneError",
    "is_busy",
    "is_failed_read",
    "is_failed_sync",
    "is_failed_write",
    "is_foreign",
    "is_full",
    "is_refusal",
    "looks_damaged",
    "refusal",
    "translate",
]

# Primary result codes: https://www.sqlite.org/rescode.html
_PERM, _BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL = 3, 5, 6, 8, 10, 11, 13
_CANTOPEN, _PROTOCOL, _TOOBIG, _CONSTRAINT, _AUTH, _NOTADB = 14, 15, 18, 19, 23, 26
_ERROR: Final = 1
_WAITING: Final = {_BUSY, _LOCKED, _PROTOCOL}
# SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC
_FAILED_SYNCS: Final = {_IOERR | (4 << 8), _IOERR | (5 << 8)}
# SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ, SQLITE_IOERR_CORRUPTFS
_FAILED_READS: Final = {_IOERR | (1 << 8), _IOERR | (2 << 8), _IOERR | (33 << 8)}
# SQLITE_IOERR_WRITE, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_SHMSIZE
_FAILED_WRITES: Final = {_IOERR | (3 << 8), _IOERR | (6 << 8), _IOERR | (19 << 8)}
# SQLITE_READONLY_DBMOVED
_MOVED: Final = _READONLY | (4 << 8)


FAULTS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What a call of SQLite raises. In a damaged file even the text of a message may be no text."""

Fault = sqlite3.Error | UnicodeDecodeError


class MalformedError(sqlite3.DatabaseError):
    """A row holds what this library never writes."""

    sqlite_errorcode = _CORRUPT


class ChangedError(sqlite3.OperationalError):
    """Somebody shortened or overwrote a file of a store that is open."""

    sqlite_errorcode = _IOERR


class UndoneError(sqlite3.IntegrityError):
    """Another program keeps what is to be written from being written."""

    sqlite_errorcode = _CONSTRAINT


class BusyError(sqlite3.OperationalError):
    """Another connection reads what is to be cut off."""

    sqlite_errorcode = _BUSY


class NoRoomError(sqlite3.OperationalError):
    """What is to be written would take the room that copying the log back, or deleting, needs."""

    sqlite_errorcode = _FULL


def _code(error: Fault) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    return code if isinstance(code, int) else 0


def is_busy(error: Fault) -> bool:
    """Another connection holds the lock; the same statement may succeed a moment later."""
    return _code(error) & 0xFF in _WAITING


def is_failed_sync(error: Fault) -> bool:
    """The operating system could not bring written pages to the disk; they may be lost for good."""
    return _code(error) in _FAILED_SYNCS


def is_foreign(error: Fault) -> bool:
    """The file is not an SQLite database."""
    return _code(error) & 0xFF == _NOTADB


def is_full(error: Fault) -> bool:
    """No room was left."""
    return _code(error) & 0xFF == _FULL


def is_refusal(error: Fault) -> bool:
    """The operating system refused a call."""
    return _code(error) & 0xFF == _IOERR


def is_failed_read(error: Fault) -> bool:
    return _code(error) in _FAILED_READS


def is_failed_write(error: Fault) -> bool:
    return _code(error) in _FAILED_WRITES


def looks_damaged(error: Fault) -> bool:
    """What SQLite says of pages that contradict each other, and also where the disk refused to read one."""
    if isinstance(error, (MalformedError, UnicodeDecodeError)):
        return False  # the bytes were read: that is damage
    code = _code(error) & 0xFF
    return code in (_CORRUPT, _NOTADB) or (code == _ERROR and "no such" in str(error))


CHANGED: Final = (
    "close the store, which keeps what is left; keep a copy of all its files, find out who changed them, and "
    "put a backup back, or open what is left with on_corruption='repair'"
)
_CHECK_DISK: Final = (
    "nothing is known to be lost: check the disk (the system's log), close the store and open it again"
)


def refusal(
    doing: str, why: object, *, code: int | None = None, key: str | None = None, adapter: object = None
) -> StorageError:
    """The error for what the disk refused to give. That is no damage."""
    return StorageError(
        f"{doing}: the disk refused ({why})", key=key, adapter=adapter, hint=_CHECK_DISK, code=code
    )


def translate(
    error: Fault, doing: str, *, key: str | None = None, adapter: object = None, path: str = ""
) -> PersistenceError:
    """The error of our tree for an error of SQLite with the file ``path``; raise it ``from`` the original."""
    code, primary = _code(error), _code(error) & 0xFF
    said = f"{doing}: {error}"
    if isinstance(error, sqlite3.ProgrammingError) and code == 0:  # Python's own: the connection is closed
        return CapabilityUnavailableError(said, key=key, adapter=adapter, hint="open it again")
    if isinstance(error, ChangedError):
        return StorageError(said, key=key, adapter=adapter, hint=CHANGED)
    if isinstance(error, UnicodeDecodeError):
        said, primary = f"{doing}: a text in the database file is none", _CORRUPT
    if primary == _CORRUPT or looks_damaged(error):
        return CorruptedDataError(
            said,
            key=key,
            adapter=adapter,
            hint=f"the database file itself is damaged, and kept as it is: {way_out_of_ruin(path)}",
        )
    if primary == _IOERR:
        return refusal(doing, error, key=key, adapter=adapter)
    kind: type[StorageError] = StorageError
    hint = "the medium may be failing: check it before trusting it again"
    if primary in (_FULL, _TOOBIG):
        kind, hint = StorageFullError, "free some space, delete keys or save less, and save again"
    elif primary in _WAITING:
        kind, hint = StorageLockedError, "another process holds the write lock; try again"
    elif code == _MOVED:
        kind, hint = StorageUnavailableError, "the file was moved or deleted while it was open: reopen it"
    elif primary in (_READONLY, _PERM, _AUTH):
        kind, hint = AccessDeniedError, "check the owner and mode of the file and its directory"
    elif primary == _CONSTRAINT:
        hint = (
            "drop the trigger or the constraint that another program put on the table: verify names triggers"
        )
    elif primary == _CANTOPEN:
        kind, hint = StorageUnavailableError, "check that the directory exists and may be written"
    return kind(said, key=key, adapter=adapter, hint=hint)
