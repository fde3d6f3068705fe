"""A dict that stays."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, Self, TypeVar, cast

from ..keys import MISSING, decode_part, encode_part, is_key
from ._values import Values

__all__ = ["PersistentMapping"]

T = TypeVar("T")


class PersistentMapping(MutableMapping[str, T]):
    """Values under the keys ``name/...`` of a persistence, as a dict: ``settings["theme"] = "dark"``.

    Every change is stored when it returns; ``update`` and ``clear`` are one step where the store can make
    it one. Keys are text, the empty one too, in the order of their code points, whichever came first. A
    value is a new object at each read: what is changed inside it is kept once it is assigned again.
    ``pop``, ``popitem`` and ``setdefault`` look and then change, and somebody else may come between: use a
    transaction where that matters. Raises ``KeyError`` for what is not there or has expired, otherwise what
    ``load`` and ``save`` raise.
    """

    def __init__(self, space: Values, kind: Any) -> None:
        self._space = space
        self._kind = kind

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._kind!r} in {self._space.inner!r}>"

    def __getitem__(self, key: str) -> T:
        name = _name(key)
        value: Any = MISSING if name is None else self._space.load(name, self._kind, default=MISSING)
        if value is MISSING:
            raise KeyError(key)
        return cast(T, value)

    def __setitem__(self, key: str, value: T) -> None:
        self._space.save(encode_part(key), value, type=self._saved_as)

    def __delitem__(self, key: str) -> None:
        name = _name(key)
        if name is None or not self._space.delete(name):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        name = _name(key)
        return name is not None and self._space.exists(name)

    def __iter__(self) -> Iterator[str]:
        for name in self._space.keys():  # noqa: SIM118 - a persistence is no dict
            key = decode_part(name)
            if key is not None:
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        """Forget everything under ``name/``."""
        self._space.delete_prefix("")

    def update(self, other: Any = (), /, **more: T) -> None:
        """Store all of it, in one commit where the store is atomic."""
        values = {encode_part(key): value for key, value in dict(other, **more).items()}
        if self._space.inner.adapter.traits.atomic:
            self._space.save_many(values, type=self._saved_as)
            return
        for name, value in values.items():
            self._space.save(name, value, type=self._saved_as)

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    @property
    def _saved_as(self) -> Any:
        return None if self._kind is Any else self._kind


def _name(key: object) -> str | None:
    """The key in the namespace. None: nothing can be stored under such a key."""
    if not isinstance(key, str):
        return None
    name = encode_part(key)
    return name if is_key(name) else None
