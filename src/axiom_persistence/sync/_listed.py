"""The conflicts that a device remembers, in the store where they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Final

import msgspec

from ..errors import ConflictError
from ..records.codec import encode_value
from ..records.record import INTERNAL_SCHEMA, look_at, seal_about, seal_record
from ..runtime.turn import backoff
from ..storage.adapter import StorageAdapter
from ..store.store import Store
from ._conflict import CONFLICTS, Conflict

__all__ = ["listed_conflicts", "names_of_conflicts", "take_back"]

_ATTEMPTS: Final = 16


async def listed_conflicts(adapter: StorageAdapter) -> list[Conflict]:
    """What lost, the oldest first."""
    return [conflict async for _, conflict in _named(adapter)]


async def names_of_conflicts(adapter: StorageAdapter, keys: Collection[str]) -> list[str]:
    """Under which keys the conflicts of ``keys`` are remembered."""
    return [name async for name, conflict in _named(adapter) if conflict.key in keys]


async def _named(adapter: StorageAdapter) -> AsyncIterator[tuple[str, Conflict]]:
    async for name in adapter.keys(CONFLICTS):
        stored = (await adapter.fetch((name,))).get(name)
        record = None if stored is None else look_at(name, stored.data, INTERNAL_SCHEMA)[0]
        if record is not None:
            yield name, msgspec.json.decode(record.value, type=Conflict)


async def take_back(store: Store, conflict: Conflict) -> bool:
    """Save what ``conflict`` lost, as a change of now. False: the key is not there any more."""
    adapter, key = store.adapter, conflict.key
    for attempt in range(_ATTEMPTS):
        stored = (await adapter.fetch((key,))).get(key)
        record = None if stored is None else look_at(key, stored.data, store.schema_of(key))[0]
        if stored is None or record is None:
            return False
        value = conflict.lost
        if conflict.field:
            value = msgspec.json.decode(record.value)
            value[conflict.field] = conflict.lost
        data = seal_record(key, encode_value(value), record.schema, expires=record.expires)
        data = seal_about(key, data, record.subject)
        try:
            await store.commit({key: data}, expect={key: stored.version})
            return True
        except ConflictError:
            await backoff(attempt)
    raise ConflictError("the key was changed all the time", key=key, adapter=adapter, hint="try it again")
