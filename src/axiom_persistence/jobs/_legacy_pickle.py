"""Pickles, opened so that nothing in them runs but the classes that were allowed by name.

A pickle is a program: it may call whatever it can name. Here it can name plain values of the standard
library, each made by a function of ours that takes nothing else, and the classes of ``allow``.
"""

from __future__ import annotations

import _compat_pickle
import io
import pickle
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import BuiltinFunctionType, FunctionType
from typing import Any, ClassVar, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from ._legacy import Found, Refused, Unreadable, copied_database, tables_of, why

__all__ = ["Unpickle", "read_pickle", "read_sqlitedict", "unpickler"]

Unpickle = Callable[[bytes], Any]
"""Makes a value of a pickle. Raises ``ValueError``, saying why it does not."""


def _of(kind: type, *takes: type) -> Callable[..., Any]:
    """What makes a ``kind`` of plain arguments only."""

    def make(*arguments: Any) -> Any:
        if not all(isinstance(each, takes) for each in arguments):
            raise Refused(f"it makes a {kind.__name__} of something else than its parts")
        return kind(*arguments)

    return make


def _encoded(text: str, encoding: str) -> bytes:
    """Bytes, as the oldest pickles have them."""
    if encoding != "latin1" or not isinstance(text, str):
        raise Refused("it calls an encoder that is not needed for bytes")
    return text.encode("latin-1")


def _zone(name: str, cached: bool) -> ZoneInfo:
    del cached
    return ZoneInfo(name)


def _attribute(owner: Any, name: str) -> Callable[..., Any]:
    """The one attribute that a plain value's pickle asks for."""
    if owner is not ZoneInfo or name != "_unpickle":
        raise Refused("it takes an attribute of something")
    return _zone


def _items(items: Collection[Any] = (), most: int | None = None) -> list[Any]:
    """A deque, as a list."""
    del most
    return list(items)


_PLAIN: Final[dict[tuple[str, str], Any]] = {
    **{("datetime", kind.__name__): _of(kind, bytes, int, tzinfo) for kind in (date, datetime, time)},
    ("datetime", "timedelta"): _of(timedelta, int),
    ("datetime", "timezone"): _of(timezone, timedelta, str),
    ("decimal", "Decimal"): _of(Decimal, str),
    ("pathlib", "PosixPath"): _of(PurePosixPath, str),
    ("pathlib", "PurePosixPath"): _of(PurePosixPath, str),
    ("pathlib", "WindowsPath"): _of(PureWindowsPath, str),
    ("pathlib", "PureWindowsPath"): _of(PureWindowsPath, str),
    ("collections", "OrderedDict"): _of(OrderedDict),
    ("collections", "deque"): _items,
    ("builtins", "set"): _of(set, list, tuple),
    ("builtins", "frozenset"): _of(frozenset, list, tuple),
    ("builtins", "bytearray"): _of(bytearray, bytes),
    ("uuid", "UUID"): UUID,
    ("zoneinfo", "ZoneInfo"): ZoneInfo,
    ("zoneinfo", "ZoneInfo._unpickle"): _zone,
    ("builtins", "getattr"): _attribute,
    ("_codecs", "encode"): _encoded,
}


def unpickler(allow: Collection[type]) -> Unpickle:
    """What opens pickles in which only the classes of ``allow`` and plain values are."""
    allowed = {(kind.__module__, kind.__qualname__): kind for kind in allow}

    def rebuilt(cls: Any, base: Any, state: Any) -> Any:
        """An instance as the oldest pickles make it."""
        if (cls is not UUID and cls not in allowed.values()) or base is not object:
            raise Refused("it makes an instance of a class that is not allowed")
        del state
        return object.__new__(cls)

    def find(module: str, name: str) -> Any:
        module = "pathlib" if module == "pathlib._local" else module  # as 3.13 has it
        if (module, name) == ("copyreg", "_reconstructor"):
            return rebuilt
        if (module, name) == ("builtins", "object"):
            return object
        known = allowed.get((module, name)) or _PLAIN.get((module, name))
        if known is None:
            raise Refused(
                f"it needs {module}.{name}, which is not allowed: pass allow=[{name}] if it is safe"
            )
        return known

    def unpickle(data: bytes) -> Any:
        try:
            value = _Unpickler(data, find).load()
            _refuse_explosion(value, 1000 + 10 * len(data))
            return value
        except ValueError:
            raise
        except Exception as error:  # of a damaged pickle, or of an allowed class
            raise Refused(f"its pickle cannot be opened: {type(error).__qualname__}") from error

    return unpickle


class _Unpickler(pickle._Unpickler):  # the one in Python, whose steps can be refused
    def __init__(self, data: bytes, find: Callable[[str, str], Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._find = find

    def find_class(self, module: str, name: str) -> Any:
        if self.proto < 3:  # type: ignore[attr-defined]  # with the names of Python 2
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        return self._find(module, name)

    def get_extension(self, code: int) -> None:
        raise Refused(f"it uses an extension of pickle, number {code}, which is not opened")

    def load_build(self) -> None:
        """Give an instance its state: never a class or function, whose other instances that would change."""
        instance = self.stack[-2]  # type: ignore[attr-defined]
        if isinstance(instance, (type, FunctionType, BuiltinFunctionType)):
            raise Refused("it would change a class or a function")
        super().load_build()  # type: ignore[misc]

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
    }


def _refuse_explosion(value: Any, most: int) -> None:
    """Raise for a few bytes that stand for more than fits anywhere: lists of lists that are all the same."""
    pending, left = [value], most
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, (list, tuple, set, frozenset)):
            pending += item
        elif type(fields := getattr(item, "__dict__", None)) is dict:
            pending += fields.values()
        left -= 1
        if left < 0:
            raise Refused("its parts refer to each other again and again")


def read_pickle(path: Path, unpickle: Unpickle) -> Iterator[Found]:
    """The values of a pickled dict; of what is no dict, one value with the file's name."""
    try:
        value = unpickle(path.read_bytes())
    except ValueError as error:
        yield Found(path.stem, problem=why(error))
        return
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        value = {path.stem: value}
    for name, member in value.items():
        yield Found(name, member)


def read_sqlitedict(path: Path, unpickle: Unpickle) -> Iterator[Found]:
    """The tables of a SqliteDict; of several, each under its name. Values are pickles, or JSON."""
    with copied_database(path) as connection:
        names = [name for name, columns in tables_of(connection).items() if columns == ["key", "value"]]
        if not names:
            raise Unreadable("it has no table with just a key and a value")
        for table in names:
            before = "" if len(names) == 1 else f"{table}/"
            quoted = table.replace('"', '""')
            rows = connection.execute(f'SELECT key, value FROM "{quoted}"')  # noqa: S608 - quoted
            while True:
                try:
                    row = rows.fetchone()
                except sqlite3.DatabaseError as error:
                    yield Found(before + "…", problem=f"the rest of the table cannot be read: {why(error)}")
                    break
                if row is None:
                    break
                yield _row(before + str(row[0]), row[1], unpickle)


def _row(name: str, value: Any, unpickle: Unpickle) -> Found:
    try:
        if isinstance(value, bytes):
            return Found(name, unpickle(value))
        return Found(name, msgspec.json.decode(value) if isinstance(value, str) else value)
    except (ValueError, msgspec.DecodeError) as error:
        return Found(name, problem=why(error))
