"""What lies in quarantine: damaged bytes that were moved out of the way, and never thrown away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec

from ..errors import ConflictError, CorruptedDataError
from ..records.corruption import QUARANTINE, Quarantined
from ..records.record import INTERNAL_SCHEMA, look_at
from ..runtime.acting import because
from ..storage.adapter import Stored
from ..store.store import Store
from .walk import pages

__all__ = ["Item", "drop", "find", "items", "put_back"]


class Item(NamedTuple):
    """Damaged bytes of one key."""

    id: str
    key: str
    reason: str
    at: float
    """When they were moved here, in seconds since 1970 UTC."""
    size: int
    """How many bytes."""
    data: bytes
    version: str
    """Of the entry; for whoever changes it."""


async def items(store: Store) -> AsyncIterator[Item]:
    """Everything in quarantine. An entry that is damaged itself is left out, and found by ``verify``."""
    async for page in pages(store.adapter.keys(QUARANTINE)):
        for place, stored in (await store.adapter.fetch(page)).items():
            item = _item(place, stored)
            if item is not None:
                yield item


def _item(place: str, stored: Stored) -> Item | None:
    record = None if stored.damage else look_at(place, stored.data, INTERNAL_SCHEMA)[0]
    if record is None:
        return None
    found = msgspec.json.decode(record.value, type=Quarantined)
    return Item(
        place.removeprefix(QUARANTINE),
        found.key,
        found.reason,
        found.at,
        len(found.data),
        found.data,
        stored.version,
    )


async def find(store: Store, id: str) -> Item | None:
    """The entry with this id. None: there is none, or it is damaged itself."""
    place = QUARANTINE + id
    stored = (await store.adapter.fetch((place,))).get(place)
    return None if stored is None else _item(place, stored)


async def put_back(store: Store, item: Item) -> None:
    """Store the bytes under their key again, and take them out of quarantine, in one commit.

    Raises ``CorruptedDataError`` where they still cannot be read, and ``ConflictError`` where the key has
    another value by now; nothing is changed then.
    """
    record, damage, _ = look_at(item.key, item.data, store.schema_of(item.key))
    if record is None:
        raise CorruptedDataError(
            f"the bytes in quarantine still cannot be read: {damage}; nothing was changed",
            key=item.key,
            adapter=store.adapter,
            hint="look at them, repair what they say by hand, and save that",
        )
    try:
        with because("put back from quarantine"):
            await store.adapter.commit(
                {item.key: item.data, QUARANTINE + item.id: None},
                expect={item.key: None, QUARANTINE + item.id: item.version},
            )
    except ConflictError:
        raise ConflictError(
            "the key has another value by now; nothing was changed",
            key=item.key,
            adapter=store.adapter,
            hint="delete it first, if the one in quarantine is the one to keep",
        ) from None


async def drop(store: Store, item: Item) -> None:
    """Throw the bytes away for ever."""
    place = QUARANTINE + item.id
    with because("dropped from quarantine"):
        await store.adapter.commit({place: None}, expect={place: item.version})
