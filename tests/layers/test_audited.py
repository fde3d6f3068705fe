"""Audited keeps every promise of the adapter it wraps, and adds an entry to each of its commits."""

import asyncio

import pytest

from axiom_persistence import MemoryAdapter, SQLiteAdapter, actor
from axiom_persistence.errors import ConfigurationError, ConflictError, InvalidKeyError
from axiom_persistence.keys import AUDIT
from axiom_persistence.layers.audited import Audited
from axiom_persistence.layers.cached import Cached
from axiom_persistence.layers.journaled import Journaled
from axiom_persistence.security import AuditLog
from axiom_persistence.testing.conformance import AdapterSuite
from support.broken_adapters import OneFile
from support.trails import changed_keys, found_in


class TestAuditedSQLite(AdapterSuite):
    questions = 300

    def adapter(self, place):
        return Cached(Audited(SQLiteAdapter(place / "store.db"), AuditLog(hash_keys=True)))


def opened(body, *, log=None, inner=None):
    """Run ``body`` with an audited adapter and the one that it wraps."""

    async def main():
        place = MemoryAdapter() if inner is None else inner
        async with Audited(place, AuditLog() if log is None else log) as audited:
            return await body(audited, place)

    return asyncio.run(main())


def test_each_commit_leaves_one_entry_in_the_same_step():
    """``commit`` and ``commit_now`` hand one change more down; what is refused leaves nothing."""

    async def body(audited, inner):
        await audited.commit({"a": b"1", "b": None})
        with actor("anna", reason="ticket 7"):
            assert set(audited.commit_now({"a": b"2"})) == {"a"}
        with pytest.raises(ConflictError):
            await audited.commit({"a": b"3"}, expect={"a": None})
        await audited.commit({})
        return await found_in(inner)

    first, second = opened(body, log=AuditLog(actor="service"))
    assert (first.by, first.saved, first.deleted, first.why) == ("service", ["a"], ["b"], None)
    assert (second.by, second.saved, second.deleted, second.why) == ("anna", ["a"], [], "ticket 7")
    assert second.n == first.n + 1
    assert second.at >= first.at


def test_a_commit_of_many_keys_leaves_several_entries():
    async def body(audited, inner):
        await audited.commit({f"k{number:03}": b"1" for number in range(600)})
        return await found_in(inner)

    entries = opened(body)
    assert [len(entry.saved) for entry in entries] == [256, 256, 88]
    assert changed_keys(entries) == [f"k{number:03}" for number in range(600)]


def test_a_prefix_is_deleted_with_an_entry_for_each_key():
    async def body(audited, inner):
        await audited.commit(dict.fromkeys(["a/1", "a/2", "b/1"], b"1"))
        assert await audited.delete_prefix("a/") == 2
        return await found_in(inner)

    assert opened(body)[-1].deleted == ["a/1", "a/2"]


def test_what_is_purged_leaves_an_entry():
    async def body(audited, inner):
        await audited.commit(dict.fromkeys(["a", "b"], b"1"))
        await audited.purge(["a"], previous_of=["b"])
        assert [key async for key in audited.keys("")] == ["b"]
        return await found_in(inner)

    assert opened(body)[-1].deleted == ["a"]


@pytest.mark.parametrize("seal", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [None, 0, 1, 2, 3, 9])
def test_what_lists_keys_does_not_see_the_trail(seal, reverse, limit):
    mine = ["\x01a", "\x01store", "a", "b"]

    async def body(audited, inner):
        await audited.commit(dict.fromkeys(mine, b"1"))
        if seal:
            await audited.seal()
        for prefix in ("", "\x01", "\x01a", AUDIT, AUDIT + "new/", "a"):
            for after in (None, "\x01a", "\x01b", "a", AUDIT):
                found = [key async for key in audited.keys(prefix, after=after, limit=limit, reverse=reverse)]
                wanted = sorted((key for key in mine if key.startswith(prefix)), reverse=reverse)
                if after is not None:
                    wanted = [key for key in wanted if (key < after if reverse else key > after)]
                assert found == wanted[:limit]
        assert len([key async for key in inner.keys(AUDIT)]) == 2

    opened(body)


def test_hashed_keys_are_named_nowhere():
    """Nor do two stores have the same hash for a key."""

    async def body(audited, inner):
        await audited.commit({"patients/anna": b"1", "x": b"1"})
        await audited.seal()
        await audited.commit({"patients/anna": None})
        trail = [key async for key in inner.keys(AUDIT)]
        held = {key: stored.data for key, stored in (await inner.fetch(trail)).items()}
        assert not any(b"patients" in data for data in held.values())
        return (await found_in(inner))[-1].deleted

    (first,), (second,) = (opened(body, log=AuditLog(hash_keys=True)) for _ in range(2))
    assert first[0] == second[0] == "#"
    assert len(first) == 33
    assert first != second


def test_once_asked_for_keys_are_hashed_by_everybody():
    place = MemoryAdapter()

    async def save(audited, inner):
        await audited.commit({"secret": b"1"})
        return (await found_in(inner))[-1].saved[0]

    assert opened(save, inner=place) == "secret"
    hashed = opened(save, inner=place, log=AuditLog(hash_keys=True))
    assert hashed.startswith("#")
    assert opened(save, inner=place) == hashed


def test_a_key_that_cannot_be_is_told_as_without_it():
    async def body(audited, inner):
        for key in ("\ud800", "", "a\0"):
            with pytest.raises(InvalidKeyError):
                await audited.commit({key: b"1"})
            with pytest.raises(InvalidKeyError):
                audited.commit_now({key: b"1"})
        assert await found_in(inner) == []

    opened(body)


def test_an_adapter_without_all_or_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="put Journaled around it"):
        Audited(OneFile(tmp_path), AuditLog())
    Audited(Journaled(OneFile(tmp_path)), AuditLog())
