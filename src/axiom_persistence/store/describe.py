"""What is known of a record without decoding its value."""

from __future__ import annotations

from ..records.record import RecordInfo, look_at
from ..storage.adapter import StorageAdapter

__all__ = ["describe"]


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
