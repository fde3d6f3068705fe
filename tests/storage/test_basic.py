"""BasicAdapter: thirty lines by somebody else become a whole adapter that promises no more than is true."""

import pytest

from axiom_persistence.errors import (
    InvalidKeyError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from axiom_persistence.storage import BasicAdapter, Durability, Traits


class Thirty(BasicAdapter):
    """What an author writes: it checks nothing, sorts nothing, and raises what it likes."""

    def __init__(self):
        self.records = {}
        self.fails = None
        self.seen = []

    def __repr__(self):
        return "Thirty()"

    async def read(self, key):
        self._note(key)
        return self.records.get(key)

    async def write(self, key, data):
        self._note(key)
        self.records[key] = data

    async def delete(self, key):
        self._note(key)
        self.records.pop(key, None)

    async def keys(self, prefix=""):
        self._note(prefix)
        for key in self.records:
            if key.startswith(prefix):
                yield key

    def _note(self, key):
        self.seen.append(key)
        if self.fails is not None:
            raise self.fails


async def test_a_plain_listing_becomes_that_of_the_contract():
    """Pages, both directions and the order come from ``keys(prefix)``; the author's own call works, too."""
    adapter = Thirty()
    await adapter.commit(dict.fromkeys(("b", "a/2", "a/1", "\U0010ffff", "\uffff"), b"1"))
    assert [key async for key in adapter.keys("")] == ["a/1", "a/2", "b", "\uffff", "\U0010ffff"]
    assert [key async for key in adapter.keys("a/", after="a/1")] == ["a/2"]
    assert [key async for key in adapter.keys(limit=2, reverse=True)] == ["\U0010ffff", "\uffff"]
    assert await adapter.delete_prefix("a/") == 2
    assert sorted(adapter.records) == ["b", "\uffff", "\U0010ffff"]


async def test_a_listing_with_all_arguments_is_left_as_it_is():
    """A medium that can page does so itself."""

    class Paging(Thirty):
        async def keys(self, prefix="", *, after=None, limit=None, reverse=False):
            yield f"{prefix} {after} {limit} {reverse}"

    listing = Paging().keys("p", after="a", limit=1, reverse=True)
    assert [key async for key in listing] == ["p a 1 True"]


def test_it_promises_nothing_by_itself():
    """Neither durability, nor several processes, nor all or nothing: an author says what is true."""
    assert Thirty().traits == Traits(atomic=False, durability=Durability.MEMORY, shared=False)


@pytest.mark.parametrize("key", ["", "nul\0", "\ud800", "x" * 2000])
async def test_what_is_no_key_never_reaches_the_author(key):
    """It is refused before anything is read or written, whatever else is in the commit."""
    adapter = Thirty()
    for attempt in (
        adapter.commit({"fine": b"1", key: b"1"}),
        adapter.commit({key: None}),
        adapter.commit({}, expect={key: None}),
        adapter.fetch(["fine", key]),
        adapter.exists(key),
        adapter.fetch_range([key], 0, 1),
    ):
        with pytest.raises(InvalidKeyError):
            await attempt
    assert adapter.seen == []


async def test_what_is_no_bytes_never_reaches_the_author():
    """Nor does a value larger than the traits allow."""

    class Narrow(Thirty):
        traits = Traits(atomic=False, durability=Durability.MEMORY, shared=False, max_value_bytes=3)

    adapter = Narrow()
    with pytest.raises(TypeError, match="not bytes"):
        await adapter.commit({"a": "text"})
    with pytest.raises(StorageFullError):
        await adapter.commit({"a": b"four"})
    assert adapter.seen == []


@pytest.mark.parametrize("error", [ValueError("secret"), KeyError("secret"), ConnectionError("refused")])
async def test_what_the_author_raises_names_key_and_adapter(error):
    """Any error of another library becomes one of ours with that as its cause; its words are not quoted."""
    adapter = Thirty()
    adapter.fails = error
    for doing, attempt in (
        ("Thirty.read", adapter.fetch(["k"])),
        ("Thirty.write", adapter.commit({"k": b"1"})),
        ("Thirty.delete", adapter.commit({"k": None})),
    ):
        with pytest.raises(StorageError, match=doing) as raised:
            await attempt
        assert (raised.value.key, raised.value.adapter) == ("k", "Thirty(Thirty())")
        assert raised.value.__cause__ is error
        assert "secret" not in str(raised.value)
    with pytest.raises(StorageError, match=r"Thirty\.keys"):
        assert [key async for key in adapter.keys("")]


async def test_an_error_of_ours_is_left_as_it_is():
    """But for the key and the adapter, where it named none."""
    adapter = Thirty()
    adapter.fails = StorageUnavailableError("away")
    with pytest.raises(StorageUnavailableError, match=r"away \[key 'k'\] \[in Thirty"):
        await adapter.fetch(["k"])
