"""Cached loads: each gives a value of its own, whatever is kept to make it quickly."""

import gc
import threading
import tracemalloc
from dataclasses import dataclass, field
from itertools import count
from typing import Optional

import msgspec
import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import TypeMismatchError
from axiom_persistence.layers.cached import Cached, CachePolicy
from axiom_persistence.store import _decoded
from axiom_persistence.store.store import Store

made = count(1000)


@dataclass
class Line:
    text: str
    marks: list[int] = field(default_factory=list)


@dataclass
class Note:
    title: str
    lines: list[Line]
    labels: dict[str, str]
    number: int = field(default_factory=lambda: next(made))


class Fixed(msgspec.Struct, frozen=True):
    name: str
    sizes: tuple[int, ...] = ()


@dataclass
class Hooked:
    parts: list[int]

    def __post_init__(self):
        self.parts.append(0)


def note(number=1):
    return Note(f"note {number}", [Line("a", [1, 2]), Line("b")], {"x": "y"}, number)


def spoil(value):
    value.title = "spoilt"
    value.lines[0].marks.append(3)
    value.lines.pop()
    value.labels.clear()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path):
    inner = MemoryAdapter() if request.param == "memory" else SQLiteAdapter(tmp_path / "a.db")
    store = Store(Cached(inner))
    await store.aopen()
    yield store
    await store.aclose()


async def test_what_is_loaded_is_the_readers_own(store):
    """Whatever is done to a loaded value, the next load gives what is stored."""
    await store.save("a", note())
    for _ in range(10):
        value = store.load_now("a", Note, None)
        assert value == note()
        spoil(value)
    await store.save("a", note(2))
    for _ in range(10):
        value = store.load_now("a", Note, None)
        assert value == note(2)
        spoil(value)


async def test_planted_sharing_is_caught(store, monkeypatch):
    """A store that hands out one mutable object to everybody fails the test above."""
    monkeypatch.setattr(_decoded, "is_immutable", lambda value: True)
    monkeypatch.setattr(_decoded, "_fits", lambda value, room: True)
    with pytest.raises(AssertionError):
        await test_what_is_loaded_is_the_readers_own(store)


async def test_two_types_by_turns(store):
    """Each load decodes as the type it names, whatever was kept for another, and says if it does not fit."""
    await store.save("a", note())
    for turn in range(12):
        for _ in range(turn):
            spoil(store.load_now("a", Note, None))
        assert store.load_now("a", Note, None) == note()
        assert store.load_now("a", Optional[Note], None) == note()  # noqa: UP045 - another object each time
        assert store.load_now("a", dict, None)["lines"][0] == {"text": "a", "marks": [1, 2]}
        with pytest.raises(TypeMismatchError, match="object of 4 fields"):
            store.load_now("a", dict[str, str], None)


async def test_types_written_anew(store):
    """A type spelt at every load, like list[str], is the same type."""
    await store.save("a", ["x", "y"])
    for _ in range(10):
        value = store.load_now("a", list[str], None)
        assert value == ["x", "y"]
        value.append("z")


async def test_what_cannot_change_is_shared(store):
    """A value that nothing can change is one object for every reader, until it is written."""
    await store.save("a", Fixed("a", (1, 2)))
    first = store.load_now("a", Fixed, None)
    assert all(store.load_now("a", Fixed, None) is first for _ in range(9))
    await store.save("a", Fixed("b"))
    assert store.load_now("a", Fixed, None) == Fixed("b")


async def test_defaults_are_made_at_every_load(store):
    """A field that is not in the record gets its default anew at each load, as decoding gives it."""
    await store.save("a", {"title": "t", "lines": [], "labels": {}})
    numbers = {store.load_now("a", Note, None).number for _ in range(9)}
    assert len(numbers) == 9


async def test_hooks_run_at_every_load(store):
    """A class with a hook is made by decoding, so that the hook runs."""
    await store.save("a", {"parts": [1]})
    for _ in range(9):
        assert store.load_now("a", Hooked, None).parts == [1, 0]


async def test_a_value_larger_than_its_record_allows(store):
    """What takes more memory than the cache counts for it is decoded at every load."""
    value = [[] for _ in range(200)]
    await store.save("a", value)
    for _ in range(9):
        assert store.load_now("a", list[list[int]], None) == value
    many = tuple(() if n % 2 else (n,) for n in range(200))
    await store.save("b", many)
    for _ in range(9):
        assert store.load_now("b", tuple[tuple[int, ...], ...], None) == many
    assert store.adapter.fetch_now("b").decoded.body is not None


async def test_threads(store):
    """Readers in several threads, of two types, each get a whole value of their own."""
    values = {f"k{n}": note(n) for n in range(20)}
    for key, value in values.items():
        await store.save(key, value)
        store.load_now(key, Note, None)
    wrong = []

    def read(kind):
        for _ in range(30):
            for key, value in values.items():
                found = store.load_now(key, kind, None)
                if found != (value if kind is Note else msgspec.to_builtins(value)):
                    wrong.append(found)
                spoil(found) if kind is Note else found.clear()

    threads = [threading.Thread(target=read, args=(kind,)) for kind in (Note, Note, dict, Note)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


LIMIT = 1 << 18


async def memory_of_a_full_cache(make, kind):
    """Bytes of a cache of ``LIMIT`` that is full of records which were loaded often."""
    inner = MemoryAdapter()
    store = Store(Cached(inner, CachePolicy(max_bytes=LIMIT)))
    await store.aopen()
    keys = [f"k{n}" for n in range(400)]
    for n, key in enumerate(keys):
        await store.save(key, make(n))
    store.adapter.invalidate()
    # As an adapter on a disk does, so that the bytes of what is cached are the cache's own.
    fetch_now = inner.fetch_now
    inner.fetch_now = lambda key: (found := fetch_now(key)) and found._replace(
        data=bytes(bytearray(found.data))
    )
    for key in keys:
        for _ in range(6):
            store.load_now(key, kind, None)
    gc.collect()
    full = store.adapter.stats()["cache_bytes"]
    assert full > LIMIT * 0.9
    before = tracemalloc.get_traced_memory()[0]
    store.adapter.invalidate()
    gc.collect()
    freed = before - tracemalloc.get_traced_memory()[0]
    await store.aclose()
    return freed


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda n: note(n), Note),
        (lambda n: Line("x" * (n % 50)), Line),
        (lambda n: [float(n + i) for i in range(n % 100)], list[float]),
        (lambda n: {str(i): [n] for i in range(n % 50)}, dict[str, list[int]]),
        (lambda n: [[] for _ in range(n % 100)], list[list[int]]),
        (lambda n: Fixed(f"name {n}", tuple(range(n, n + n % 50))), Fixed),
        (lambda n: tuple(() if i % 2 else (n,) for i in range(n % 100)), tuple[tuple[int, ...], ...]),
    ],
    ids=["dataclass", "small", "floats", "lists", "empty", "frozen", "tuples"],
)
async def test_memory_stays_within_the_limit(make, kind):
    """A cache full of records that are loaded again and again takes no more memory than it may."""
    tracemalloc.start()
    try:
        assert LIMIT * 0.1 < await memory_of_a_full_cache(make, kind) < LIMIT * 1.1
    finally:
        tracemalloc.stop()


async def test_a_planted_guess_is_caught(monkeypatch):
    """Without a look at what a value takes, the cache takes more than it may."""
    monkeypatch.setattr(_decoded, "_fits", lambda value, room: True)
    with pytest.raises(AssertionError):
        await test_memory_stays_within_the_limit(
            lambda n: tuple(() if i % 2 else (n,) for i in range(n % 100)), tuple[tuple[int, ...], ...]
        )
