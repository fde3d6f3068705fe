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
    load_all: Final = waiting(_TransactionCollection[T].load_all)
    count: Final = waiting(_TransactionCollection[T].count)

    def ids(self) -> Iterator[str]:
        """All ids, in key order."""
        return paged(self.inner.ids())


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

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Every key that begins with ``prefix``, in code point order, own writes included."""
        return paged(self.inner.keys(prefix))

    def collection(self, name: str, type: type[T], *, ttl: Ttl | None = None) -> TransactionCollection[T]:
        """The collection ``name`` as this transaction sees and changes it."""
        return TransactionCollection(self.inner.collection(name, type, ttl=ttl))
