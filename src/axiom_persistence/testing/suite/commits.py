"""One verb changes everything: versions, expectations, all or nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ...errors import InvalidKeyError
from ...storage.adapter import Durability, StorageAdapter
from ._base import SuiteBase, at_place, content, on_adapter, refused, versions

__all__ = ["CommitTests"]


class CommitTests(SuiteBase):
    """commit, its versions and its expectations."""

    @on_adapter
    async def test_versions_are_those_of_fetch(self, adapter: StorageAdapter) -> None:
        """A commit returns the version of each key it wrote, none of those it deleted, and fetch agrees."""
        await adapter.commit({"gone": b"1"})
        committed = await adapter.commit({"a": b"1", "b": b"", "gone": None, "never": None})
        assert set(committed) == {"a", "b"}
        assert dict(committed) == await versions(adapter, "a", "b")
        assert all(isinstance(version, str) and version != "" for version in committed.values())

    @on_adapter
    async def test_equal_versions_mean_equal_bytes(self, adapter: StorageAdapter) -> None:
        """A different value has a version that no other value of the key ever had."""
        seen: dict[str, bytes] = {}
        for data in (b"1", b"2", b"1", b"3", b"", b"1", None, b"4", None, b"2", b"5", b"", b"3"):
            committed = await adapter.commit({"a": data})
            if data is not None:
                assert seen.setdefault(committed["a"], data) == data

    @on_adapter
    async def test_a_version_stays_until_the_key_is_written(self, adapter: StorageAdapter) -> None:
        """Reading, and changing other keys, does not change a version."""
        version = (await adapter.commit({"a": b"1"}))["a"]
        for others in ({"b": b"1"}, {"b": None}, {}):
            await adapter.commit(others)
            assert await versions(adapter, "a") == {"a": version}

    @on_adapter
    async def test_a_right_expectation_commits(self, adapter: StorageAdapter) -> None:
        """The version that was read lets the commit through, for writing and for deleting."""
        version = (await adapter.commit({"a": b"1"}))["a"]
        version = (await adapter.commit({"a": b"2"}, expect={"a": version}))["a"]
        assert await adapter.read("a") == b"2"
        await adapter.commit({"a": None}, expect={"a": version})
        assert await adapter.exists("a") is False

    @on_adapter
    async def test_a_stale_expectation_changes_nothing(self, adapter: StorageAdapter) -> None:
        """A version that was overwritten is refused, with the key named, and nothing changes."""
        stale = (await adapter.commit({"a": b"1"}))["a"]
        await adapter.commit({"a": b"2"})
        for data in (b"3", b"", None):
            conflict = await refused(adapter, {"a": data}, {"a": stale})
            assert conflict.key == "a"
            assert conflict.adapter is not None
            assert await adapter.read("a") == b"2"

    @on_adapter
    async def test_expecting_absence(self, adapter: StorageAdapter) -> None:
        """Expecting None lets the first writer through and nobody after, not even over empty bytes."""
        await adapter.commit({"a": b""}, expect={"a": None})
        await refused(adapter, {"a": b"2"}, {"a": None})
        assert await adapter.read("a") == b""
        await adapter.commit({"a": None})
        await adapter.commit({"a": b"3"}, expect={"a": None})
        assert await adapter.read("a") == b"3"

    @on_adapter
    async def test_expecting_what_was_deleted(self, adapter: StorageAdapter) -> None:
        """A version that was read before a deletion no longer holds, not even for another new value."""
        version = (await adapter.commit({"a": b"1"}))["a"]
        await adapter.commit({"a": None})
        await refused(adapter, {"a": b"2"}, {"a": version})
        assert await adapter.exists("a") is False
        await adapter.commit({"a": b"3"})
        await refused(adapter, {"a": b"2"}, {"a": version})
        assert await adapter.read("a") == b"3"

    @on_adapter
    async def test_expectations_without_changes(self, adapter: StorageAdapter) -> None:
        """An empty commit with expectations validates what was read, and writes nothing."""
        version = (await adapter.commit({"a": b"1"}))["a"]
        assert dict(await adapter.commit({}, expect={"a": version, "b": None})) == {}
        for expect in ({"a": None}, {"a": version, "b": version}, {"b": version}):
            await refused(adapter, {}, expect)
        assert await content(adapter) == {"a": b"1"}

    @on_adapter
    async def test_expectations_of_other_keys(self, adapter: StorageAdapter) -> None:
        """Keys that are not changed can be expected too: a decision stands on what was read."""
        version = (await adapter.commit({"read": b"1"}))["read"]
        await adapter.commit({"written": b"1"}, expect={"read": version})
        await adapter.commit({"read": b"2"})
        assert (await refused(adapter, {"written": b"2"}, {"read": version})).key == "read"
        assert await adapter.read("written") == b"1"

    @on_adapter
    async def test_one_failed_expectation_among_many(self, adapter: StorageAdapter) -> None:
        """If one of several expectations fails, no key changes, whichever stands first."""
        expect = dict(await adapter.commit(dict.fromkeys("abc", b"1")))
        expect["b"] = (await adapter.commit({"b": b"2"}))["b"] + "x"
        before = await content(adapter)
        for order in ("abc", "bca", "cab"):
            changes = {"a": b"new", "b": b"new", "c": None, "d": b"new"}
            await refused(adapter, changes, {key: expect[key] for key in order})
            assert await content(adapter) == before

    @on_adapter
    async def test_several_keys_in_one_commit(self, adapter: StorageAdapter) -> None:
        """Writes and deletions of one commit all happen; the other keys stay."""
        await adapter.commit({"a": b"1", "b": b"1", "c": b"1"})
        await adapter.commit({"a": b"2", "b": None, "d": b"2", "never": None})
        assert await content(adapter) == {"a": b"2", "c": b"1", "d": b"2"}

    @on_adapter
    async def test_deleting_what_is_absent(self, adapter: StorageAdapter) -> None:
        """Deleting is fine when there is nothing to delete, also twice."""
        await adapter.delete("never")
        await adapter.commit({"a": b"1"})
        await adapter.delete("a")
        await adapter.delete("a")
        await adapter.commit({"a": None, "never": None}, expect={"a": None})
        assert await content(adapter) == {}

    @on_adapter
    async def test_an_empty_commit(self, adapter: StorageAdapter) -> None:
        """Empty changes change nothing and return no version, however durable they are asked to be."""
        await adapter.commit({"a": b"1"})
        assert dict(await adapter.commit({})) == {}
        assert dict(await adapter.commit({}, expect={})) == {}
        assert dict(await adapter.commit({}, durability=adapter.traits.durability)) == {}
        assert await content(adapter) == {"a": b"1"}

    @on_adapter
    async def test_every_promised_durability(self, adapter: StorageAdapter) -> None:
        """Each class up to the strongest one promised is taken, and reads see the commit at once."""
        for durability in Durability:
            if durability <= adapter.traits.durability:
                committed = await adapter.commit({"a": durability.encode()}, durability=durability)
                assert await content(adapter) == {"a": durability.encode()}
                assert await versions(adapter, "a") == dict(committed)

    @on_adapter
    async def test_a_refused_key_refuses_the_commit(self, adapter: StorageAdapter) -> None:
        """Where commits are atomic, one impossible key leaves all others unwritten."""
        if not adapter.traits.atomic:
            pytest.skip("traits.atomic is false")
        await adapter.commit({"a": b"1"})
        with pytest.raises(InvalidKeyError):
            await adapter.commit({"a": b"2", "b": b"2", "nul\0": b"2"})
        with pytest.raises(InvalidKeyError):
            await adapter.commit({"a": None, "b": b"2"}, expect={"": None})
        assert await content(adapter) == {"a": b"1"}

    @on_adapter
    async def test_a_fetch_is_one_snapshot(self, adapter: StorageAdapter) -> None:
        """Where commits are atomic, a fetch of several keys never sees half of one."""
        if not adapter.traits.atomic:
            pytest.skip("traits.atomic is false")
        names = ("a", "b", "c")
        await adapter.commit(dict.fromkeys(names, b"0"))
        done = asyncio.Event()

        async def write() -> None:
            for n in range(1, 31):
                await adapter.commit(dict.fromkeys(names, b"%d" % n), durability=Durability.MEMORY)
                await asyncio.sleep(0)
            done.set()

        async def read() -> None:
            latest = 0
            while not done.is_set():
                found = await adapter.fetch(names)
                assert len({stored.data for stored in found.values()}) == 1, found
                # Nor does a later fetch go back behind an earlier one.
                assert int(found["a"].data) >= latest
                latest = int(found["a"].data)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            group.create_task(read())
            group.create_task(read())

    @on_adapter
    async def test_commit_now_is_a_commit(self, adapter: StorageAdapter) -> None:
        """What commit_now did is fetched at once, with the versions it returned, deletions included."""
        await adapter.commit({"a": b"1", "gone": b"1"})
        works = adapter.commit_now({"gone": b"2"}) is not None
        assert works == adapter.traits.immediate, "traits.immediate does not say what commit_now does"
        await adapter.commit({"gone": b"1"})
        committed = adapter.commit_now({"a": b"2", "b": b"", "gone": None})
        if committed is None:
            assert await content(adapter) == {"a": b"1", "gone": b"1"}
            pytest.skip("the adapter has no commit_now")
        assert await content(adapter) == {"a": b"2", "b": b""}
        assert dict(committed) == await versions(adapter, "a", "b")
        await adapter.commit({"a": b"3"}, expect={"a": committed["a"]})
        with pytest.raises(InvalidKeyError):
            adapter.commit_now({"b": b"4", "nul\0": b"4"})
        assert await content(adapter) == {"a": b"3", "b": b""}

    @on_adapter
    async def test_commit_now_keeps_the_order_of_calls(self, adapter: StorageAdapter) -> None:
        """A commit that still waits never overtakes a commit_now that was called after it."""
        for n in range(10):
            waiting = asyncio.create_task(adapter.commit({"a": b"earlier", "b": b"%d" % n}))
            await asyncio.sleep(0)
            if adapter.commit_now({"a": b"later"}) is None:
                await waiting
                pytest.skip("the adapter has no commit_now")
            assert await adapter.read("a") == b"later"
            await waiting
            assert await content(adapter) == {"a": b"later", "b": b"%d" % n}

    @at_place
    async def test_the_change_mark_moves(self, place: Path) -> None:
        """Where there is a change mark, each commit by somebody else gives it a new value."""
        async with self.adapter(place) as adapter:
            if not adapter.traits.shared or adapter.change_mark() is None:
                pytest.skip("nobody else can commit, or the adapter has no change mark")
            async with self.adapter(place) as other:
                marks = [adapter.change_mark()]
                for changes in ({"a": b"1"}, {"a": b"2"}, {"b": b"1"}, {"a": None}, {"a": b"1", "b": None}):
                    await other.commit(changes)
                    marks.append(adapter.change_mark())
                other.commit_now({"c": b"1"})
                if await other.exists("c"):
                    marks.append(adapter.change_mark())
                assert len(set(marks)) == len(marks)
