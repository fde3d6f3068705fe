"""Hidden names of keys, as the adapter that they are."""

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.sync._hidden import Hidden
from axiom_persistence.testing import AdapterSuite


class TestHidden(AdapterSuite):
    """Every promise of an adapter, under other names."""

    def adapter(self, place):
        return Hidden(MemoryAdapter())
