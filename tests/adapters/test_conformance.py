"""Every adapter and every layer keeps the promises of StorageAdapter."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import StorageFullError
from axiom_persistence.keys import check_stored_key
from axiom_persistence.layers.journaled import Journaled
from axiom_persistence.layers.prefixed import Prefixed
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.storage.basic import BasicAdapter
from axiom_persistence.storage.layer import Layer
from axiom_persistence.testing import AdapterSuite


class BasicMemory(BasicAdapter):
    """The least an author writes, over a dict."""

    def __init__(self):
        self.records = {}

    def __repr__(self):
        return "BasicMemory()"

    @property
    def traits(self):
        return replace(super().traits, durability=Durability.MEMORY)

    async def read(self, key):
        return self.records.get(check_stored_key(key, self.traits.max_key_bytes))

    async def write(self, key, data):
        check_stored_key(key, self.traits.max_key_bytes)
        await asyncio.sleep(0)
        self.records[key] = data

    async def delete(self, key):
        self.records.pop(check_stored_key(key, self.traits.max_key_bytes), None)

    async def keys(self, prefix=""):
        for key in sorted(key for key in self.records if key.startswith(prefix)):
            yield key


class NarrowMemory(MemoryAdapter):
    """Takes short keys and small values only, as many media do."""

    @property
    def traits(self):
        return replace(super().traits, max_key_bytes=60, max_value_bytes=1000)

    def _check(self, keys):
        super()._check(keys)
        for key in keys:
            check_stored_key(key, 60)

    async def commit(self, changes, **options):
        self._check(changes)
        for key, data in changes.items():
            if data is not None and len(data) > 1000:
                raise StorageFullError("a value has at most 1,000 bytes here", key=key, adapter=self)
        return await super().commit(changes, **options)


class SQLiteSuite(AdapterSuite):
    """Back doors into a database, by SQLite itself."""

    prefix = ""

    def read_raw(self, place, key):
        with closing(sqlite3.connect(place / "store.db")) as database:
            row = database.execute(
                "SELECT CAST(data AS BLOB) FROM record WHERE key = ?", (self.prefix + key,)
            ).fetchone()
        return None if row is None else row[0]

    def write_raw(self, place, key, data):
        with closing(sqlite3.connect(place / "store.db")) as database, database:
            database.execute(
                "INSERT OR REPLACE INTO record(key, data, version) VALUES(?, ?, 1)", (self.prefix + key, data)
            )


class FileSuite(AdapterSuite):
    """Back doors into a directory, by the file system."""

    def read_raw(self, place, key):
        file = place / "store" / f"{key}.json"
        return file.read_bytes() if file.exists() else None

    def write_raw(self, place, key, data):
        (place / "store" / f"{key}.json").write_bytes(data)


class TestMemoryAdapter(AdapterSuite):
    def adapter(self, place):
        return MemoryAdapter()


class TestNarrowMemory(AdapterSuite):
    def adapter(self, place):
        return NarrowMemory()


class TestSQLiteAdapter(SQLiteSuite):
    def adapter(self, place):
        return SQLiteAdapter(place / "store.db")


class TestSQLiteAdapterOffloaded(SQLiteSuite):
    def adapter(self, place):
        return SQLiteAdapter(place / "store.db", offload_reads=True)


class TestFileStorageAdapter(FileSuite):
    def adapter(self, place):
        return FileStorageAdapter(place / "store")


class TestBasicAdapter(AdapterSuite):
    keeps_nothing_open = True

    def adapter(self, place):
        return BasicMemory()


class TestLayerOnMemory(AdapterSuite):
    def adapter(self, place):
        return Layer(MemoryAdapter())


class TestPrefixedOnMemory(AdapterSuite):
    def adapter(self, place):
        return Prefixed(MemoryAdapter(), "part/")


class TestPrefixedOnSQLite(SQLiteSuite):
    prefix = "é%/"

    def adapter(self, place):
        return Prefixed(SQLiteAdapter(place / "store.db"), self.prefix)


class TestJournaledOnBasic(AdapterSuite):
    keeps_nothing_open = True

    def adapter(self, place):
        return Journaled(BasicMemory())
