"""What was read or written lately, kept in memory."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Collection, Hashable, Iterable, Mapping
from typing import ClassVar, Self

from ..errors import CapabilityUnavailableError
from ..runtime.ending import CACHES, at_exit, not_at_exit
from ..storage.adapter import (
    NOT_NOW,
    Changes,
    Durability,
    Expect,
    NotNow,
    StorageAdapter,
    Stored,
    check_changes,
)
from ..storage.layer import Layer
from ..storage.listing import Listing
from ._cache.entries import Entries, Follower
from ._cache.policy import CachePolicy
from ._cache.write_back import Batch, Flusher, Pending, merged

__all__ = ["CachePolicy", "Cached", "Follower"]


class Cached(Layer):
    """Answers reads from memory while nobody else can have changed them.

    Every cached answer is compared with the inner adapter's change mark; where that moved, the store is
    asked again, and the same ``CachedRecord`` is handed out if the version is the same. Absence is cached,
    too; damaged records and what nobody read are not. Evicts the least used beyond ``policy.max_bytes``.

    Write-through, the default: a commit is the inner adapter's. Write-back: a commit of
    ``Durability.MEMORY`` returns once it is accepted here; it is stored in the order of acceptance, by
    interval, by size, by any stronger commit, by ``commit({})``, when closing, and when the interpreter
    ends. After a crash a prefix of what was accepted is found. A failed flush keeps everything and is
    raised by the next save, by ``commit({})`` or by closing, which leaves the adapter open, to be tried
    again. The interval runs on the event loop that saved.

    Limits: the version given to an accepted key is this object's own, and stands for the store's while the
    key is among the last 8,192 so stored; another opening sees another one. Pending keys have no past.
    """

    keeps_values: ClassVar[bool] = True

    def __init__(self, inner: StorageAdapter, policy: CachePolicy | None = None) -> None:
        super().__init__(inner)
        self.policy: CachePolicy = CachePolicy() if policy is None else policy
        self._inner_mark = inner.change_mark
        self._inner_commit_now = inner.commit_now
        self._traits = inner.traits
        self._max_age = self.policy.max_age
        self._owner: int | None = None  # the process that opened it; None: not open
        self._hits = self._misses = 0
        self._start_empty()

    def _start_empty(self) -> None:
        self._pending = Pending(joins=self._traits.atomic)
        self._entries = Entries(self.policy.max_bytes, self._pending)
        self._lookup = self._entries.get
        interval = self.policy.interval
        self._flusher = (
            None if interval is None else Flusher(self.inner, self._pending, self._entries.lock, interval)
        )

    # -- lifecycle ---------------------------------------------------------------------------------

    async def aopen(self) -> None:
        await self.inner.aopen()
        if self._owner != os.getpid():
            self._start_empty()  # what is pending in a forked child is the parent's, which stores it
            self._owner = os.getpid()
            if self._flusher is not None:
                at_exit(CACHES, self._flusher.finish_at_exit)

    async def aclose(self) -> None:
        """Store all that is pending, then close the inner adapter. Raises what kept it from being stored."""
        flusher, owner = self._flusher, self._owner
        self._owner = None  # nothing is accepted from here on
        if flusher is not None and owner == os.getpid():
            try:
                await flusher.flush(self.traits.durability)
            except BaseException:
                self._owner = owner
                raise
            flusher.cancel()
            not_at_exit(flusher.finish_at_exit)
        await self.inner.aclose()
        self._entries.clear()

    def invalidate(self, keys: Iterable[str] | None = None) -> None:
        """Forget what is cached of ``keys``, which somebody else has changed; None: of all."""
        self._entries.clear(keys)

    def written(self, follower: Follower) -> dict[str, str | None] | None:
        """The keys that anybody may have written since the last call, and the versions that they have now.

        A version is None where the key must be read to know. None in place of all: so must every key, as at
        the first call.
        """
        if self._flusher is not None or self._max_age is not None:
            return None
        mark = self._inner_mark()
        written = self._entries.written(follower, mark)
        return written if self._may_keep(mark) else None

    def stats(self) -> dict[str, int]:
        """The inner adapter's counters and this cache's, which begin with ``cache_``."""
        return {
            **self.inner.stats(),
            "cache_hits": self._hits,
            "cache_misses": self._misses,
            "cache_entries": len(self._entries),
            "cache_bytes": self._entries.bytes,
            "cache_evictions": self._entries.evictions,
            "cache_pending": len(self._pending),
            "cache_pending_bytes": self._pending.size,
            "cache_flushes": 0 if self._flusher is None else self._flusher.flushes,
        }

    # -- reading -----------------------------------------------------------------------------------

    def fetch_now(self, key: str) -> Stored | None | NotNow:
        known = self._known(key)
        return self._fetch_past_cache(key) if known is NOT_NOW else known

    def _known(self, key: str) -> Stored | None | NotNow:
        """What is cached of ``key`` and still holds, or waits to be stored; ``NOT_NOW``: nothing."""
        entry = self._lookup(key)
        if (
            entry is not None
            and entry.mark == self._inner_mark()
            and (self._max_age is None or time.monotonic() - entry.born <= self._max_age)
        ):
            entry.used = True
            self._hits += 1
            return entry.kept
        if self._pending:
            with self._entries.lock:
                accepted = self._pending.get(key)
            if accepted is not None:
                self._hits += 1
                return accepted.kept
        return NOT_NOW

    def _fetch_past_cache(self, key: str) -> Stored | None | NotNow:
        mark, born = self._inner_mark(), self._now()
        lease = self._entries.lease((key,))
        found: Stored | None | NotNow = NOT_NOW
        try:
            found = self.inner.fetch_now(key)
        finally:
            if found is NOT_NOW:
                self._entries.give_up(lease, (key,))
        if isinstance(found, NotNow):
            return NOT_NOW
        self._misses += 1
        return self._kept(lease, (key,), {} if found is None else {key: found}, mark, born).get(key)

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        if len(keys) == 1:
            (key,) = keys
            known = self._known(key)
            if not isinstance(known, NotNow):
                return {} if known is None else {key: known}
        else:
            together = self._snapshot(keys)
            if together is not None:
                return together
        if self._flusher is None:
            return await self._fetch_inner(list(keys))
        return await self._fetch_with_pending(self._flusher, list(keys))

    def _snapshot(self, keys: Collection[str]) -> dict[str, Stored] | None:
        """All of ``keys`` from the cache, as they were at one moment; None where that cannot be told."""
        mark = self._inner_mark()
        if mark is None and self._traits.changed_elsewhere and self._traits.atomic:
            return None  # entries of different ages
        now = self._now()
        answer: dict[str, Stored] = {}
        with self._entries.lock:
            for key in keys:
                entry = self._lookup(key)
                if entry is None or entry.mark != mark:
                    return None
                if self._max_age is not None and now - entry.born > self._max_age:
                    return None
                entry.used = True
                if entry.kept is not None:
                    answer[key] = entry.kept
        if self._inner_mark() != mark:
            return None
        self._hits += len(answer)  # the mark still stands, so every entry is of the state it stands for
        return answer

    async def _fetch_inner(self, keys: Collection[str]) -> dict[str, Stored]:
        mark, born = self._inner_mark(), self._now()
        lease = self._entries.lease(keys)
        try:
            found = await self.inner.fetch(keys)
        except BaseException:
            self._entries.give_up(lease, keys)
            raise
        self._misses += len(keys)
        return self._kept(lease, keys, found, mark, born)

    def _kept(
        self,
        lease: int,
        keys: Collection[str],
        found: dict[str, Stored],
        mark: Hashable,
        born: float,
    ) -> dict[str, Stored]:
        if self._flusher is not None:
            found = {key: self._named(key, stored) for key, stored in found.items()}
        if not self._may_keep(mark):
            self._entries.give_up(lease, keys)
            return found
        return self._entries.fill(lease, keys, found, mark, born)

    def _now(self) -> float:
        return 0.0 if self._max_age is None else time.monotonic()

    def _may_keep(self, mark: Hashable) -> bool:
        return mark is not None or self._max_age is not None or not self._traits.changed_elsewhere

    def _named(self, key: str, stored: Stored) -> Stored:
        version = self._pending.outer(key, stored.version)
        return stored if version == stored.version else stored._replace(version=version)

    async def _fetch_with_pending(self, flusher: Flusher, keys: list[str]) -> dict[str, Stored]:
        """What is stored, overlaid with what is pending, as they were together at one moment."""
        attempts = 0
        while True:
            moves = flusher.moves
            found = await self._fetch_inner(keys)
            with self._entries.lock:
                accepted = {key: self._pending.get(key) for key in keys}
                # What was accepted meanwhile is overlaid. What was stored meanwhile may be in neither.
                if moves == flusher.moves:
                    break
            attempts += 1
            if attempts > 2:
                await flusher.flush(flusher.weakest)
        waiting = {key: change.kept for key, change in accepted.items() if change is not None}
        return {key: stored for key, stored in {**found, **waiting}.items() if stored is not None}

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        listing = Listing(prefix, after, limit, reverse)
        with self._entries.lock:
            written, deleted = self._pending.keys(prefix)
        more = None if limit is None else limit + len(deleted)  # as many as may be left out here
        stored = self.inner.keys(prefix, after=after, limit=more, reverse=reverse)
        async for key in merged(listing, written, deleted, stored):
            yield key

    async def exists(self, key: str) -> bool:
        known = self._known(key)
        return await self.inner.exists(key) if isinstance(known, NotNow) else known is not None

    async def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        if self._flusher is not None:
            return await super().fetch_range(keys, start, length)  # of what is pending, too
        return await self.inner.fetch_range(keys, start, length)

    async def previous(self, key: str) -> Stored | None:
        return None if key in self._pending else await self.inner.previous(key)

    async def saved_at(self, key: str) -> float | None:
        return None if key in self._pending else await self.inner.saved_at(key)

    # -- writing -----------------------------------------------------------------------------------

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        flusher = self._flusher
        if flusher is None:
            with _Write(self, changes, {*changes, *expect} if expect else changes) as write:
                write.versions = await self.inner.commit(changes, expect=expect, durability=durability)
                return write.versions
        self._refuse_unless_open()
        asked = self.traits.durability if durability is None else durability
        if not changes and not expect:
            await flusher.flush(asked)
            return {}
        flusher.raise_failure()
        if asked == Durability.MEMORY and not expect:
            accepted = self._accept(flusher, changes)
            if accepted is not None:
                return accepted
        return await self._commit_after_pending(flusher, changes, expect, asked)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        if self._flusher is not None:
            return self._commit_after_pending_now(self._flusher, changes)
        # As a ``_Write`` does it, without the object: half of what the cache costs a commit.
        entries = self._entries
        number, cached = entries.begin_write(changes)
        try:
            versions = self._inner_commit_now(changes)
        except BaseException as error:
            entries.fail_write(number, changes, changes, error)
            raise
        born = 0.0 if self._max_age is None else time.monotonic()
        entries.end_write(number, changes, cached, changes, versions, born)
        return versions

    def _commit_after_pending_now(self, flusher: Flusher, changes: Changes) -> Mapping[str, str] | None:
        self._refuse_unless_open()
        if flusher.turn.lock.locked():
            return None
        with flusher.turn.lock:
            # None while a flush is on its way, which may fail.
            if flusher.turn.held or not flusher.store_pending_now():
                return None
            write = _Write(self, changes, changes)
        with write:
            write.versions = self.inner.commit_now(changes)
            return write.versions

    async def delete_prefix(
        self, prefix: str, *, after: str | None = None, durability: Durability | None = None
    ) -> int:
        flusher = self._flusher
        if flusher is None:
            with self._entries.sweeping(prefix):
                return await self.inner.delete_prefix(prefix, after=after, durability=durability)
        self._refuse_unless_open()
        flusher.raise_failure()
        with self._entries.sweeping(prefix):  # none of its keys is accepted from here on
            async with flusher.turn:
                await flusher.store_pending()
                try:
                    return await self.inner.delete_prefix(prefix, after=after, durability=durability)
                finally:
                    flusher.moves += 1

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        changes = dict.fromkeys(keys)
        with _Write(self, changes, changes) as write:  # none of them is accepted from here on
            if self._flusher is not None:
                await self._flusher.flush(self._flusher.weakest)
            await self.inner.purge(keys, previous_of=previous_of)
            write.versions = {}

    def _accept(self, flusher: Flusher, changes: Changes) -> Mapping[str, str] | None:
        """Take ``changes`` into memory. None: they go to the store at once, behind what is pending."""
        size = self._checked_size(changes)
        with self._entries.lock:
            if self._pending.size + size > self.policy.max_pending_bytes:
                return None
            if not self._entries.is_settled(changes):
                return None  # what may yet take effect comes first
            for key in changes:
                self._entries.forget(key)
            versions = self._pending.accept(changes)
        flusher.schedule()
        return versions

    async def _commit_after_pending(
        self,
        flusher: Flusher,
        changes: Changes,
        expect: Expect | None,
        durability: Durability,
    ) -> Mapping[str, str]:
        """Commit, and before it, or with it, all that was accepted earlier."""
        touched = {*changes, *(expect or ())}
        with self._entries.lock:
            # From here on nothing of its keys is accepted, and it has its place in the order of the calls.
            write = _Write(self, changes, touched)
            waits = bool(self._pending) or flusher.turn.held
        with write:
            if waits:
                async with flusher.turn:
                    with self._entries.lock:
                        batch = None if expect else self._pending.only(touched)
                    if batch is not None:
                        return await self._commit_with(flusher, batch, write, changes, durability)
                    await flusher.store_pending()
            wanted = expect and {key: self._pending.inner(key, version) for key, version in expect.items()}
            write.versions = await self.inner.commit(changes, expect=wanted, durability=durability)
            return write.versions

    async def _commit_with(
        self,
        flusher: Flusher,
        batch: Batch,
        write: _Write,
        changes: Changes,
        durability: Durability,
    ) -> Mapping[str, str]:
        """Commit ``changes`` and the only batch that is pending, which has none of their keys, in one."""
        versions = await self.inner.commit({**batch.changes, **changes}, durability=durability)
        flusher.stored(batch, versions)
        write.versions = {key: version for key, version in versions.items() if key in changes}
        return write.versions

    def _checked_size(self, changes: Changes) -> int:
        """The bytes of ``changes``. What the store would refuse for ever is refused before it is accepted."""
        check_changes(changes, self._traits, self)
        return sum(len(key) + (0 if data is None else len(data)) for key, data in changes.items())

    def _refuse_unless_open(self) -> None:
        if self._owner != os.getpid():
            raise CapabilityUnavailableError(
                "the store is not open" if self._owner is None else "the store was opened before a fork",
                adapter=self,
                hint="open it first, in `async with`",
            )


class _Write:
    """One commit that goes to the inner adapter."""

    __slots__ = ("_cache", "_cached", "_changes", "_entries", "_keys", "_number", "versions")

    def __init__(self, cache: Cached, changes: Changes, keys: Collection[str]) -> None:
        self.versions: Mapping[str, str] | None = None
        self._cache = cache
        self._changes = changes
        self._keys = keys
        self._entries = cache._entries  # others, once it was opened again meanwhile
        self._number, self._cached = self._entries.begin_write(keys)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        cache, entries = self._cache, self._entries
        if error is not None:
            entries.fail_write(self._number, self._keys, self._changes, error)
        else:
            born = 0.0 if cache._max_age is None else time.monotonic()
            entries.end_write(self._number, self._keys, self._cached, self._changes, self.versions, born)
        if cache._flusher is not None:
            cache._flusher.moves += 1
