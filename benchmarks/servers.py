"""Those that keep values in PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .contender import Survival, contender
from .served import KeyValueServed, OursServed, Served
from .values import Document

SYNCED = "PostgreSQL's defaults: fsync=on, synchronous_commit=on"
UPSERT = "INSERT INTO bare VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET data = excluded.data"


class OnPostgres(Served):
    survives = Survival("yes", "yes", "yes", SYNCED)

    def start_in(self, place: Path) -> Any:
        from tests.support.postgres import Postgres

        for above in place.parents:
            if above.stat().st_uid == os.getuid() and not above.stat().st_mode & 0o001:
                above.chmod(above.stat().st_mode | 0o001)  # the server runs as somebody else
        return Postgres(place).start()


@contender("asyncpg")
class AsyncPG(OnPostgres):
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
class OursPostgres(OnPostgres, OursServed):
    """The whole stack."""


@contender("asyncpg-statement")
class Statement(AsyncPG):
    """The statement of a save of ours, with nothing around it: what the guarantees cost on the server."""

    async def connect(self, address: str) -> None:
        from axiom_persistence import open_persistence
        from axiom_persistence.adapters._networked.commit import new_commit_id
        from axiom_persistence.adapters._postgres.place import Place
        from axiom_persistence.adapters._postgres.statements import Statements
        from axiom_persistence.store._header import HEADER

        async with open_persistence(address) as persistence:
            await persistence.save("first", 1)  # from now on there is a header, on which each save relies
        await super().connect(address)
        said = Statements(Place.parse(address))
        rows = await self._client.fetch(said.fetch_one, HEADER)
        self._guard, self._new_id = (HEADER, rows[0]["version"]), new_commit_id
        self._write = (await self._client.prepare(said.save)).fetch
        self.save = self._save_alone

    async def _save_alone(self, key: str, value: Any) -> None:
        assert await self._write(self._new_id(), f'["{key}"]', key, self._encode(value), *self._guard)


@contender("kv-postgres")
class KeyValuePostgres(OnPostgres, KeyValueServed):
    """py-key-value's store, over a pool of asyncpg."""

    def store_at(self, address: str) -> Any:
        from key_value.aio.stores.postgresql import PostgreSQLStore

        return PostgreSQLStore(url=address)
