"""Many items of one type, each a record of its own, for threads that wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from ..jobs.walk import PAGE
from ..persistence.collection import Collection as _Collection
from ._streams import Stream, paged
from ._waiting import Face, waiting

__all__ = ["Collection"]

T = TypeVar("T")


class Collection(Face[_Collection[T]], Generic[T]):
    """``axiom_persistence.Collection`` without ``await``: see there for what each method promises."""

    get: Final = waiting(_Collection[T].get)
    exists: Final = waiting(_Collection[T].exists)
    put: Final = waiting(_Collection[T].put)
    update: Final = waiting(_Collection[T].update)
    delete: Final = waiting(_Collection[T].delete)
    touch: Final = waiting(_Collection[T].touch)
    expires_at: Final = waiting(_Collection[T].expires_at)
    load_all: Final = waiting(_Collection[T].load_all)
    save_all: Final = waiting(_Collection[T].save_all)
    count: Final = waiting(_Collection[T].count)
    clear: Final = waiting(_Collection[T].clear)

    def items(
        self, *, after: str | None = None, limit: int | None = None, reverse: bool = False, page: int = PAGE
    ) -> Iterator[tuple[str, T]]:
        """Ids and items in key order, the last one first where ``reverse``.

        Only those behind ``after`` (before it where ``reverse``), at most ``limit``; ``page`` of them are
        read at a time.
        """
        source = self.inner.items(after=after, limit=limit, reverse=reverse, page=page)
        return paged(source, page)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return self.items()

    def ids(
        self, *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> Iterator[str]:
        """The ids in key order; ``after``, ``limit`` and ``reverse`` as for ``items``."""
        return paged(self.inner.ids(after=after, limit=limit, reverse=reverse))

    def observe(self, *, timeout: float | None = None) -> Stream[tuple[str, T | None]]:
        """Each id with its item: what is there, then what changes. None: it is gone. See ``Stream``."""
        return Stream(self.inner.observe(), timeout)
