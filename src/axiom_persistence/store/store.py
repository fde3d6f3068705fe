"""Typed records over one adapter: encode, seal, commit; fetch, check, decode, recover.

The one place where bytes and types meet. Everything above (transactions, collections, clients) reads and
writes through these few methods, and everything below sees bytes only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Unpack

from ..errors import ConfigurationError, ConflictError, EncodingError, PersistenceError, TypeMismatchError
from ..keys import INTERNAL, MISSING
from ..records.record import seal_record
from ..runtime.turn import backoff
from ..storage.adapter import Durability, StorageAdapter
from ._header import Headed
from ._options import Asked
from .describe import RecordInfo, describe

__all__ = ["Store"]


class Store(Headed):
    """Typed records in ``adapter``. Any number of tasks, threads and event loops may use one."""

    def __init__(self, adapter: StorageAdapter, **asked: Unpack[Asked]) -> None:
        super().__init__(adapter, **asked)
        self.closing: list[Callable[[Store], Awaitable[None]]] = []
        """Called before the store closes, while it can still save; what they raise is raised by the close."""

    async def aclose(self) -> None:
        """Let go of the adapter, after all that was accepted is stored. Idempotent."""
        await self.adapter.aclose()

    # -- writing -----------------------------------------------------------------------------------

    def seal(self, key: str, value: Any, kind: Any = None, expires: int | None = None) -> bytes:
        """The record bytes of ``value``. Raises before anything is stored."""
        if value is MISSING:
            raise EncodingError("MISSING is no value", key=key, adapter=self.adapter, hint="delete the key")
        try:
            return seal_record(key, self.codec.encode(value, kind), self.schema_of(key), expires=expires)
        except (EncodingError, TypeMismatchError, ConfigurationError) as error:
            named = error.naming(key=key, adapter=self.adapter)
            if self.confidential:  # the reasons may quote the value
                raise self._discreet(named, key) from None
            raise

    async def save(
        self,
        key: str,
        value: Any,
        kind: Any = None,
        *,
        expires: int | None = None,
        durability: Durability | None = None,
    ) -> None:
        """Store ``value`` as ``kind``, until ``expires`` (milliseconds since 1970 UTC)."""
        changes = {key: self.seal(key, value, kind, expires)}
        asked = self.default_durability if durability is None else durability
        try:
            if asked is Durability.PROCESS_EXIT and self.commit_now(changes) is not None:
                return
            await self.commit(changes, durability=asked)
        except PersistenceError as error:
            raise error.naming(key=key, adapter=self.adapter)  # noqa: B904 - the same error, named

    async def settle(self) -> None:
        """Return when all commits that were called before have taken effect, or never will."""
        await self.adapter.commit({}, durability=self.weakest)

    async def delete(self, keys: Iterable[str], *, durability: Durability | None = None) -> int:
        """Forget ``keys`` in one commit; how many of them were there.

        What is absent already may have been deleted by somebody who promised less: that, too, is as durable
        as asked when this returns.
        """
        wanted = list(dict.fromkeys(keys))
        while wanted:
            await self.settle()  # a save that was called before may be on its way still
            found = await self.adapter.fetch(wanted)
            expect = {key: found[key].version if key in found else None for key in wanted}
            asked = durability or self.default_durability
            try:
                await self.adapter.commit(dict.fromkeys(found), expect=expect, durability=asked)
            except ConflictError:
                await backoff(0)
                continue
            for key in found:  # not before: a save must still refuse to overwrite what is left
                self.forget_refusal(key)
            return sum(not self._is_expired(key, stored) for key, stored in found.items())
        return 0

    # -- looking -----------------------------------------------------------------------------------

    async def exists(self, key: str) -> bool:
        """Whether something is stored: true for a damaged record, false for an expired one."""
        stored = (await self.adapter.fetch((key,))).get(key)
        return stored is not None and not self._is_expired(key, stored)

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """The keys of users that begin with ``prefix``, in code point order."""
        async for key in self.adapter.keys(prefix):
            if key[0] != INTERNAL:
                yield key

    async def describe(self, key: str) -> RecordInfo | None:
        """What is known of ``key`` without decoding or repairing it. None: nothing is stored."""
        return await describe(self.adapter, key, self.schema_of(key))
