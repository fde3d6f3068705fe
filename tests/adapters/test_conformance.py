"""Every adapter and every layer keeps the promises of StorageAdapter."""

import asyncio
from dataclasses import replace

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.errors import StorageFullError
from axiom_persistence.keys import check_stored_key
from axiom_persistence.layers.prefixed import Prefixed
from axiom_persistence.storage import BasicAdapter, Durability
from axiom_persistence.testing.conformance import AdapterSuite


class TestMemoryAdapter(AdapterSuite):
    def adapter(self, place):
        return MemoryAdapter()


class TestPrefixed(AdapterSuite):
    def adapter(self, place):
        return Prefixed(MemoryAdapter(), "part/")


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
        for key, data in changes.items():
            if data is not None and len(data) > 1000:
                raise StorageFullError("a value has at most 1,000 bytes here", key=key, adapter=self)
        return await super().commit(changes, **options)


class TestNarrowMemory(AdapterSuite):
    def adapter(self, place):
        return NarrowMemory()


class TestBasicAdapter(AdapterSuite):
    keeps_nothing_open = True
    one_loop_at_a_time = True

    def adapter(self, place):
        return BasicMemory()
