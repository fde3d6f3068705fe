"""Many items of one type, each a record of its own, for threads that wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from ..jobs.walk import PAGE
from ..persistence.collection import Collection as _Collection
from ._background import run
from ._streams import paged

__all__ = ["Collection"]

T = TypeVar("T")


class Collection(Generic[T]):
    """``axiom_persistence.Collection`` without ``await``: see there for what each method promises."""

    def __init__(self, inner: _Collection[T]) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"<blocking {self.inner!r}>"

    def get(self, id: str, default: T | None = None) -> T | None:
        return run(self.inner.get(id, default))

    def put(self, id: str, item: T) -> None:
        run(self.inner.put(id, item))

    def delete(self, id: str) -> bool:
        return run(self.inner.delete(id))

    def load_all(self) -> dict[str, T]:
        return run(self.inner.load_all())

    def save_all(self, items: Mapping[str, T], *, replace: bool = False) -> int:
        return run(self.inner.save_all(items, replace=replace))

    def items(self, *, after: str | None = None, page: int = PAGE) -> Iterator[tuple[str, T]]:
        return paged(self.inner.items(after=after, page=page), page)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return self.items()

    def ids(self) -> Iterator[str]:
        return paged(self.inner.ids())

    def count(self) -> int:
        return run(self.inner.count())
