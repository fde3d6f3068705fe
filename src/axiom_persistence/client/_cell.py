"""What a client knows of the record of one of its fields."""

from __future__ import annotations

from typing import Final

from xxhash import xxh3_128_digest

from ..keys import MISSING, Missing

__all__ = ["Cell", "fingerprint"]

_SHORT: Final = 256


def fingerprint(data: bytes) -> bytes:
    """Something equal for equal records only: the bytes, or 128 bits of XXH3 where they are long."""
    return data if len(data) <= _SHORT else xxh3_128_digest(data)


class Cell:
    """What is known of one field's record."""

    __slots__ = ("saved", "stamp", "under_way", "version")

    def __init__(self) -> None:
        self.stamp = 0  # raised by each assignment: a commit that ends later knows if it is still the last
        self.saved: bytes | None = None  # fingerprint of the record; None: not known
        self.version: str | Missing | None = MISSING  # None: nothing is stored; MISSING: not known
        self.under_way = 0  # commits of this field that have not ended

    def holds(self, mark: bytes) -> bool:
        """Whether the store surely has the record with the fingerprint ``mark`` already."""
        return not self.under_way and self.saved == mark
