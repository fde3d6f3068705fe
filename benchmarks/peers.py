"""The peers, each as its own documentation has it used, and given the cheapest codec where it takes bytes.

Every import is inside ``open``: a peer that is not installed is reported, and the others are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .contender import Contender, Survival, contender
from .floors import UPSERT
from .values import Document


@contender("aiosqlite")
class AioSQLite(Contender):
    """One autocommit upsert a save: with implicit transactions, tasks would commit each other's rows."""

    awaits = True
    survives = Survival("yes", "yes", "yes", "WAL, synchronous=FULL, one autocommit statement a save")

    async def open(self, directory: Path) -> None:
        import aiosqlite

        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Document).decode
        self._database = await aiosqlite.connect(directory / "aio.db", isolation_level=None, timeout=30)
        await self._database.execute("PRAGMA journal_mode = WAL")
        await self._database.execute("PRAGMA synchronous = FULL")
        await self._database.execute(
            "CREATE TABLE IF NOT EXISTS record (key TEXT PRIMARY KEY, data BLOB NOT NULL)"
        )
        self.save, self.load = self._save, self._load

    async def _save(self, key: str, value: Any) -> None:
        await self._database.execute(UPSERT, (key, self._encode(value)))

    async def _load(self, key: str, kind: Any) -> Any:
        # One hop to its thread, not the two of execute and fetchone.
        rows = await self._database.execute_fetchall("SELECT data FROM record WHERE key = ?", (key,))
        for (data,) in rows:
            return self._decode(data)
        return None

    async def save_many(self, values: Mapping[str, Any]) -> None:
        encode = self._encode
        rows = [(key, encode(value)) for key, value in values.items()]
        await self._database.execute("BEGIN IMMEDIATE")
        await self._database.executemany(UPSERT, rows)
        await self._database.execute("COMMIT")

    async def fill(self, values: Mapping[str, Any]) -> None:
        await self.save_many(values)

    async def close(self) -> None:
        await self._database.close()


@contender("diskcache")
class DiskCache(Contender):
    survives = Survival(
        "yes", "yes", "no", "core.py: WAL, synchronous=NORMAL; evicts beyond 1 GiB unless told otherwise"
    )

    async def open(self, directory: Path) -> None:
        import diskcache

        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Document).decode
        self._cache = diskcache.Cache(str(directory / "diskcache"))
        self.save, self.load = self._save, self._load

    def _save(self, key: str, value: Any) -> None:
        self._cache.set(key, self._encode(value))

    def _load(self, key: str, kind: Any) -> Any:
        return self._decode(self._cache.get(key))

    def save_many(self, values: Mapping[str, Any]) -> None:
        with self._cache.transact():
            for key, value in values.items():
                self._cache.set(key, self._encode(value))

    async def fill(self, values: Mapping[str, Any]) -> None:
        self.save_many(values)

    async def close(self) -> None:
        self._cache.close()


class KeyValue(Contender):
    """py-key-value with its own typed adapter for dataclasses."""

    awaits = True

    def _store(self, directory: Path) -> Any:
        raise NotImplementedError

    async def open(self, directory: Path) -> None:
        self.begin(self._store(directory))

    def begin(self, store: Any) -> None:
        """Save in ``store`` from now on."""
        from key_value.aio.adapters.dataclass import DataclassAdapter

        self._opened = store
        adapter = DataclassAdapter(self._opened, Document)
        self._get, self._put, self._put_many = adapter.get, adapter.put, adapter.put_many
        self.save, self.load = self._put, self._load

    async def _load(self, key: str, kind: Any) -> Any:
        return await self._get(key)

    async def save_many(self, values: Mapping[str, Any]) -> None:
        await self._put_many(list(values), list(values.values()))

    async def fill(self, values: Mapping[str, Any]) -> None:
        await self.save_many(values)

    async def close(self) -> None:
        close = getattr(self._opened, "close", None)
        if close is not None:
            await close()


@contender("kv-memory")
class KeyValueMemory(KeyValue):
    survives = Survival("no", "no", "no", "memory")

    def _store(self, directory: Path) -> Any:
        from key_value.aio.stores.memory import MemoryStore

        return MemoryStore()


@contender("kv-disk")
class KeyValueDisk(KeyValue):
    survives = Survival("yes", "yes", "no", "disk/store.py: over diskcache, WAL, synchronous=NORMAL")

    def _store(self, directory: Path) -> Any:
        from key_value.aio.stores.disk import DiskStore

        return DiskStore(directory=directory / "kv-disk")


@contender("kv-filetree")
class KeyValueFileTree(KeyValue):
    survives = Survival(
        "yes", "yes", "in part", "filetree/store.py: fsync of the file, none of the directory"
    )

    def _store(self, directory: Path) -> Any:
        from key_value.aio.stores.filetree import (
            FileTreeStore,
            FileTreeV1CollectionSanitizationStrategy,
            FileTreeV1KeySanitizationStrategy,
        )

        place = directory / "kv-filetree"
        place.mkdir(exist_ok=True)
        return FileTreeStore(
            data_directory=place,
            key_sanitization_strategy=FileTreeV1KeySanitizationStrategy(place),
            collection_sanitization_strategy=FileTreeV1CollectionSanitizationStrategy(place),
        )


@contender("kv-rocksdb")
class KeyValueRocksDB(KeyValue):
    survives = Survival("yes", "yes", "no", "rocksdb/store.py: writes without sync")

    def _store(self, directory: Path) -> Any:
        from key_value.aio.stores.rocksdb import RocksDBStore

        return RocksDBStore(path=directory / "kv-rocksdb")


@contender("sqlitedict")
class SQLiteDict(Contender):
    """With a commit that is waited for: its autocommit returns before anything is written."""

    survives = Survival("yes", "yes", "no", "sqlitedict.py: PRAGMA synchronous=OFF")

    async def open(self, directory: Path) -> None:
        from sqlitedict import SqliteDict

        decode = msgspec.json.Decoder(Document).decode
        self._dict = SqliteDict(
            str(directory / "sqlitedict.db"), encode=msgspec.json.Encoder().encode, decode=decode
        )
        self.save, self.load = self._save, self._load

    def _save(self, key: str, value: Any) -> None:
        self._dict[key] = value
        self._dict.commit()

    def _load(self, key: str, kind: Any) -> Any:
        return self._dict[key]

    def save_many(self, values: Mapping[str, Any]) -> None:
        self._dict.update(values)
        self._dict.commit()

    async def fill(self, values: Mapping[str, Any]) -> None:
        self.save_many(values)

    async def close(self) -> None:
        self._dict.close()


@contender("tinydb")
class TinyDB(Contender):
    survives = Survival("yes", "no", "no", "storages.py: rewrites the whole file in place, then truncates")

    async def open(self, directory: Path) -> None:
        from tinydb import TinyDB as Database
        from tinydb import where

        self._where = where
        self._table = Database(directory / "tiny.json")
        self.save, self.load = self._save, self._load

    def _save(self, key: str, value: Any) -> None:
        row = {"key": key, "value": msgspec.to_builtins(value)}
        self._table.upsert(row, self._where("key") == key)

    def _load(self, key: str, kind: Any) -> Any:
        return msgspec.convert(self._table.get(self._where("key") == key)["value"], kind)

    async def fill(self, values: Mapping[str, Any]) -> None:
        self._table.insert_multiple(
            {"key": key, "value": msgspec.to_builtins(value)} for key, value in values.items()
        )

    async def close(self) -> None:
        self._table.close()
