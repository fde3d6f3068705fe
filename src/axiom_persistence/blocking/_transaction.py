"""What the body of a blocking transaction sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from ..persistence._collected import TransactionCollection as _TransactionCollection
from ..persistence.transaction import Transaction as _Transaction
from ..store._options import Ttl
from ._streams import paged
from ._waiting import Face, waiting

__all__ = ["Transaction", "TransactionCollection"]

T = TypeVar("T")


class TransactionCollection(Face[_TransactionCollection[T]], Generic[T]):
    """The items of a collection as one blocking transaction sees them, its own changes included."""

    get: Final = waiting(_TransactionCollection[T].get)
    exists: Final = waiting(_TransactionCollection[T].exists)
    put: Final = waiting(_TransactionCollection[T].put)
    update: Final = waiting(_TransactionCollection[T].update)
    delete: Final = waiting(_TransactionCollection[T].delete)
    touch: Final = waiting(_TransactionCollection[T].touch)
    expires_at: Final = waiting(_TransactionCollection[T].expires_at)
    load_all: Final = waiting(_TransactionCollection[T].load_all)
    count: Final = waiting(_TransactionCollection[T].count)
    clear: Final = waiting(_TransactionCollection[T].clear)

    def ids(
        self, *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> Iterator[str]:
        """The ids in key order; ``after``, ``limit`` and ``reverse`` as everywhere."""
        return paged(self.inner.ids(after=after, limit=limit, reverse=reverse))

    def items(
        self, *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> Iterator[tuple[str, T]]:
        """Ids and items in key order, read at once; ``after``, ``limit`` and ``reverse`` as everywhere."""
        return paged(self.inner.items(after=after, limit=limit, reverse=reverse))


class Transaction(Face[_Transaction]):
    """What the body of a blocking transaction sees; the same as the async one, without ``await``."""

    load: Final = waiting(_Transaction.load)
    exists: Final = waiting(_Transaction.exists)
    save: Final = waiting(_Transaction.save)
    update: Final = waiting(_Transaction.update)
    delete: Final = waiting(_Transaction.delete)
    save_many: Final = waiting(_Transaction.save_many)
    load_many: Final = waiting(_Transaction.load_many)
    delete_many: Final = waiting(_Transaction.delete_many)
    delete_prefix: Final = waiting(_Transaction.delete_prefix)
    touch: Final = waiting(_Transaction.touch)
    expires_at: Final = waiting(_Transaction.expires_at)
    load_with_expiry: Final = waiting(_Transaction.load_with_expiry)
    count: Final = waiting(_Transaction.count)

    def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> Iterator[str]:
        """The keys that begin with ``prefix``, in code point order, own writes included."""
        return paged(self.inner.keys(prefix, after=after, limit=limit, reverse=reverse))

    def collection(self, name: str, type: type[T], *, ttl: Ttl | None = None) -> TransactionCollection[T]:
        """The collection ``name`` as this transaction sees and changes it."""
        return TransactionCollection(self.inner.collection(name, type, ttl=ttl))
