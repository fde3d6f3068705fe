"""What was erased: the marks that stay of it, and which old records they keep from coming back."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

import msgspec

from ..layers.tracked import SYNC
from ..records._subject import DIRECTORY, ENTRIES, ERASED, SUBJECT_KEYS, erased_key, name_of, tag_in
from ..records.record import INTERNAL_SCHEMA, look_at, seal_record
from ..storage.adapter import Expect, Stored
from ..store.store import Store
from .walk import pages

__all__ = ["STAYS", "Erasure", "Erasures", "Mark", "Returning", "marks", "write_mark"]

STAYS: Final = (ERASED, SUBJECT_KEYS, SYNC)
"""What these begin with is of the store itself, and in no copy that comes back."""


class Erasure(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stays of an erasure: no name, no key and no value."""

    id: str
    """32 hex digits, by which its receipt is known."""
    begun: float
    """Seconds since 1970 UTC."""
    length: int | None = None
    """Of the prefix whose keys were erased, in characters. None: what was about a subject was."""
    records: int | None = None
    """How many there were. None: they are not counted yet."""
    ended: float | None = None
    """When nothing was left. None: it is under way, or was cut short."""

    @classmethod
    def new(cls, begun: float, prefix: str | None) -> Erasure:
        return cls(os.urandom(16).hex(), begun, None if prefix is None else len(prefix))


class Mark(NamedTuple):
    """An erasure as it stands in a store."""

    tag: str
    erasure: Erasure
    version: str | None


async def marks(store: Store, name: str = "") -> AsyncIterator[Mark]:
    """All marks, or those of one subject or prefix: ``name`` is what their tags begin with."""
    async for page in pages(store.adapter.keys(ERASED + name)):
        for key, stored in (await store.adapter.fetch(page)).items():
            erasure = _erasure(key, stored)
            if erasure is not None:
                yield Mark(key.removeprefix(ERASED), erasure, stored.version)


def _erasure(key: str, stored: Stored) -> Erasure | None:
    record = None if stored.damage else look_at(key, stored.data, INTERNAL_SCHEMA)[0]
    return None if record is None else msgspec.json.decode(record.value, type=Erasure)


async def write_mark(
    store: Store, mark: Mark, also: Mapping[str, bytes | None] | None = None, expect: Expect | None = None
) -> Mark:
    """Store what ``mark`` says, over the version it was read at. Raises ``ConflictError``."""
    key = erased_key(mark.tag)
    data = seal_record(key, msgspec.json.encode(mark.erasure), INTERNAL_SCHEMA)
    versions = await store.commit({key: data, **(also or {})}, expect={key: mark.version, **(expect or {})})
    return mark._replace(version=versions[key])


class Erasures:
    """All that was ever erased in a store, to be asked of records from an old copy of it."""

    def __init__(self) -> None:
        self._tags: set[str] = set()
        self._prefixes: dict[int, dict[str, float]] = {}

    @classmethod
    async def of(cls, store: Store) -> Erasures:
        found = cls()
        async for tag, erasure, _ in marks(store):
            if erasure.length is None:
                found._tags.add(tag)
            else:
                hashes = found._prefixes.setdefault(erasure.length, {})
                at = erasure.begun if erasure.ended is None else erasure.ended
                hashes[tag[:32]] = max(at, hashes.get(tag[:32], at))
        return found

    def __bool__(self) -> bool:
        return bool(self._tags or self._prefixes)

    def covers(self, key: str, data: bytes, saved: float | None) -> bool:
        """Whether the record ``data`` of ``key`` was erased. ``saved``: not after; None: nobody knows."""
        if key.startswith(ENTRIES):
            return key[len(ENTRIES) :].partition("/")[0] in self._tags
        if key.startswith(DIRECTORY):
            record = look_at(key, data, INTERNAL_SCHEMA)[0]
            return record is not None and msgspec.json.decode(record.value) in self._tags
        if tag_in(data) in self._tags:
            return True
        return any(self._has_prefix(key, length, saved) for length in self._prefixes)

    def _has_prefix(self, key: str, length: int, saved: float | None) -> bool:
        at = self._prefixes[length].get(name_of(key[:length])) if len(key) >= length else None
        return at is not None and (saved is None or saved <= at)


class Returning(NamedTuple):
    """An old copy that comes back."""

    erasures: Erasures
    made: float | None
    """When it was made; None: nobody knows."""

    def is_erased(self, key: str, data: bytes) -> bool:
        """Whether the record ``data`` of ``key`` was erased since."""
        return bool(self.erasures) and self.erasures.covers(key, data, self.made)
