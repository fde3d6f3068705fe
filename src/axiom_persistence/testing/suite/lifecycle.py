"""Opening, closing, opening again; and what an adapter says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from ...errors import CapabilityUnavailableError
from ...storage.adapter import Durability, StorageAdapter
from ._base import SuiteBase, at_place, content, listed, on_adapter, refused, versions

__all__ = ["LifecycleTests"]


class LifecycleTests(SuiteBase):
    """aopen, aclose, traits, names, check and stats."""

    @at_place
    async def test_traits_never_change(self, place: Path) -> None:
        """What an adapter can do is known before it is opened, and the same ever after."""
        adapter = self.adapter(place)
        traits = adapter.traits
        assert traits.max_key_bytes > 0
        assert traits.max_value_bytes is None or traits.max_value_bytes > 0
        await adapter.aopen()
        assert adapter.traits == traits
        await adapter.commit({"a": b"1"})
        assert adapter.traits == traits
        await adapter.aclose()
        assert adapter.traits == traits

    @at_place
    async def test_an_adapter_has_a_name(self, place: Path) -> None:
        """repr names the class, str and location say where, whether open or not; and errors use it."""
        adapter = self.adapter(place)
        before = (str(adapter), repr(adapter), adapter.location)
        assert type(adapter).__name__ in before[1]
        for name in before:
            assert name != ""
            assert " object at 0x" not in name
        async with adapter:
            assert (str(adapter), repr(adapter), adapter.location) == before
            assert "'absent'" in str(await refused(adapter, {}, {"absent": "some version"}))
        assert (str(adapter), repr(adapter), adapter.location) == before

    @on_adapter
    async def test_a_sound_store_has_no_faults(self, adapter: StorageAdapter) -> None:
        """check finds nothing in what was only written through the adapter; stats are plain counters."""
        assert await adapter.check() == []
        await adapter.commit({"a": b"1", "b": b"\xff", "A/../b": b""})
        await adapter.commit({"a": b"2", "b": None})
        assert await adapter.check() == []
        for name, count in adapter.stats().items():
            assert isinstance(name, str)
            assert type(count) is int

    @at_place
    async def test_opening_and_closing_twice(self, place: Path) -> None:
        """Opening what is open and closing what is closed, or was never opened, is fine."""
        adapter = self.adapter(place)
        await adapter.aclose()
        await adapter.aopen()
        await adapter.commit({"a": b"1"})
        await adapter.aopen()
        assert await adapter.read("a") == b"1"
        await adapter.aclose()
        await adapter.aclose()

    @at_place
    async def test_use_after_close(self, place: Path) -> None:
        """A closed adapter refuses; one that keeps nothing open works on, and then truly."""
        adapter = self.adapter(place)
        async with adapter:
            await adapter.commit({"a": b"1", "b": b"1"})
        if self.keeps_nothing_open:
            await adapter.commit({"a": b"2"})
            assert await content(adapter) == {"a": b"2", "b": b"1"}
            return
        for use in (
            lambda: adapter.fetch(("a",)),
            lambda: adapter.commit({"a": b"2"}),
            lambda: adapter.commit({"a": None}, durability=Durability.MEMORY),
            lambda: listed(adapter),
            lambda: adapter.read("a"),
        ):
            with pytest.raises(CapabilityUnavailableError):
                await use()
        try:
            assert adapter.commit_now({"a": b"2"}) is None
        except CapabilityUnavailableError:
            pass
        if adapter.traits.durability is not Durability.MEMORY:
            async with self.adapter(place) as again:
                assert await content(again) == {"a": b"1", "b": b"1"}

    @at_place
    async def test_the_same_object_opens_again(self, place: Path) -> None:
        """A closed adapter can be opened again and is then as good as new."""
        adapter = self.adapter(place)
        for n in range(3):
            async with adapter:
                await adapter.commit({"a": b"%d" % n})
                assert await adapter.read("a") == b"%d" % n

    @at_place
    async def test_a_new_opening_finds_everything(self, place: Path) -> None:
        """What was accepted before a close is there after it, of whatever durability, with its version."""
        async with self.adapter(place) as adapter:
            if adapter.traits.durability is Durability.MEMORY:
                pytest.skip("traits.durability promises nothing beyond the object")
            await adapter.commit({"a": b"1", "deleted": b"1", "empty": b"", "é/../CON": b"odd"})
            await adapter.commit({"a": b"2", "deleted": None})
            await adapter.commit({"lazy": b"1"}, durability=Durability.MEMORY)
            adapter.commit_now({"now": b"1"})
            before = await adapter.fetch(await listed(adapter))
            assert {"a", "empty", "é/../CON", "lazy"} <= set(before)
        async with self.adapter(place) as adapter:
            assert await adapter.fetch(await listed(adapter)) == before
            await adapter.commit({"a": b"3"}, expect={"a": before["a"].version, "deleted": None})
            assert await adapter.check() == []
        async with self.adapter(place) as adapter:
            assert await adapter.read("a") == b"3"

    @at_place
    async def test_an_empty_store_opens_empty(self, place: Path) -> None:
        """A store that never held anything is empty, again and again."""
        for _ in range(2):
            async with self.adapter(place) as adapter:
                assert await listed(adapter) == []
                assert await adapter.check() == []

    @at_place
    async def test_two_openings_of_one_place(self, place: Path) -> None:
        """Where a store is shared, two openings see each other's commits and expectations hold."""
        first, second = self.adapter(place), self.adapter(place)
        if not first.traits.shared:
            pytest.skip("traits.shared is false")
        async with first, second:
            version = (await first.commit({"a": b"1"}))["a"]
            assert await versions(second, "a") == {"a": version}
            mark = first.change_mark()
            await second.commit({"a": b"2", "b": b""}, expect={"a": version})
            assert mark is None or first.change_mark() != mark
            assert await content(first) == {"a": b"2", "b": b""}
            await refused(first, {"a": b"3"}, {"a": version})
            await first.aclose()
            await second.commit({"c": b"3"})
            assert await content(second) == {"a": b"2", "b": b"", "c": b"3"}
