"""What cannot be stored, cause by cause: what it is, and the line to write instead."""

from __future__ import annotations

import sys
import types
from collections.abc import AsyncIterator, Awaitable, Iterator, MappingView
from typing import Any, Final, NamedTuple

__all__ = ["Advice", "unwritable"]

_REBUILD: Final = (
    "save what it can be built from, its text or a list of its items, and build it after loading"
)
_PACKAGE: Final = __name__.partition(".")[0]


class Advice(NamedTuple):
    """What is wrong with a value, and what to write."""

    what: str
    hint: str


def unwritable(value: Any) -> Advice:
    """Why ``value`` has no form in a store, and a way out."""
    cls = type(value)
    name, package = cls.__qualname__, cls.__module__.partition(".")[0]
    if any(base.__module__ == "unittest.mock" for base in cls.__mro__):  # it claims to be everything below
        return Advice(f"a {name} stands for anything", "give the test real data: `mock.return_value = 5`")
    for kinds, what, hint in _CAUSES:
        if isinstance(value, kinds):
            words = {"kind": name, "name": getattr(value, "__name__", name)}
            return Advice(what.format(**words), hint.format(**words))
    if package == "numpy":
        return _of_numpy(value, name)
    if package == _PACKAGE:
        return Advice(f"a {name} of this library is no value", "save plain data: numbers, text, dataclasses")
    if package == "freezegun":
        # In a test only, where the application itself is not to be changed.
        return Advice(
            f"freezegun has put its {name} in the place of {_plain_base(cls).__name__}",
            f"in the test, `from freezegun.api import {name}` and `register({name}, {name}.isoformat, "
            f"{name}.fromisoformat)`",
        )
    if package in sys.stdlib_module_names and cls.__module__ != "__main__":
        return Advice(f"{name} is a class this library cannot write", _REBUILD)  # nobody can change these
    base = _plain_base(cls)
    if base is not object:
        return Advice(
            f"{name} is a class this library cannot write, though a {base.__name__} it can",
            f"save `{_TO_BASE.get(base.__name__, base.__name__ + '(value)')}`, or call "
            f"`register({name}, encode, decode)`",
        )
    return Advice(
        f"{name} is a class this library cannot write",
        f"make it a dataclass, a msgspec Struct, a pydantic or attrs model, or call `register({name}, "
        "encode, decode)`",
    )


_CAUSES: Final[tuple[tuple[Any, str, str], ...]] = (
    (Awaitable, "a {kind} is no value: it was not awaited", "save its result: `await {name}()`"),
    (AsyncIterator, "an asynchronous iterator gives its items once", "save `[item async for item in items]`"),
    ((Iterator, MappingView), "a {kind} keeps no items, it gives them out", "save `list(items)`"),
    (type, "the class {name} is no value", "save an instance of it, or its name"),
    (
        (types.FunctionType, types.MethodType, types.BuiltinFunctionType),
        "the function {name} is code, and only data is stored",
        "save what it returns, so call it: `function()`",
    ),
    (types.ModuleType, "a module is no value", "save what is in it"),
    (BaseException, "an exception has no form that could be raised again", "save `str(error)`"),
)


def _of_numpy(value: Any, name: str) -> Advice:
    if hasattr(value, "__len__") and hasattr(value, "dtype") and name not in ("str_", "bytes_"):
        return Advice(
            f"a numpy.{name} is not written",
            "save `array.tolist()`, and build `numpy.array(...)` of it again",
        )
    plain = type(value.item()).__name__ if hasattr(value, "item") else "number"
    return Advice(
        f"a numpy.{name} is no {plain} of Python", f"save `value.item()`, the {plain} that it holds"
    )


def _plain_base(cls: type) -> type:
    """The class of Python's own that ``cls`` specialises; ``object``: none that can be written."""
    return next((base for base in cls.__mro__ if base.__module__ in ("builtins", "datetime", "uuid")), object)


_TO_BASE: Final = {"datetime": "datetime.fromisoformat(value.isoformat())", "date": "value.toordinal()"}
