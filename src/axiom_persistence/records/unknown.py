"""What a stored value has that the type it is read as does not know: kept when it is saved again.

A newer version of the program may have written a field more. It is found by comparison: what the value,
once read, would be written as lacks just that. So it works alike for dataclasses, Structs, attrs classes,
TypedDicts, pydantic models and registered classes, inside lists and dicts, too.

Limits: what is inside a set is not kept, since its items have no place. Of a list, an item that stays as it
is keeps what is unknown in it wherever it moves; a changed one is found again by what it still has in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from ._checks import refuse_difference
from ._types import decoder_of, form_of, is_adapter, is_model, parts_of

__all__ = ["Unknown", "can_hide", "fields_unknown", "is_newer", "unknown_in"]

_SETS: Final = (msgspec.inspect.SetType, msgspec.inspect.FrozenSetType)
_OBJECTS: Final = (
    *(msgspec.inspect.StructType, msgspec.inspect.DataclassType, msgspec.inspect.TypedDictType),
    msgspec.inspect.CustomType,
)


class _Shape(NamedTuple):
    """What of a type decides where unknown fields can be, and whose they are."""

    tags: frozenset[str]
    """Fields that tell the classes of a union apart."""
    unions: bool
    """Several classes can be in one place."""
    sets: bool
    tails: bool
    """Objects that are written as arrays, whose unknown fields are at the end."""


class Unknown(NamedTuple):
    """What of one stored value its type does not know."""

    kind: Any
    stored: Any
    """The stored value as builtins."""
    known: Any
    """The same without what is unknown."""

    def kept_in(self, data: bytes) -> bytes:
        """``data``, the JSON of a later value, with what is unknown of the stored one in it.

        As it is where the type would then read another value: a model may read a field's old name, too.
        """
        shape = _shape(self.kind)
        assert shape is not None
        new = msgspec.json.decode(data)
        merged = _merge(self.stored, self.known, new, shape)
        if merged == new:
            return data
        both = msgspec.json.encode(merged)
        decode = decoder_of(self.kind)
        try:
            refuse_difference(decode(data), decode(both))
        except Exception:  # the new value is of another type, or a class of the user raised
            return data
        return both


def unknown_in(data: bytes, kind: Any, written: bytes) -> Unknown | None:
    """What ``kind`` does not know of the stored JSON ``data``, which it would write as ``written``."""
    if data == written:
        return None
    shape = _shape(kind)
    if shape is None:
        return None
    stored, known = msgspec.json.decode(data), msgspec.json.decode(written)
    return Unknown(kind, stored, known) if _has_more(stored, known, shape) else None


def fields_unknown(data: bytes, kind: Any, written: bytes) -> list[str]:
    """Where in ``data`` the fields are that ``kind`` does not know, as paths."""
    unknown = unknown_in(data, kind, written)
    found: list[str] = []
    pending = [] if unknown is None else [("$", unknown.stored, unknown.known)]
    while pending:
        path, stored, known = pending.pop()
        if isinstance(stored, dict) and isinstance(known, dict):
            found += [f"{path}.{name}" for name in stored if name not in known]
            pending += [(f"{path}.{name}", stored[name], known[name]) for name in stored if name in known]
        elif isinstance(stored, list) and isinstance(known, list):
            pending += [(f"{path}[]", *pair) for pair in zip(stored, known, strict=False)]
    return sorted(set(found))


def can_hide(kind: Any) -> bool:
    """Whether a value that is read as ``kind`` may have fields that ``kind`` does not know."""
    return _shape(kind) is not None


def is_newer(schema: str, ours: str) -> bool:
    """Whether ``schema`` is a later minor version than ``ours``, of the same major one."""
    theirs, mine = schema.split("."), ours.split(".")
    if theirs[0] != mine[0] or not all(map(str.isdecimal, (*theirs, *mine))):
        return False
    return [*map(int, theirs)] > [*map(int, mine)]


def _shape(kind: Any) -> _Shape | None:
    """None: nothing can be unknown in it."""
    try:
        return _remembered_shape(kind)
    except TypeError:  # an unhashable annotation cannot be remembered
        return _find_shape(kind)


@lru_cache(maxsize=4096)
def _remembered_shape(kind: Any) -> _Shape | None:
    return _find_shape(kind)


def _find_shape(kind: Any) -> _Shape | None:
    if is_adapter(kind) or is_model(kind):
        return _Shape(frozenset(), unions=True, sets=False, tails=False)
    try:
        parts = parts_of(form_of(kind))
    except TypeError:
        parts = parts_of(form_of.__wrapped__(kind))
    if not any(isinstance(part, _OBJECTS) for part in parts):
        return None
    tags = {tag for part in parts if (tag := getattr(part, "tag_field", None))}
    for part in parts:
        for field in getattr(part, "fields", ()):
            if isinstance(field.type, msgspec.inspect.LiteralType):
                tags.add(field.encode_name)
    unions = any(
        isinstance(part, msgspec.inspect.CustomType)
        or (
            isinstance(part, msgspec.inspect.UnionType)
            and sum(isinstance(each, _OBJECTS) for each in part.types) > 1
        )
        for part in parts
    )
    return _Shape(
        frozenset(tags),
        unions,
        sets=any(isinstance(part, _SETS) and isinstance(part.item_type, _OBJECTS) for part in parts),
        tails=any(getattr(part, "array_like", False) for part in parts),
    )


def _has_more(stored: Any, known: Any, shape: _Shape) -> bool:
    if isinstance(stored, dict) and isinstance(known, dict):
        return not stored.keys() <= known.keys() or any(
            _has_more(item, known[name], shape) for name, item in stored.items()
        )
    if isinstance(stored, list) and isinstance(known, list) and not shape.sets:
        more = shape.tails and len(stored) > len(known)
        return more or any(_has_more(old, new, shape) for old, new in zip(stored, known, strict=False))
    return False


def _merge(stored: Any, known: Any, new: Any, shape: _Shape) -> Any:
    """``new`` with what is in ``stored`` and not in ``known``, at the same place."""
    if isinstance(stored, dict) and isinstance(known, dict) and isinstance(new, dict):
        unknown = {name: item for name, item in stored.items() if name not in known}
        if any(known.get(tag) != new.get(tag) for tag in shape.tags):
            return new  # of another class of a union
        if unknown and shape.unions and known.keys() != new.keys():
            return new
        both = stored.keys() & known.keys()
        merged = {
            name: _merge(stored[name], known[name], item, shape) if name in both else item
            for name, item in new.items()
        }
        return {**merged, **{name: item for name, item in unknown.items() if name not in merged}}
    if isinstance(stored, list) and isinstance(known, list) and isinstance(new, list) and not shape.sets:
        items = list(new)
        for place, before in _matches(known, new):
            items[place] = _merge(stored[before], known[before], new[place], shape)
        if shape.tails and len(known) == len(new):
            items += stored[len(known) :]
        return items
    return new


def _matches(known: list[Any], new: list[Any]) -> Iterator[tuple[int, int]]:
    """For the items of ``new`` that were in ``known``, their places in both: equal ones, then alike ones."""
    places: dict[Any, list[int]] = {}
    marks: dict[Any, int | None] = {}
    for place, item in enumerate(known):
        places.setdefault(msgspec.json.encode(item), []).append(place)
        for mark in _marks(item):
            marks[mark] = None if mark in marks else place  # None: several have it
    free, changed = set(range(len(known))), []
    for place, item in enumerate(new):
        same = places.get(msgspec.json.encode(item))
        if not same:
            changed.append(place)
            continue
        # Equal ones keep their order, and their places where they stay.
        before = same.pop(same.index(place) if place in same else 0)
        free.discard(before)
        yield place, before
    for place in changed:
        votes = Counter(marks.get(mark) for mark in _marks(new[place]))
        alike = [before for before, _ in votes.most_common() if before in free]
        if alike or (len(known) == len(new) and place in free):
            before = alike[0] if alike else place
            free.discard(before)
            yield place, before


def _marks(item: Any) -> list[tuple[Any, Any]]:
    """What tells an object or array from its neighbours: its numbers and texts."""
    parts = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    return [(name, part) for name, part in parts if isinstance(part, (str, int, float))]
