"""save_all of a collection that knows what it holds: as if it had compared everything, and read nothing."""

import asyncio
import random
import tracemalloc
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from axiom_persistence import open_persistence
from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import EncodingError, TypeMismatchError
from axiom_persistence.layers._cache.entries import Entries
from axiom_persistence.layers.cached import Cached, CachePolicy
from axiom_persistence.layers.observed import Observed
from axiom_persistence.persistence.collection import Collection
from axiom_persistence.storage.layer import Layer
from axiom_persistence.store.store import Store


@dataclass
class Note:
    title: str
    tags: list[str] = field(default_factory=list)
    weight: float | None = 1.0


@dataclass
class Other:
    title: str
    tags: list[str]
    weight: float


class Point(msgspec.Struct, frozen=True):
    x: int


class Counting(Layer):
    """Tells what was read and written below the cache; commits may wait for the test."""

    def __init__(self, inner):
        super().__init__(inner)
        self.reads = []
        self.writes = []
        self.gate = None

    def fetch_now(self, key):
        self.reads.append([key])
        return self.inner.fetch_now(key)

    async def fetch(self, keys):
        self.reads.append(sorted(keys))
        return await self.inner.fetch(keys)

    async def commit(self, changes, *, expect=None, durability=None):
        if not changes:  # somebody waits for what was called before
            return await self.inner.commit({}, durability=durability)
        self.writes.append(sorted(changes))
        if self.gate is not None:
            await self.gate.wait()
        return await self.inner.commit(changes, expect=expect, durability=durability)


def adapter_at(kind, place):
    return SQLiteAdapter(place / "a.db") if kind == "sqlite" else FileStorageAdapter(place / "a")


@pytest.fixture(params=["sqlite", "file"])
async def store(request, tmp_path):
    below = Counting(adapter_at(request.param, tmp_path))
    store = Store(Observed(Cached(below)), durability="process_exit")
    await store.aopen()
    await store.prepare()
    store.below = below
    store.elsewhere = Store(Cached(adapter_at(request.param, tmp_path)), durability="process_exit")
    await store.elsewhere.aopen()
    below.reads.clear()
    yield store
    await store.elsewhere.aclose()
    await store.aclose()


@pytest.fixture
def notes(store):
    return Collection(store, "notes/", Note)


def some_notes(count=20):
    return {f"{n:02}": Note(f"note {n}", ["x"]) for n in range(count)}


on_sqlite = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""Where the change mark is silent about commits of our own."""


async def test_without_a_commit_nothing_is_read_again(store, notes):
    """Where nobody wrote in between, the second save_all reads nothing, and writes what was changed."""
    items = some_notes()
    await notes.save_all(items)
    await notes.save_all(items)
    store.below.reads.clear()
    assert await notes.save_all(items) == 0
    items["03"].tags.append("y")
    assert await notes.save_all(items) == 1
    assert store.below.reads == []


@on_sqlite
async def test_nothing_is_read_again(store, notes):
    """What the collection saved or loaded, and nobody else wrote, is compared without reading it."""
    items = some_notes()
    assert await notes.save_all(items) == 20
    for reload in (False, True):
        if reload:
            items = await notes.load_all()
        store.below.reads.clear()
        store.below.writes.clear()
        assert await notes.save_all(items) == 0
        items["03"].tags.append("y")
        items["new"] = Note("new")
        assert await notes.save_all(items) == 2 - reload
        assert await notes.save_all(items) == 0
        read = [key for keys in store.below.reads for key in keys]
        assert read == ([] if reload else ["notes/new"])
        assert [key for keys in store.below.writes for key in keys] == ["notes/03", "notes/new"][: 2 - reload]
        assert await Collection(store.elsewhere, "notes/", Note).load_all() == items


async def by_the_store(store, key, value):
    await store.save(key, value)


async def by_a_commit_now(store, key, value):
    assert store.commit_now({key: store.seal(key, value)}) is not None


async def by_a_collection(store, key, value):
    await Collection(store, "notes/", Note).save_all({key.removeprefix("notes/"): value})


async def by_another_store(store, key, value):
    other = Store(store.adapter)
    await other.aopen()
    await other.save(key, value)


async def by_another_opening(store, key, value):
    await store.elsewhere.save(key, value)


async def by_deleting(store, key, value):
    await store.delete([key])


async def by_deleting_elsewhere(store, key, value):
    await store.elsewhere.delete([key])


WRITERS = [
    by_the_store,
    by_a_commit_now,
    by_a_collection,
    by_another_store,
    by_another_opening,
    by_deleting,
    by_deleting_elsewhere,
]


@pytest.mark.parametrize("write", WRITERS)
async def test_what_others_write_is_noticed(store, notes, write):
    """Whoever wrote or deleted an item meanwhile, and by whichever way: save_all stores what it was given."""
    if write is by_a_commit_now and await is_without_commit_now(store):
        pytest.skip("the adapter has no commit_now")
    items = some_notes()
    await notes.save_all(items)
    for known in (True, False):
        await write(store, "notes/03", Note("theirs"))
        if known:
            await write(store, "notes/04", Note("theirs"))
        assert await notes.save_all(items) == 1 + known
        assert await notes.load_all() == items
        assert await notes.save_all(items) == 0


async def is_without_commit_now(store):
    return store.commit_now({"other": store.seal("other", 1)}) is None


async def test_the_same_written_by_others(store, notes):
    """An item that somebody else made equal to ours meanwhile is not written again."""
    items = some_notes()
    await notes.save_all(items)
    items["03"].title = "new"
    await store.save("notes/03", items["03"])
    await store.elsewhere.save("notes/04", items["04"])
    store.below.writes.clear()
    assert await notes.save_all(items) == 0
    assert store.below.writes == []


@pytest.mark.parametrize("write", [by_the_store, by_another_opening])
async def test_somebody_writes_while_items_are_left_out(store, notes, write):
    """What is written while save_all is given other items is noticed when the item is given again."""
    items = some_notes()
    await notes.save_all(items)
    await write(store, "notes/03", Note("theirs"))
    assert await notes.save_all({"01": items["01"]}) == 0
    assert await notes.save_all({"02": items["02"]}) == 0
    assert await notes.save_all(items) == 1
    assert await notes.load_all() == items


async def test_items_that_were_replaced_away(store, notes):
    """Items that replace deleted are written when they are given again."""
    items = some_notes(4)
    await notes.save_all(items)
    assert await notes.save_all({"00": items["00"]}, replace=True) == 3
    assert await notes.save_all(items) == 3
    assert await notes.load_all() == items


async def test_other_records_with_the_same_value(store, notes):
    """A record that expires, or of an earlier schema, is another record though its value is the same.

    One of a later minor schema stays as it is: its value has the shape of that one.
    """
    items = some_notes(3)
    await notes.save_all(items)
    expires = store.expiry(timedelta(days=1))
    await store.commit({"notes/01": store.seal("notes/01", items["01"], Note, expires)})
    later = Store(store.adapter, schema="1.1")
    await later.save("notes/02", items["02"], Note)
    assert await notes.save_all(items) == 1
    assert (await store.describe("notes/01")).expires_at is None
    assert (await store.describe("notes/02")).schema == "1.1"
    fresh = Collection(later, "notes/", Note)
    await fresh.load_all()
    assert await fresh.save_all(items) == 2
    assert (await store.describe("notes/01")).schema == "1.1"


async def test_what_is_refused_stays_refused(store, notes):
    """NaN where null is stored, and another class with the same JSON, are refused though the bytes agree."""
    items = {"a": Note("a", [], None), "b": Note("b", [], 2.0)}
    await notes.save_all(items)
    assert await notes.save_all(items) == 0
    items["a"].weight = float("nan")
    with pytest.raises(EncodingError, match="notes/a"):
        await notes.save_all(items)
    items["a"].weight = None
    for same in (Other("b", [], 2.0), {"title": "b", "tags": [], "weight": 2.0}):
        with pytest.raises(TypeMismatchError, match="notes/b"):
            await notes.save_all(items | {"b": same})
    with pytest.raises(EncodingError, match="notes/b"):
        await notes.save_all(items | {"b": Note("b", [object()])})
    assert await notes.save_all(items) == 0
    assert await notes.load_all() == items


async def test_equal_bytes_of_another_kind(store):
    """A tuple that holds a list is compared as one that may change, whatever equal one was saved before."""
    pairs = Collection(store, "pairs/", Any)
    await pairs.save_all({"a": (1, (2,))})
    changing = (1, [2])
    assert await pairs.save_all({"a": changing}) == 0
    changing[1].append(3)
    assert await pairs.save_all({"a": changing}) == 1
    assert await pairs.get("a") == [1, [2, 3]]


async def test_an_item_that_is_none(store):
    """None is an item like any other, and is not taken for something that may be skipped."""
    either = Collection(store, "either/", Note | None)
    assert await either.save_all({"a": Note("a"), "b": None}) == 2
    assert await either.save_all({"a": None, "b": Note("b")}) == 2
    assert await either.load_all() == {"a": None, "b": Note("b")}


async def test_items_that_change_while_they_are_saved(store, notes):
    """An item changed after save_all has taken it is written by the next save_all."""
    items = some_notes(3)
    store.below.writes.clear()
    store.below.gate = asyncio.Event()
    saving = asyncio.create_task(notes.save_all(items))
    while not store.below.writes:
        await asyncio.sleep(0)
    items["01"].tags.append("late")
    store.below.gate.set()
    assert await saving == 3
    assert await notes.save_all(items) == 1
    assert await notes.load_all() == items


async def test_a_cancelled_save_that_happens_later(store, notes):
    """A save of somebody whose task was cancelled may take effect at any time; it is noticed when it did."""
    items = some_notes(3)
    await notes.save_all(items)
    store.below.gate = gate = asyncio.Event()
    held = []

    async def commit(changes, *, expect=None, durability=None):
        held.append(dict(changes))
        await gate.wait()

    store.below.commit, commit_below = commit, store.below.commit
    late = asyncio.create_task(store.commit({"notes/01": store.seal("notes/01", Note("theirs"))}))
    await asyncio.sleep(0)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    store.below.commit, store.below.gate = commit_below, None
    assert await notes.save_all(items) == 0  # reads what is still there
    await store.below.inner.commit(held[0])
    assert await notes.save_all(items | {"02": Note("two")}) == 2
    assert (await notes.load_all())["01"] == items["01"]
    # The same, but settled by another commit before it is looked at again.
    store.below.commit = commit
    late = asyncio.create_task(store.commit({"notes/01": store.seal("notes/01", Note("theirs"))}))
    await asyncio.sleep(0)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    store.below.commit = commit_below
    assert await notes.save_all({"00": items["00"]}) == 0
    await store.below.inner.commit(held[1])
    await store.save("other", 1)
    assert await notes.save_all(items) == 2
    assert await notes.load_all() == items


async def test_save_alls_at_once(store, notes):
    """Tasks that save with one collection take turns: none misses what was written between its own steps."""
    items = [some_notes(10) for _ in range(4)]

    async def save(number):
        for turn in range(5):
            items[number]["05"].title = f"{number} {turn}"
            await notes.save_all(items[number])
            if turn % 2:
                await store.save("notes/06", Note("theirs"))

    await asyncio.gather(*(save(number) for number in range(4)))
    for number in (2, 0):
        await notes.save_all(items[number])
        assert await Collection(store.elsewhere, "notes/", Note).load_all() == items[number]


async def test_save_alls_are_committed_together(store, notes):
    """A save_all does not wait for the commit of another one, so that they share a sync."""
    await notes.save_all(some_notes(3))
    store.below.writes.clear()
    store.below.gate = asyncio.Event()
    saving = [asyncio.create_task(notes.save_all({f"{n:02}": Note("new")})) for n in range(3)]
    while len(store.below.writes) < 3:
        await asyncio.sleep(0)
    store.below.gate.set()
    assert await asyncio.gather(*saving) == [1, 1, 1]


async def test_commits_that_overtake_what_they_tell(store, notes):
    """What two save_alls of one item left is looked at again, also if a third one was told of it before."""
    items = some_notes(3)
    await notes.save_all(items)
    for first, second in ((0, 1), (1, 0)):
        gates = [asyncio.Event(), asyncio.Event()]
        waiting = list(gates)
        commit = store.adapter.commit

        async def delayed(changes, **options):
            if not changes:
                return await commit({}, **options)  # noqa: B023
            gate = waiting.pop(0)  # noqa: B023
            versions = await commit(changes, **options)  # noqa: B023
            await gate.wait()
            return versions

        store.adapter.commit = delayed
        titles = f"one {first}", f"two {first}"
        saving = [asyncio.create_task(notes.save_all({"01": Note(title)})) for title in titles]
        while waiting:
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)  # both are stored; neither save_all knows yet
        store.adapter.commit = commit
        await notes.save_all({"00": items["00"]})
        for number in (first, second):
            gates[number].set()
            await saving[number]
        for title in titles:
            await notes.save_all({"01": Note(title)})
            assert (await store.load("notes/01", Note, None)).title == title


async def play(store, seed, kind=Collection):
    """Random changes by many hands; after each save_all, the store holds exactly what was given."""
    source = random.Random(seed)
    ours = [kind(store, "notes/", Note) for _ in range(2)]
    items = some_notes(8)
    ids = list(items)
    for step in range(40):
        for id in source.sample(ids, source.randrange(3)):
            match source.randrange(5):
                case 0:
                    items[id].tags.append(str(step))
                case 1:
                    items[id] = Note(f"{step}")
                case 2:
                    await store.save(f"notes/{id}", Note(f"theirs {step}"))
                case 3:
                    await store.elsewhere.save(f"notes/{id}", Note(f"theirs {step}"))
                case 4:
                    await store.delete([f"notes/{id}"])
        chosen = {id: items[id] for id in source.sample(ids, source.randrange(1, 9))}
        saving = source.choice(ours)
        if source.random() < 0.2:
            await saving.load_all()
        await saving.save_all(chosen, replace=source.random() < 0.2)
        found = await Collection(store.elsewhere, "notes/", Note).load_all()
        assert {id: found.get(id) for id in chosen} == chosen


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens(store, seed):
    """Changes in place, of other collections, of other openings, deletions: save_all stores its items."""
    await play(store, seed)


async def fails(store, kind=Collection):
    for seed in range(6):
        try:
            await play(store, seed, kind)
        except AssertionError:
            return True
    return False


@on_sqlite
async def test_planted_deafness_is_caught(store, monkeypatch):
    """A cache that notes nothing for its followers fails the random test."""
    monkeypatch.setattr(Entries, "_note", lambda *_: None)
    assert await fails(store)


async def test_a_planted_blind_mark_is_caught(store, monkeypatch):
    """A cache that tells its followers nothing of others' commits fails the random test."""
    written = Entries.written
    monkeypatch.setattr(Entries, "written", lambda self, follower, mark: written(self, follower, 0))
    assert await fails(store)


async def test_a_planted_loss_of_notes_is_caught(store):
    """A collection that forgets what was noted for items that it was not given fails the random test."""

    class Forgetful(Collection):
        def _catch_up(self):
            before = dict(self._known)
            super()._catch_up()
            self._known.update(before)

    assert await fails(store, Forgetful)


async def test_where_nobody_can_tell(tmp_path):
    """With a cache that writes back, or that asks anew by time, everything is read and compared."""
    for number, policy in enumerate((CachePolicy.write_back(), CachePolicy(max_age=60.0))):
        below = Counting(SQLiteAdapter(tmp_path / f"{number}.db"))
        store = Store(Observed(Cached(below, policy)))
        await store.aopen()
        notes = Collection(store, "notes/", Note)
        items = some_notes(4)
        assert await notes.save_all(items) == 4
        await store.save("notes/01", Note("theirs"))
        assert await notes.save_all(items) == 1
        assert await notes.load_all() == items
        await store.aclose()


async def test_opened_again(store, notes):
    """After the store was closed, changed and opened again, everything is read and compared."""
    items = some_notes(4)
    await notes.save_all(items)
    await store.aclose()
    await store.elsewhere.save("notes/01", Note("theirs"))
    await store.aopen()
    assert await notes.save_all(items) == 1
    for _ in range(2):
        await store.save("notes/02", Note("theirs"))
        assert await notes.save_all(items) == 1
    store.adapter.inner.invalidate()
    await store.below.inner.commit({"notes/03": store.seal("notes/03", Note("theirs"))})
    store.adapter.inner.invalidate()
    assert await notes.save_all(items) == 1
    assert await notes.load_all() == items


@pytest.mark.parametrize(
    ("make", "kind"), [(lambda n: Note(f"{n}"), Note), (Point, Point)], ids=["mutable", "fixed"]
)
async def test_what_is_remembered_of_an_item(store, make, kind):
    """An item that is known costs less than half a kilobyte of memory."""
    items = {f"{n:05}": make(n) for n in range(2000)}
    await Collection(store, "items/", kind).save_all(items)
    tracemalloc.start()
    try:
        kept = Collection(store, "items/", kind)
        await kept.load_all()
        before = tracemalloc.get_traced_memory()[0]
        del kept
        assert 100 < (before - tracemalloc.get_traced_memory()[0]) / len(items) < 512
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("where", ["a.db", "files"])
@pytest.mark.parametrize("cache", [CachePolicy(), None], ids=["cached", "not cached"])
async def test_what_was_called_before_does_not_come_after(tmp_path, where, cache):
    """save_all and delete see the saves that are on their way when they are called."""
    async with open_persistence(tmp_path / where, cache=cache) as persistence:
        numbers = persistence.collection("numbers", int)
        for _ in range(20):
            await numbers.save_all({"a": 1, "b": 1})
            earlier = asyncio.ensure_future(numbers.put("a", 2))
            await asyncio.sleep(0)
            await numbers.save_all({"a": 1, "b": 1})
            await earlier
            assert await numbers.get("a") == 1
            await numbers.delete("b")
            earlier = asyncio.ensure_future(numbers.put("b", 2))
            await asyncio.sleep(0)
            assert await numbers.delete("b")
            await earlier
            assert await numbers.get("b") is None
