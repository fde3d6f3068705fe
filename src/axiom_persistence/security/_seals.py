"""Entries and sealed batches of an audit trail, as bytes. No input or output.

A batch holds entries as they were written, the root of a Merkle tree over them, and the hash of the batch
before. Whatever is altered, removed or put elsewhere in it changes the hash of every batch behind.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec

from ..keys import AUDIT
from ..records.record import INTERNAL_SCHEMA, seal_body, whole_body
from .audit import AuditEntry

__all__ = [
    "NEW",
    "SEALED",
    "Checkpoint",
    "Dropped",
    "Entry",
    "Sealed",
    "Trail",
    "batch_key",
    "entry_of",
    "hashed",
    "head_of",
    "json_in",
    "number_in",
    "raw_record",
    "root_of",
]

NEW: Final = AUDIT + "new/"
"""Entries that are not sealed yet, one a key."""
SEALED: Final = AUDIT + "sealed/"
"""Batches, by their number."""

_OPENING: Final = b'"schema":%b,"value":' % msgspec.json.encode(INTERNAL_SCHEMA)
_NUMBER: Final = re.compile("[0-9a-f]{12}")


class Trail(msgspec.Struct):
    """What a trail is, under the key ``TRAIL``."""

    id: str
    began: float
    secret: str = ""
    """What keys are hashed with, in hex; empty: they are named."""


class Dropped(msgspec.Struct, frozen=True):
    """What retention took away: every batch up to ``batch``, whose hash was ``head``."""

    batch: int
    entries: int
    head: str


class Entry(msgspec.Struct, omit_defaults=True):
    """One commit. ``at`` is in microseconds since 1970 UTC."""

    at: int
    writer: str
    n: int
    by: str | None = None
    why: str | None = None
    saved: list[str] = []
    deleted: list[str] = []
    dropped: Dropped | None = None
    damaged: str | None = None


class Sealed(msgspec.Struct):
    """A batch. ``total`` counts the entries of the trail up to its end."""

    batch: int
    prev: str
    root: str
    count: int
    total: int
    last: int
    """When its last entry was made, in microseconds."""
    entries: list[msgspec.Raw]


class Checkpoint(msgspec.Struct, frozen=True):
    """The state of a trail at one moment. Kept elsewhere, it proves later what was there then."""

    trail: str
    """The id of the trail."""
    batch: int
    """The number of its last batch; -1: nothing was sealed yet."""
    entries: int
    """How many entries were sealed since it began."""
    head: str
    """The hash of that batch, over all before it."""


def batch_key(number: int) -> str:
    return f"{SEALED}{number:012x}"


def number_in(key: str) -> int | None:
    """The number of the batch under ``key``. None: that is the key of none."""
    digits = key.removeprefix(SEALED)
    return int(digits, 16) if _NUMBER.fullmatch(digits) else None


def raw_record(key: str, value: bytes) -> bytes:
    """As ``seal_record``, and remembers nothing: each key comes once."""
    return seal_body(key, b"%b%b}" % (_OPENING, value))


def json_in(key: str, data: bytes) -> bytes | None:
    """The value that ``raw_record`` was given. None: the record is not whole."""
    body = whole_body(key, data)
    return body[len(_OPENING) : -1] if body is not None and body.startswith(_OPENING) else None


def root_of(entries: Sequence[bytes]) -> bytes:
    """The root of the Merkle tree over ``entries``, at least one, as RFC 6962 makes it."""
    level = [sha256(b"\0" + entry).digest() for entry in entries]
    while len(level) > 1:
        above = [
            sha256(b"\1" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def head_of(trail: str, sealed: Sealed) -> str:
    """The hash of a batch, and so of all that came before it."""
    said = f"{trail} {sealed.batch} {sealed.prev} {sealed.root} {sealed.count} {sealed.total} {sealed.last}"
    return sha256(b"\2" + said.encode()).hexdigest()


def hashed(secret: bytes, key: str) -> str:
    """What stands for ``key`` in an entry that names no keys."""
    return "#" + hmac.digest(secret, key.encode(), "sha256")[:16].hex()


def entry_of(entry: Entry, batch: int | None) -> AuditEntry:
    """An entry as it is shown."""
    reason = entry.why
    if entry.damaged is not None:
        operation, reason = "damaged", entry.damaged
    elif entry.dropped is not None:
        operation = "retention"
    elif entry.saved and entry.deleted:
        operation = "change"
    else:
        operation = "delete" if entry.deleted else "save"
    return AuditEntry(
        entry.at / 1_000_000,
        entry.by,
        operation,
        tuple(entry.saved),
        tuple(entry.deleted),
        reason,
        entry.writer,
        entry.n,
        batch,
    )
