"""A place to keep bytes in a few lines."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping

from xxhash import xxh3_128_hexdigest

from ..runtime.turn import Turn
from .adapter import Changes, Durability, Expect, StorageAdapter, Stored, Traits, verify_expected

__all__ = ["BasicAdapter", "content_version"]


def content_version(data: bytes) -> str:
    """A version for media that give none: equal bytes, equal version (XXH3, 128 bits)."""
    return xxh3_128_hexdigest(data)


class BasicAdapter(StorageAdapter):
    """A custom adapter in a few lines: write ``read``, ``write``, ``delete`` and ``keys``.

    Not atomic: put ``Journaled`` around it for all-or-nothing commits. ``expect`` holds between the
    tasks and threads of one process, not between processes. ``write`` must replace a value as a whole and
    return when it is as durable as ``traits`` says. A commit whose caller is cancelled goes on to its end.
    """

    @property
    def traits(self) -> Traits:
        return Traits(atomic=False, durability=Durability.PROCESS_EXIT, shared=False)

    @abstractmethod
    async def read(self, key: str) -> bytes | None: ...

    @abstractmethod
    async def write(self, key: str, data: bytes) -> None: ...

    @abstractmethod
    async def delete(self, key: str) -> None: ...

    @abstractmethod
    def keys(self, prefix: str = "") -> AsyncIterator[str]: ...

    async def exists(self, key: str) -> bool:
        return await self.read(key) is not None

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
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
