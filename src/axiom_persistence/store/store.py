"""Typed records over one adapter: encode, seal, commit; fetch, check, decode, recover.

The one place where bytes and types meet. Everything above (transactions, collections, clients) reads and
writes through these few methods, and everything below sees bytes only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final, Unpack

from ..errors import (
    ConfigurationError,
    ConflictError,
    EncodingError,
    InsecureStorageError,
    PersistenceError,
    TypeMismatchError,
)
from ..keys import BEHIND_INTERNAL, INTERNAL, MISSING
from ..records.record import seal_about, seal_record
from ..runtime.turn import backoff
from ..storage.adapter import Durability, Expect, StorageAdapter
from ..storage.listing import Listing
from ._kept import Kept
from ._options import Asked
from ._tagged import Tagged
from .describe import About, RecordInfo, about, describe

__all__ = ["Store"]

_PAGE: Final = 512
"""Keys that are looked at together."""


class Store(Tagged):
    """Typed records in ``adapter``. Any number of tasks, threads and event loops may use one."""

    def __init__(self, adapter: StorageAdapter, **asked: Unpack[Asked]) -> None:
        super().__init__(adapter, **asked)
        self.closing: list[Callable[[Store], Awaitable[None]]] = []
        """Called before the store closes, while it can still save; what they raise is raised by the close."""

    async def aclose(self) -> None:
        """Let go of the adapter, after all that was accepted is stored. Idempotent."""
        await self.adapter.aclose()

    # -- writing -----------------------------------------------------------------------------------

    def seal(
        self,
        key: str,
        value: Any,
        kind: Any = None,
        expires: int | None = None,
        kept: Kept | None = None,
        *,
        ends: bool = True,
    ) -> bytes:
        """The record bytes of ``value``, with what is ``kept`` of the record that it replaces.

        Raises before anything is stored. The record ends when the store's retention says so; unless ``ends``
        only the next sweep sees to that.
        """
        if value is MISSING:
            raise EncodingError("MISSING is no value", key=key, adapter=self.adapter, hint="delete the key")
        if ends and self.retention is not None:
            expires = self.retention.end(key, expires, self.clock())
        if expires is not None:
            self.note_expiry()
        try:
            data, schema = self.codec.encode(value, kind), self.schema_of(key)
            if kept is not None:
                data = data if kept.unknown is None else kept.unknown.kept_in(data)
                schema = kept.schema or schema
            compat = self.migrations.compat(key, data) if self.migrations.leads_back else None
            return seal_record(key, data, schema, expires=expires, compat=compat)
        except (EncodingError, TypeMismatchError, ConfigurationError, InsecureStorageError) as error:
            named = error.naming(key=key, adapter=self.adapter)
            if not self.confidential or isinstance(error, ConfigurationError):
                raise
        raise self._discreet(named, key)  # the reasons may quote the value

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

    async def rely_on(self, versions: Expect, *, durability: Durability | None = None) -> None:
        """Return when what was found under these keys, or what came after it, is as durable as asked.

        It may have been saved, or deleted, by somebody who promised less.
        """
        while True:
            try:
                await self.commit({}, expect=versions or None, durability=durability)
                return
            except ConflictError:
                await backoff(0)
                found = await self.adapter.fetch(list(versions))
                versions = {key: found[key].version if key in found else None for key in versions}

    async def delete(self, keys: Iterable[str], *, durability: Durability | None = None) -> int:
        """Forget ``keys`` in one commit; how many of them were there.

        What is absent already may have been deleted by somebody who promised less: that, too, is as durable
        as asked when this returns.
        """
        wanted = list(dict.fromkeys(keys))
        while wanted:
            await self.refuse(wanted)
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

    async def delete_prefix(self, prefix: str, *, durability: Durability | None = None) -> int:
        """Forget every key of users that begins with ``prefix``, expired ones too; how many were there.

        In one step where the adapter can (SQLite, files, memory), else in pages: see
        ``StorageAdapter.delete_prefix``. What is saved meanwhile may go or stay.
        """
        if prefix[:1] == INTERNAL:
            return 0
        await self.refuse((prefix + "*",))
        asked = durability or self.default_durability
        count = await self.count(prefix) if await self.may_expire() else None
        after = None if prefix else BEHIND_INTERNAL
        deleted = await self.adapter.delete_prefix(prefix, after=after, durability=asked)
        for key in [*self.recovery.unreadable, *self._too_new]:
            if key.startswith(prefix):
                self.forget_refusal(key)
        return deleted if count is None else count

    # -- how long records stay ---------------------------------------------------------------------

    async def touch(self, key: str, expires: int | None, *, durability: Durability | None = None) -> bool:
        """Have the value under ``key`` stay until ``expires`` (milliseconds since 1970 UTC; None: for good).

        The value stays byte for byte as it is. Whether it was there.
        """
        asked = durability or self.default_durability
        attempt = 0
        while (stored := (await self.adapter.fetch((key,))).get(key)) is not None:
            seen = await self._open(key, stored)  # what is damaged is recovered, what is too new refused
            if seen.record is None:
                return False
            if seen.version == stored.version:
                data = self.reseal(key, stored.data, expires)
                try:
                    await self.commit({key: data}, expect={key: stored.version}, durability=asked)
                    return True
                except ConflictError:  # somebody has saved it meanwhile
                    await backoff(attempt)
                    attempt += 1
        return False

    def reseal(self, key: str, data: bytes, expires: int | None) -> bytes:
        """The whole record in ``data`` with another end: a newer program's, too, stays as it was."""
        record = self.open_record(key, data)
        if self.retention is not None:
            expires = self.retention.end(key, expires, self.clock())
        if expires is not None:
            self.note_expiry()
        sealed = seal_record(key, record.value, record.schema, expires=expires, compat=record.compat)
        return seal_about(key, sealed, record.subject)

    async def expires_at(self, key: str) -> float | None:
        """When the value under ``key`` stops being there, in seconds since 1970 UTC.

        None: never, or nothing is there.
        """
        record = (await self.read(key)).record
        return None if record is None else _seconds(record.expires)

    async def load_with_expiry(self, key: str, kind: Any, default: Any) -> tuple[Any, float | None]:
        """What ``load`` returns, and ``expires_at`` of the same record."""
        self.codec.decoder(kind)
        record = (await self.read(key)).record
        if record is None:
            return default, None
        return self.decode(key, record, kind), _seconds(record.expires)

    # -- looking -----------------------------------------------------------------------------------

    async def exists(self, key: str) -> bool:
        """Whether something is stored: true for a damaged record, false for an expired one.

        Reads no value, so it says nothing of whether the value can be read.
        """
        there = bool(await self.living((key,))) if await self.may_expire() else await self.adapter.exists(key)
        if not there:
            await self._refuse_absence(key)
        return there

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        """The keys of users that begin with ``prefix``, but expired ones, as ``StorageAdapter.keys``."""
        Listing(prefix, after, limit, reverse)  # refuses what is no listing
        if prefix[:1] == INTERNAL:
            return
        await self._refuse_listing()
        if not prefix and not reverse:
            after = max(after or "", BEHIND_INTERNAL)
        if not await self.may_expire():
            async for key in self.adapter.keys(prefix, after=after, limit=limit, reverse=reverse):
                if key[0] != INTERNAL:
                    yield key
            await self._refuse_listing()
            return
        while limit is None or limit > 0:
            size = _PAGE if limit is None else min(limit, _PAGE)
            keys = self.adapter.keys(prefix, after=after, limit=size, reverse=reverse)
            page = [key async for key in keys]
            if not page:
                await self._refuse_listing()
                return
            after = page[-1]
            for key in await self.living([key for key in page if key[0] != INTERNAL]):
                yield key
                limit = None if limit is None else limit - 1

    async def count(self, prefix: str = "") -> int:
        """How many keys ``keys`` lists."""
        number = 0
        async for _ in self.keys(prefix):
            number += 1
        return number

    async def _refuse_listing(self) -> None:
        """Raise where the keys are about to be, or have been, rearranged."""
        await self._refuse_absence(None)
        if self.standing is not None:
            await self._refuse_read(None)

    async def describe(self, key: str) -> RecordInfo | None:
        """What is known of ``key`` without decoding or repairing it. None: nothing is there."""
        info = await describe(self.adapter, key, self.schema_of(key))
        gone = info is not None and info.expires_at is not None and info.expires_at <= self.clock()
        return None if gone else info

    async def about(self) -> About:
        """What is known of the store as a whole, as its header says it now."""
        await self.look()
        return about(self.adapter, self.header, self.default_durability)


def _seconds(expires: int | None) -> float | None:
    return None if expires is None else expires / 1000
