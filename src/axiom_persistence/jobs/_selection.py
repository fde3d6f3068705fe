"""The records of a store that a job takes along, some at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from ..keys import INTERNAL
from ..layers.cached import Cached
from ..records.record import body_of, look_at
from ..storage.adapter import StorageAdapter, Stored
from ..store.store import Store
from ._lines import ArchiveFault
from .walk import PAGE, pages

__all__ = ["Selected", "Selection", "selected", "source_of"]


_FIRST: Final = 32
_BYTES: Final = 1 << 20
"""Fewer bytes than that, and more records are fetched at once the next time."""


class Selected(NamedTuple):
    """A whole record that has not expired."""

    name: str
    """Its key, without what the view puts before it."""
    body: bytes
    saved: float | None


class Selection(NamedTuple):
    """Which records of ``store`` a job takes along."""

    store: Store
    view: str = ""
    """What every key of a namespace begins with."""
    prefix: str = ""
    pattern: str | None = None
    """As in ``fnmatch``: ``*``, ``?`` and ``[...]``, upper and lower case told apart."""
    secure: bool = False
    """Whether they are secrets."""


async def source_of(store: Store) -> StorageAdapter:
    """Where to read everything: below the cache, which would forget what the application needs."""
    cached = store.adapter.find(Cached)
    if cached is None:
        return store.adapter
    await store.adapter.commit({}, durability=store.weakest)  # what a write-back cache has not stored yet
    return cached.inner


async def selected(
    selection: Selection, faults: list[ArchiveFault], *, after: str | None = None, times: bool = False
) -> AsyncIterator[list[Selected]]:
    """The records in the order of their keys, a list for each page of the walk, which may be empty.

    ``after``: the name behind which an interrupted job goes on. ``times``: ask when each was saved. What is
    damaged is left where it is, and told in ``faults``.
    """
    store, view, prefix, pattern, _ = selection
    source = await source_of(store)
    behind = None if after is None else view + after
    async for page in pages(source.keys(view + prefix, after=behind)):
        wanted = [
            key
            for key in page
            if key[0] != INTERNAL and (pattern is None or fnmatchcase(key[len(view) :], pattern))
        ]
        async for found in _fetched(source, wanted):
            taken = []
            for key, stored in found.items():
                body = _whole(store, key, stored, faults)
                if body is not None:
                    saved = await source.saved_at(key) if times else None
                    taken.append(Selected(key[len(view) :], body, saved))
            yield taken


async def _fetched(source: StorageAdapter, keys: list[str]) -> AsyncIterator[dict[str, Stored]]:
    """What is stored under ``keys``, in their order: many small records at once, few large ones."""
    at, size = 0, _FIRST
    while at < len(keys):
        some = keys[at : at + size]
        found = await source.fetch(some)
        yield {key: found[key] for key in some if key in found}
        at += size
        taken = sum(len(stored.data) for stored in found.values())
        size = min(PAGE, size * 4) if taken < _BYTES else max(1, size // 4)


def _whole(store: Store, key: str, stored: Stored, faults: list[ArchiveFault]) -> bytes | None:
    """The body of a record that is whole and has not expired."""
    record, damage = None, stored.damage
    if damage is None:
        record, damage, _ = look_at(key, stored.data, store.schema_of(key))
    if record is None:
        faults.append(ArchiveFault(None, key, damage or "it cannot be read"))
        return None
    return None if store.expired(record) else body_of(stored.data)
