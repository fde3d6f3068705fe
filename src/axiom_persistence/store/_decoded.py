"""Cached records as the store last read them: checked, and decoded where the value cannot be changed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any

from ..keys import MISSING
from ..records.codec import is_immutable

__all__ = ["Decoded"]


class Decoded:
    """What was made of a cached record once: its checked value as JSON, or the value itself."""

    __slots__ = ("body", "known")

    def __init__(self, body: bytes) -> None:
        self.body: bytes | None = body
        """The value as JSON. None: the value is kept as an object, and the record has its JSON."""
        # (type, decoder, its argument); without a decoder, the argument is the value, which everybody may be
        # given. One tuple, replaced as a whole, since threads read it unlocked.
        self.known: tuple[Any, Callable[[bytes], Any] | None, Any] = (MISSING, None, None)

    def learn(self, kind: Any, decode: Callable[[bytes], Any], body: bytes, value: Any, room: int) -> None:
        """Note that ``decode`` made ``value`` of ``body``.

        The value is kept if nothing can change it and it fits into ``room`` bytes; else it is decoded anew
        at every load.
        """
        if is_immutable(value) and _fits(value, room):
            self.known, self.body = (kind, None, value), None
        else:
            self.known = (kind, decode, body)


def _fits(value: Any, room: int) -> bool:
    level = [value]
    while level and room >= 0:
        room -= sum(map(sys.getsizeof, level))
        # Classes and enum members are there anyway.
        level = [item for item in gc.get_referents(*level) if not isinstance(item, (type, Enum))]
    return room >= 0
