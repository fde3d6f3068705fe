"""Collection: one record an item, in order, and only what differs is written."""

from dataclasses import dataclass, field

import msgspec
import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import ConfigurationError, EncodingError, InvalidKeyError, TypeMismatchError
from axiom_persistence.layers.cached import Cached
from axiom_persistence.persistence import _known
from axiom_persistence.persistence.collection import Collection
from axiom_persistence.storage.basic import BasicAdapter
from axiom_persistence.storage.layer import Layer
from axiom_persistence.store.store import Store


@dataclass
class Note:
    title: str
    tags: list[str] = field(default_factory=list)


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int = 0


class Recording(Layer):
    """Tells what was committed and how often something was fetched."""

    def __init__(self, inner):
        super().__init__(inner)
        self.commits = []
        self.fetches = []

    async def fetch(self, keys):
        self.fetches.append(list(keys))
        return await self.inner.fetch(keys)

    async def commit(self, changes, *, expect=None, durability=None):
        if changes:  # else somebody waits for what was called before
            self.commits.append(dict(changes))
        return await self.inner.commit(changes, expect=expect, durability=durability)


@pytest.fixture(params=["memory", "sqlite"])
async def adapter(request, tmp_path):
    inner = MemoryAdapter() if request.param == "memory" else Cached(SQLiteAdapter(tmp_path / "a.db"))
    recording = Recording(inner)
    store = Store(recording)
    await store.aopen()
    await store.prepare()
    recording.commits.clear()
    recording.store = store
    yield recording
    await store.aclose()


@pytest.fixture
def notes(adapter):
    return Collection(adapter.store, "notes/", Note)


async def test_one_item(notes):
    """Items are put, found as their type, replaced and deleted, one by one."""
    assert await notes.get("a") is None
    default = Note("none")
    assert await notes.get("a", default) is default
    await notes.put("a", Note("one", ["x"]))
    assert await notes.get("a") == Note("one", ["x"])
    await notes.put("a", Note("two"))
    assert await notes.get("a") == Note("two")
    assert await notes.delete("a") is True
    assert await notes.delete("a") is False
    assert await notes.get("a") is None


async def test_any_string_is_an_id(adapter, notes):
    """Ids with separators, controls, percent signs and odd letters are different items and come back."""
    ids = [
        "a",
        "A",
        "a/b",
        "a/",
        "/",
        "%",
        "%2F",
        "a%2Fb",
        "..",
        "CON",
        "é",
        "e\u0301",
        "\x01x",
        "\0",
        " ",
        "\x7f",
        "😀",
    ]
    await notes.save_all({id: Note(id) for id in ids})
    assert {id: note.title for id, note in (await notes.load_all()).items()} == {id: id for id in ids}
    assert sorted([id async for id in notes.ids()]) == sorted(ids)
    for id in ids:
        assert await notes.get(id) == Note(id)
    with pytest.raises(InvalidKeyError):
        await notes.put("", Note("no id"))
    assert await notes.save_all({}, replace=True) == len(ids)
    assert await notes.count() == 0


async def test_only_its_own_keys(adapter, notes):
    """Keys beside, above and below the collection are none of its items, and survive a replacement."""
    store = adapter.store
    others = ["notes", "notes/", "notes/a/b", "notes/100%", "notes0", "other/a"]
    for key in others:
        await store.save(key, 1)
    await notes.save_all({"a": Note("a")})
    assert [id async for id in notes.ids()] == ["a"]
    assert await notes.save_all({}, replace=True) == 1
    assert [key async for key in store.keys("")] == sorted(others)


async def test_only_what_differs_is_written(adapter, notes):
    """save_all is one commit of the items whose bytes differ; the others are not touched."""
    items = {f"{n:03}": Note(f"title {n}") for n in range(100)}
    assert await notes.save_all(items) == 100
    assert len(adapter.commits) == 1
    assert await notes.save_all(items) == 0
    assert len(adapter.commits) == 1
    items["007"].tags.append("changed in place")
    items["new"] = Note("new")
    assert await notes.save_all(items) == 2
    assert set(adapter.commits[-1]) == {"notes/007", "notes/new"}
    assert await notes.load_all() == items


async def test_immutable_items_are_not_encoded_again(adapter, monkeypatch):
    """Items that cannot change are known by identity, loaded or saved, and equal ones by their bytes."""
    points = Collection(adapter.store, "points/", Point)
    items = {f"{n}": Point(n) for n in range(20)}
    await points.save_all(items)
    encoded = []
    encode = _known.encode_bare
    monkeypatch.setattr(_known, "encode_bare", lambda item: encoded.append(item) or encode(item))
    for load in (False, True):
        items = await points.load_all() if load else items
        items["3"] = Point(3)
        items["4"] = Point(4, 1 + load)
        assert await points.save_all(items) == 1
        assert encoded == [Point(3), Point(4, 1 + load)]
        assert adapter.commits[-1].keys() == {"points/4"}
        encoded.clear()
        assert await points.save_all(items) == 0
        assert encoded == []


async def somebody_else_wrote(adapter, kind):
    points = kind(adapter.store, "points/", Point)
    items = {"a": Point(1), "b": Point(1)}
    await points.save_all(items)
    await adapter.store.save("points/a", Point(2))
    assert await points.save_all(items) == 1
    assert await points.get("a") == Point(1)
    items = await points.load_all()
    await points.delete("b")
    assert await points.save_all(items) == 1
    assert await points.get("b") == Point(1)


async def test_somebody_else_wrote(adapter):
    """What was saved or loaded is compared with what is stored by now, whoever wrote that."""
    await somebody_else_wrote(adapter, Collection)


async def test_a_planted_trust_is_caught(adapter):
    """A collection that trusts what it remembers without asking who wrote fails the test above."""

    class Trusting(Collection):
        def _catch_up(self):
            pass

    with pytest.raises(AssertionError):
        await somebody_else_wrote(adapter, Trusting)


async def test_replacing(notes):
    """With replace the collection holds exactly what was given; without it, other items stay."""
    await notes.save_all({"a": Note("a"), "b": Note("b")})
    assert await notes.save_all({"c": Note("c")}) == 1
    assert set(await notes.load_all()) == {"a", "b", "c"}
    assert await notes.save_all({"b": Note("b"), "d": Note("d")}, replace=True) == 3
    assert set(await notes.load_all()) == {"b", "d"}


async def test_nothing_is_written_if_one_item_cannot_be(adapter, notes):
    """An item of another type, or one that cannot be encoded, leaves all as it was."""
    await notes.save_all({"a": Note("a")})
    for wrong, error in ((Point(1), TypeMismatchError), (Note("b", [object()]), EncodingError)):
        with pytest.raises(error):
            await notes.save_all({"a": Note("new"), "b": wrong})
    assert await notes.load_all() == {"a": Note("a")}


async def test_iteration_in_order_and_in_pages(adapter, notes):
    """Items come in key order, each page in one fetch, from behind a given id."""
    items = {f"{n:03}": Note(f"{n}") for n in range(25)}
    await notes.save_all(items)
    adapter.fetches.clear()
    assert [pair async for pair in notes.items(page=10)] == list(items.items())
    assert [len(keys) for keys in adapter.fetches] == [10, 10, 5]
    assert [id async for id, _ in notes.items(after="017", page=3)] == [f"{n:03}" for n in range(18, 25)]
    assert [id async for id, _ in notes.items(after="017x")] == [f"{n:03}" for n in range(18, 25)]
    assert [pair async for pair in notes.items(after="999")] == []
    assert [pair async for pair in notes] == list(items.items())
    with pytest.raises(ConfigurationError):
        await anext(notes.items(page=0))


async def test_counting_decodes_nothing(adapter, notes):
    """The number of items, and their ids, are told without reading one."""
    await notes.save_all({f"{n:03}": Note(f"{n}") for n in range(30)})
    adapter.fetches.clear()
    assert await notes.count() == 30
    assert [id async for id in notes.ids()] == [f"{n:03}" for n in range(30)]
    assert adapter.fetches == []


async def test_items_deleted_meanwhile_are_left_out(adapter, notes):
    """Deleting items while iterating ends nothing."""
    await notes.save_all({f"{n}": Note(f"{n}") for n in range(9)})
    seen = []
    async for id, _ in notes.items(page=2):
        seen.append(id)
        await notes.delete("8")
    assert seen == [f"{n}" for n in range(8)]


async def test_all_or_nothing_or_an_error():
    """Where the adapter cannot commit several items as one, save_all of several is refused."""

    class Plain(BasicAdapter):
        def __init__(self):
            self.data = {}

        async def read(self, key):
            return self.data.get(key)

        async def write(self, key, data):
            self.data[key] = data

        async def delete(self, key):
            self.data.pop(key, None)

        async def keys(self, prefix=""):
            for key in sorted(self.data):
                if key.startswith(prefix):
                    yield key

    store = Store(Plain())
    await store.aopen()
    notes = Collection(store, "notes/", Note)
    assert await notes.save_all({"a": Note("a")}) == 1
    with pytest.raises(ConfigurationError, match="all or nothing"):
        await notes.save_all({"b": Note("b"), "c": Note("c")})
    assert await notes.count() == 1
