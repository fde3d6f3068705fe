"""Those that keep values in PostgreSQL, each on a server of its own, on the disk that is measured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .contender import Contender, Survival, Unavailable, contender
from .ours import Ours
from .values import Document

SYNCED = "PostgreSQL's defaults: fsync=on, synchronous_commit=on"
UPSERT = "INSERT INTO bare VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET data = excluded.data"


class Served(Contender):
    """With a server below the directory, stopped when it closes."""

    awaits = True
    survives = Survival("yes", "yes", "yes", SYNCED)

    async def open(self, directory: Path) -> None:
        try:
            from tests.support.postgres import Postgres, program
        except ImportError as error:
            raise Unavailable(
                "the server's programs are found by the tests: run it where they are"
            ) from error
        try:
            program("initdb")
        except BaseException as skipped:  # pytest's own, which ends a test
            raise Unavailable(str(skipped)) from skipped
        place = directory / "server"
        place.mkdir()
        for above in (directory, *directory.parents):
            if above.stat().st_uid == os.getuid() and not above.stat().st_mode & 0o001:
                above.chmod(above.stat().st_mode | 0o001)  # the server runs as somebody else
        self.server = Postgres(place).start()
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


@contender("asyncpg")
class AsyncPG(Served):
    """One connection, one upsert a save: the bare client."""

    async def connect(self, address: str) -> None:
        import asyncpg

        self._encode, self._decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Document).decode
        self._client = await asyncpg.connect(address)
        await self._client.execute("CREATE TABLE bare (key text PRIMARY KEY, data bytea NOT NULL)")
        self.save, self.load = self._save, self._load

    async def _save(self, key: str, value: Any) -> None:
        await self._client.execute(UPSERT, key, self._encode(value))

    async def _load(self, key: str, kind: Any) -> Any:
        data = await self._client.fetchval("SELECT data FROM bare WHERE key = $1", key)
        return None if data is None else self._decode(data)

    async def fill(self, values: Mapping[str, Any]) -> None:
        await self._client.executemany(UPSERT, [(key, self._encode(value)) for key, value in values.items()])

    async def disconnect(self) -> None:
        await self._client.close()


@contender("asyncpg-pool")
class AsyncPGPool(AsyncPG):
    """Its pool of 10, as it comes."""

    async def connect(self, address: str) -> None:
        import asyncpg

        await super().connect(address)
        await self._client.close()
        self._client = await asyncpg.create_pool(address)


@contender("ours-postgres")
class OursPostgres(Served):
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


@contender("kv-postgres")
class KeyValuePostgres(Served):
    """py-key-value's store, over a pool of asyncpg."""

    async def connect(self, address: str) -> None:
        from key_value.aio.adapters.dataclass import DataclassAdapter
        from key_value.aio.stores.postgresql import PostgreSQLStore

        self._kept = PostgreSQLStore(url=address)
        adapter = DataclassAdapter(self._kept, Document)
        self._get, self._put_many = adapter.get, adapter.put_many
        self.save, self.load = adapter.put, self._load

    async def _load(self, key: str, kind: Any) -> Any:
        return await self._get(key)

    async def fill(self, values: Mapping[str, Any]) -> None:
        await self._put_many(list(values), list(values.values()))

    async def disconnect(self) -> None:
        await self._kept.close()
