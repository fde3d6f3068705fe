"""A place to keep bytes in a few lines."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import wraps
from typing import Any

from xxhash import xxh3_128_hexdigest

from ..keys import check_stored_keys
from ..runtime.turn import Turn
from .adapter import (
    Changes,
    Durability,
    Expect,
    StorageAdapter,
    Stored,
    Traits,
    check_changes,
    verify_expected,
)
from .listing import Listing

__all__ = ["BasicAdapter", "content_version", "faults_in"]


def content_version(data: bytes) -> str:
    """A version for media that give none: equal bytes, equal version (XXH3, 128 bits)."""
    return xxh3_128_hexdigest(data)


def faults_in(records: Mapping[str, Stored]) -> list[str]:
    """What ``check`` tells of ``records``: the key and the damage of each that has one."""
    return [f"{key!r}: {stored.damage}" for key, stored in records.items() if stored.damage is not None]


class BasicAdapter(StorageAdapter):
    """A custom adapter in a few lines: write ``read``, ``write``, ``delete`` and ``keys``.

    It promises nothing: give ``traits`` to say how durable a ``write`` is. Not atomic: put ``Journaled``
    around it for all-or-nothing commits. ``expect`` holds between the tasks and threads of one process, not
    between processes. ``write`` must replace a value as a whole. A commit whose caller is cancelled goes on
    to its end.

    ``keys(prefix)`` is enough, in any order: it becomes the listing of the contract, which then collects and
    sorts all of them for every page. A medium that can do better takes the four arguments of
    ``StorageAdapter.keys``, which are those that type checkers want, too.

    The four get keys that are keys and values that are bytes where ``fetch`` and ``commit`` call them, as
    everything above an adapter does.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        plain = cls.__dict__.get("keys")
        code = getattr(getattr(plain, "__wrapped__", plain), "__code__", None)  # it is guarded already
        if plain is not None and not (code and code.co_kwonlyargcount):
            setattr(cls, "keys", _listing(plain))  # noqa: B010 - not declared anew by it

    @property
    def traits(self) -> Traits:
        return Traits(atomic=False, durability=Durability.MEMORY, shared=False)

    @abstractmethod
    async def read(self, key: str) -> bytes | None: ...

    @abstractmethod
    async def write(self, key: str, data: bytes) -> None: ...

    @abstractmethod
    async def delete(self, key: str) -> None: ...

    async def exists(self, key: str) -> bool:
        return bool(await self.fetch((key,)))

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        limit = self.traits.max_key_bytes
        check_stored_keys(keys, limit)
        found = {}
        for key in keys:
            data = await self.read(key)
            if data is not None:
                found[key] = Stored(data, content_version(data))
        return found

    async def commit(
        self,
        changes: Changes,
        *,
        expect: Expect | None = None,
        durability: Durability | None = None,  # noqa: ARG002 - write() is as durable as it gets
    ) -> Mapping[str, str]:
        check_changes(changes, self.traits, self)
        # A caller that is cancelled leaves it to its end: what writes in a thread would go on anyway, and
        # overwrite what is committed later.
        return await asyncio.shield(asyncio.ensure_future(self._commit(dict(changes), expect)))

    async def _commit(self, changes: Changes, expect: Expect | None) -> Mapping[str, str]:
        # No __init__, so that a subclass need not call one; setdefault is one step for all threads.
        async with self.__dict__.setdefault("_committing", Turn()):
            if expect:
                found = await self.fetch(list(expect))
                verify_expected(found, expect, self)
            versions = {}
            for key, data in changes.items():
                if data is None:
                    await self.delete(key)
                else:
                    await self.write(key, data)
                    versions[key] = content_version(data)
            return versions


def _listing(plain: Callable[[Any, str], AsyncIterator[str]]) -> Callable[..., AsyncIterator[str]]:
    """``plain``, which lists all keys with a prefix in any order, as the listing of the contract."""

    @wraps(plain)
    async def keys(
        self: BasicAdapter,
        prefix: str = "",
        *,
        after: str | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> AsyncIterator[str]:
        listing = Listing(prefix, after, limit, reverse)
        found = {key async for key in plain(self, prefix)}
        for key in listing.of(sorted(found)):
            yield key

    return keys
