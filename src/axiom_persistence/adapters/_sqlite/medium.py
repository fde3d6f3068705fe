"""The disk below a store: what it refused is told as such, and never as damage."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from ...errors import PersistenceError, from_os_error
from . import errors
from .wal import database_descriptor, present

__all__ = ["Medium", "refuses_reading"]

_EXAMINED_BYTES: Final = 1 << 28
"""What can be looked through while somebody waits for an answer: some tenths of a second."""
_CHUNK_BYTES: Final = 1 << 20
_TRIED_BYTES: Final = 1 << 16


class Medium:
    """Explains the errors of one store, and remembers whether the disk ever refused anything.

    SQLite calls a page that the disk could not read malformed, and does not tell Python the number of an
    error. So before damage is told the files are read, and the database is examined.
    """

    def __init__(self, path: str, adapter: str, is_whole: Callable[[], bool]) -> None:
        """``is_whole``: whether an examination finds nothing, or cannot be done now."""
        self._path = path
        self._adapter = adapter
        self._is_whole = is_whole
        self._refused = False
        self._damaged = False

    def explained(self, error: errors.Fault, doing: str, key: str | None = None) -> PersistenceError:
        """The error of our tree for an error of SQLite; raise it ``from`` the original."""
        if errors.is_refusal(error):
            self._refused = True
            return self._refusal(error, doing, key)
        if self._damaged or not errors.looks_damaged(error):
            return errors.translate(error, doing, key=key, adapter=self._adapter, path=self._path)
        found = refuses_reading(self._path)
        if found is None and not self._refused and _size(self._path) <= _EXAMINED_BYTES:
            self._damaged = not self._is_whole()
            if self._damaged:
                return errors.translate(error, doing, key=key, adapter=self._adapter, path=self._path)
        self._refused = True
        why = f"SQLite says {error}" if found is None else found
        return errors.refusal(doing, why, code=_number(found), key=key, adapter=self._adapter)

    def _refusal(self, error: errors.Fault, doing: str, key: str | None) -> PersistenceError:
        if errors.is_failed_write(error):
            found = _refuses_writing(self._path)
            if found is not None:
                return from_os_error(found, doing, key=key, adapter=self._adapter)
            why = f"{error}; SQLite does not tell whether a quota or a limit of the size of files is reached"
            return errors.refusal(doing, why, key=key, adapter=self._adapter)
        found = refuses_reading(self._path) if errors.is_failed_read(error) else None
        if found is None:
            return errors.translate(error, doing, key=key, adapter=self._adapter, path=self._path)
        return errors.refusal(doing, found, code=found.errno, key=key, adapter=self._adapter)


def refuses_reading(path: str) -> OSError | None:
    """The error with which the disk refuses what is in the database or its log, if it does."""
    try:
        with present(path) as database:
            left = _read(database_descriptor(path, database), _EXAMINED_BYTES)
        with open(path + "-wal", "rb") as log:  # SQLite takes no lock on it
            _read(log.fileno(), left)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def _read(descriptor: int, limit: int) -> int:
    at = 0
    while at < limit and (chunk := os.pread(descriptor, _CHUNK_BYTES, at)):
        at += len(chunk)
    return limit - at


def _refuses_writing(path: str) -> OSError | None:
    """The error with which the disk refuses a write at the end of a file as long as the log, if it does."""
    import tempfile  # which takes long to import, and few programs ever need

    try:
        size = os.stat(path + "-wal").st_size
        with tempfile.TemporaryFile(dir=os.path.dirname(path) or ".", buffering=0) as file:
            os.pwrite(file.fileno(), bytes(_TRIED_BYTES), size)
            os.fsync(file.fileno())  # a quota may be looked at only now
    except OSError as error:
        return error
    return None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _number(error: OSError | None) -> int | None:
    return None if error is None else error.errno
