"""What a commit may hold is checked alike by every adapter of the library, bare and under its layers."""

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import InvalidKeyError
from axiom_persistence.layers.cached import Cached, CachePolicy
from axiom_persistence.layers.journaled import Journaled
from axiom_persistence.layers.observed import Observed
from axiom_persistence.storage.adapter import Durability

PLACES = {
    "memory": lambda path: MemoryAdapter(),
    "file": FileStorageAdapter,
    "sqlite": SQLiteAdapter,
    "cached": lambda path: Observed(Cached(SQLiteAdapter(path))),
    "write-back": lambda path: Cached(SQLiteAdapter(path), CachePolicy.write_back()),
    "journaled": lambda path: Journaled(MemoryAdapter()),
}


@pytest.mark.parametrize("durability", Durability)
@pytest.mark.parametrize("place", PLACES)
async def test_values_are_bytes_and_keys_are_keys(place, durability, tmp_path):
    """Anything else raises, names the key, and changes nothing."""
    async with PLACES[place](tmp_path / "store") as adapter:
        await adapter.commit({"a": b"0"})
        for value in (bytearray(b"1"), memoryview(b"1"), "text", 1):
            with pytest.raises(TypeError, match=r"the value of 'b' is .*, not bytes"):
                await adapter.commit({"a": b"1", "b": value}, durability=durability)
        for key in ("", "a\0", "\ud800", "x" * 2000):
            with pytest.raises(InvalidKeyError):
                await adapter.commit({"a": b"1", key: b"2"}, durability=durability)
        assert await adapter.read("a") == b"0"
        assert await adapter.read("b") is None
