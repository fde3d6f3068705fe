"""Bytes in the memory of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from ..errors import CapabilityUnavailableError
from ..keys import check_stored_keys
from ..storage.adapter import (
    MAX_STORED_KEY_BYTES,
    Changes,
    Durability,
    Expect,
    StorageAdapter,
    Stored,
    Traits,
    check_changes,
    verify_expected,
)
from ..storage.listing import Listing

__all__ = ["MemoryAdapter"]

_TRAITS: Final = Traits(atomic=True, durability=Durability.MEMORY, shared=False, immediate=True)


class _Record(NamedTuple):
    stored: Stored
    previous: Stored | None
    saved_at: float


class MemoryAdapter(StorageAdapter):
    """Keeps everything in this object: for tests, for caches, for state that may be forgotten.

    The data lives as long as the object does. Closing keeps it and opening finds it again, so a test
    can restart an application over one adapter; nothing outlives the process, so ``traits.durability``
    is ``MEMORY`` and ``commit_now`` promises no more than that. Commits are atomic, each is one step
    for all tasks, threads and event loops, and the bytes before the current ones are kept as the
    previous generation. A forked child has a copy of its own.

    Raises ``CapabilityUnavailableError`` when used before it is opened or after it is closed, and
    ``InvalidKeyError`` for what is no key.
    """

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._lock = threading.Lock()
        # Its keys at the last listing, in order, and what has happened since: the new ones, whether any left.
        self._order: list[str] = []
        self._came: dict[str, None] = {}
        self._went = False
        self._commits = 0
        self._open = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def traits(self) -> Traits:
        return _TRAITS

    @property
    def location(self) -> str:
        return "the memory of this process"

    async def aopen(self) -> None:
        self._open = True

    async def aclose(self) -> None:
        self._open = False

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        self._check(keys)
        with self._lock:
            records = {key: self._records.get(key) for key in keys}
        return {key: record.stored for key, record in records.items() if record is not None}

    async def commit(
        self,
        changes: Changes,
        *,
        expect: Expect | None = None,
        durability: Durability | None = None,  # noqa: ARG002 - every commit is as durable as memory is
    ) -> Mapping[str, str]:
        return self._commit(changes, {} if expect is None else expect)

    def commit_now(self, changes: Changes) -> Mapping[str, str]:
        return self._commit(changes, {})

    def fetch_now(self, key: str) -> Stored | None:
        self._check((key,))
        record = self._records.get(key)
        return None if record is None else record.stored

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        self._check(())
        listing = Listing(prefix, after, limit, reverse)
        with self._lock:
            found = listing.of(self._sorted())
        for key in found:
            yield key

    def _sorted(self) -> Sequence[str]:
        """All keys in order; what came and went since the last call is taken in now. Under the lock."""
        if self._went:
            self._order = [key for key in self._order if key in self._records]
        if self._came:
            # Python compares strings by code point, which is the order that is promised. What is in order
            # already costs a comparison a key.
            self._order = sorted({**dict.fromkeys(self._order), **self._came})
        self._came, self._went = {}, False
        return self._order

    async def exists(self, key: str) -> bool:
        self._check((key,))
        return key in self._records

    async def delete_prefix(
        self,
        prefix: str,
        *,
        after: str | None = None,
        durability: Durability | None = None,  # noqa: ARG002 - as durable as memory is
    ) -> int:
        """All in one step."""
        self._check(())
        with self._lock:
            found = Listing(prefix, after).of(self._sorted())
            for key in found:
                del self._records[key]
            self._went = self._went or bool(found)
            self._commits += bool(found)
            return len(found)

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        self._check(previous_of)
        self._commit(dict.fromkeys(keys), {})
        with self._lock:
            for key in previous_of:
                record = self._records.get(key)
                if record is not None:
                    self._records[key] = record._replace(previous=None)

    async def previous(self, key: str) -> Stored | None:
        self._check((key,))
        record = self._records.get(key)
        return None if record is None else record.previous

    async def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        self._check(generations)
        with self._lock:
            for key, data in generations.items():
                record = self._records.get(key)
                if record is not None:
                    before = None if data is None else Stored(data, f"{record.stored.version}-")
                    self._records[key] = record._replace(previous=before)

    async def saved_at(self, key: str) -> float | None:
        self._check((key,))
        record = self._records.get(key)
        return None if record is None else record.saved_at

    async def scrub(self) -> bool:
        self._check(())
        with self._lock:
            self._records = {key: each._replace(previous=None) for key, each in self._records.items()}
        return True

    def change_mark(self) -> int:
        return self._commits

    def stats(self) -> dict[str, int]:
        return {"commits": self._commits, "records": len(self._records)}

    def _check(self, keys: Collection[str]) -> None:
        if not self._open:
            raise CapabilityUnavailableError(
                "the adapter is not open", adapter=self, hint="open it first, in `async with`"
            )
        check_stored_keys(keys, MAX_STORED_KEY_BYTES)

    def _commit(self, changes: Changes, expect: Expect) -> Mapping[str, str]:
        self._check(expect)
        check_changes(changes, self.traits, self)
        with self._lock:
            if expect:
                records = {key: self._records.get(key) for key in expect}
                found = {key: record.stored for key, record in records.items() if record is not None}
                verify_expected(found, expect, self)
            if not changes:
                return {}
            self._commits += 1
            version, now = str(self._commits), time.time()
            versions = {}
            for key, data in changes.items():
                if data is None:
                    if self._records.pop(key, None) is not None:
                        self._came.pop(key, None)
                        self._went = True
                    continue
                earlier = self._records.get(key)
                if earlier is None:
                    self._came[key] = None
                before = None if earlier is None else earlier.stored
                self._records[key] = _Record(Stored(data, version), before, now)
                versions[key] = version
            return versions
