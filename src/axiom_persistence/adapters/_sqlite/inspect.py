"""Reading a store without leaving a trace: for looking into one that may be in use, damaged or read-only."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from typing import Final, TypeVar

from ...errors import CorruptedDataError, StorageUnavailableError, from_os_error
from . import errors
from .file import connect, probe, read_only_uri
from .reader import is_whole
from .schema import patiently, verify
from .sharing import inspecting
from .wal import present

__all__ = ["Inspector"]

_ATTEMPTS: Final = 100

T = TypeVar("T")


class Inspector:
    """Opens the file anew for every reading, in the way that its state allows.

    Beside a live writer: with its locks, through a -shm that is never written. With no log: nobody is
    connected, so the file is read as immutable, and again if it changed meanwhile. A log without its
    index, left by a crash: a copy of both is read.
    """

    def __init__(self, path: str, adapter: str, lock_timeout: float) -> None:
        self._path = path
        self._adapter = adapter
        self._lock_timeout = lock_timeout

    def run(self, reading: Callable[[sqlite3.Connection], T]) -> T:
        """Raises sqlite3.Error and our own."""
        deadline = time.monotonic() + self._lock_timeout
        try:
            probe(self._path, self._adapter, create=False)
            return patiently(lambda: self._attempt(reading), deadline)
        except OSError as error:
            raise from_os_error(error, "cannot read the store", adapter=self._adapter) from error

    def is_whole(self) -> bool:
        """Whether SQLite finds nothing wrong in the file, or cannot look now."""
        try:
            return self.run(is_whole)
        except errors.FAULTS as error:
            return not errors.looks_damaged(error)

    def _attempt(self, reading: Callable[[sqlite3.Connection], T]) -> T:
        for _ in range(_ATTEMPTS):
            before = self._state()
            log, index = before[1] is not None, before[2] is not None
            if log and index:
                with present(self._path) as database, inspecting(database):
                    return self._read(read_only_uri(self._path, "readonly_shm=1"), reading)
            try:
                answer = (
                    self._read_copy(reading)
                    if log
                    else self._read(read_only_uri(self._path, "immutable=1"), reading)
                )
            except (sqlite3.DatabaseError, CorruptedDataError, FileNotFoundError):
                if self._state() == before:
                    raise
                continue
            if self._state() == before:
                return answer
        raise StorageUnavailableError(
            "the store is opened and closed by others all the time", adapter=self._adapter, hint="try again"
        )

    def _state(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What tells whether anybody wrote. An empty log is none: the file alone is the store."""
        found: list[tuple[int, int, int] | None] = []
        for suffix in ("", "-wal", "-shm"):
            try:
                status = os.stat(self._path + suffix)
            except FileNotFoundError:
                found.append(None)
            else:
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)

    def _read(self, uri: str, reading: Callable[[sqlite3.Connection], T]) -> T:
        connection = connect(uri, uri=True)
        try:
            connection.execute("PRAGMA query_only=ON")
            verify(connection, self._adapter)
            return reading(connection)
        finally:
            connection.close()

    def _read_copy(self, reading: Callable[[sqlite3.Connection], T]) -> T:
        with tempfile.TemporaryDirectory(prefix="axiom-") as directory:
            copy = os.path.join(directory, "copy.db")
            for suffix in ("", "-wal"):
                shutil.copyfile(self._path + suffix, copy + suffix)
            return self._read(f"file:{copy}", reading)
