"""Those that keep values in Redis, each on a server of its own that syncs every commit to the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .contender import Survival, contender
from .served import KeyValueServed, OursServed, Served
from .values import Document

SYNCED = "appendonly yes, appendfsync always"


class OnRedis(Served):
    survives = Survival("yes", "yes", "yes", SYNCED)

    def start_in(self, place: Path) -> Any:
        from tests.support.redis_server import Redis

        return Redis(place).start()


@contender("redis-py")
class RedisPy(OnRedis):
    """One SET a save: the bare client, with its pool as it comes."""

    async def connect(self, address: str) -> None:
        import redis.asyncio

        self._encode, self._decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Document).decode
        self._client = redis.asyncio.Redis.from_url(address)
        self.save, self.load = self._save, self._load

    async def _save(self, key: str, value: Any) -> None:
        await self._client.set(key, self._encode(value))

    async def _load(self, key: str, kind: Any) -> Any:
        data = await self._client.get(key)
        return None if data is None else self._decode(data)

    async def fill(self, values: Mapping[str, Any]) -> None:
        await self._client.mset({key: self._encode(value) for key, value in values.items()})

    async def disconnect(self) -> None:
        await self._client.aclose()


@contender("ours-redis")
class OursRedis(OnRedis, OursServed):
    """The whole stack."""


@contender("redis-script")
class Script(RedisPy):
    """The script of a save of ours, with nothing around it: what the guarantees cost on the server."""

    async def connect(self, address: str) -> None:
        from axiom_persistence import open_persistence
        from axiom_persistence.adapters._networked.commit import Commit
        from axiom_persistence.adapters._redis.place import Place
        from axiom_persistence.adapters._redis.script import VERSION, Names, commit_command
        from axiom_persistence.store._header import HEADER

        async with open_persistence(address) as persistence:
            await persistence.save("first", 1)  # from now on there is a header, on which each save relies
        await super().connect(address)
        self._names = Names(Place.parse(address))
        header = await self._client.get(self._names.record_of(HEADER))
        self._guard = {HEADER: header[:VERSION].decode()}
        self._commit, self._command = Commit, commit_command
        self.save = self._save_alone

    async def _save_alone(self, key: str, value: Any) -> None:
        commit = self._commit({key: self._encode(value)}, self._guard, 1.0)
        assert await self._client.execute_command(*self._command(self._names, commit)) == [b"ok"]


@contender("kv-redis")
class KeyValueRedis(OnRedis, KeyValueServed):
    """py-key-value's store, over redis-py."""

    def store_at(self, address: str) -> Any:
        from key_value.aio.stores.redis import RedisStore

        return RedisStore(url=address)
