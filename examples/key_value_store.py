"""A store for py-key-value, as FastMCP and others use it: collections, keys and expiry, in one commit each.

Needs:   pip install py-key-value-aio
Use it:  store = PersistentStore(persistence)     (an open persistence, or a namespace of one)
         await store.put("ada", {"theme": "dark"}, collection="users", ttl=3600)
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from key_value.aio.stores.base import (
    BaseDestroyCollectionStore,
    BaseDestroyStore,
    BaseEnumerateCollectionsStore,
    BaseEnumerateKeysStore,
    ManagedEntry,
)

from axiom_persistence import AdapterBasedPersistence, join_key, split_key


class PersistentStore(
    BaseEnumerateKeysStore, BaseEnumerateCollectionsStore, BaseDestroyCollectionStore, BaseDestroyStore
):
    def __init__(self, persistence: AdapterBasedPersistence, **options: Any) -> None:
        super().__init__(stable_api=True, **options)
        self.persistence = persistence

    async def _get_managed_entry(self, *, collection: str, key: str) -> ManagedEntry | None:
        place = self.persistence.namespace(collection)
        value, until = await place.load_with_expiry(join_key(key), dict[str, Any])
        expires_at = None if until is None else datetime.fromtimestamp(until, UTC)
        return None if value is None else ManagedEntry(value=value, expires_at=expires_at)

    async def _put_managed_entry(self, *, collection: str, key: str, managed_entry: ManagedEntry) -> None:
        ttl = None if managed_entry.ttl is None else max(managed_entry.ttl, 0.001)  # it may be over by now
        await self.persistence.namespace(collection).save(join_key(key), dict(managed_entry.value), ttl=ttl)

    async def _put_managed_entries(
        self, *, collection: str, keys: Sequence[str], managed_entries: Sequence[ManagedEntry], **times: Any
    ) -> None:
        entries = zip(keys, managed_entries, strict=True)
        values = {join_key(key): dict(entry.value) for key, entry in entries}
        await self.persistence.namespace(collection).save_many(values, ttl=times["ttl"])

    async def _delete_managed_entry(self, *, key: str, collection: str) -> bool:
        return await self.persistence.namespace(collection).delete(join_key(key))

    async def _get_collection_keys(self, *, collection: str, limit: int | None = None) -> list[str]:
        return [split_key(key)[0] async for key in self.persistence.namespace(collection).keys(limit=limit)]

    async def _get_collection_names(self, *, limit: int | None = None) -> list[str]:
        return [name async for name in self.persistence.namespaces()][:limit]

    async def _delete_collection(self, *, collection: str) -> bool:
        return await self.persistence.namespace(collection).delete_prefix("") > 0

    async def _delete_store(self) -> bool:
        return await self.persistence.delete_prefix("") > 0
