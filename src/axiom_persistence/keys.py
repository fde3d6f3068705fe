"""Which strings are keys, and how names are joined into them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from .errors import InvalidKeyError

__all__ = ["INTERNAL", "MAX_KEY_BYTES", "check_key", "check_stored_key", "encode_segment", "prefix_end"]

MAX_KEY_BYTES: Final = 1024
"""The longest key of a user, in bytes of UTF-8."""

INTERNAL: Final = "\x01"
"""The first character of every key of the library's own: header, quarantine, journal."""


@lru_cache(maxsize=8192)
def check_key(key: str, limit: int = MAX_KEY_BYTES) -> str:
    """The key itself, if a user may use it. Raises ``InvalidKeyError`` saying what is wrong with it."""
    check_stored_key(key, limit)
    if key[0] == INTERNAL:
        raise InvalidKeyError(
            "a key cannot begin with U+0001, which marks the library's own records", key=key
        )
    return key


@lru_cache(maxsize=8192)
def check_stored_key(key: str, limit: int) -> str:
    """The key itself, if an adapter that takes ``limit`` bytes of UTF-8 can keep it."""
    if not isinstance(key, str):
        raise InvalidKeyError(f"a key is a str, not {type(key).__name__}: {key!r}")
    if not key:
        raise InvalidKeyError("a key cannot be empty", key=key)
    if "\0" in key:
        raise InvalidKeyError("a key cannot contain NUL (U+0000)", key=key)
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidKeyError(
            "a key cannot contain a lone surrogate; it has no UTF-8 form", key=key
        ) from None
    if size > limit:
        raise InvalidKeyError(
            f"a key has at most {limit:,} bytes of UTF-8 here; this one has {size:,}",
            key=key if len(key) <= 80 else key[:77] + "...",
            hint="shorten it, or keep the long part in the value",
        )
    return key


def encode_segment(name: str) -> str:
    """``name`` as one part of a key, so that no two lists of names give the same key.

    ``%``, ``/`` and control characters are percent-encoded; everything else stays readable.
    """
    if not name:
        raise InvalidKeyError("a name cannot be empty")
    return "".join(f"%{ord(c):02X}" if c in "%/" or c < " " or c == "\x7f" else c for c in name)


def prefix_end(prefix: str) -> str | None:
    """The least string after all that begin with ``prefix``, in code point order. None: there is none."""
    for i in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[i])
        if code < 0x10FFFF:
            # Surrogates are no characters: the code point after U+D7FF is U+E000.
            return prefix[:i] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None
