"""The table of errors: what a user did, the class, and the whole message. A file for each area."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "hunter2"
"""In every value that a case stores or passes. No message may have it."""
NUMBER = 987654321
"""The same, for numbers."""


@dataclass
class World:
    """What a case may use."""

    path: Path
    """A directory of its own."""
    monkeypatch: Any

    def db(self, name: str = "notes.db") -> str:
        return str(self.path / name)


@dataclass
class Case:
    """One mistake."""

    kind: type[BaseException]
    message: str
    act: Callable[[World], Any]
    key: str | None = None
    """The key that it concerns."""
    place: bool = False
    """Whether a store was there that could be named."""
    no_hint: str = ""
    """Why no way out can be named."""

    @property
    def blocking(self) -> bool:
        return self.act.__module__.endswith(".blocking")


CASES: list[Case] = []


def case(
    kind: type[BaseException], message: str, *, key: str | None = None, place: bool = False, no_hint: str = ""
) -> Callable[[Callable[[World], Any]], Callable[[World], Any]]:
    """Add the decorated function to the table."""

    def add(act: Callable[[World], Any]) -> Callable[[World], Any]:
        CASES.append(Case(kind, message, act, key, place, no_hint))
        return act

    return add


def told(error: BaseException, world: World) -> str:
    """The message as it stands in the table."""
    text = str(error).replace(str(world.path), "<path>")
    text = re.sub(r"/home/\w+|/root", "<home>", text)
    return re.sub(r"(n|k)\1{40,}", r"\1…", text)
