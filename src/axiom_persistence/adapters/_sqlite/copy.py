"""A copy of a database file while it is in use."""

from __future__ import annotations

import errno
import os
import sqlite3

from ...errors import from_os_error
from .file import connect, create_file

__all__ = ["copy"]


def copy(connection: sqlite3.Connection, place: str) -> None:
    """Copy what ``connection`` sees into a new file at ``place``, which is on the disk when this returns.

    In one step, so that all of it is of one moment: meanwhile others read and write, and their log grows.
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
        connection.backup(target)
    except BaseException:
        target.close()
        os.unlink(place)
        raise
    target.close()
