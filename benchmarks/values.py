"""What is saved: a nested dataclass of 1.1 KB of JSON, different at every write."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

__all__ = ["Document", "Documents", "Page", "Small", "key_names", "page", "small"]

FIRST_REVISION: Final = 1_000_000
"""So that every revision has as many digits as the one before."""


@dataclass
class Author:
    name: str
    address: str
    number: int


@dataclass
class Window:
    title: str
    x: int
    y: int
    width: int
    height: int
    maximised: bool = False


@dataclass
class Document:
    """1.1 KB as JSON; ``body`` makes it longer."""

    revision: int
    title: str
    author: Author
    tags: list[str]
    created: datetime
    windows: list[Window]
    settings: dict[str, str]
    ratio: float
    starred: bool
    body: str = ""


class Small(msgspec.Struct, frozen=True):
    """An immutable value, which a cache may hand out as it is."""

    name: str
    count: int


class Page(msgspec.Struct, frozen=True):
    """1.1 KB as JSON that nothing can change."""

    revision: int
    title: str
    tags: tuple[str, ...]
    ratio: float
    starred: bool
    body: str


def page(document: Document) -> Page:
    """What ``document`` says, in one piece."""
    body = f"{document.author} {document.windows} {document.settings}"[:950]
    tags = tuple(document.tags)
    return Page(document.revision, document.title, tags, document.ratio, document.starred, body)


def small(number: int) -> Small:
    return Small(f"item {number}", number)


def _document(number: int, body: str) -> Document:
    return Document(
        revision=FIRST_REVISION + number,
        title=f"Minutes of meeting {number:06d}, with a title that is not short at all",
        author=Author(f"Grace Hopper {number:06d}", f"grace.{number:06d}@example.org", number),
        tags=["minutes", "planning", f"room-{number % 97}", "quarterly", "draft"],
        created=datetime(2024, 1, 2, 3, 4, 5, number % 1_000_000, tzinfo=UTC),
        windows=[Window(f"Pane {i} of {number:06d}", 40 * i, 30 * i, 800 + i, 600 + i) for i in range(5)],
        settings={f"setting.{i}": f"value {i * number % 1000:04d}" for i in range(12)},
        ratio=number / 7,
        starred=number % 3 == 0,
        body=body,
    )


class Documents:
    """An endless supply: no two that were taken are equal, and taking one costs next to nothing."""

    def __init__(self, pool: int = 1000, *, body_bytes: int = 0) -> None:
        source = random.Random(1)
        # Not compressible and not the same letter again and again, yet plain ASCII.
        body = "".join(source.choices("abcdefghijklmnopqrstuvwxyz      ", k=body_bytes))
        self._pool = [_document(number, body) for number in range(pool)]
        self._next = 0

    def __len__(self) -> int:
        return len(self._pool)

    def take(self) -> Document:
        number = self._next = self._next + 1
        document = self._pool[number % len(self._pool)]
        document.revision = FIRST_REVISION + number
        return document


def key_names(count: int) -> list[str]:
    return [f"documents/{number:08d}" for number in range(count)]
