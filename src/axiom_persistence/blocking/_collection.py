"""Many items of one type, each a record of its own, for threads that wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from ..jobs.walk import PAGE
from ..persistence.collection import Collection as _Collection
from ._streams import paged
from ._waiting import Face, waiting

__all__ = ["Collection"]

T = TypeVar("T")


class Collection(Face[_Collection[T]], Generic[T]):
    """``axiom_persistence.Collection`` without ``await``: see there for what each method promises."""

    get: Final = waiting(_Collection[T].get)
    put: Final = waiting(_Collection[T].put)
    delete: Final = waiting(_Collection[T].delete)
    load_all: Final = waiting(_Collection[T].load_all)
    save_all: Final = waiting(_Collection[T].save_all)
    count: Final = waiting(_Collection[T].count)

    def items(self, *, after: str | None = None, page: int = PAGE) -> Iterator[tuple[str, T]]:
        """Ids and items in key order, those behind ``after`` only, ``page`` of them read at a time."""
        return paged(self.inner.items(after=after, page=page), page)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return self.items()

    def ids(self) -> Iterator[str]:
        """All ids, in key order."""
        return paged(self.inner.ids())
