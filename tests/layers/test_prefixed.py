"""What Prefixed promises beyond the suite, which it also runs."""

import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.errors import ConfigurationError, ConflictError, InvalidKeyError
from axiom_persistence.layers.prefixed import Prefixed


async def test_it_sees_and_touches_only_its_part():
    """What others keep in the same place is neither listed, fetched, changed nor deleted."""
    async with MemoryAdapter() as inner:
        others = {"a": b"x", "part": b"x", "part/": b"x", "par/a": b"x", "part0": b"x", "other/part/a": b"x"}
        await inner.commit(others)
        layer = Prefixed(inner, "part/")

        assert [key async for key in layer.keys("")] == []
        assert await layer.fetch(["a", "part/a", "0"]) == {}
        await layer.commit({"a": b"1", "part": b"2"})
        await layer.commit({"part": None, "other": None})

        assert [key async for key in layer.keys("")] == ["a"]
        content = await inner.fetch([key async for key in inner.keys("")])
        assert {key: stored.data for key, stored in content.items()} == others | {"part/a": b"1"}


async def test_two_prefixes_do_not_meet():
    """Two parts of one place hold the same keys independently of each other."""
    async with MemoryAdapter() as inner:
        first, second = Prefixed(inner, "1/"), Prefixed(inner, "2/")
        await first.commit({"a": b"1"}, expect={"a": None})
        version = (await second.commit({"a": b"2"}, expect={"a": None}))["a"]
        await first.delete("a")

        assert await first.read("a") is None
        assert (await second.fetch(("a",)))["a"] == (b"2", version, None)


async def test_versions_pass_unchanged():
    """The versions are the inner adapter's, in answers and in expectations."""
    async with MemoryAdapter() as inner:
        layer = Prefixed(inner, "é/")
        versions = await layer.commit({"a": b"1", "b": None})
        assert dict(versions) == {"a": (await inner.fetch(("é/a",)))["é/a"].version}
        await inner.commit({"é/a": b"2"}, expect={"é/a": versions["a"]})
        with pytest.raises(ConflictError):
            await layer.commit({"a": b"3"}, expect=versions)


async def test_errors_name_the_key_without_the_prefix():
    """A conflict names the key as the caller knows it."""
    async with MemoryAdapter() as inner:
        layer = Prefixed(inner, "part/")
        with pytest.raises(ConflictError) as conflict:
            await layer.commit({}, expect={"part/a": "1"})
        assert conflict.value.key == "part/a"


async def test_it_checks_keys_as_they_were_given():
    """The empty key, and one that only fits without the prefix, are refused though the inner one could."""
    async with MemoryAdapter() as inner:
        layer = Prefixed(inner, "part/")
        limit = inner.traits.max_key_bytes - 5
        assert layer.traits.max_key_bytes == limit
        await layer.write("x" * limit, b"1")
        for key in ("", "x" * (limit + 1)):
            for attempt in (layer.fetch((key,)), layer.write(key, b"1"), layer.previous(key)):
                with pytest.raises(InvalidKeyError):
                    await attempt
            with pytest.raises(InvalidKeyError):
                layer.commit_now({key: b"1"})
            with pytest.raises(InvalidKeyError):
                layer.fetch_now(key)
        assert [key async for key in inner.keys("")] == ["part/" + "x" * limit]


async def test_the_synchronous_verbs_and_the_past():
    """commit_now, fetch_now, previous and saved_at work on the keys of the part."""
    async with MemoryAdapter() as inner:
        await inner.commit({"a": b"another's"})
        layer = Prefixed(inner, "part/")
        layer.commit_now({"a": b"1"})
        versions = layer.commit_now({"a": b"2", "gone": None})
        assert layer.fetch_now("a") == (b"2", versions["a"], None)
        assert layer.fetch_now("gone") is None
        assert (await layer.previous("a")).data == b"1"
        assert await layer.saved_at("a") == await inner.saved_at("part/a")
        assert await layer.saved_at("gone") is None
        assert layer.change_mark() == inner.change_mark()


async def test_prefixes_nest():
    """A part of a part keeps its keys under both prefixes, the outer layer's innermost."""
    async with Prefixed(Prefixed(MemoryAdapter(), "a/"), "b/") as layer:
        await layer.write("c", b"1")
        assert await layer.inner.inner.read("a/b/c") == b"1"
        assert repr(layer) == "Prefixed(Prefixed(MemoryAdapter(), 'a/'), 'b/')"
        assert "'b/'" in layer.location


@pytest.mark.parametrize(
    ("prefix", "error"),
    [
        ("", ConfigurationError),
        ("a\0", InvalidKeyError),
        ("\ud800", InvalidKeyError),
        ("x" * 1280, ConfigurationError),
        ("x" * 1281, InvalidKeyError),
    ],
)
def test_an_impossible_prefix_is_refused_when_built(prefix, error):
    """A prefix that no key could follow is an error at construction, not at the first save."""
    with pytest.raises(error):
        Prefixed(MemoryAdapter(), prefix)
