"""Cached records as the store last read them: checked, and decoded where the value cannot be changed."""

from __future__ import annotations

import gc
import sys
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
        # A type and the value as that type, which everybody may be given. One tuple, replaced as a whole,
        # since threads read it unlocked.
        self.known: tuple[Any, Any] = (MISSING, None)

    def learn(self, kind: Any, value: Any, room: int) -> None:
        """Keep ``value``, decoded as ``kind``, if nothing can change it and it fits into ``room`` bytes."""
        if is_immutable(value) and _fits(value, room):
            self.known, self.body = (kind, value), None


def _fits(value: Any, room: int) -> bool:
    level = [value]
    while level and room >= 0:
        room -= sum(map(sys.getsizeof, level))
        # Classes and enum members are there anyway.
        level = [item for item in gc.get_referents(*level) if not isinstance(item, (type, Enum))]
    return room >= 0
