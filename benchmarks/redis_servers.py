"""Those that keep values in Redis, each on a server of its own that syncs every commit to the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .contender import Contender, Survival, Unavailable, contender
from .ours import Ours
from .values import Document

SYNCED = "appendonly yes, appendfsync always"


class Served(Contender):
    """With a server below the directory, stopped when it closes."""

    awaits = True
    survives = Survival("yes", "yes", "yes", SYNCED)

    async def open(self, directory: Path) -> None:
        try:
            from tests.support.redis_server import Redis, program
        except ImportError as error:
            raise Unavailable("the server's program is found by the tests: run it where they are") from error
        try:
            program()
        except BaseException as skipped:  # pytest's own, which ends a test
            raise Unavailable(str(skipped)) from skipped
        place = directory / "server"
        place.mkdir()
        self.server = Redis(place).start()
        try:
            await self.connect(self.server.address)
        except BaseException:
            self.server.stop()
            raise

    async def connect(self, address: str) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        try:
            await self.disconnect()
        finally:
            self.server.stop()

    async def disconnect(self) -> None:
        raise NotImplementedError


@contender("redis-py")
class RedisPy(Served):
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
class OursRedis(Served):
    """The whole stack."""

    async def connect(self, address: str) -> None:
        self._ours = Ours()
        self._ours.place = address
        await self._ours.open(Path())
        self.save, self.load = self._ours.save, self._ours.load

    async def fill(self, values: Mapping[str, Any]) -> None:
        await self._ours.fill(values)

    async def disconnect(self) -> None:
        await self._ours.close()


@contender("kv-redis")
class KeyValueRedis(Served):
    """py-key-value's store, over redis-py."""

    async def connect(self, address: str) -> None:
        from key_value.aio.adapters.dataclass import DataclassAdapter
        from key_value.aio.stores.redis import RedisStore

        self._kept = RedisStore(url=address)
        adapter = DataclassAdapter(self._kept, Document)
        self._get, self._put_many = adapter.get, adapter.put_many
        self.save, self.load = adapter.put, self._load

    async def _load(self, key: str, kind: Any) -> Any:
        return await self._get(key)

    async def fill(self, values: Mapping[str, Any]) -> None:
        await self._put_many(list(values), list(values.values()))

    async def disconnect(self) -> None:
        await self._kept.close()
