"""Whether somebody has paused the synchronisation of a store: kept in it, for all that have it open."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import msgspec

from ..layers.tracked import SYNC
from ..records.record import INTERNAL_SCHEMA, look_at, seal_record
from ..storage.adapter import StorageAdapter
from ..store.store import Store

__all__ = ["Pause", "paused_since", "set_pause"]

_PAUSED: Final = SYNC + "paused"


async def paused_since(adapter: StorageAdapter) -> float | None:
    """Since when the store of ``adapter`` is paused, in seconds since 1970 UTC; None: it is not."""
    stored = (await adapter.fetch((_PAUSED,))).get(_PAUSED)
    if stored is None:
        return None
    record = look_at(_PAUSED, stored.data, INTERNAL_SCHEMA)[0]
    # Of a damaged one only the time is lost: that somebody wanted it is what matters.
    return 0.0 if record is None else msgspec.json.decode(record.value, type=float)


async def set_pause(store: Store, *, on: bool) -> None:
    """Pause, or go on: durably, for every process that has the store open and every later one."""
    data = seal_record(_PAUSED, msgspec.json.encode(store.clock()), INTERNAL_SCHEMA)
    await store.commit({_PAUSED: data if on else None}, durability=store.adapter.traits.durability)


class Pause:
    """Reads it again only where another process may have changed it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mark: Hashable | None = None
        self.is_on: bool = False

    async def look(self) -> bool:
        """Whether it is paused now."""
        mark = self._store.adapter.change_mark()
        if mark is None or mark != self._mark:
            self.is_on = await paused_since(self._store.adapter) is not None
            self._mark = mark
        return self.is_on

    async def set(self, *, on: bool) -> None:
        """Pause, or go on."""
        await set_pause(self._store, on=on)
        self.is_on = on
