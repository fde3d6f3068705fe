"""What a collection remembers of a stored item, so that it is neither read nor encoded again."""

from __future__ import annotations

from typing import NamedTuple

from xxhash import xxh3_128_digest

from ..keys import MISSING
from ..records.codec import encode_bare, is_immutable

__all__ = ["Known", "is_same", "known_as"]


class Known(NamedTuple):
    """What is stored of an item: where, in which version, and how to tell that it holds no other value."""

    key: str
    version: str
    digest: bytes
    """Of the value's JSON: XXH3, 128 bits."""
    kind: type | None
    """The item's class, if an item of that class with the same JSON is the same. None: look closer."""
    item: object
    """The item itself, if nothing can change it; else ``MISSING``."""


def known_as(key: str, version: str, value: bytes, item: object) -> Known:
    """What is known of ``item`` once its JSON is stored in ``version``."""
    fixed = item if is_immutable(item) else MISSING
    # Bare encoding gives null for NaN as well, which is refused.
    return Known(key, version, xxh3_128_digest(value), None if b"null" in value else type(item), fixed)


def is_same(same: Known, item: object) -> bool:
    """Whether ``item`` is certainly what is stored, without the checks that were made then."""
    if same.kind is not item.__class__:
        return False
    try:
        return xxh3_128_digest(encode_bare(item)) == same.digest
    except Exception:  # raised again, with the key, by whoever looks closer
        return False
