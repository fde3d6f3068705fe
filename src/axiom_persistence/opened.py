"""Cached records as the store last read them: checked, and ready to make their value again."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from .codec import encode_value, is_immutable
from .keys import MISSING

__all__ = ["ROOM_BYTES", "ROOM_FACTOR", "Opened"]

ROOM_FACTOR: Final = 4
"""What a value may take for each byte of its record to be kept beside it: nested dataclasses take 3 to 4."""

ROOM_BYTES: Final = 400
"""What it may take beyond that: empty lists and small dicts are large beside their JSON."""

_DECODED_LOADS: Final = 3
"""Loads before a value is kept to be copied: what keeping it costs is saved by some six copies."""


class Opened:
    """What was made of a cached record once: its checked value, and what makes that anew for a reader."""

    __slots__ = ("body", "known", "last", "loads")

    def __init__(self, body: bytes) -> None:
        self.body: bytes | None = body
        """The value as JSON. None: it is kept as an object, and the record has its JSON."""
        # (type, function, its argument); no function: the argument may be given to everybody. One tuple,
        # replaced as a whole, since threads read it unlocked.
        self.known: tuple[Any, Callable[[Any], Any] | None, Any] = (MISSING, None, None)
        self.last: Any = MISSING
        self.loads = 0
        """How often it was decoded as ``last``, one load after the other."""

    def learn(self, kind: Any, decode: Callable[[bytes], Any], body: bytes, value: Any, size: int) -> None:
        """Note that ``decode`` made ``value`` of ``body``, which is in a record of ``size`` bytes.

        A reader is about to get the value, and may change it.
        """
        if is_immutable(value):
            if _fits(value, size):
                self.known, self.body = (kind, None, value), None
            else:
                self.known = (kind, decode, body)
            return
        self.loads = self.loads + 1 if self.last == kind else 1
        self.last = kind
        if self.loads <= _DECODED_LOADS:
            return
        from .copies import copier  # a program that loads everything once needs none

        copy = copier(kind)
        # What encodes to the same bytes took nothing from defaults, which any function may make.
        if copy is not None and encode_value(value) == body:
            # A copy of a copy is faster: Python keeps the attributes that it has set itself in the object.
            source = copy(value)
            if _fits(source, size):
                self.known, self.body = (kind, copy, source), None
                return
        self.known = (kind, decode, body)


def _fits(value: Any, size: int) -> bool:
    """Whether ``value`` takes no more memory than a cache counts for it."""
    room = ROOM_BYTES + ROOM_FACTOR * size
    level = [value]
    while level and room >= 0:
        room -= sum(map(sys.getsizeof, level))
        # Classes and enum members are there anyway.
        level = [item for item in gc.get_referents(*level) if not isinstance(item, (type, Enum))]
    return room >= 0
