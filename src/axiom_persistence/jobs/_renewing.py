"""What records of an earlier version become: made when a migration is tried, and written afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from ..records.record import FIRST_SCHEMA, Damage, NewerFormat, open_met
from ..storage.adapter import StorageAdapter, Stored
from ..store.store import Store
from ._migration import CHUNK, validated

__all__ = ["Renewed", "Renewing"]

_KEPT_BYTES_MAX: Final = 64 << 20
"""What the trial keeps for the rewriting, old and new; beyond, records are read and steps run once more."""

_FIRST: Final = 32
_TOGETHER_BYTES: Final = 4 << 20
"""Fewer bytes than that, and more records are fetched and rewritten together the next time."""

_PAUSE: Final = 100
"""Records after which other tasks of the event loop have their turn."""


class Renewed(msgspec.Struct, frozen=True, gc=False):
    """A record that is to be rewritten."""

    version: str
    old: bytes
    new: bytes
    steps: tuple[str, ...]


class Renewing:
    """Runs the value steps on stored records. Keys of damaged ones, which stay, are added to ``damaged``."""

    def __init__(self, store: Store, source: StorageAdapter, damaged: list[str]) -> None:
        self.store = store
        self.source = source
        self.damaged = damaged
        self._likely = FIRST_SCHEMA  # of the next record: that of the last
        self._together = min(_FIRST, CHUNK)
        self._kept: dict[str, Renewed] = {}
        self._room = _KEPT_BYTES_MAX

    def pieces(self, page: Sequence[str]) -> Iterator[Sequence[str]]:
        """``page`` in as many keys together as their records are small."""
        at = 0
        while at < len(page):
            keys = page[at : at + self._together]
            at += len(keys)
            yield keys

    def keep(self, made: Mapping[str, Renewed]) -> None:
        """Have it ready for when it is asked for again, if there is room."""
        size = sum(len(one.old) + len(one.new) for one in made.values())
        if size < self._room:
            self._room -= size
            self._kept.update(made)

    async def of(self, keys: Sequence[str]) -> dict[str, Renewed]:
        """What is to be rewritten among ``keys``: what was kept, once, or else as ``tried``."""
        made: dict[str, Renewed] = {}
        waiting: list[str] = []
        for key in keys:
            kept = self._kept.pop(key, None)
            if kept is None:
                waiting.append(key)
            else:
                made[key] = kept
        return made | await self.tried(waiting) if waiting else made

    async def tried(self, keys: Sequence[str]) -> dict[str, Renewed]:
        """What is to be rewritten among ``keys``, as it is stored now.

        Raises ``MigrationError``, naming step and key.
        """
        made: dict[str, Renewed] = {}
        seen = 0
        for number, (key, stored) in enumerate((await self.source.fetch(keys)).items()):
            if number % _PAUSE == _PAUSE - 1:
                await asyncio.sleep(0)
            seen += len(stored.data)
            renewed = self._one(key, stored)
            if renewed is not None:
                made[key] = renewed
        grown = self._together * 4 if seen < _TOGETHER_BYTES else self._together // 4
        self._together = min(CHUNK, max(1, grown))
        return made

    def _one(self, key: str, stored: Stored) -> Renewed | None:
        """The record of today for an older one. None: it stays as it is."""
        store = self.store
        try:
            if stored.damage is not None:
                raise Damage(stored.damage)
            record = open_met(key, stored.data, self._likely)
        except Damage:
            self.damaged.append(key)
            return None
        except NewerFormat:
            return None
        self._likely = record.schema
        if record.expires is not None and store.expired(record):
            return None
        made = store.renewed(key, record)
        if made is None:
            return None
        validated(store, key, made.body, made.steps)
        data = store.migrations.sealed(key, made.body, record.expires, made.label, record.subject)
        return None if data == stored.data else Renewed(stored.version, stored.data, data, made.steps)
