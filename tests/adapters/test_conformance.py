"""Every adapter and every layer keeps the promises of StorageAdapter."""

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.layers.prefixed import Prefixed
from axiom_persistence.testing.conformance import AdapterSuite


class TestMemoryAdapter(AdapterSuite):
    def adapter(self, place):
        return MemoryAdapter()


class TestPrefixed(AdapterSuite):
    def adapter(self, place):
        return Prefixed(MemoryAdapter(), "part/")
