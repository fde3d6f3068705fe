"""What is known of a record without decoding its value."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ..records.record import look_at
from ..storage.adapter import Durability, StorageAdapter, Traits
from ..storage.layer import Layer
from ._header import Header

__all__ = ["About", "RecordInfo", "about", "describe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a store as a whole."""

    id: str | None
    """Made with the store, its own for ever. None (as ``format``, ``created``): nothing was saved yet."""
    format: int | None
    """The number of the stored format."""
    created: float | None
    """Seconds since 1970 UTC."""
    adapter: str
    """The class of the innermost adapter, such as ``SQLiteAdapter``."""
    location: str
    """Where the data is, for a person."""
    durability: Durability
    """What a save survives that names nothing else."""
    traits: Traits
    """What adapter and layers can do together."""


def about(adapter: StorageAdapter, header: Header | None, durability: Durability | None) -> About:
    """What ``adapter`` and the ``header`` of the store in it say."""
    innermost = adapter
    while isinstance(innermost, Layer):
        innermost = innermost.inner
    return About(
        id=None if header is None else header.id,
        format=None if header is None else header.format,
        created=None if header is None else header.created,
        adapter=type(innermost).__name__,
        location=adapter.location,
        durability=adapter.traits.durability if durability is None else durability,
        traits=adapter.traits,
    )


class RecordInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a record without decoding its value."""

    key: str
    size: int
    """Bytes as stored."""
    version: str
    schema: str | None
    """None when the record cannot be read."""
    saved_at: float | None
    """Seconds since 1970 UTC; None where the adapter cannot tell."""
    expires_at: float | None
    damage: str | None
    """Why it cannot be read; None: it is whole."""
    too_new: bool
    """It cannot be read because a newer version of this library wrote it."""
    has_previous: bool
    confidential: bool


async def describe(adapter: StorageAdapter, key: str, schema: str) -> RecordInfo | None:
    """What ``adapter`` and the record under ``key`` say of it. Repairs nothing. None: nothing is stored."""
    stored = (await adapter.fetch((key,))).get(key)
    if stored is None:
        return None
    record, damage, too_new = None, stored.damage, False
    if damage is None:
        record, damage, too_new = look_at(key, stored.data, schema)
    return RecordInfo(
        key=key,
        size=len(stored.data),
        version=stored.version,
        schema=None if record is None else record.schema,
        saved_at=await adapter.saved_at(key),
        expires_at=None if record is None or record.expires is None else record.expires / 1000,
        damage=damage,
        too_new=too_new,
        has_previous=await adapter.previous(key) is not None,
        confidential=adapter.traits.confidential,
    )
