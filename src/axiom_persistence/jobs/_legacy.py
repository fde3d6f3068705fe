"""What every reader of a foreign format gives: names, values, and what could not be read."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Found", "Unreadable", "copied_database", "tables_of"]


class Found(NamedTuple):
    """One thing found in a foreign file."""

    name: str
    value: Any = None
    """Builtins, dates, bytes; or what an allowed class made of it."""
    problem: str = ""
    """Why it could not be read. Empty: it could."""
    expires: float | None = None
    """Seconds since 1970 UTC."""


class Unreadable(Exception):
    """Why a file as a whole is not of a format. Caught by the import, never seen by users."""


@contextmanager
def copied_database(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy of an SQLite file: reading the original could write to it, or beside it."""
    with tempfile.TemporaryDirectory(prefix="axiom-import-") as place:
        for end in ("", "-wal"):
            if (side := Path(f"{path}{end}")).exists():
                shutil.copyfile(side, f"{place}/copy{end}")
        # Pages of an import are read on whatever thread is free, one after the other.
        with closing(sqlite3.connect(f"{place}/copy", check_same_thread=False)) as connection:
            connection.text_factory = _text
            yield connection


def tables_of(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of each table. Raises ``Unreadable`` for what is no database."""
    try:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))]
            for (name,) in names
        }
    except sqlite3.DatabaseError as error:
        raise Unreadable(f"it is no whole SQLite database: {error}") from error


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
