"""Which part of all keys a listing asks for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from ..errors import ConfigurationError, InvalidKeyError

__all__ = ["Listing", "prefix_end"]


def prefix_end(prefix: str) -> str | None:
    """The least string after all that begin with ``prefix``, in code point order. None: there is none."""
    for i in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[i])
        if code < 0x10FFFF:
            # Surrogates are no characters: the code point after U+D7FF is U+E000.
            return prefix[:i] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None


class Listing:
    """What ``StorageAdapter.keys`` is asked for; ``of`` answers it where all keys are at hand.

    An adapter whose medium can search takes ``prefix``, ``end``, ``after`` and ``limit`` from it. Raises
    ``InvalidKeyError`` for an ``after`` that has no UTF-8 form, ``ConfigurationError`` for a limit below 0.
    """

    __slots__ = ("after", "end", "limit", "prefix", "reverse")

    def __init__(
        self,
        prefix: str = "",
        after: str | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> None:
        if limit is not None and limit < 0:
            raise ConfigurationError(f"limit is at least 0, not {limit}", hint="None lists all")
        if after is not None and not _is_text(after):
            raise InvalidKeyError(
                "a listing cannot begin after a lone surrogate; it is in no key",
                key=after,
                hint="pass the last key of the page before",
            )
        self.prefix: str = prefix
        self.after: str | None = after
        self.limit: int | None = limit
        self.reverse: bool = reverse
        self.end: str | None = prefix_end(prefix)
        """The least string after all that begin with ``prefix``. None: there is none."""

    @property
    def is_empty(self) -> bool:
        """Whether no key can be in it."""
        return self.limit == 0 or not _is_text(self.prefix)

    def wants(self, key: str) -> bool:
        """Whether ``key`` is in it, wherever it ends."""
        return key.startswith(self.prefix) and self._is_ahead(key)

    def may_hold(self, beginning: str) -> bool:
        """Whether a key that begins so may be in it."""
        if not (beginning.startswith(self.prefix) or self.prefix.startswith(beginning)):
            return False
        if self._is_ahead(beginning):
            return True
        return not self.reverse and self.after is not None and self.after.startswith(beginning)

    def _is_ahead(self, key: str) -> bool:
        if self.after is None:
            return True
        return key < self.after if self.reverse else key > self.after

    def of(self, keys: Sequence[str]) -> list[str]:
        """The answer from all ``keys``, which are in code point order."""
        first = bisect_left(keys, self.prefix)
        last = len(keys) if self.end is None else bisect_left(keys, self.end)
        if self.after is not None and self.reverse:
            last = min(last, bisect_left(keys, self.after))
        elif self.after is not None:
            first = max(first, bisect_right(keys, self.after))
        size = max(0, last - first)
        if self.limit is not None:
            size = min(size, self.limit)
        if self.reverse:
            return list(keys[last - size : last])[::-1]
        return list(keys[first : first + size])

    def behind(self, page: Sequence[str]) -> Listing:
        """What is left of it once ``page`` was listed."""
        left = None if self.limit is None else self.limit - len(page)
        return Listing(self.prefix, page[-1], left, self.reverse)

    def is_in_order(self, page: Sequence[str]) -> bool:
        """Whether ``page`` may be the first keys of it."""
        if list(page) != sorted(page, reverse=self.reverse):
            return False
        return not page or self._is_ahead(page[0])


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
