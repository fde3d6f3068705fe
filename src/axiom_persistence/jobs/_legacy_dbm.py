"""Files of the dbm modules, with plain texts and bytes in them, or, by shelve, pickles."""

from __future__ import annotations

import dbm
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ._legacy import Found, Unreadable, why
from ._legacy_pickle import Unpickle

__all__ = ["database_at", "read"]


def database_at(path: Path) -> Path | None:
    """The name under which dbm knows what is at ``path``, which may be one of its files; None: nothing is."""
    for name in dict.fromkeys((path, path.with_suffix(""))):
        if dbm.whichdb(str(name)):
            return name
    return None


def read(path: Path, unpickle: Unpickle | None) -> Iterator[Found]:
    """The values by their keys; without ``unpickle`` texts where they are UTF-8, else bytes."""
    name = database_at(path)
    if name is None:
        raise Unreadable("it is no file of a dbm module that this Python has")
    try:
        opened = dbm.open(str(name), "r")  # noqa: SIM115 - closed below
    except (*dbm.error, OSError, ValueError, SyntaxError) as error:
        raise Unreadable(f"it cannot be opened: {why(error)}") from error
    with closing(opened) as database:
        for key in database.keys():  # noqa: SIM118 - it is no dict
            yield _entry(database, key if isinstance(key, bytes) else key.encode(), unpickle)


def _entry(database: dbm._Database, key: bytes, unpickle: Unpickle | None) -> Found:
    name = key.decode(errors="replace")
    try:
        data = database[key]
        if unpickle is not None:
            return Found(name, unpickle(data))
    except (KeyError, OSError, ValueError, *dbm.error) as error:
        return Found(name, problem=f"its value cannot be read: {why(error)}")
    try:
        return Found(name, data.decode())
    except UnicodeDecodeError:
        return Found(name, data)
