"""What every reader of a foreign format gives: names, values, and what could not be read."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ..errors import PersistenceError, values_are_shown

__all__ = ["Found", "Refused", "Unreadable", "copied_database", "tables_of", "why"]


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


class Refused(ValueError):
    """Why a value is not read, in our own words."""


_QUOTE_NOTHING: Final = (Refused, Unreadable, PersistenceError, OSError, sqlite3.Error, JSONDecodeError)


def why(error: Exception) -> str:
    """What a report says of ``error``: not what a parser says that may quote the value, or a part of it."""
    said = str(error)
    plain = isinstance(error, _QUOTE_NOTHING) or type(error) is msgspec.DecodeError
    if said and (plain or values_are_shown()):
        return said
    return f"its reader raised {type(error).__qualname__}"


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
        raise Unreadable(f"it is no whole SQLite database: {why(error)}") from error


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
