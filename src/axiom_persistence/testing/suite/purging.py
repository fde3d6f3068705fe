"""Deleting for good: what ``purge`` leaves, and what it must not leave."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ...storage.adapter import StorageAdapter
from ._base import SuiteBase, at_place, content, on_adapter

__all__ = ["PurgeTests"]

_MARKER = b"AXIOM-PURGED-MARKER"


class PurgeTests(SuiteBase):
    """purge."""

    @on_adapter
    async def test_purging_deletes_what_was_named(self, adapter: StorageAdapter) -> None:
        """Purged keys are gone with what came before them, all others stay; and again is fine."""
        await adapter.commit({"a": b"1", "b": b"1", "a/x": b"1", "c": b"1"})
        await adapter.commit({"a": b"2", "b": b"2", "c": b"2"})
        await adapter.purge(("a", "a/x", "absent"))
        assert await content(adapter) == {"b": b"2", "c": b"2"}
        assert await adapter.previous("a") is None
        await adapter.purge(("a",))
        await adapter.purge(())
        await adapter.commit({"a": b"3"})
        assert await adapter.previous("a") is None
        assert await content(adapter) == {"a": b"3", "b": b"2", "c": b"2"}

    @on_adapter
    async def test_purging_only_what_came_before(self, adapter: StorageAdapter) -> None:
        """The generation before a key goes, its value and its version stay."""
        await adapter.commit({"a": b"1", "b": b"1"})
        await adapter.commit({"a": b"2", "b": b"2"})
        before = (await adapter.fetch(("a",)))["a"]
        await adapter.purge(("b",), previous_of=("a", "absent"))
        assert (await adapter.fetch(("a",)))["a"] == before
        assert await adapter.previous("a") is None
        assert await content(adapter) == {"a": b"2"}

    @at_place
    async def test_no_byte_is_left_at_the_place(self, place: Path) -> None:
        """No file there holds a byte of it, while the adapter is open and after it was closed."""
        async with self.adapter(place) as adapter:
            await _fill(adapter)
            await adapter.purge(("small", "large", "{}"), previous_of=("kept",))
            assert _holders(place) == []
            await adapter.commit({"other": b"2"})
            assert await content(adapter) == {"kept": b"plain", "other": b"2"}
        assert _holders(place) == []
        async with self.adapter(place) as adapter:
            if adapter.traits.durability.rank:  # else nothing outlives the adapter
                assert await content(adapter) == {"kept": b"plain", "other": b"2"}
            assert await adapter.check() == []

    @on_adapter
    async def test_purging_beside_saves(self, adapter: StorageAdapter) -> None:
        """Saves of other keys, before, meanwhile and after, are all there."""
        saves = [adapter.commit({f"k{n}": b"%d" % n}) for n in range(20)]
        await asyncio.gather(*saves[:10], adapter.purge(("k0", "absent")), *saves[10:])
        assert (await content(adapter)).keys() >= {f"k{n}" for n in range(1, 20)}
        await adapter.purge([f"k{n}" for n in range(20)])
        assert await content(adapter) == {}


async def _fill(adapter: StorageAdapter) -> None:
    most = adapter.traits.max_value_bytes
    large = _MARKER * 2000 if most is None or most > 50_000 else _MARKER
    await adapter.commit({"other": b"1"})
    for value in (b"1" + _MARKER, b"2" + _MARKER):
        await adapter.commit({"small": value})
        await adapter.commit({"large": large + value})
        await adapter.commit({"{}": b'{"a":"' + value + b'"}'})
    await adapter.commit({"kept": _MARKER})
    await adapter.commit({"kept": b"plain"})


def _holders(place: Path) -> list[Path]:
    """The files that hold a byte of what was purged."""
    return [file for file in place.rglob("*") if file.is_file() and _MARKER in file.read_bytes()]
