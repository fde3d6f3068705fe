"""What a mistake is told: the reason in the terms of the call that was made, and a way out that works."""

from enum import Enum

import pytest

from axiom_persistence import Client, blocking, client_state, open_persistence
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    CorruptedDataError,
    EncodingError,
    StorageError,
    TypeMismatchError,
)


class Mixed(Enum):
    ONE = 1
    TWO = "two"


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
    assert "`await client.accept('tags')`" in report.unreadable["tags"].hint
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
    with pytest.raises(CapabilityUnavailableError, match=r"open it in `with`, or call its `open\(\)`$"):
        blocking.open_persistence("memory:").save("k", 5)
