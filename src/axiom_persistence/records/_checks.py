"""Whether a value comes back equal: which have to be looked at, and how."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from ..errors import EncodingError, cut, shown, values_are_shown
from ._types import StandIn, decoder_of, form_of, is_model, name_of, names_of, parts_of, registered

__all__ = [
    "ATOMS",
    "CONTAINERS",
    "NO_LOSS",
    "checks_itself",
    "key_step",
    "place_of",
    "refuse_difference",
    "refuse_no_json",
    "silent_loss",
]

ATOMS: Final = frozenset(
    (
        *(int, str, float, bool, type(None), bytes, Decimal, UUID),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
    )
)


CONTAINERS: Final = (dict, list, tuple, set, frozenset)
"""Their subclasses, too, are written as JSON arrays and objects, and read back as the plain classes."""


class Loss(NamedTuple):
    """Where an instance of a class may come back as less, with no error."""

    always: bool
    """Something in its annotations takes what it does not give back: Any, Raw, a stand-in."""
    classes: tuple[type, ...]
    """The classes inside. An instance of a subclass would come back as one of these."""

    def is_possible(self) -> bool:
        return self.always or any(map(type.__subclasses__, self.classes))


NO_LOSS: Final = Loss(False, ())


@lru_cache(maxsize=4096)
def silent_loss(cls: Any) -> Loss | None:
    """What an instance of ``cls`` has to be looked at for; None for containers, whose items have no type.

    Decided once, from the annotations. Raises ``ConfigurationError`` for a class that cannot be read.
    """
    if issubclass(cls, CONTAINERS) and not hasattr(cls, "_fields"):
        return None
    decoder_of(cls)
    parameters: object = getattr(cls, "__parameters__", None)
    if checks_itself(cls) or parameters:
        return NO_LOSS  # of a generic class nobody knows what is in it
    first, *rest = parts_of(form_of(cls))
    classes = {part.cls for part in rest if hasattr(part, "cls")}
    places = (msgspec.inspect.AnyType, msgspec.inspect.RawType)
    always = any(isinstance(part, places) for part in (first, *rest)) or any(
        issubclass(each, StandIn) for each in (getattr(first, "cls", object), *classes)
    )
    loss = Loss(always, tuple(each for each in classes if not issubclass(each, Enum)))
    return loss if loss != NO_LOSS else NO_LOSS


@lru_cache(maxsize=4096)
def checks_itself(cls: Any) -> bool:
    """Whether an instance needs no look: it has no parts, or was read again when it was encoded."""
    return cls in ATOMS or issubclass(cls, Enum) or (is_model(cls) and cls not in registered)


def refuse_no_json(data: bytes) -> None:
    """Raise unless ``data``, which a ``Raw`` may be part of, is JSON."""
    try:
        _skim(data)
        if not data.isascii():
            data.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EncodingError(
            f"a msgspec.Raw in the value is not JSON: {error}", hint="save the value itself, not its JSON"
        ) from error


_skim: Final = msgspec.json.Decoder(msgspec.Raw).decode


def refuse_difference(value: Any, back: Any) -> None:
    """Raise ``EncodingError`` unless ``back``, read from what was written, is equal to ``value``."""
    try:
        if value == back and type(value) is type(back):
            return
    except Exception as error:  # a class of the user; place by place it may be told
        del error
    pending: list[tuple[str, Any, Any]] = [("$", value, back)]
    while pending:
        path, old, new = pending.pop()
        if old is new:
            continue
        parts = _parts(old, new)
        if parts is not None:
            pending += [(path + step, a, b) for step, a, b in parts]
        elif not _is_same(old, new):
            raise _difference(path, old, new)


def _parts(old: Any, new: Any) -> list[tuple[str, Any, Any]] | None:
    """What both are made of, pair by pair. None: they are to be compared as they are."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        same_keys = old.keys() == new.keys()
        return [(key_step(key), item, new[key]) for key, item in old.items()] if same_keys else None
    for kind in (list, tuple):
        if isinstance(old, kind) and isinstance(new, kind) and len(old) == len(new):
            return [(f"[{i}]", a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    names = _fields(old) if type(old) is type(new) else None
    return None if names is None else [(f".{n}", getattr(old, n, None), getattr(new, n, None)) for n in names]


def key_step(key: Any) -> str:
    """A step of a path into a dict. Its keys are a part of the value, and shown only when values are."""
    return f".{cut(str(key))}" if values_are_shown() else "[...]"


def place_of(value: Any, culprit: Any) -> str | None:
    """The path of the very object ``culprit`` in ``value``; None: it was made while the value was written."""
    pending: list[tuple[str, Any]] = [("$", value)]
    seen: set[int] = set()
    while pending:
        path, item = pending.pop()
        if item is culprit:
            return path
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Mapping):
            pending += [(path + key_step(key), part) for key, part in item.items()]
            pending += [(path, key) for key in item]
        elif isinstance(item, (list, tuple, set, frozenset)):
            pending += [(f"{path}[{i}]", part) for i, part in enumerate(item)]
        else:
            pending += [(f"{path}.{name}", getattr(item, name, None)) for name in _fields(item) or ()]
    return None


def _fields(value: Any) -> list[str] | None:
    """The names of what an instance keeps, as far as it is meant to be kept and compared."""
    cls = type(value)
    if is_model(cls):
        kept = [name for name, field in cls.model_fields.items() if not field.exclude]
        return [*kept, *(value.__pydantic_extra__ or {})]
    if isinstance(value, msgspec.Struct):
        return list(value.__struct_fields__)
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls) if field.compare]
    if hasattr(cls, "__attrs_attrs__"):
        return [field.name for field in cls.__attrs_attrs__ if field.eq]
    return None


def _is_same(old: Any, new: Any) -> bool:
    if isinstance(old, datetime.datetime) and isinstance(new, datetime.datetime):
        # By its clock and its offset: between zones, a time of a repeated or skipped hour equals nothing.
        return old.replace(tzinfo=None, fold=0) == new.replace(tzinfo=None) and _minutes(old) == _minutes(new)
    if type(old) is type(new):
        if isinstance(old, msgspec.Raw):
            return bytes(old).strip() == bytes(new)
        if _has_no_equality(old):
            return True
        if isinstance(old, Decimal) and old.is_nan():
            return str(old) == str(new)
    if isinstance(old, (set, frozenset)) and any(map(_has_no_equality, old)):
        return isinstance(new, (set, frozenset)) and len(old) == len(new)
    try:
        return bool(old == new)
    except Exception:  # a class of the user that does not compare, such as arrays
        return type(old) is type(new)


def _has_no_equality(value: Any) -> bool:
    method: object = type(value).__eq__
    return method is object.__eq__


def _minutes(time: datetime.datetime) -> int | None:
    offset = time.utcoffset()
    return None if offset is None else int(offset.total_seconds() / 60)


def _difference(path: str, old: Any, new: Any) -> EncodingError:
    was, becomes = type(old), type(new)
    name, new_name = (name_of(was),) * 2 if was is becomes else names_of(was, becomes)
    if was is becomes:
        message = f"{shown(old)} at {path} would not come back equal, but as {shown(new)}"
        hint = "check how the class is written and read, or save another form of it"
    elif becomes in ATOMS or becomes in (dict, list):
        message = f"the {name} at {path} would come back as {new_name}"
        hint = f"declare that place as {name}; Any, dict and list give back what JSON knows"
    elif issubclass(was, becomes):
        message = f"the {name} at {path} would come back as {new_name}, which is declared there"
        hint = f"declare {name}, or a union of classes with tags that names it"
    else:
        message = f"the {name} at {path} would come back as {new_name}"
        hint = "give the classes of the union a tag or a field that tells them apart, kind: Literal['a']"
    return EncodingError(message, hint=hint)
