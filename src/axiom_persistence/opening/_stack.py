"""The one order of the layers: it is part of what a store is, and nowhere else are they put together."""

from __future__ import annotations

from ..layers.cached import Cached, CachePolicy
from ..layers.observed import Observed
from ..storage.adapter import Durability, StorageAdapter

__all__ = ["stack"]


def stack(adapter: StorageAdapter, *, cache: CachePolicy | None, inspect: bool) -> StorageAdapter:
    """``adapter`` with the layers of an opened store around it, be it the plain or the secure one.

    What is only inspected is neither cached nor observed, what is in memory is not cached once more.
    """
    if inspect:
        return adapter
    if cache is not None and adapter.traits.durability > Durability.MEMORY:
        adapter = Cached(adapter, cache)
    return Observed(adapter)
