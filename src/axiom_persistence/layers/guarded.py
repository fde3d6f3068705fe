"""A store behind a gate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from ..errors import PersistenceError
from ..keys import INTERNAL, KEYSET, TRAIL
from ..runtime.upkeep import UNATTENDED
from ..security.gates import Gate
from ..storage.adapter import (
    NOT_NOW,
    Changes,
    Durability,
    Expect,
    NotNow,
    StorageAdapter,
    Stored,
    Told,
    Traits,
)
from ..storage.layer import Layer

__all__ = ["Guarded"]

T = TypeVar("T")

_OPEN: Final = frozenset((INTERNAL + "store", INTERNAL + "expiring", KEYSET, TRAIL))
"""What the library says of the store as a whole, and asks for when it is opened."""


class Guarded(Layer):
    """Asks the person, by ``gate``, before anything is read, listed, changed or copied.

    Not asked for: what the library keeps of the store as a whole, the store's own upkeep (removing what has
    expired, scheduled snapshots), and streams of changes, which name keys and no values. There is no
    ``commit_now``, so clients save by interval; in the background they wait until the gate is open. Raises
    ``AuthenticationError``; nothing is read or changed then.
    """

    def __init__(self, inner: StorageAdapter, gate: Gate) -> None:
        super().__init__(inner)
        self.gate: Gate = gate
        self._traits = replace(inner.traits, immediate=False)

    @property
    def traits(self) -> Traits:
        return self._traits

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        await self._enter(keys)
        return await self.inner.fetch(keys)

    async def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        await self._enter(keys)
        return await self.inner.fetch_range(keys, start, length)

    async def exists(self, key: str) -> bool:
        await self._enter((key,))
        return await self.inner.exists(key)

    def fetch_now(self, key: str) -> Stored | None | NotNow:
        return self.inner.fetch_now(key) if key in _OPEN or self._passes() else NOT_NOW

    async def previous(self, key: str) -> Stored | None:
        await self._enter((key,))
        return await self.inner.previous(key)

    async def previous_many(self, keys: Collection[str]) -> dict[str, Stored]:
        await self._enter(keys)
        return await self.inner.previous_many(keys)

    async def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        await self._enter(generations)
        await self.inner.set_previous(generations)

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        await self._enter((prefix,))
        async for key in self.inner.keys(prefix, after=after, limit=limit, reverse=reverse):
            yield key

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        await self._enter((*changes, *(expect or ())))
        return await self.inner.commit(changes, expect=expect, durability=durability)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:  # noqa: ARG002
        return None

    async def delete_prefix(
        self, prefix: str, *, after: str | None = None, durability: Durability | None = None
    ) -> int:
        await self._enter((prefix,))
        return await self.inner.delete_prefix(prefix, after=after, durability=durability)

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        await self._enter((*keys, *previous_of))
        await self.inner.purge(keys, previous_of=previous_of)

    async def copy_to(self, place: str, told: Told | None = None) -> bool:
        await self._enter((place,))
        return await self.inner.copy_to(place, told)

    def find(self, kind: type[T]) -> T | None:
        found = super().find(kind)
        # Whoever has a layer that keeps values reads past the gate.
        return None if isinstance(found, Layer) and found.keeps_values else found

    def _passes(self) -> bool:
        return self.gate.is_open or UNATTENDED.get() == "upkeep"

    async def _enter(self, keys: Iterable[str]) -> None:
        if self._passes() or all(key in _OPEN for key in keys):
            return
        try:
            await self.gate.enter()
        except PersistenceError as error:
            raise error.naming(adapter=self)  # noqa: B904 - the same error, named
