"""SQLiteAdapter alone with its file runs the suite of every adapter, too."""

from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.testing import AdapterSuite


class TestExclusive(AdapterSuite):
    def adapter(self, place):
        return SQLiteAdapter(place / "store.db", exclusive=True)
