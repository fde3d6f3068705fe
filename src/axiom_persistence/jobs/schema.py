"""What is stored, by patterns of keys: the fields of the values and their types, as their JSON shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from ..errors import PersistenceError
from ..store.store import Store

__all__ = ["Shape", "shapes"]

_NAMED: Final = 32
"""Keys of one group that are told one by one; what has more is a pattern."""
_ITEMS: Final = 100
"""Items of a list that are looked at."""


@dataclass(slots=True)
class Shape:
    """The values under one key, or under the keys of one pattern."""

    pattern: str
    count: int = 0
    types: Counter[str] = field(default_factory=Counter)
    """How often a value is of which type."""
    fields: dict[str, Counter[str]] = field(default_factory=dict)
    """Of objects: the types of each field, by its name."""
    schemas: Counter[str] = field(default_factory=Counter)
    """How often which schema."""
    problems: list[str] = field(default_factory=list)
    """Keys whose records cannot be read."""

    def add(self, value: Any, schema: str) -> None:
        self.count += 1
        self.schemas[schema] += 1
        self.types[_type_of(value)] += 1
        if isinstance(value, dict):
            for name, part in value.items():
                self.fields.setdefault(name, Counter())[_type_of(part)] += 1

    def join(self, other: Shape) -> None:
        self.count += other.count
        self.types += other.types
        self.schemas += other.schemas
        self.problems += other.problems
        for name, types in other.fields.items():
            self.fields.setdefault(name, Counter()).update(types)

    def is_like(self, other: Shape) -> bool:
        """Whether both are objects with the same fields."""
        return bool(self.fields) and self.fields.keys() == other.fields.keys()


async def shapes(store: Store, prefix: str = "", *, named: Collection[str] = ()) -> list[Shape]:
    """What is stored under ``prefix``. Keys that begin with one of ``named`` are never put together.

    Other keys with the same beginning up to their last ``/`` are one pattern when they are many, or objects
    with the same fields. Values are read, not shown.
    """
    groups: dict[str, dict[str, Shape]] = {}
    async for key in store.keys(prefix):
        head, slash, _ = key.rpartition("/")
        keep = not slash or key.startswith(tuple(named))
        group = groups.setdefault(head + slash, {})
        pattern = key if keep or (f"{head}/*" not in group and len(group) < _NAMED) else f"{head}/*"
        shape = group.setdefault(pattern, Shape(pattern))
        try:
            record = (await store.read(key)).record
        except PersistenceError as error:
            shape.problems.append(f"{key}: {error.message}")
            continue
        if record is not None:
            shape.add(msgspec.json.decode(record.value), record.schema)
    found: list[Shape] = []
    for head, group in groups.items():
        found += _together(head, list(group.values()), together=not head.startswith(tuple(named) or ("\0",)))
    return found


def _together(head: str, group: list[Shape], *, together: bool) -> list[Shape]:
    alike = len(group) > 1 and all(group[0].is_like(shape) for shape in group)
    many = any(shape.pattern == f"{head}*" for shape in group)
    if not head or not together or not (alike or many):
        return group
    whole = Shape(f"{head}*")
    for shape in group:
        whole.join(shape)
    return [whole]


def _type_of(value: Any) -> str:
    """The type of a value as JSON knows it, in words of Python."""
    if value is None:
        return "None"
    if isinstance(value, list):
        return f"list[{' | '.join(sorted({_type_of(item) for item in value[:_ITEMS]}))}]" if value else "list"
    return type(value).__name__
