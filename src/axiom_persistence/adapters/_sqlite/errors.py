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
)

__all__ = ["FAULTS", "MalformedError", "is_busy", "is_damage", "is_failed_sync", "is_foreign", "translate"]

# Primary result codes: https://www.sqlite.org/rescode.html
_PERM, _BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL = 3, 5, 6, 8, 10, 11, 13
_CANTOPEN, _PROTOCOL, _TOOBIG, _AUTH, _NOTADB = 14, 15, 18, 23, 26
_ERROR: Final = 1
_WAITING: Final = {_BUSY, _LOCKED, _PROTOCOL}
# SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC
_FAILED_SYNCS: Final = {_IOERR | (4 << 8), _IOERR | (5 << 8)}
# SQLITE_READONLY_DBMOVED
_MOVED: Final = _READONLY | (4 << 8)


FAULTS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What a call of SQLite raises. In a damaged file even the text of a message may be no text."""

Fault = sqlite3.Error | UnicodeDecodeError


class MalformedError(sqlite3.DatabaseError):
    """A row holds what this library never writes."""

    sqlite_errorcode = _CORRUPT


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


def is_damage(error: Fault) -> bool:
    """The pages of the file contradict each other."""
    return _code(error) & 0xFF == _CORRUPT


def translate(
    error: Fault, doing: str, *, key: str | None = None, adapter: object = None
) -> PersistenceError:
    """The error of our tree for an error of SQLite; raise it ``from`` the original."""
    code, primary = _code(error), _code(error) & 0xFF
    said = f"{doing}: {error}"
    if isinstance(error, sqlite3.ProgrammingError) and code == 0:  # Python's own: the connection is closed
        return CapabilityUnavailableError(said, key=key, adapter=adapter, hint="open it again")
    if isinstance(error, UnicodeDecodeError):
        said, primary = f"{doing}: a text in the database file is none", _CORRUPT
    if primary in (_CORRUPT, _NOTADB) or (primary == _ERROR and "no such" in str(error)):
        return CorruptedDataError(
            said,
            key=key,
            adapter=adapter,
            hint="the database file itself is damaged: keep a copy, and restore a backup, without the -wal "
            "and -shm that lie here",
        )
    kind: type[StorageError] = StorageError
    hint = "the medium may be failing: check it before trusting it again"
    if primary in (_FULL, _TOOBIG):
        kind, hint = StorageFullError, "free some space or save less, and save again"
    elif primary in _WAITING:
        kind, hint = StorageLockedError, "another process holds the write lock; try again"
    elif code == _MOVED:
        kind, hint = StorageUnavailableError, "the file was moved or deleted while it was open: reopen it"
    elif primary in (_READONLY, _PERM, _AUTH):
        kind, hint = AccessDeniedError, "check the owner and mode of the file and its directory"
    elif primary == _CANTOPEN:
        kind, hint = StorageUnavailableError, "check that the directory exists and may be written"
    return kind(said, key=key, adapter=adapter, hint=hint)
