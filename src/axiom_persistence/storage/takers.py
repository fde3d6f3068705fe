"""What takes the most room in a place that is full, for a message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from ..errors import counted

__all__ = ["kind_of", "takers"]

_NAMED: Final = 3


def kind_of(key: str) -> str:
    """How ``key`` begins, as a pattern in quotes: ``'note/*'`` of ``note/1``."""
    first, slash, _ = key.partition("/")
    return repr(f"{first}{slash}{'*' if slash else ''}")


def takers(found: Iterable[tuple[str, int]], *, by_number: bool = False, note: str = "") -> str:
    """The kinds that take the most, of ``found``: a kind and a size in bytes for each key.

    ``by_number``: of keys, not of bytes. ``note`` stands behind each size.
    """
    sizes: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    for kind, size in found:
        sizes[kind] += size
        numbers[kind] += 1
    measure = numbers if by_number else sizes
    largest = sorted(measure, key=lambda kind: (measure[kind], kind), reverse=True)[:_NAMED]
    return ", ".join(
        f"{kind} ({sizes[kind]:,} bytes in {counted(numbers[kind], 'keys')}{note})" for kind in largest
    )
