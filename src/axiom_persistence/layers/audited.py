"""Every change with an entry in the audit trail, in the same commit."""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from typing import Final, TypeVar

import msgspec

from ..errors import AccessDeniedError, ConfigurationError, ConflictError, CorruptedDataError
from ..keys import AUDIT, TRAIL
from ..runtime.acting import ACTOR, REASON
from ..security._seals import (
    NEW,
    Checkpoint,
    Entry,
    Trail,
    hashed,
    json_in,
    raw_record,
)
from ..security.audit import AuditLog, KeptAudit
from ..storage.adapter import Changes, Durability, Expect, StorageAdapter, Stored, Traits, check_changes
from ..storage.layer import Layer
from ..storage.listing import Listing
from ._audit.chain import Chain

__all__ = ["Audited"]

T = TypeVar("T")

_KEYS_IN_ENTRY: Final = 256
"""A commit of more keys leaves several entries."""
_VALUE_BYTES: Final = 1024 * 1024
"""What a place must take: the longest entry, and a batch."""
_KEY_BYTES: Final = 64
_REMEMBERED: Final = 20_000
"""Entries that are remembered until they are sealed; some 6 MB."""
_ANCHOR: Final = "axiom-audit"

_encode: Final = msgspec.json.Encoder().encode


class Audited(Layer):
    """Adds to each commit an entry that says who changes what and why, never a value.

    Entry and change are one commit, so neither is there without the other (``purge`` writes the entry
    first). Keys of the trail are not listed above this layer. ``seal`` makes a batch of the entries that are
    not sealed yet; what is sealed cannot be altered unnoticed, see ``security._seals``. Without a ``log``, or
    with ``KeptAudit``, a trail that is there is kept on, and none is begun. Closing seals.

    Raises ``ConfigurationError`` over an adapter that is not atomic, or takes too little.
    """

    def __init__(
        self,
        inner: StorageAdapter,
        log: AuditLog | None,
        *,
        inspect: bool = False,
    ) -> None:
        super().__init__(inner)
        begins = log is not None and not isinstance(log, KeptAudit)
        if begins:
            _refuse_unfit(inner)
        self._log = AuditLog() if log is None else log
        self._begins = begins and not inspect
        self._inspect = inspect
        self._anchor = self._log.anchor
        self._anchored: Checkpoint | None = None
        self._anchor_opened = False
        self._traits = replace(inner.traits, audited=True)
        self._numbers = itertools.count()
        self._writer = ""
        self._owner: int | None = None
        self._chain: Chain | None = None
        self._written: dict[str, tuple[bytes, int]] = {}
        self._secret = b""
        self._wrote = False
        self.trail: Trail | None = None
        """The trail; None: there is none, or it is not open."""
        self.has_news: bool = False
        """Whether something may be there to be sealed."""

    @property
    def traits(self) -> Traits:
        return self._traits

    # -- lifecycle ---------------------------------------------------------------------------------

    async def aopen(self) -> None:
        await self.inner.aopen()
        try:
            trail = await self._read_trail()
            while trail is None and self._begins:
                trail = await self._begin()
            if trail is not None and self._log.hash_keys and not trail.secret and not self._inspect:
                trail = await self._hash_from_now_on()
        except BaseException:
            await self.inner.aclose()
            raise
        if self._owner != os.getpid():
            # Also in a forked child, which would write entries under the same name.
            self._writer, self._numbers, self._owner = secrets.token_hex(4), itertools.count(), os.getpid()
        if trail is not None:
            self._secret = bytes.fromhex(trail.secret)
            self._written.clear()
            self._chain = Chain(self.inner, trail.id, self._written)
            self.has_news = True  # a process that was killed may have left some
        self.trail = trail

    async def _read_trail(self) -> Trail | None:
        stored = (await self.inner.fetch((TRAIL,))).get(TRAIL)
        if stored is None:
            return None
        trail = _read(TRAIL, stored, Trail)
        if trail is None:
            raise CorruptedDataError(
                "the record that an audit trail begins with is damaged",
                adapter=self.inner,
                hint="put a backup of the store in its place; nothing was changed",
            )
        return trail

    async def _begin(self) -> Trail | None:
        async for _ in self.inner.keys(AUDIT, limit=1):
            if await self.inner.exists(TRAIL):
                break  # another process has begun meanwhile
            raise CorruptedDataError(
                "the record that an audit trail begins with is missing, and its entries are there",
                adapter=self.inner,
                hint="put a backup of the store in its place; nothing was changed",
            )
        secret = secrets.token_hex(32) if self._log.hash_keys else ""
        return await self._write_trail(Trail(secrets.token_hex(16), time.time(), secret), None)

    async def _hash_from_now_on(self) -> Trail | None:
        while True:
            stored = (await self.inner.fetch((TRAIL,))).get(TRAIL)
            trail = await self._read_trail()
            if stored is None or trail is None or trail.secret:
                return trail
            trail = msgspec.structs.replace(trail, secret=secrets.token_hex(32))
            if (written := await self._write_trail(trail, stored.version)) is not None:
                return written

    async def _write_trail(self, trail: Trail, version: str | None) -> Trail | None:
        """Durable before any entry relies on it. None: another process was first."""
        try:
            await self.inner.commit({TRAIL: raw_record(TRAIL, _encode(trail))}, expect={TRAIL: version})
        except ConflictError:
            return await self._read_trail() if version is None else None
        return trail

    async def aclose(self) -> None:
        """Seal what is not sealed, then close the inner adapter."""
        try:
            if self.has_news and self._owner == os.getpid():
                await self._seal_at_close()
        finally:
            self.trail = self._chain = None
            try:
                if self._anchor is not None and self._anchor_opened:
                    self._anchor_opened = False
                    await self._anchor.aclose()
            finally:
                await self.inner.aclose()

    async def _seal_at_close(self) -> None:
        try:
            await self.seal()
        except AccessDeniedError:
            if self._wrote:
                raise  # else it is somebody else's to seal

    # -- the records -------------------------------------------------------------------------------

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        if not changes or self.trail is None:
            return await self.inner.commit(changes, expect=expect, durability=durability)
        entries = self._entries(changes)
        if not self._traits.ordered:
            durability = None  # what is not synced may be lost by halves: the change, or its entry
        try:
            found = await self.inner.commit({**changes, **entries}, expect=expect, durability=durability)
        finally:
            self.has_news = True  # now, since a sealing that began before may not have seen it
        return _without(found, entries)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        if not changes or self.trail is None:
            return self.inner.commit_now(changes)
        entries = self._entries(changes)
        found = self.inner.commit_now({**changes, **entries})
        self.has_news = True
        if found is None:
            return None
        return _without(found, entries)

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        """The entry comes first, in a commit of its own: what is purged is in no commit.

        Broken off between the two, the entry names keys that are there until it is begun again.
        """
        await self.note(dict.fromkeys(keys))
        await self.inner.purge(keys, previous_of=previous_of)

    async def note(self, changes: Changes) -> None:
        """The entry of ``changes`` alone: they are made below, or in no commit, when this returns."""
        if not changes or self.trail is None:
            return
        await self.inner.commit(self._entries(changes))
        self.has_news = True

    def _entries(self, changes: Changes) -> dict[str, bytes]:
        """The records of the entries of ``changes``, by their keys: nearly always one."""
        names, entries = list(changes), {}
        try:
            for first in range(0, len(names), _KEYS_IN_ENTRY):
                key, record = self._entry(changes, names[first : first + _KEYS_IN_ENTRY])
                entries[key] = record
        except UnicodeEncodeError:
            check_changes(changes, self._traits, self.inner)  # says what is wrong with the key
            raise
        self._wrote = True
        return entries

    def _entry(self, changes: Changes, names: list[str]) -> tuple[str, bytes]:
        now, n = time.time_ns() // 1000, next(self._numbers)
        saved, deleted = names, []
        if None in changes.values():
            saved = [name for name in names if changes[name] is not None]
            deleted = [name for name in names if changes[name] is None]
        if self._secret:
            saved = [hashed(self._secret, name) for name in saved]
            deleted = [hashed(self._secret, name) for name in deleted]
        entry = Entry(now, self._writer, n, ACTOR.get() or self._log.actor, REASON.get(), saved, deleted)
        key = f"{NEW}{now:015x}-{self._writer}-{n:x}"
        value = _encode(entry)
        if len(self._written) >= _REMEMBERED:
            self._written.clear()  # what another process sealed, or never came to be; the rest is read
        self._written[key] = value, now
        return key, raw_record(key, value)

    def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        if not (AUDIT.startswith(prefix) or prefix.startswith(AUDIT)):
            return self.inner.keys(prefix, after=after, limit=limit, reverse=reverse)
        return self._keys_around(AUDIT, Listing(prefix, after, limit, reverse))

    # -- sealing -----------------------------------------------------------------------------------

    async def seal(self) -> int:
        """Seal what is not sealed yet, by whomever it was written; how many entries there were.

        Writes the anchor afterwards, where there is one. Raises ``CorruptedDataError`` where the anchor says
        that the trail was cut or replaced; the anchor stays as it is then.
        """
        if self._chain is None or self._inspect:
            return 0
        self.has_news = False
        try:
            if self._log.keep is not None:
                await self._chain.drop_old(self._log.keep)
            count = await self._chain.seal()
            if self._anchor is not None:
                await self._write_anchor(self._anchor, self._chain)
        except BaseException:
            self.has_news = True
            raise
        return count

    async def _write_anchor(self, anchor: StorageAdapter, chain: Chain) -> None:
        head = await chain.head()
        if head == self._anchored:
            return
        known, version = await self._read_anchor(anchor)
        if known is not None and known != self._anchored and not await chain.has(known):
            raise CorruptedDataError(
                "the audit trail is not what its anchor says: it was cut, or replaced",
                adapter=self.inner,
                hint="run verify_audit, or `axiom-persistence audit verify`, and keep the anchor",
            )
        if known is None or known.batch < head.batch:
            try:
                await anchor.commit({_ANCHOR: raw_record(_ANCHOR, _encode(head))}, expect={_ANCHOR: version})
            except ConflictError:
                return  # another process was faster, and knows as much
        self._anchored = head

    async def _read_anchor(self, anchor: StorageAdapter) -> tuple[Checkpoint | None, str | None]:
        await anchor.aopen()  # each time: another store with the same log may have closed it
        self._anchor_opened = True
        stored = (await anchor.fetch((_ANCHOR,))).get(_ANCHOR)
        if stored is None:
            return None, None
        said = _read(_ANCHOR, stored, Checkpoint)
        if said is None:
            raise CorruptedDataError(
                "the anchor of the audit trail is damaged",
                adapter=anchor,
                hint="verify the trail with a checkpoint that was kept elsewhere, then remove the anchor",
            )
        return said, stored.version

    async def anchor(self) -> Checkpoint | None:
        """What the anchor says. None: there is none, or it says nothing yet."""
        return None if self._anchor is None else (await self._read_anchor(self._anchor))[0]


def _read(key: str, stored: Stored, kind: type[T]) -> T | None:
    """What ``raw_record`` was given. None: it is damaged."""
    value = json_in(key, stored.data) if stored.damage is None else None
    try:
        return None if value is None else msgspec.json.decode(value, type=kind)
    except msgspec.MsgspecError:
        return None


def _without(found: Mapping[str, str], entries: Mapping[str, bytes]) -> dict[str, str]:
    """The versions that were ``found`` of what is no entry."""
    versions = dict(found)
    for key in entries:
        versions.pop(key, None)
    return versions


def _refuse_unfit(inner: StorageAdapter) -> None:
    traits = inner.traits
    if not traits.atomic:
        raise ConfigurationError(
            "an entry and its change must be one step, which this adapter cannot promise",
            adapter=inner,
            hint="put Journaled around it",
        )
    most = traits.max_value_bytes
    if traits.max_key_bytes < _KEY_BYTES or (most is not None and most < _VALUE_BYTES):
        raise ConfigurationError(
            f"an audit trail needs keys of {_KEY_BYTES} bytes and values of {_VALUE_BYTES:,}, "
            "which this adapter does not take",
            adapter=inner,
            hint="keep the store elsewhere, or open it without audit=",
        )
