"""A copy of a database file while it is in use."""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import Final

from ...errors import from_os_error
from ...storage.adapter import Told
from .file import connect, create_file

__all__ = ["copy"]

_STEPS: Final = 32


def copy(connection: sqlite3.Connection, place: str, told: Told | None = None) -> None:
    """Copy what ``connection`` sees into a new file at ``place``, which is on the disk when this returns.

    All of it is of one moment: meanwhile others read and write, and their log grows. With ``told`` it goes in
    steps, under one read transaction of ``connection``, which nobody else uses then.
    Raises ``StorageError`` and sqlite3.Error; nothing is left at ``place`` then.
    """
    try:
        if not create_file(place):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place)
    except OSError as error:
        raise from_os_error(error, f"cannot write a copy in {os.path.dirname(place)}") from error
    target = connect(place)
    try:
        target.execute("PRAGMA synchronous=FULL")
        target.execute("PRAGMA fullfsync=ON")
        if told is None:
            connection.backup(target)
        else:
            _in_steps(connection, target, told)
    except BaseException:
        target.close()
        os.unlink(place)
        raise
    target.close()


def _in_steps(connection: sqlite3.Connection, target: sqlite3.Connection, told: Told) -> None:
    connection.execute("BEGIN")
    total = connection.execute("SELECT page_count FROM pragma_page_count").fetchone()[0]
    connection.execute("SELECT last FROM clock").fetchone()  # from here on it sees this moment
    pages = max(1, total // _STEPS)
    connection.backup(target, pages=pages, progress=lambda _, left, all_: told(all_ - left, all_))
    connection.execute("COMMIT")
