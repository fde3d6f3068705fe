"""What every layer is: an adapter around an adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping
from typing import TYPE_CHECKING, ClassVar, TypeVar

from .adapter import Changes, Durability, Expect, NotNow, StorageAdapter, Stored, Tidied, Told, Traits
from .listing import Listing

if TYPE_CHECKING:
    from ._salvage import SalvageReport

__all__ = ["Layer"]

T = TypeVar("T")


class Layer(StorageAdapter):
    """Forwards everything to ``inner``. A layer overrides only what it changes.

    ``exists`` and ``fetch_range`` go where ``fetch`` goes, ``delete_prefix`` where ``commit`` goes: a layer
    that overrides one of these two and not what belongs to it, answers by it. So does ``purge``, which then
    deletes what the inner adapter would overwrite: such a layer overrides it.
    A layer that takes an ability away says so in its ``traits``; one under which keys or versions are
    others than above it finds nothing below itself: ``return self if isinstance(self, kind) else None``.
    """

    keeps_values: ClassVar[bool] = False
    """Whether it keeps values in memory and answers from them."""

    def __init__(self, inner: StorageAdapter) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    def __str__(self) -> str:
        return str(self.inner)  # in a message, the place matters and not how it is wrapped

    @property
    def traits(self) -> Traits:
        return self.inner.traits

    @property
    def location(self) -> str:
        return self.inner.location

    async def aopen(self) -> None:
        await self.inner.aopen()

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        return await self.inner.fetch(keys)

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        return await self.inner.commit(changes, expect=expect, durability=durability)

    def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        return self.inner.keys(prefix, after=after, limit=limit, reverse=reverse)

    async def _keys_but(self, hidden: str, asked: Listing) -> AsyncIterator[str]:
        """What the inner adapter lists, without a key that a layer has there for itself."""
        more = None if asked.limit is None else asked.limit + 1
        keys = self.inner.keys(asked.prefix, after=asked.after, limit=more, reverse=asked.reverse)
        listed = 0
        async for key in keys:
            if listed == asked.limit:
                return
            if key != hidden:
                yield key
                listed += 1

    async def _keys_around(self, hidden: str, asked: Listing) -> AsyncIterator[str]:
        """What the inner adapter lists, without keys that begin with ``hidden``: it jumps over them."""
        behind = hidden[:-1] + chr(ord(hidden[-1]) + 1)
        after, left, jumped = asked.after, asked.limit, False
        while True:
            keys = self.inner.keys(asked.prefix, after=after, limit=left, reverse=asked.reverse)
            async for key in keys:
                if key.startswith(hidden):
                    break
                yield key
                left = None if left is None else left - 1
            else:
                return
            if jumped:
                return  # never: nothing that is hidden is behind it
            after, jumped = (hidden if asked.reverse else behind), True

    async def exists(self, key: str) -> bool:
        if type(self).fetch is not Layer.fetch:
            return await super().exists(key)
        return await self.inner.exists(key)

    async def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        if type(self).fetch is not Layer.fetch:
            return await super().fetch_range(keys, start, length)
        return await self.inner.fetch_range(keys, start, length)

    async def delete_prefix(
        self, prefix: str, *, after: str | None = None, durability: Durability | None = None
    ) -> int:
        if type(self).commit is not Layer.commit:
            return await super().delete_prefix(prefix, after=after, durability=durability)
        return await self.inner.delete_prefix(prefix, after=after, durability=durability)

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        if type(self).commit is not Layer.commit:
            await super().purge(keys)
            keys = previous_of = ()  # under which names they are below, only that layer knows
        await self.inner.purge(keys, previous_of=previous_of)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        return self.inner.commit_now(changes)

    def fetch_now(self, key: str) -> Stored | None | NotNow:
        return self.inner.fetch_now(key)

    async def previous(self, key: str) -> Stored | None:
        return await self.inner.previous(key)

    async def previous_many(self, keys: Collection[str]) -> dict[str, Stored]:
        if type(self).previous is not Layer.previous:
            return await super().previous_many(keys)
        return await self.inner.previous_many(keys)

    async def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        await self.inner.set_previous(generations)

    async def saved_at(self, key: str) -> float | None:
        return await self.inner.saved_at(key)

    async def check(self) -> list[str]:
        return await self.inner.check()

    async def copy_to(self, place: str, told: Told | None = None) -> bool:
        return await self.inner.copy_to(place, told)

    async def tidy(self, kept_before: float) -> Tidied:
        return await self.inner.tidy(kept_before)

    async def scrub(self) -> bool:
        return await self.inner.scrub()

    async def salvage(self) -> SalvageReport | None:
        await self.aclose()
        return await self.inner.salvage()

    def find(self, kind: type[T]) -> T | None:
        return self if isinstance(self, kind) else self.inner.find(kind)

    def change_mark(self) -> Hashable | None:
        return self.inner.change_mark()

    @property
    def mark_reader(self) -> Callable[[], Hashable | None]:
        forwards = type(self).change_mark is Layer.change_mark
        return self.inner.mark_reader if forwards else self.change_mark

    def is_remote(self, key: str, version: str | None) -> bool:
        return self.inner.is_remote(key, version)

    def stats(self) -> dict[str, int]:
        return self.inner.stats()
