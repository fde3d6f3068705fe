"""A store for Litestar: sessions, rate limits and cached answers that outlive the server.

Needs:   pip install litestar
Use it:  persistence = open_persistence("service")

         @asynccontextmanager
         async def opened(app):
             async with persistence:
                 yield

         app = Litestar([...], lifespan=[opened], middleware=[ServerSideSessionConfig().middleware],
                        stores=StoreRegistry(default_factory=PersistentStore(persistence).with_namespace))
"""

import time
from datetime import timedelta

from litestar.stores.base import NamespacedStore

from axiom_persistence import AdapterBasedPersistence, join_key


class PersistentStore(NamespacedStore):
    def __init__(self, persistence: AdapterBasedPersistence) -> None:
        self.persistence = persistence  # opened by the time of the first request

    def with_namespace(self, namespace: str) -> "PersistentStore":
        return PersistentStore(self.persistence.namespace(namespace))

    async def set(self, key: str, value: str | bytes, expires_in: int | timedelta | None = None) -> None:
        data = value.encode() if isinstance(value, str) else value
        await self.persistence.save(join_key(key), data, ttl=expires_in or None)

    async def get(self, key: str, renew_for: int | timedelta | None = None) -> bytes | None:
        data, until = await self.persistence.load_with_expiry(join_key(key), bytes)
        if until is not None and renew_for:
            await self.persistence.touch(join_key(key), ttl=renew_for)
        return data

    async def delete(self, key: str) -> None:
        await self.persistence.delete(join_key(key))

    async def delete_all(self) -> None:
        await self.persistence.delete_prefix("")  # those of the namespaces in this one, too

    async def exists(self, key: str) -> bool:
        return await self.persistence.exists(join_key(key))

    async def expires_in(self, key: str) -> int | None:
        until = await self.persistence.expires_at(join_key(key))
        return None if until is None else int(until - time.time())
