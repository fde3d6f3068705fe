"""What has expired is gone: for every verb of a store, over every adapter, by a look at the head."""

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import CorruptedDataError
from axiom_persistence.keys import INTERNAL
from axiom_persistence.layers.cached import Cached, CachePolicy
from axiom_persistence.records.corruption import Corruption
from axiom_persistence.records.head import HEAD_BYTES, UNSAID, expiry_in
from axiom_persistence.records.record import seal_record
from axiom_persistence.storage.layer import Layer
from axiom_persistence.store.store import Store

KINDS = {
    "memory": lambda place: MemoryAdapter(),
    "sqlite": lambda place: SQLiteAdapter(place / "s.db"),
    "files": lambda place: FileStorageAdapter(place / "s"),
    "cached": lambda place: Cached(SQLiteAdapter(place / "s.db")),
    "write-back": lambda place: Cached(MemoryAdapter(), CachePolicy.write_back(interval=60)),
}


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


class Counting(Layer):
    """Counts what is asked of the adapter."""

    def __init__(self, inner):
        super().__init__(inner)
        self.heads = 0

    async def fetch_range(self, keys, start, length):
        self.heads += len(keys)
        return await self.inner.fetch_range(keys, start, length)


async def listed(store, prefix="", **asked):
    return [key async for key in store.keys(prefix, **asked)]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_verb_takes_what_has_expired_for_absent(tmp_path, kind):
    """keys, count, exists, load, expires_at, touch, delete and delete_prefix agree about three records."""
    clock = Clock()
    store = Store(KINDS[kind](tmp_path), clock=clock)
    await store.aopen()
    for key in ("a/gone", "a/later", "a/touched"):
        await store.save(key, key, expires=2_000_000)
    await store.save("a/ever", "a/ever")
    assert await store.touch("a/later", 4_000_000)
    assert await store.touch("a/touched", None)
    assert await listed(store) == ["a/ever", "a/gone", "a/later", "a/touched"]
    clock.now = 2_000.0
    left = ["a/ever", "a/later", "a/touched"]
    assert await listed(store) == await listed(store, "a/") == left
    assert await listed(store, reverse=True) == left[::-1]
    assert await listed(store, limit=2) == left[:2]
    assert await listed(store, after="a/f", limit=1) == ["a/later"]
    assert await listed(store, after="a/h", reverse=True, limit=1) == ["a/ever"]
    assert await store.count("a/") == 3
    for key in (*left, "a/gone"):
        there = key in left
        assert await store.exists(key) is there
        assert await store.load(key, str, None) == (key if there else None)
        assert await store.expires_at(key) == (4_000.0 if key == "a/later" else None)
        assert await store.load_with_expiry(key, str, "-") == (
            key if there else "-",
            4_000.0 if key == "a/later" else None,
        )
        assert await store.touch(key, 4_000_000) is there
    assert await store.delete(["a/gone"]) == 0
    await store.save("a/gone", 1, expires=2_000_001)
    clock.now = 3_000.0
    assert await store.delete_prefix("a/") == 3
    assert await listed(store) == []
    assert [key async for key in store.adapter.keys("a/")] == []
    await store.aclose()


async def test_a_store_without_ends_is_not_looked_at(tmp_path):
    """Only once something that expires was saved, by whomever, are the heads of records read."""
    one = Store(Counting(SQLiteAdapter(tmp_path / "s.db")))
    other = Store(Counting(SQLiteAdapter(tmp_path / "s.db")))
    await one.aopen()
    await one.save("a", 1)
    await other.aopen()
    assert await listed(one) == await listed(other) == ["a"]
    assert await other.exists("a")
    assert (one.adapter.heads, other.adapter.heads) == (0, 0)
    await other.save("b", 1, expires=1)
    for store in (one, other):
        assert await listed(store) == ["a"]
        assert not await store.exists("b")
        assert store.adapter.heads == 3
        await store.aclose()


async def test_a_store_whose_header_promises_no_mark_is_looked_at():
    """It may hold records that expire and were saved without a mark, by an earlier version."""
    clock = Clock()
    adapter = Counting(MemoryAdapter())
    store = Store(adapter, clock=clock)
    await store.aopen()
    await store.save("a", 1)
    await adapter.commit({"b": seal_record("b", b"1", "1.0", expires=1)})
    store._header = type(store._header)(id=store._header.id)
    assert await listed(store) == ["a"]
    assert adapter.heads == 2


async def test_a_save_that_fails_leaves_the_mark_due():
    """The next one brings it: no record with an end is ever stored without it."""
    clock = Clock()
    adapter = MemoryAdapter()
    store = Store(adapter, clock=clock)
    await store.aopen()
    await store.save("a", 1)
    await adapter.aclose()
    with pytest.raises(Exception, match="not open"):
        await store.save("b", 1, expires=1)
    await adapter.aopen()
    data = seal_record("b", b"1", "1.0", expires=1)
    assert store.commit_now({"b": data}) is None
    await store.commit({"b": data})
    assert await listed(store) == ["a"]
    assert store.commit_now({"c": data}) is not None


async def test_touch_keeps_the_value_byte_for_byte():
    """Schema, an older form of the value and the value itself stay; only the end is another."""
    store = Store(MemoryAdapter(), clock=Clock())
    await store.aopen()
    await store.save("k", 1)
    data = seal_record("k", b'{"a" :  1}', "1.0", expires=5_000_000, compat=b"[1]")
    await store.commit({"k": data})
    assert await store.touch("k", 6_000_000)
    stored = await store.adapter.read("k")
    assert stored == seal_record("k", b'{"a" :  1}', "1.0", expires=6_000_000, compat=b"[1]")
    assert not await store.touch("absent", 6_000_000)


async def test_damage_exists_until_it_is_read():
    """A damaged record is listed and exists: a head has no check. Whether it can be read, a load tells."""
    store = Store(MemoryAdapter(), clock=Clock(), on_corruption=Corruption.RAISE)
    await store.aopen()
    await store.save("later", 1, expires=9_000_000)
    await store.adapter.commit({"cut": b"", "noise": b"\xff" * 500, "odd": b'{"axiom":1,"sum":' + b"0" * 99})
    assert await listed(store) == ["cut", "later", "noise", "odd"]
    assert await store.exists("noise")
    with pytest.raises(CorruptedDataError):
        await store.load("noise", int, None)
    assert await store.delete_prefix("noise") == 1
    await store.save("noise", 1)  # nothing is left to be rescued


async def test_what_is_the_librarys_own_is_neither_listed_nor_deleted():
    """Not by an empty prefix, not by its own prefix, in neither direction."""
    store = Store(MemoryAdapter(), clock=Clock())
    await store.aopen()
    await store.save("k", 1, expires=9_000_000)
    own = [key async for key in store.adapter.keys(INTERNAL)]
    assert own
    for reverse in (False, True):
        assert await listed(store, reverse=reverse) == ["k"]
        assert await listed(store, reverse=reverse, limit=5) == ["k"]
        assert await listed(store, INTERNAL, reverse=reverse) == []
    assert await store.delete_prefix(INTERNAL) == 0
    assert await store.delete_prefix("") == 1
    assert [key async for key in store.adapter.keys("")] == own


def test_a_head_says_when_the_record_ends():
    """Whatever the value is; of what it cannot tell, it says so, and the record is looked at whole."""
    value = b'{"expires":5}'
    for schema in ("1.0", "2.0-é", "a" * 40):
        for compat in (None, b'{"expires":7}'):
            plain = seal_record("k", value, schema, compat=compat)
            ending = seal_record("k", value, schema, expires=1_767_225_600_000, compat=compat)
            assert expiry_in(plain[:HEAD_BYTES]) is None
            assert expiry_in(ending[:HEAD_BYTES]) == 1_767_225_600_000
    for odd in (seal_record("k", value, 'a"b'), seal_record("k", value, "x" * 200), b"", b"\0" * 99):
        assert expiry_in(odd[:HEAD_BYTES]) == UNSAID
