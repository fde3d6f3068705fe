"""What happens to bytes that cannot be read: never overwritten, reported, kept in quarantine."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Final

import msgspec
from xxhash import xxh3_64_hexdigest

from ..errors import ConfigurationError, shown

__all__ = [
    "QUARANTINE",
    "Corruption",
    "CorruptionReport",
    "OnCorruption",
    "Quarantined",
    "corruption_choice",
    "quarantine_key",
    "quarantine_value",
]

QUARANTINE: Final = "\x01quarantine/"


class Corruption(StrEnum):
    """The application's choice when a record fails its check."""

    RECOVER = "recover"  # the previous generation is back, or the last snapshot's value, or none; reported
    RAISE = "raise"  # CorruptedDataError; nothing is changed
    REPAIR = "repair"  # as RECOVER; and a store that cannot be opened is moved aside and made anew


class CorruptionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One record that failed its check, and what was done about it."""

    key: str
    """Empty: it is no record, but the store as a whole, which cannot be opened."""
    reason: str
    """Why the bytes were refused, in words."""
    size: int
    """How many bytes they are."""
    adapter: str
    recovered: bool = False
    """A whole record was put in its place; else the key now reads as missing."""
    snapshot: str | None = None
    """The path of the snapshot that record came from. None: it is the previous generation."""
    age: float | None = None
    """How old that snapshot was, in seconds: what was saved since is lost."""
    quarantine: str | None = None
    """The key under which the damaged bytes are kept."""
    at: float = 0.0
    """When, in seconds since 1970 UTC."""

    @property
    def outcome(self) -> str:
        """What was done, in words."""
        if not self.recovered:
            return "it now reads as missing"
        if self.snapshot is None:
            return "the previous generation is back"
        age = timedelta(seconds=round(self.age or 0))
        return f"the value of the snapshot {self.snapshot}, {age} old, is back"


OnCorruption = Corruption | Callable[[CorruptionReport], Corruption]
"""A fixed choice, or a function that is asked each time."""


class Quarantined(msgspec.Struct, frozen=True):
    """The value of a quarantine record. ``data`` is the damaged bytes, base64 in JSON."""

    key: str
    reason: str
    at: float
    data: bytes


def quarantine_key(key: str, version: str) -> str:
    """Where damaged bytes of ``key`` go: the same place for the same bytes, so that a retry adds nothing."""
    return f"{QUARANTINE}{xxh3_64_hexdigest(key.encode())}-{xxh3_64_hexdigest(version.encode())}"


def quarantine_value(key: str, reason: str, data: bytes) -> bytes:
    """The quarantine record's value, as JSON that ``jq`` can show and a person can decode."""
    return msgspec.json.encode({"key": key, "reason": reason, "at": time.time(), "data": data})


def corruption_choice(asked: OnCorruption | str) -> OnCorruption:
    """What an application asked for, checked. Raises ``ConfigurationError``."""
    if not isinstance(asked, str) and callable(asked):
        return asked
    try:
        return Corruption(asked)
    except ValueError:
        raise ConfigurationError(
            f"on_corruption is 'recover', 'repair', 'raise' or a function of the report, not {shown(asked)}",
            hint="write on_corruption='recover'",
        ) from None
