"""What a mistake is told: the reason in the terms of the call that was made, and a way out that works."""

import traceback
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import numpy
import pytest
from freezegun.api import FakeDatetime

from axiom_persistence import Client, blocking, client_state, open_persistence
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    CorruptedDataError,
    EncodingError,
    StorageError,
    TypeMismatchError,
)
from axiom_persistence.records._types import forget_types, registered
from axiom_persistence.records.codec import register
from axiom_persistence.testing import ConfidentialMemory


class Mixed(Enum):
    ONE = 1
    TWO = "two"


@dataclass
class Refusing:
    name: str

    def __post_init__(self):
        raise ValueError(f"{self.name} is refused")


class Tagged(Client):
    tags: list[str] = client_state(default_factory=list)


@pytest.mark.parametrize("value", [5, [5]], ids=["another class", "another item"])
async def test_a_value_that_is_refused_is_not_called_stored(value, persistence):
    """What never reached the store is not described as if it were there."""
    with pytest.raises(TypeMismatchError) as caught:
        await persistence.save("tags", value, type=list[str])
    assert "stored value" not in str(caught.value)
    assert caught.value.hint.endswith("; nothing was stored")


async def test_an_unreadable_field_names_the_way_out(persistence):
    """The error of a field whose stored value is of another type says how to accept the loss; it works."""
    await persistence.save("Tagged/tags", 5)
    tagged = Tagged(persistence)
    report = await tagged.restore_state()
    assert "`client.accept('tags')`" in report.unreadable["tags"].hint
    await tagged.accept("tags")
    await tagged.close()
    assert await persistence.load("Tagged/tags", list[str]) == []


async def test_a_misspelt_field_gets_one_advice(persistence):
    """The nearest name, or how to declare a new one; not both."""
    async with Tagged(persistence) as tagged:
        with pytest.raises(AttributeError, match=r"did you mean 'tags'\?$"):
            tagged.tag = []
        with pytest.raises(AttributeError, match="declare it with client_state"):
            tagged.volume = 5


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (Mixed.ONE, "str values only"),
        (range(3), "build it after loading"),
        (object.__new__(type("Own", (), {})), "register(Own"),
    ],
    ids=["enumeration", "of the standard library", "own"],
)
async def test_what_cannot_be_saved_gets_advice_that_fits(value, advice, persistence):
    """Nobody is told to make a dataclass of a class that is not theirs."""
    with pytest.raises(EncodingError) as caught:
        await persistence.save("k", value)
    assert advice in caught.value.hint


async def test_a_type_given_by_its_name_is_recognised(persistence):
    """``load("k", "int")`` is told to pass the class."""
    await persistence.save("k", 5)
    with pytest.raises(ConfigurationError, match="pass the class itself"):
        await persistence.load("k", "int")


async def test_a_copy_without_its_marker_is_told_what_is_missing(tmp_path):
    """A directory copied without its hidden files is refused with the name of the missing one."""
    async with open_persistence(tmp_path / "settings") as persistence:
        await persistence.save("k", 5)
    marker = tmp_path / "settings" / ".axiom"
    kept = marker.read_bytes()
    marker.unlink()
    with pytest.raises(CorruptedDataError, match=r"put \.axiom back"):
        await open_persistence(tmp_path / "settings")
    marker.write_bytes(kept)
    async with open_persistence(tmp_path / "settings") as persistence:
        assert await persistence.load("k", int) == 5


async def test_a_path_that_cannot_be_is_not_blamed_on_the_disk(tmp_path):
    """A name that is too long is said to be too long."""
    with pytest.raises(StorageError, match="too long"):
        await open_persistence(tmp_path / ("a" * 300) / "notes.db")


def test_a_blocking_persistence_that_is_not_open_names_with():
    """Without an event loop nobody is left with the advice to await."""
    with pytest.raises(CapabilityUnavailableError, match="inside its `with` block"):
        blocking.open_persistence("memory:").save("k", 5)


@pytest.mark.parametrize(
    ("asked", "says"),
    [("1", 'it is "hunter2"'), ("0", "a JSON string of 7 characters"), ("", "a JSON string")],
)
async def test_values_are_shown_to_whoever_asks(asked, says, persistence, monkeypatch):
    """AXIOM_PERSISTENCE_SHOW_VALUES=1 has messages and reprs show them; nothing else does."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_SHOW_VALUES", asked)
    await persistence.save("k", "hunter2")
    with pytest.raises(TypeMismatchError) as caught:
        await persistence.load("k", int)
    assert says in str(caught.value)
    async with Tagged(persistence) as tagged:
        tagged.tags = ["hunter2"]
        assert ("hunter2" in repr(tagged)) is (asked == "1")


async def test_a_secret_is_shown_to_nobody(persistence, monkeypatch):
    """Not even where values are: a confidential store says nothing of what it holds, and has no cause."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_SHOW_VALUES", "1")
    async with open_persistence("memory:", secure=ConfidentialMemory()) as opened:
        await opened.secure.save("k", "hunter2")
        with pytest.raises(TypeMismatchError) as caught:
            await opened.secure.load("k", int)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_a_check_of_ones_own_is_the_cause(persistence):
    """What it said is in the cause, which the message only names."""
    await persistence.save("k", {"name": "hunter2"})
    with pytest.raises(TypeMismatchError, match=r"Refusing\.__post_init__ raised ValueError") as caught:
        await persistence.load("k", Refusing)
    assert "hunter2" not in str(caught.value)
    assert "hunter2 is refused" in str(caught.value.__cause__)


async def test_the_lines_that_are_advised_work(persistence):
    """``register(FakeDatetime, …)`` for freezegun; ``item()`` and ``tolist()`` for numpy."""
    time = FakeDatetime(2020, 1, 1, 12)
    with pytest.raises(EncodingError, match="register"):
        await persistence.save("k", time)
    register(FakeDatetime, FakeDatetime.isoformat, FakeDatetime.fromisoformat)
    try:
        await persistence.save("k", time, type=datetime)
        assert await persistence.load("k", datetime) == datetime(2020, 1, 1, 12)
    finally:
        registered.pop(FakeDatetime)
        forget_types()
    await persistence.save("k", [numpy.float64(0.5).item(), *numpy.array([1.5]).tolist()])
    assert await persistence.load("k", list[float]) == [0.5, 1.5]


async def test_credentials_of_an_address_are_shown_nowhere():
    """Not in the message, the hint, nor the place that an adapter names."""
    error = StorageError("no redis://me:p@ss@host/1", adapter="A(redis://me:p@host)", hint="try s3://k:s@b/x")
    assert str(error) == "no redis://…@host/1 [in A(redis://…@host)]; try s3://…@b/x"
    assert str(StorageError("x").naming(adapter="A(redis://me:p@host)")) == "x [in A(redis://…@host)]"


@pytest.mark.parametrize("face", ["keys", "ids"])
async def test_a_walk_that_is_left_ends(face, persistence):
    """An iterator that refuses ``for`` can be stepped, left and closed like any asynchronous generator."""
    await persistence.save_many({"c/a": 1, "c/b": 2})
    walk = persistence.keys() if face == "keys" else persistence.collection("c", int).ids()
    async with aclosing(walk):
        assert await anext(walk) == ("c/a" if face == "keys" else "a")
    assert [each async for each in walk] == []
