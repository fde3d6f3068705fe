"""What is in the golden stores of this release: by key, the value and the type to read it as.

A later release that stores something new adds it here, and `scripts/golden.py` writes its stores. The ones of
earlier releases stay as they are, with a copy of their own of what was in them.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from axiom_persistence import Client, Migrations, client_state

KEY = bytes(range(32))
"""The key of the encrypted store: no secret, since it is here."""


class Theme(Enum):
    LIGHT = "light"
    DARK = "dark"


@dataclass
class Size:
    width: int
    height: int = 600


class Note(msgspec.Struct):
    title: str
    tags: list[str] = []
    size: Size | None = None
    saved: datetime | None = None


class Preferences(Client, name="Preferences"):
    theme: Theme = client_state(Theme.LIGHT)
    recent: list[str] = client_state(default_factory=list)
    size: Size = client_state(default_factory=lambda: Size(1))


@dataclass
class Stored:
    value: Any
    kind: Any
    options: dict[str, Any] = field(default_factory=dict)


NOTE = Note("Grüße ☃", ["a", ""], Size(800), datetime(2024, 2, 29, 12, 30, tzinfo=UTC))
LONG = "long/" + "k" * 200

CONTENTS = {
    "none": Stored(None, None),
    "yes": Stored(True, bool),
    "zero": Stored(0, int),
    "big": Stored(2**100, int),
    "float": Stored(0.1, float),
    "text": Stored('quotes " \\ \u2028 \U0001f600 \x00', str),
    "empty": Stored("", str),
    "bytes": Stored(bytes(range(256)), bytes),
    "list": Stored([1, [2, []]], list),
    "dict": Stored({"": 1, "é": {"x": None}}, dict),
    "price": Stored(Decimal("1.10"), Decimal),
    "uuid": Stored(UUID(int=7), UUID),
    "when": Stored(datetime(2024, 2, 29, tzinfo=UTC), datetime),
    "day": Stored(date(2024, 2, 29), date),
    "clock": Stored(clock(1, 2, 3, 4), clock),
    "span": Stored(timedelta(days=1, seconds=2), timedelta),
    "set": Stored({"only"}, set[str]),
    "theme": Stored(Theme.DARK, Theme),
    "note": Stored(NOTE, Note),
    "expires": Stored("later", str, {"ttl": timedelta(days=365 * 500)}),
    "large": Stored("x" * 20_000, str),
    "A": Stored("upper", str),
    "a": Stored("lower", str),
    "a/b/ü": Stored("nested", str),
    "../dots": Stored("dots", str),
    "CON": Stored("a device elsewhere", str),
    "100%/\x7f\n": Stored("controls", str),
    LONG: Stored("a long key", str),
}
GONE = "expired"
NEWER, COMPATIBLE = "newer", "compatible"

MIGRATED = ("migrated.db", "migrated")
"""Stores that were migrated from 1.0 to 2.0, and can go back."""

OLD = {"profile": {"name": "Ada Lovelace"}, "colour": "red", "same": [1, 2]}
NEW = {"profile": {"first": "Ada", "last": "Lovelace"}, "tint": "red", "same": [1, 2]}


def migrations() -> Migrations:
    """Without ways back: only the originals lead there."""
    made = Migrations("2.0")

    @made.value("1.0", "2.0", key="profile")
    def split_name(value: Any) -> Any:
        first, _, last = value["name"].partition(" ")
        return {"first": first, "last": last}

    @made.store("1.0", "2.0")
    async def rename_colour(tx: Any) -> None:
        await tx.rename("colour", "tint")

    return made
