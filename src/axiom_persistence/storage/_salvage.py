"""What became of the keys of a store that could not be opened any more."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from ..keys import KEYSET
from ..platform.making import sync_directory
from ..records.record import whole_body

__all__ = ["Fate", "SalvageReport", "is_whole", "write_report"]

_REPORT: Final = "report.jsonl"
_SEALED: Final = b"AXE1"
_LEAST_SEALED: Final = 49


class Fate(StrEnum):
    """What became of a key."""

    RECOVERED = "recovered"
    """As it was saved last, as far as anything that is left can tell."""
    LOG = "recovered from the log"
    """The same; the save was in the log and not yet in the database file."""
    PREVIOUS = "previous generation"
    """The value before the last one."""
    OLDER = "maybe older"
    """From a destroyed or an earlier page: it may have been changed or deleted after that."""
    LOST = "lost"
    """Nothing is left but the key, or bytes that are no whole record; they are in what was moved aside."""


@dataclass(slots=True)
class SalvageReport:
    """What was made of a store that could not be opened. True when every key has its last value."""

    kept: str
    """The directory that everything was moved into. Nothing in it was changed."""
    fates: dict[str, Fate] = field(default_factory=dict)
    """Every key of which anything was left, the library's own included."""
    notes: list[str] = field(default_factory=list)
    """What else there is to know, a sentence each."""

    def __bool__(self) -> bool:
        return not self.notes and all(fate in (Fate.RECOVERED, Fate.LOG) for fate in self.fates.values())

    def __str__(self) -> str:
        counts = Counter(self.fates.values())
        told = ", ".join(f"{counts[fate]:,} {fate}" for fate in Fate if counts[fate]) or "nothing was left"
        return f"{told}; the original is in {self.kept}"


def is_whole(key: str, data: bytes) -> bool:
    """Whether ``data`` is a record of ``key``. What is sealed, nobody can check without the key."""
    if data.startswith(_SEALED):
        return len(data) >= _LEAST_SEALED
    if key == KEYSET:  # which no sum protects, but the key that it is sealed with
        try:
            return isinstance(msgspec.json.decode(data), dict)
        except ValueError:
            return False
    return whole_body(key, data) is not None


def write_report(report: SalvageReport) -> None:
    """Keep the report beside the original: an object a line. Raises OSError."""
    lines = [{"key": key, "fate": fate} for key, fate in sorted(report.fates.items())]
    lines += [{"note": note} for note in report.notes]
    with open(os.path.join(report.kept, _REPORT), "wb") as file:
        file.writelines(msgspec.json.encode(line) + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(report.kept)
