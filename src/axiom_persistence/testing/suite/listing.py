"""Parts of what is there: pages of keys, all keys with a prefix, existence, parts of values."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from ...errors import ConfigurationError, InvalidKeyError
from ...storage.adapter import NOT_NOW, Durability, StorageAdapter
from ._base import SuiteBase, at_place, content, listed, on_adapter, refused, store

__all__ = ["ListingTests"]

_LETTERS: Final = ("a", "b", "A", "/", ".", "-", "%", "+", "=", "~", " ", "é", "e\u0301", "\x01", "\uffff")
_EDGES: Final = ("\ud7ff", "\ue000", "\U00010000", "\U0010ffff")


class _Question(NamedTuple):
    prefix: str
    after: str | None
    limit: int | None
    reverse: bool

    def answer(self, keys: set[str]) -> list[str]:
        """What a listing of ``keys`` says, found in the plainest way."""
        found = sorted(key for key in keys if key.startswith(self.prefix))
        if self.reverse:
            found.reverse()
        if self.after is not None:
            after = self.after
            found = [key for key in found if (key < after if self.reverse else key > after)]
        return found[: self.limit]

    async def put_to(self, adapter: StorageAdapter) -> list[str]:
        keys = adapter.keys(self.prefix, after=self.after, limit=self.limit, reverse=self.reverse)
        return [key async for key in keys]


def some_keys(chance: random.Random) -> set[str]:
    """Keys that share beginnings, some of them deep, some long, some at the edges of Unicode."""
    letters = (*_LETTERS, *_EDGES)
    keys = {"".join(chance.choices(letters, k=chance.randint(1, 5))) for _ in range(120)}
    keys |= {f"a/{n:02}" for n in range(12)} | {"d/" * n + "e" for n in range(1, 18)}
    return keys | {"x" * n + end for n in (120, 129, 130, 131, 140) for end in ("", "y", "é")}


def questions(chance: random.Random, keys: set[str], count: int) -> Iterator[_Question]:
    known = sorted(keys)
    for _ in range(count):
        key, other = chance.choice(known), chance.choice(known)
        prefix = chance.choice(("", "", key[: chance.randint(0, 3)], key))
        near = other[: chance.randint(0, len(other))] + chance.choice(("", "a", "\U0010ffff"))
        after = chance.choice((None, other, near, prefix, prefix + "b"))
        yield _Question(prefix, after, chance.choice((None, 0, 1, 2, 7)), chance.random() < 0.5)


class ListingTests(SuiteBase):
    """keys with all its arguments, delete_prefix, exists and fetch_range."""

    @on_adapter
    async def test_listings_agree_with_a_sorted_list(self, adapter: StorageAdapter) -> None:
        """Whatever prefix, after, limit and reverse are asked for, the keys are those of a sorted list."""
        chance = random.Random(20)  # noqa: S311 - the same questions each time
        limit = adapter.traits.max_key_bytes
        keys = {key for key in some_keys(chance) if len(key.encode()) <= limit}
        await store(adapter, dict.fromkeys(keys, b"1"))
        gone = chance.sample(sorted(keys), 20)
        await store(adapter, dict.fromkeys(gone))
        keys -= set(gone)
        for question in questions(chance, keys, self.questions):
            assert await question.put_to(adapter) == question.answer(keys), question

    @on_adapter
    async def test_a_walk_by_pages_meets_every_key_once(self, adapter: StorageAdapter) -> None:
        """Going on behind the last key of a page works in both directions, also where that key is gone."""
        keys = [f"{n:03}" for n in range(50)]
        for reverse in (False, True):
            await store(adapter, dict.fromkeys(keys, b"1"))
            seen: list[str] = []
            after = None
            while page := await _Question("", after, 7, reverse).put_to(adapter):
                seen += page
                after = page[-1]
                if len(seen) % 2:
                    await store(adapter, {after: None})
            assert seen == sorted(keys, reverse=reverse)

    @on_adapter
    async def test_impossible_listings_are_refused(self, adapter: StorageAdapter) -> None:
        """A limit below 0 and an ``after`` that is no text are refused; such a prefix finds nothing."""
        await store(adapter, {"a": b"1"})
        with pytest.raises(ConfigurationError):
            await _Question("", None, -1, reverse=False).put_to(adapter)
        with pytest.raises(InvalidKeyError):
            await _Question("", "\ud800", None, reverse=False).put_to(adapter)
        assert await listed(adapter, "\ud800") == []
        assert await listed(adapter, "a\udfff") == []

    @on_adapter
    async def test_exists_agrees_with_fetch(self, adapter: StorageAdapter) -> None:
        """What is stored exists, empty bytes too; what was deleted does not, nor does what lies beside it."""
        for data in (None, b"", b"1", None, b"x" * 900, b"{}", None):
            await adapter.commit({"a/b": data})
            assert await adapter.exists("a/b") is (data is not None)
            assert await adapter.exists("a") is False
            assert await adapter.exists("a/") is False
            assert await adapter.exists("A/b") is False

    @on_adapter
    async def test_parts_of_values(self, adapter: StorageAdapter) -> None:
        """fetch_range gives the asked bytes of each value, fewer behind its end, and no absent key."""
        values = {"text": b'{"a":1}', "none": b"", "long": bytes(range(256)) * 3, "nul": b"a\0b"}
        await adapter.commit(values)
        for start, length in ((0, 0), (0, 1), (0, 160), (1, 3), (5, 10), (700, 200), (99_999, 5)):
            parts = {key: data[start : start + length] for key, data in values.items()}
            assert await adapter.fetch_range([*values, "absent"], start, length) == parts
        assert await adapter.fetch_range([], 0, 10) == {}
        with pytest.raises(InvalidKeyError):
            await adapter.fetch_range([""], 0, 10)

    @on_adapter
    async def test_deleting_by_prefix(self, adapter: StorageAdapter) -> None:
        """Exactly the keys with the prefix go, and their number is told; a prefix is no pattern."""
        keys = ["a", "a/", "a/b", "a/b/c", "a%b", "aéb", "a\U0010ffff", "A/b", "b", "a0", "_", "%"]
        for prefix in ("a/", "a", "a%", "_", "\U0010ffff", "nothing", "a\U0010ffff"):
            await store(adapter, dict.fromkeys(keys, b"1"))
            for key in keys:
                assert await adapter.read(key) == b"1"
            gone = {key for key in keys if key.startswith(prefix)}
            assert await adapter.delete_prefix(prefix) == len(gone)
            assert await listed(adapter) == sorted(set(keys) - gone)
            assert await content(adapter) == dict.fromkeys(set(keys) - gone, b"1")
            for key in keys:
                assert await adapter.exists(key) is (key not in gone)
                assert adapter.fetch_now(key) is NOT_NOW or (adapter.fetch_now(key) is None) is (key in gone)
        await store(adapter, dict.fromkeys(keys, b"1"))
        assert await adapter.delete_prefix("", after="b") == len([key for key in keys if key > "b"])
        assert await adapter.delete_prefix("") == len([key for key in keys if key <= "b"])
        assert await listed(adapter) == []

    @on_adapter
    async def test_deleting_very_many_by_prefix(self, adapter: StorageAdapter) -> None:
        """More keys than fit on a page go together, and no other."""
        most = self.many
        await store(adapter, dict.fromkeys((f"{n * 2 // most}/{n:04}" for n in range(most)), b"1"))
        assert await adapter.delete_prefix("0") == most // 2
        assert await listed(adapter) == [f"1/{n:04}" for n in range(most // 2, most)]

    @on_adapter
    async def test_what_was_deleted_by_prefix_has_no_past(self, adapter: StorageAdapter) -> None:
        """No previous generation is left, and no version of before ever holds again."""
        await adapter.commit({"a/1": b"first", "b": b"1"})
        version = (await adapter.commit({"a/1": b"second"}))["a/1"]
        assert await adapter.delete_prefix("a/") == 1
        assert await adapter.previous("a/1") is None
        await refused(adapter, {"a/1": b"x"}, {"a/1": version})
        await adapter.commit({"a/1": b"third"}, expect={"a/1": None})
        await refused(adapter, {"a/1": b"x"}, {"a/1": version})
        assert await adapter.previous("a/1") is None
        assert await content(adapter) == {"a/1": b"third", "b": b"1"}

    @on_adapter
    async def test_deleting_by_prefix_keeps_the_order_of_calls(self, adapter: StorageAdapter) -> None:
        """What was committed before the call is gone with it, also what still waits then; later ones stay."""
        for n in range(5):
            before = [asyncio.create_task(adapter.commit({f"a/{n}": b"1", "b": b"1"})) for n in range(4)]
            await asyncio.sleep(0)
            deleting = asyncio.create_task(adapter.delete_prefix("a/"))
            await asyncio.gather(*before)
            await deleting
            later = asyncio.create_task(adapter.commit({"a/later": b"%d" % n}))
            assert [key for key in await listed(adapter, "a/") if key != "a/later"] == []
            await later
            assert await content(adapter) == {"a/later": b"%d" % n, "b": b"1"}

    @at_place
    async def test_others_notice_a_deletion_by_prefix(self, place: Path) -> None:
        """Another opening of the store sees it at once, and its change mark moves."""
        async with self.adapter(place) as adapter:
            if not adapter.traits.shared:
                pytest.skip("traits.shared is false")
            await adapter.commit({"a/1": b"1", "a/2": b"1", "b": b"1"})
            async with self.adapter(place) as other:
                assert len(await content(other)) == 3
                mark = other.change_mark()
                assert await adapter.delete_prefix("a/") == 2
                assert mark is None or other.change_mark() != mark
                assert await content(other) == {"b": b"1"}
                assert await other.exists("a/1") is False

    @at_place
    async def test_a_deletion_by_prefix_lasts(self, place: Path) -> None:
        """It is as durable as asked: a new opening finds what was left."""
        for durability in Durability:
            async with self.adapter(place) as adapter:
                if not Durability.MEMORY < adapter.traits.durability >= durability:
                    continue
                await adapter.commit({"a/1": b"1", "a/2": b"1", "b": b"1"})
                assert await adapter.delete_prefix("a/", durability=durability) == 2
            async with self.adapter(place) as adapter:
                assert await content(adapter) == {"b": b"1"}
