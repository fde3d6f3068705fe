"""A collection as one transaction sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from ..keys import MISSING, Missing, decode_segment, encode_segment
from ..store._options import Ttl
from ._body import TransactionBody

__all__ = ["TransactionCollection"]

T = TypeVar("T")


class TransactionCollection(Generic[T]):
    """The items of a collection as one transaction sees them, its own changes included.

    What it changes is stored at the end of the transaction; what it has read is as protected as what
    ``load`` and ``keys`` have.
    """

    def __init__(self, tx: TransactionBody, prefix: str, kind: Any, ttl: Ttl | None) -> None:
        self._tx = tx
        self._prefix = prefix
        self._kind = kind
        self._ttl = ttl

    def _key(self, id: str) -> str:
        return self._prefix + encode_segment(id)

    async def get(self, id: str, default: T | None = None) -> T | None:
        """The item under ``id``, or ``default``."""
        found: T | None = await self._tx.load(self._key(id), self._kind, default=default)
        return found

    async def exists(self, id: str) -> bool:
        """Whether there is an item under ``id``."""
        return await self._tx.exists(self._key(id))

    async def put(
        self, id: str, item: T, *, ttl: Ttl | Missing | None = MISSING, subject: str | None = None
    ) -> None:
        """Store ``item`` under ``id``. ``ttl``, ``subject``: see ``Collection.put``."""
        until = self._ttl if ttl is MISSING else ttl
        await self._tx.save(self._key(id), item, type=self._kind, ttl=until, subject=subject)

    async def update(
        self, id: str, function: Callable[[T], T], *, default: T, subject: str | None = None
    ) -> T:
        """Replace the item by ``function(item)``, and return the new one; see ``Collection.update``."""
        name = self._tx._key(self._key(id))
        new: T = await self._tx._replace(name, self._kind, function, default, ttl=self._ttl, subject=subject)
        return new

    async def delete(self, id: str) -> bool:
        """Forget the item under ``id``; whether it was there."""
        return await self._tx.delete(self._key(id))

    async def load_all(self) -> dict[str, T]:
        """All items by id, in key order."""
        return {id: item async for id, item in self.items()}

    async def touch(self, id: str, *, ttl: Ttl | None) -> bool:
        """Have the item stay for ``ttl`` from now on (None: for good); whether it was there."""
        return await self._tx.touch(self._key(id), ttl=ttl)

    async def expires_at(self, id: str) -> float | None:
        """When the item stops being there, in seconds since 1970 UTC. None: never, or there is none."""
        return await self._tx.expires_at(self._key(id))

    async def ids(
        self, *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        """The ids in key order; ``after``, ``limit`` and ``reverse`` as everywhere."""
        start = None if after is None else self._key(after)
        while limit is None or limit > 0:
            page = self._tx.keys(self._prefix, after=start, limit=limit, reverse=reverse)
            keys = [key async for key in page]
            ids = [id for key in keys if (id := decode_segment(key[len(self._prefix) :])) is not None]
            for id in ids:
                yield id
            if limit is None or len(keys) < limit:
                return
            # Keys that are none of the collection's took the place of items.
            start, limit = keys[-1], limit - len(ids)

    async def items(
        self, *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[tuple[str, T]]:
        """Ids and items in key order, read at once; ``after``, ``limit`` and ``reverse`` as everywhere."""
        ids = {self._key(id): id async for id in self.ids(after=after, limit=limit, reverse=reverse)}
        found: dict[str, T] = await self._tx.load_many(list(ids), self._kind)
        for key, item in found.items():
            yield ids[key], item

    async def clear(self) -> int:
        """Forget everything under ``name/``; how much there was."""
        return await self._tx.delete_prefix(self._prefix)

    async def count(self) -> int:
        """How many items there are."""
        return len([id async for id in self.ids()])
