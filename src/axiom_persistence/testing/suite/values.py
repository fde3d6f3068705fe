"""Bytes come back as they were given."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ...errors import EncodingError, StorageFullError
from ...storage.adapter import NOT_NOW, StorageAdapter
from ._base import SuiteBase, at_place, listed, on_adapter, store

__all__ = ["ValueTests"]

AWKWARD = {
    "empty": b"",
    "zero": b"0",
    "null": b"null",
    "one NUL": b"\0",
    "NULs around": b"\0\0data\0\0",
    "every byte": bytes(range(256)),
    "every byte, from the end": bytes(range(255, -1, -1)),
    "no UTF-8": b"\xff\xfe\x80\xc0",
    "half a character": "é".encode()[:1],
    "a surrogate": b"\xed\xa0\x80",
    "line ends": b"\r\n\n\r\x1a\x0b",
    "spaces around": b"  data \t\n",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "JSON": b'{"axiom":1,"value":{"a":[1,2,null]}}',
    "JSON, then no JSON": b'{"a":1}\0\xff',
    "a brace": b"{",
    "quotes": b"'\"`; DROP TABLE record; --",
    "a number": b"1e5",
}


class ValueTests(SuiteBase):
    """fetch, read, write, delete, exists, previous, saved_at."""

    @on_adapter
    async def test_absent_keys_are_left_out(self, adapter: StorageAdapter) -> None:
        """What was never stored is absent to every verb."""
        assert await adapter.fetch(("a", "b")) == {}
        assert await adapter.fetch(()) == {}
        assert await adapter.read("a") is None
        assert await adapter.exists("a") is False
        assert await adapter.previous("a") is None
        assert await adapter.saved_at("a") is None

    @on_adapter
    async def test_write_read_exists_delete(self, adapter: StorageAdapter) -> None:
        """The four simple verbs say the same as fetch and commit do."""
        for data in (b"one", b"two"):
            await adapter.write("a", data)
            assert await adapter.read("a") == data
            assert await adapter.exists("a") is True
            assert (await adapter.fetch(("a",)))["a"].data == data
        await adapter.delete("a")
        assert await adapter.read("a") is None
        assert await adapter.exists("a") is False
        assert await adapter.fetch(("a",)) == {}

    @on_adapter
    async def test_fetch_answers_what_was_asked(self, adapter: StorageAdapter) -> None:
        """A fetch of several keys, given in any collection, answers those that are there and no others."""
        await store(adapter, {"a": b"1", "b": b"2", "c": b"3"})
        for asked in (["a", "c", "x"], ("x", "c", "a"), {"a", "c", "x"}, {"a": 0, "c": 0, "x": 0}.keys()):
            found = await adapter.fetch(asked)
            assert {key: stored.data for key, stored in found.items()} == {"a": b"1", "c": b"3"}
            assert all(stored.damage is None for stored in found.values())

    @on_adapter
    async def test_fetch_of_very_many_keys(self, adapter: StorageAdapter) -> None:
        """One fetch may name more keys than a medium takes in one request."""
        records = {f"key {n:04}": str(n).encode() for n in range(0, self.many, 2)}
        await store(adapter, records)
        found = await adapter.fetch([f"key {n:04}" for n in range(self.many)])
        assert {key: stored.data for key, stored in found.items()} == records

    @on_adapter
    async def test_every_byte_string_comes_back(self, adapter: StorageAdapter) -> None:
        """Empty bytes, all 256 byte values, bad UTF-8, JSON and near-JSON are kept exactly."""
        await adapter.commit(AWKWARD)
        for key, data in AWKWARD.items():
            assert await adapter.read(key) == data, key
            assert await adapter.exists(key) is True, key
            await adapter.commit({"one key": data})
            assert await adapter.read("one key") == data, key

    @on_adapter
    async def test_large_values(self, adapter: StorageAdapter) -> None:
        """Values of a megabyte, or as large as the adapter takes, come back exactly, also over small ones."""
        limit = adapter.traits.max_value_bytes
        size = 1 << 20 if limit is None else min(limit, 1 << 20)
        large = (bytes(range(251)) * (size // 251 + 1))[:size]
        await store(adapter, {"a": b"small", "b": large})
        await store(adapter, {"a": large[::-1], "b": b"small"})
        assert await adapter.read("a") == large[::-1]
        assert await adapter.read("b") == b"small"

    @on_adapter
    async def test_the_largest_value(self, adapter: StorageAdapter) -> None:
        """A value of max_value_bytes is taken; one byte more is refused and the stored one stays."""
        limit = adapter.traits.max_value_bytes
        if limit is None:
            pytest.skip("traits.max_value_bytes names no limit")
        if limit > 1 << 25:
            pytest.skip("traits.max_value_bytes is more than is tried in a test")
        largest = b"x" * limit
        await adapter.commit({"a": largest})
        assert await adapter.read("a") == largest
        for changes in ({"a": largest + b"y"}, {"b": b"fits", "a": largest + b"y"}):
            with pytest.raises((StorageFullError, EncodingError)) as refused:
                await adapter.commit(changes)
            assert refused.value.key == "a"
            assert await adapter.read("a") == largest
            if adapter.traits.atomic:
                assert await adapter.exists("b") is False

    @on_adapter
    async def test_nothing_mutable_is_shared(self, adapter: StorageAdapter) -> None:
        """Changing a mapping after it was given or answered changes nothing that is stored."""
        changes = {"a": b"one"}
        committed = await adapter.commit(changes)
        changes["a"] = b"changed"
        changes["b"] = b"added"
        assert await adapter.read("a") == b"one"
        assert await adapter.exists("b") is False

        found = await adapter.fetch(("a",))
        kept = dict(found)
        found.clear()
        assert await adapter.fetch(("a",)) == kept
        assert dict(committed) == {"a": kept["a"].version}

    @on_adapter
    async def test_the_previous_generation_is_older(self, adapter: StorageAdapter) -> None:
        """What is kept of the past was once stored under this key, and is not the current bytes."""
        await adapter.commit({"a": b"first", "other": b"x"})
        assert await adapter.previous("a") is None
        past = {b"first"}
        for data in (b"second", b"third", b""):
            await adapter.commit({"a": data})
            kept = await adapter.previous("a")
            assert kept is None or kept.data in past
            past.add(data)
        assert await adapter.previous("other") is None

    @on_adapter
    async def test_a_deleted_key_has_no_past(self, adapter: StorageAdapter) -> None:
        """After a deletion no previous generation is left, not even when the key is written again."""
        await adapter.commit({"a": b"first"})
        await adapter.commit({"a": b"second"})
        await adapter.delete("a")
        assert await adapter.previous("a") is None
        await adapter.commit({"a": b"third"})
        assert await adapter.previous("a") is None

    @on_adapter
    async def test_the_past_is_put_back(self, adapter: StorageAdapter) -> None:
        """Who takes back what it wrote sets what is kept before; values stay, absent keys have no past."""
        for data in (b"first", b"second"):
            await adapter.commit({"a": data, "b": data})
        keeps = await adapter.previous("a") is not None
        await adapter.set_previous({"a": b"{}", "b": None, "absent": b"{}"})
        kept = await adapter.previous_many(("a", "b", "absent"))
        assert {key: stored.data for key, stored in kept.items()} == ({"a": b"{}"} if keeps else {})
        assert await adapter.previous("a") == kept.get("a")
        assert await adapter.previous("b") is None
        assert await adapter.previous("absent") is None
        found = await adapter.fetch(("a", "b", "absent"))
        assert {key: stored.data for key, stored in found.items()} == {"a": b"second", "b": b"second"}

    @on_adapter
    async def test_the_time_of_a_save(self, adapter: StorageAdapter) -> None:
        """saved_at is a time of the wall clock, or not known; never that of something absent."""
        hour = 3600
        before = time.time()
        await adapter.commit({"a": b"1"})
        saved = await adapter.saved_at("a")
        assert saved is None or before - hour < saved < time.time() + hour
        await adapter.delete("a")
        assert await adapter.saved_at("a") is None

    @on_adapter
    async def test_fetch_now_agrees_with_fetch(self, adapter: StorageAdapter) -> None:
        """The synchronous read says what fetch says, or that it cannot say."""
        answers = 0
        for data in (None, b"", b"1", b"22", None, b"333"):
            await adapter.commit({"a": data})
            now = adapter.fetch_now("a")
            if now is not NOT_NOW:
                answers += 1
                assert now == (await adapter.fetch(("a",))).get("a")
        if not answers:
            pytest.skip("the adapter has no synchronous read")

    @at_place
    async def test_a_back_door_finds_what_was_stored(self, place: Path) -> None:
        """What a commit stored is in the medium itself, and what was deleted is not."""
        async with self.adapter(place) as adapter:
            await adapter.commit({"kept": bytes(range(256)), "empty": b"", "deleted": b"1"})
            await adapter.commit({"deleted": None})
        assert self.read_raw(place, "kept") == bytes(range(256))
        assert self.read_raw(place, "empty") == b""
        assert self.read_raw(place, "deleted") is None

    @at_place
    async def test_what_came_through_a_back_door_is_found(self, place: Path) -> None:
        """Bytes that were put into the medium itself are fetched and listed, at once after opening."""
        async with self.adapter(place) as adapter:
            await adapter.commit({"a": b"by the adapter"})
        self.write_raw(place, "a", b"by the back door")
        self.write_raw(place, "b", b"")
        async with self.adapter(place) as adapter:
            assert await adapter.read("a") == b"by the back door"
            assert await adapter.read("b") == b""
            assert await listed(adapter) == ["a", "b"]
