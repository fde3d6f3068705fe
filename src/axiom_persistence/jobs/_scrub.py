"""Purging records, with all that is left of earlier ones, from a store or a copy of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from xxhash import xxh3_64_hexdigest

from ..records._subject import entries_of, entry_key, subject_key, tag_in
from ..records.corruption import QUARANTINE
from ..records.record import INTERNAL_SCHEMA, look_at
from ..storage.adapter import StorageAdapter, Stored
from ..store.store import Store
from ._erasures import marks
from ._originals import erase_originals, original_key
from ._snapshots import Snapshot, source_in
from .walk import pages

__all__ = ["Scrub", "scrub_copy"]

_PAGE: Final = 64


class Scrub:
    """Purges what bears ``tag`` or, with ``prefix``, has such a key."""

    def __init__(self, tag: str, prefix: str | None, migrations: Sequence[str] = ()) -> None:
        """``migrations``: the ids of those whose originals are kept."""
        self.tag = tag
        self.prefix = prefix
        self._migrations = migrations

    async def keys(self, adapter: StorageAdapter) -> AsyncIterator[str]:
        """The keys of the records to be purged."""
        begin = entries_of(self.tag) if self.prefix is None else self.prefix
        cut = len(begin) if self.prefix is None else 0
        async for key in adapter.keys(begin):
            yield key[cut:]

    async def run(self, adapter: StorageAdapter, done: Callable[[list[str]], None]) -> None:
        """Broken off anywhere, it is begun again. ``done`` is told of the keys after each step."""
        if self.prefix is None:
            await adapter.purge((subject_key(self.tag),))  # the first to go: without it nothing opens
        async for page in pages(self.keys(adapter), size=_PAGE):
            found = await adapter.fetch(page)
            others = [key for key, stored in found.items() if self._is_of_another(key, stored)]
            gone = [key for key in page if key not in others]
            for key in page:
                gone += await self._left_of(adapter, key)
            await adapter.purge([*gone, *self._entries(page, found)], previous_of=others)
            done(page)
        if self.prefix is not None:
            for id in self._migrations:
                await erase_originals(adapter, id, self.prefix)

    async def _left_of(self, adapter: StorageAdapter, key: str) -> list[str]:
        """Where bytes of earlier values of ``key`` are: in quarantine, and kept by a migration."""
        found = f"{QUARANTINE}{xxh3_64_hexdigest(key.encode())}-"
        left = [place async for place in adapter.keys(found)]
        return left + [
            original_key(id, key, by_step=by_step) for id in self._migrations for by_step in (False, True)
        ]

    def _entries(self, page: list[str], found: Mapping[str, Stored]) -> list[str]:
        if self.prefix is None:
            return [entry_key(self.tag, key) for key in page]
        return [entry_key(tag, key) for key, stored in found.items() if (tag := tag_in(stored.data))]

    def _is_of_another(self, key: str, stored: Stored) -> bool:
        """Whether somebody has saved ``key`` anew since, about nobody or somebody else."""
        if self.prefix is not None or stored.damage is not None:
            return False
        record = look_at(key, stored.data, INTERNAL_SCHEMA)[0]
        return record is not None and record.subject != self.tag


async def scrub_copy(store: Store, snapshot: Snapshot) -> None:
    """Purge from a snapshot what was erased from the store while it was being made."""
    tags = [
        mark.tag
        async for mark in marks(store)
        if mark.erasure.length is None and (mark.erasure.ended or snapshot.at) >= snapshot.at
    ]
    if tags:
        async with source_in(store, snapshot.path, inspect=False) as copy:
            for tag in tags:
                await Scrub(tag, None).run(copy, lambda _: None)
