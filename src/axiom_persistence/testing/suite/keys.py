"""Every key the library allows is kept, apart from every other, and listed back exactly."""

from __future__ import annotations

import pytest

from ...errors import InvalidKeyError
from ...storage.adapter import StorageAdapter
from ._base import SuiteBase, content, listed, on_adapter, store

__all__ = ["KeyTests", "longest_keys", "odd_keys"]

_ODD = (
    # Case, and what folds to the same letters.
    *("a", "A", "key", "Key", "KEY", "kEy", "ß", "ss", "SS", "\u1e9e", "\u017f", "s", "K", "\u212a", "i"),
    *("I", "\u0130", "\u0131", "\uff41", "µ", "\u03bc"),
    # Composed and decomposed letters.
    *("é", "e\u0301", "\u212b", "Å", "A\u030a", "\uac00", "\u1100\u1161", "\ufb01", "fi"),
    # Paths.
    *("a/", "/a", "/", "//", "a//b", "a/b", "A/b", ".", "..", "../a", "a/..", "a/../b", "./a", "~", "~a"),
    *("a~", "a\\b", "\\", "C:", "C:\\a", "c:a", "/etc/passwd", "file:///a"),
    # Names that operating systems keep for themselves, or trim.
    *("CON", "con", "con.txt", "NUL", "nul.json", "aux/a", "com1", "COM¹", "lpt9.a.b", "prn ", "a.", "a.."),
    *("a ", " a", " ", "  ", ".a", ".a.", "a.json", "a.json/b", "a.json~", ".tmp", ".axiom", "a.tmp", "-"),
    "--help",
    # What escapes and patterns are written with.
    *("%", "%41", "%61", "%2F", "a%2Fb", "%25", "+", "+a", "a+b", "=", "a=", "=a", "_", "a_b", "a%b", "a*b"),
    *("a?b", "[a]", "[!a]", "a|b", "<a>", "a:b", ":", "{a}", "$HOME", "&", ";", "#", "@", "!", "^", ","),
    *("()", "'", '"', "''", "a'b", "`", "\\'", "null", "None", "0", "1e5", "-1", "True"),
    # Characters that are easily lost.
    *("\n", "a\nb", "\r", "\r\n", "\t", "\x7f", "\x1f", "\x0b", "\u0085", "\u2028", "\u2029", "\u00a0"),
    *("\ufeffa", "\u200b", "\u200da", "\u202ea", "a\u0300\u0301", "\u0301", "\ufdd0", "\ufffd", "\uffff"),
    *("\U0001f600", "\U0001f469\u200d\U0001f680", "\ud7ff", "\ue000", "\U00010000", "\U0010ffff"),
    *("\u0001odd", "\u0001"),
)


def longest_keys(limit: int) -> list[str]:
    """Keys of exactly ``limit`` bytes of UTF-8, told apart by their last bytes only."""
    wide, rest = divmod(limit, 4)
    slashes = min(limit, 1024)
    return [
        "x" * limit,
        "x" * (limit - 1) + "y",
        "X" * limit,
        "/" * slashes,
        "." * limit,
        "\U0001f600" * wide + "x" * rest,
        "\U0001f600" * (wide - 1) + "\U0001f601" + "x" * rest,
        ("ab/" * limit)[:limit],
        ("%" * limit)[:limit],
    ]


def odd_keys(limit: int) -> list[str]:
    """Keys that media confuse, lose or refuse, as far as ``limit`` bytes of UTF-8 allow."""
    lengths = sorted({limit, min(limit, 1024), min(limit, 256), min(limit, 255)})
    long = [key for length in lengths if length >= 16 for key in longest_keys(length)]
    return [key for key in dict.fromkeys([*_ODD, *long]) if len(key.encode()) <= limit]


class KeyTests(SuiteBase):
    """Keys, and listing them."""

    @on_adapter
    async def test_odd_keys_are_different_keys(self, adapter: StorageAdapter) -> None:
        """Keys that differ in case, composition, dots, slashes or their last byte never meet."""
        records = {key: f"<{key}>".encode() for key in odd_keys(adapter.traits.max_key_bytes)}
        await store(adapter, records)
        assert await content(adapter) == records

        # Each can be deleted without another going with it.
        gone = list(records)[::2]
        await store(adapter, dict.fromkeys(gone))
        for key in gone:
            del records[key]
        assert await content(adapter) == records
        assert await adapter.fetch(gone) == {}

    @on_adapter
    async def test_odd_keys_are_listed_exactly(self, adapter: StorageAdapter) -> None:
        """Listing gives back every key as it was given, once, in code point order."""
        keys = odd_keys(adapter.traits.max_key_bytes)
        assert await listed(adapter) == []
        await store(adapter, dict.fromkeys(keys, b""))
        assert await listed(adapter) == sorted(keys)

    @on_adapter
    async def test_listing_by_prefix(self, adapter: StorageAdapter) -> None:
        """A prefix is compared character by character: no pattern, no path, no folding."""
        keys = [key for key in odd_keys(adapter.traits.max_key_bytes) if len(key) <= 64]
        await store(adapter, dict.fromkeys(keys, b""))
        prefixes = ["a", "A", "a/", "a//", ".", "..", "/", "%", "%4", "_", "+", "[a", "*", "'", " ", "\n"]
        prefixes += ["é", "e", "\u1100", "\ud7ff", "\uffff", "\U0001f600", "\U0010ffff", "\x01", "a" * 65]
        prefixes += ["no such", "con.", "con.txt", "con.txt/", "\U0010ffff\U0010ffff"]
        for prefix in prefixes:
            assert await listed(adapter, prefix) == sorted(key for key in keys if key.startswith(prefix))

    @on_adapter
    async def test_prefixes_at_the_edges_of_unicode(self, adapter: StorageAdapter) -> None:
        """A prefix that ends in the last code point, or before the surrogates, ends its range rightly."""
        ends = ("\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff")
        keys = ["a", "b", *ends]
        keys += [f"a{end}" for end in ends] + [f"a{end}{other}" for end in ends for other in (*ends, "z")]
        await store(adapter, dict.fromkeys(keys, b""))
        assert await listed(adapter) == sorted(keys)
        for prefix in keys:
            assert await listed(adapter, prefix) == sorted(key for key in keys if key.startswith(prefix))

    @on_adapter
    async def test_listing_very_many_keys(self, adapter: StorageAdapter) -> None:
        """More keys than fit on a page are listed once each, in order."""
        keys = [f"{n * 7919 % self.many:04}" for n in range(self.many)]
        await store(adapter, dict.fromkeys(keys, b""))
        assert await listed(adapter) == sorted(keys)
        assert await listed(adapter, "1") == sorted(key for key in keys if key[0] == "1")

    @on_adapter
    async def test_listing_while_keys_change(self, adapter: StorageAdapter) -> None:
        """A key that is there all the time is listed exactly once, whatever is written meanwhile."""
        stable = [f"{n:03} stable" for n in range(40)]
        for deletes, adds in ((True, False), (False, True), (True, True)):
            doomed = [f"{n:03} doomed" for n in range(40)]
            await store(adapter, dict.fromkeys([*stable, *doomed], b"1"))
            seen: list[str] = []
            async for key in adapter.keys():
                seen.append(key)
                n = int(key[:3])
                # Behind what was listed last, and ahead of it.
                if deletes:
                    await store(adapter, {f"{n:03} doomed": None, f"{39 - n:03} doomed": None})
                if adds and key in stable:
                    await store(adapter, {f"{n:03} another": b"1", f"{39 - n:03} yet another": b"1"})
                await store(adapter, {key: b"2"} if key in stable else {})
            assert [key for key in seen if key in stable] == stable
            assert seen == sorted(set(seen))
            await store(adapter, dict.fromkeys(await listed(adapter)))

    @on_adapter
    async def test_a_listing_left_early(self, adapter: StorageAdapter) -> None:
        """A listing that nobody finishes holds nothing up: writing, listing and closing go on."""
        await store(adapter, {"a": b"1", "b": b"1", "c": b"1"})
        listing = adapter.keys()
        assert await anext(listing) == "a"
        await adapter.commit({"b": None, "d": b"1"})
        assert await listed(adapter) == ["a", "c", "d"]
        async for key in adapter.keys("c"):
            assert key == "c"
            break

    @on_adapter
    async def test_what_is_no_key_is_refused(self, adapter: StorageAdapter) -> None:
        """Empty, NUL, a lone surrogate, too many bytes: InvalidKeyError from every verb, nothing stored."""
        limit = adapter.traits.max_key_bytes
        refused = ["", "\0", "a\0", "a\0b", "\ud800", "a\udfff", "\udc80b", "x" * (limit + 1)]
        refused += ["\U0001f600" * (limit // 4) + "x" * (limit % 4 + 1), "é" * (limit // 2 + 1)]
        for key in refused:
            with pytest.raises(InvalidKeyError):
                await adapter.commit({key: b"1"})
            with pytest.raises(InvalidKeyError):
                await adapter.commit({key: None})
            with pytest.raises(InvalidKeyError):
                await adapter.fetch((key,))
            with pytest.raises(InvalidKeyError):
                await adapter.commit({}, expect={key: None})
            with pytest.raises(InvalidKeyError):
                await adapter.exists(key)
        assert await listed(adapter) == []

    @on_adapter
    async def test_the_longest_keys(self, adapter: StorageAdapter) -> None:
        """Keys of max_key_bytes are kept, and told apart by their last byte."""
        keys = longest_keys(adapter.traits.max_key_bytes)
        for n, key in enumerate(keys):
            assert len(key.encode()) <= adapter.traits.max_key_bytes
            await adapter.commit({key: b"%d" % n})
        assert await content(adapter) == {key: b"%d" % n for n, key in enumerate(keys)}
