"""The directory of a diskcache.Cache: a database, and files beside it for what is large."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ._legacy import Found, Refused, Unreadable, copied_database, tables_of, why
from ._legacy_pickle import Unpickle

__all__ = ["read"]

_RAW, _BINARY, _TEXT, _PICKLE = 1, 2, 3, 4
_COLUMNS: Final = ("key", "raw", "expire_time", "mode", "filename", "value")


def read(path: Path, unpickle: Unpickle) -> Iterator[Found]:
    """The values by their keys, each with its time to expire."""
    directory = path if path.is_dir() else path.parent
    database = directory / "cache.db"
    if not database.exists():
        raise Unreadable("there is no cache.db in it")
    with copied_database(database) as connection:
        if not {*_COLUMNS} <= {*tables_of(connection).get("Cache", ())}:
            raise Unreadable("its cache.db has no table of diskcache")
        for key, raw, expires, mode, file, value in connection.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM Cache ORDER BY rowid"  # noqa: S608 - names of ours
        ):
            name = str(key)
            try:
                name = str(key if raw else unpickle(key))
                yield Found(name, _value(directory, mode, file, value, unpickle), expires=expires)
            except (ValueError, OSError) as error:
                yield Found(name, problem=f"its value cannot be read: {why(error)}")


def _value(directory: Path, mode: int, file: str | None, value: Any, unpickle: Unpickle) -> Any:
    data = value
    if file is not None:
        place = (directory / file).resolve()
        if not place.is_relative_to(directory.resolve()):
            raise Refused("its file is outside of the cache")
        data = place.read_bytes()
    if mode == _RAW:
        return data
    if mode == _BINARY and isinstance(data, bytes):
        return data
    if mode == _TEXT:
        return data.decode() if isinstance(data, bytes) else data
    if mode == _PICKLE and isinstance(data, bytes):
        return unpickle(data)
    raise Refused(f"it is kept in a way that is not known here, number {mode}")
