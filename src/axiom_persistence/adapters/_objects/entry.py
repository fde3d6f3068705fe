"""The objects of a store: what they are named, and what is in them.

* ``log/<20 digits>``: some commits. The number is their place in the order of all commits, and is taken by
  creating the object, once and for ever: what is not needed any more becomes a short list of the ids, never
  a free number.
* ``ckpt/<10 digits>``: where every value lay at one number of the log. Newer ones come first in a listing.
  Their numbers are never freed, either.
* ``data/<id>``: values that a checkpoint took out of the log.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from .._networked.commit import Commit

__all__ = [
    "CHECKPOINTS",
    "FORMAT",
    "MARKER",
    "PARTS",
    "SUPERSEDED",
    "Checkpoint",
    "Entry",
    "Spot",
    "checkpoint_name",
    "checkpoint_number",
    "cleared",
    "entry_name",
    "packed",
    "packed_checkpoint",
    "unpacked",
    "unpacked_checkpoint",
]

FORMAT: Final = 1
MARKER: Final = "axiom-persistence.json"
CHECKPOINTS: Final = "ckpt/"
PARTS: Final = "data/"
_MOST_CHECKPOINTS: Final = 10**10 - 1
_HEAD: Final = 4
"""Bytes before the header that say how long it is."""
SUPERSEDED: Final = b"superseded"


class Spot(NamedTuple):
    """Where a value lies."""

    version: str
    object: str
    start: int
    length: int
    size: int
    """Of the object. One of another size is not the same any more."""


class Entry(msgspec.Struct, array_like=True):
    """The header of an object of the log."""

    commits: list[tuple[str, list[tuple[str, int]], list[str]]]
    """Ids, with the keys and lengths of what was written, and the keys of what was deleted."""
    is_cleared: bool = False
    """The values are elsewhere, or not needed; only ids are left."""

    @property
    def ids(self) -> list[str]:
        return [each for each, _, _ in self.commits]

    @property
    def keys(self) -> list[str]:
        """All that it changes."""
        return [key for _, puts, deleted in self.commits for key in (*deleted, *(key for key, _ in puts))]


class Checkpoint(msgspec.Struct):
    """Where every value lay."""

    last: int
    """The number of the log that it is true of."""
    cleared: int
    """Up to here the log was certainly cleared before this was made."""
    rows: list[tuple[str, str, str, int, int, int]]
    """Keys, each with the five of its ``Spot``."""
    format: int = FORMAT


def entry_name(number: int) -> str:
    return f"log/{number:020}"


def checkpoint_name(number: int) -> str:
    return f"{CHECKPOINTS}{_MOST_CHECKPOINTS - number:010}"


def checkpoint_number(name: str) -> int:
    return _MOST_CHECKPOINTS - int(name.removeprefix(CHECKPOINTS))


def packed(commits: Sequence[Commit]) -> bytes:
    """An object of the log with ``commits``; with none, it only takes a number."""
    entry = Entry(
        [
            (
                each.id,
                [(key, len(data)) for key, data in each.changes.items() if data is not None],
                [key for key, data in each.changes.items() if data is None],
            )
            for each in commits
        ]
    )
    values = [data for each in commits for data in each.changes.values() if data is not None]
    return b"".join([_head(entry), *values])


def cleared(entry: Entry) -> bytes:
    """What is left of an object of the log. Shorter than it was."""
    return _head(Entry([(each, [], []) for each in entry.ids], True))


def _head(entry: Entry) -> bytes:
    header = msgspec.json.encode(entry)
    return len(header).to_bytes(_HEAD, "big") + header


def unpacked(data: bytes) -> tuple[Entry | None, int]:
    """The header, and where the values begin. None: ``data`` ends before they do."""
    begin = _HEAD + int.from_bytes(data[:_HEAD], "big")
    return (msgspec.json.decode(data[_HEAD:begin], type=Entry) if len(data) >= begin else None), begin


def packed_checkpoint(checkpoint: Checkpoint) -> bytes:
    return zlib.compress(msgspec.json.encode(checkpoint), 1)


def unpacked_checkpoint(data: bytes) -> Checkpoint | None:
    """None: a newer one has come."""
    if data == SUPERSEDED:
        return None
    return msgspec.json.decode(zlib.decompress(data), type=Checkpoint)
