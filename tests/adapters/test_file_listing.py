"""Listing the keys of a file store from several threads at once."""

import asyncio

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.storage.adapter import Durability


async def test_listings_at_once_see_every_key(tmp_path):
    """However many list at the same time, each sees all keys: they share no position in the directory."""
    expected = [f"k{n:04d}" for n in range(1500)]
    async with FileStorageAdapter(tmp_path / "store") as adapter:
        for start in range(0, 1500, 300):
            some = dict.fromkeys(expected[start : start + 300], b"1")
            await adapter.commit(some, durability=Durability.PROCESS_EXIT)

        async def listed() -> list[str]:
            return [key async for key in adapter.keys("")]

        for _ in range(8):
            assert await asyncio.gather(*(listed() for _ in range(6))) == [expected] * 6
