"""One way to find what a layer offers: through any other layer, unless that one changes keys or versions."""

from dataclasses import replace

import pytest

from axiom_persistence import AdapterBasedPersistence, MemoryAdapter, SQLiteAdapter
from axiom_persistence.errors import ConfigurationError
from axiom_persistence.layers.cached import Cached
from axiom_persistence.layers.journaled import Journaled
from axiom_persistence.layers.observed import Observed
from axiom_persistence.layers.prefixed import Prefixed
from axiom_persistence.layers.read_only import ReadOnly
from axiom_persistence.storage import Layer


class Foreign(Layer):
    """Somebody else's layer, which only forwards."""


def test_the_outermost_of_a_kind_is_found():
    """A layer or the adapter itself is found through all layers around it; what is not there is None."""
    adapter = MemoryAdapter()
    inner = Cached(adapter)
    outer = Cached(Foreign(inner))
    stack = ReadOnly(Journaled(Foreign(Observed(Foreign(outer)))))
    assert stack.find(Cached) is outer
    assert stack.find(MemoryAdapter) is adapter
    assert stack.find(ReadOnly) is stack
    assert isinstance(stack.find(Observed), Observed)
    assert stack.find(SQLiteAdapter) is None
    assert adapter.find(Cached) is None


def test_nothing_is_found_where_the_keys_have_other_names():
    """What is below Prefixed speaks of other keys, so only Prefixed itself and what is above are found."""
    layer = Prefixed(Observed(Cached(MemoryAdapter())), "mine/")
    assert Observed(layer).find(Prefixed) is layer
    assert layer.find(Cached) is None
    assert layer.find(Observed) is None
    above = Observed(layer)
    assert above.find(Observed) is above


async def test_a_stream_does_not_tell_keys_by_names_that_nobody_knows():
    """Over Prefixed without an Observed of its own there are no changes to be had, and the error says so."""
    async with AdapterBasedPersistence(Prefixed(Observed(MemoryAdapter()), "mine/")) as persistence:
        with pytest.raises(ConfigurationError, match="Observed"):
            persistence.changes()


async def test_a_collection_and_a_stream_work_through_a_layer_of_somebody_elses(tmp_path):
    """Both find what they need below a layer that only forwards: known items are not read again."""
    stack = Foreign(Observed(Foreign(Cached(SQLiteAdapter(tmp_path / "s.db")))))
    async with AdapterBasedPersistence(stack) as persistence:
        changes = persistence.changes("items/")
        items = persistence.collection("items", int)
        await items.save_all({"a": 1, "b": 2})
        await items.save_all({"a": 1, "b": 3})
        reads = persistence.stats()["cache_misses"]
        assert await items.save_all({"a": 1, "b": 4}) == 1
        assert persistence.stats()["cache_misses"] == reads
        assert {(await anext(changes)).key for _ in range(2)} == {"items/a", "items/b"}
        await persistence.save("items/b", 5)
        assert await items.load_all() == {"a": 1, "b": 5}


def test_traits_say_whether_a_commit_works_at_once():
    """Layers hand on what the adapter can do, and one that takes it away says so."""

    class Slow(Layer):
        @property
        def traits(self):
            return replace(self.inner.traits, immediate=False)

    assert Observed(Cached(Journaled(MemoryAdapter()))).traits.immediate
    assert Prefixed(MemoryAdapter(), "x").traits.immediate
    assert not Observed(Cached(Journaled(Slow(MemoryAdapter())))).traits.immediate
