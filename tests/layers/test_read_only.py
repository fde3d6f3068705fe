"""ReadOnly lets every read through and no change."""

import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.errors import AccessDeniedError, ConflictError
from axiom_persistence.layers.read_only import ReadOnly


@pytest.fixture
async def layer():
    """A read-only view of a store that holds a and b, a with a past."""
    inner = MemoryAdapter()
    async with ReadOnly(inner) as layer:
        await inner.commit({"a": b"0"})
        await inner.commit({"a": b"1", "b": b""})
        yield layer


async def test_every_change_is_refused(layer):
    """Writing, deleting, even of what is absent, and commit_now are refused; nothing changes."""
    before = await layer.inner.fetch(("a", "b", "c"))
    mark = layer.inner.change_mark()
    version = before["a"].version
    for attempt in (
        layer.commit({"a": b"2"}),
        layer.commit({"a": None}),
        layer.commit({"a": b"2"}, expect={"a": version}),
        layer.commit({"a": b"2"}, expect={"a": "stale"}),
        layer.write("a", b""),
        layer.delete("a"),
    ):
        with pytest.raises(AccessDeniedError) as refused:
            await attempt
        assert refused.value.key == "a"
        assert "MemoryAdapter" in refused.value.adapter
    with pytest.raises(AccessDeniedError):
        await layer.delete("absent")
    with pytest.raises(AccessDeniedError):
        layer.commit_now({"c": b"1"})

    assert await layer.inner.fetch(("a", "b", "c")) == before
    assert layer.inner.change_mark() == mark


async def test_the_refusal_is_a_permission_error(layer):
    """People who catch PermissionError or OSError catch it."""
    with pytest.raises(PermissionError, match=r"reading only.*'a'.*ReadOnly"):
        await layer.write("a", b"1")


async def test_every_read_is_the_inner_adapters(layer):
    """Fetching, listing, the past, marks and traits are as without the layer."""
    inner = layer.inner
    assert await layer.fetch(("a", "b", "c")) == await inner.fetch(("a", "b", "c"))
    assert await layer.read("b") == b""
    assert await layer.exists("c") is False
    assert [key async for key in layer.keys("")] == ["a", "b"]
    assert [key async for key in layer.keys("b")] == ["b"]
    assert (await layer.previous("a")).data == b"0"
    assert await layer.saved_at("a") == await inner.saved_at("a")
    assert layer.fetch_now("a") == inner.fetch_now("a")
    assert layer.change_mark() == inner.change_mark()
    assert layer.traits == inner.traits
    assert layer.stats() == inner.stats()
    assert await layer.check() == []
    assert repr(layer) == "ReadOnly(MemoryAdapter())"


async def test_validation_is_no_change(layer):
    """A commit without changes still says whether what was read is still so."""
    version = (await layer.fetch(("a",)))["a"].version
    assert dict(await layer.commit({}, expect={"a": version, "c": None})) == {}
    with pytest.raises(ConflictError):
        await layer.commit({}, expect={"c": version})
    assert layer.commit_now({}) == {}
