"""The embedded stores as tests use them: closed and opened again at will, and looked into."""

import os

from msgspec.json import decode

from axiom_persistence import (
    AdapterBasedPersistence,
    FileStorageAdapter,
    MemoryAdapter,
    ObjectStoreAdapter,
    PostgresAdapter,
    RedisAdapter,
    SQLiteAdapter,
    open_persistence,
)
from axiom_persistence.layers.audited import Audited
from axiom_persistence.layers.encrypted import Encrypted
from axiom_persistence.records.corruption import QUARANTINE, Quarantined
from axiom_persistence.records.record import open_record
from axiom_persistence.security.audit import AuditLog
from axiom_persistence.security.keys import StaticKey

EMBEDDED = ("memory", "sqlite", "file", "stack", "encrypted sqlite", "encrypted file")
"""The three embedded stores bare, SQLite under all layers of open_persistence, and the two that are kept on a
disk with every record encrypted; in SQLite every commit then leaves an entry in an audit trail, too."""


SERVED = ("postgres", "redis", "objects")
"""Stores on servers. They are slow to come to, so the suite asks a few modules; ``make torture`` asks all."""
ASKED_OF_SERVERS = ("test_transaction", "test_collection_saves")


def stores_for(module):
    """The stores that the tests of a module run over; ``AXIOM_TEST_STORES`` names others."""
    named = os.environ.get("AXIOM_TEST_STORES")
    if named:
        return tuple(named.split(","))
    asked = module.rpartition(".")[2] in ASKED_OF_SERVERS
    return EMBEDDED + (("postgres", "redis") if asked else ())  # a bucket answers too slowly for more


class Kept:
    """One store of a test: ``open()`` makes a new persistence over the same data."""

    def __init__(self, kind, directory):
        self.kind = kind
        self.path = directory / ("store" if kind.endswith("file") else "store.db")
        self.keys = StaticKey(bytes(range(32)))
        self._memory = MemoryAdapter()

    def adapter(self):
        if self.kind == "memory":
            return self._memory
        if self.kind == "postgres":
            from support.postgres import address_at

            return PostgresAdapter(address_at(self.path))
        if self.kind == "objects":
            from support.buckets import address_at

            return ObjectStoreAdapter(address_at(self.path))
        if self.kind == "redis":
            from support import redis_server

            return RedisAdapter(redis_server.address_at(self.path))
        adapter = FileStorageAdapter(self.path) if self.kind.endswith("file") else SQLiteAdapter(self.path)
        if not self.kind.startswith("encrypted"):
            return adapter
        encrypted = Encrypted(adapter, self.keys)
        return encrypted if self.kind.endswith("file") else Audited(encrypted, AuditLog())

    def open(self, **options):
        if self.kind == "stack":
            return open_persistence(self.path, **options)
        return AdapterBasedPersistence(self.adapter(), **options)


async def plant(persistence, key, data):
    """Write bytes behind the back of the typed store, as damage and other programs do."""
    await persistence.adapter.commit({key: data})


async def raw(persistence, key):
    """The stored bytes of ``key``, or None."""
    return await persistence.adapter.read(key)


async def listed(persistence, prefix=""):
    """All keys, in a list."""
    return [key async for key in persistence.keys(prefix)]


async def quarantined(persistence):
    """What lies in quarantine: (key, damaged bytes) of each record there."""
    found = []
    async for place in persistence.adapter.keys(QUARANTINE):
        record = open_record(place, await persistence.adapter.read(place))
        entry = decode(record.value, type=Quarantined)
        found.append((entry.key, entry.data))
    return found
