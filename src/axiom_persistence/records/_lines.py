"""Rows of versions, and the steps between them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from ..errors import ConfigurationError, shown
from .record import major

__all__ = ["Edge", "Line", "StoreStep", "ValueStep", "check_version", "order"]

_VERSION: Final = re.compile(r"\d{1,9}(\.\d{1,9})*")


def check_version(version: str) -> str:
    """The version itself. Raises ``ConfigurationError`` unless it is numbers with dots."""
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ConfigurationError(
            f"a version is numbers with dots, not {shown(version)}", hint="write it as '2.0'"
        )
    return version


@lru_cache(maxsize=1024)
def order(version: str) -> tuple[int, ...]:
    """What versions are compared by. ``"2.0"`` and ``"2"`` are the same; what is no version comes first."""
    if not _VERSION.fullmatch(version):
        return (-1,)
    numbers = [int(part) for part in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


@dataclass(frozen=True, slots=True)
class ValueStep:
    """One function from a value to its next form, for the keys it matches."""

    name: str
    matches: Callable[[str], object]
    function: Callable[[Any], Any]
    down: Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class StoreStep:
    """One function that changes several keys at once."""

    name: str
    function: Callable[[Any], Awaitable[None]]
    down: Callable[[Any], Awaitable[None]] | None


@dataclass(slots=True)
class Edge:
    """All steps from one version to the next. Its store steps run before its value steps."""

    start: str
    end: str
    values: list[ValueStep] = field(default_factory=list)
    stores: list[StoreStep] = field(default_factory=list)

    def touching(self, key: str) -> list[ValueStep]:
        return [step for step in self.values if step.matches(key)]

    def describe(self, step: str) -> str:
        return f"{step!r} ({self.start} to {self.end})"


class Line:
    """The versions of a store, or of one client type, and the steps between them."""

    def __init__(self, name: str, current: str) -> None:
        self.name: str = name
        self.current: str = current
        self.edges: dict[str, Edge] = {}
        self.way: Callable[..., tuple[Edge, ...] | None]
        self.label: Callable[..., str]
        self.forget()

    def forget(self) -> None:
        """Forget the ways that were found: the current version is another one."""
        self.way = lru_cache(maxsize=256)(self._way)
        self.label = lru_cache(maxsize=8192)(self._label)
        self._until = lru_cache(maxsize=64)(self._way_until)

    def __str__(self) -> str:
        return f"the client type {self.name}" if self.name else "the store"

    def edge(self, start: str, end: str) -> Edge:
        """The edge between two versions, made where it is new. From each version one leads on."""
        if order(check_version(start)) >= order(check_version(end)):
            raise ConfigurationError(
                f"a step leads from a version to a later one, not from {start} to {end}",
                hint="name the version that comes first, then the one that the step leads to",
            )
        edge = self.edges.setdefault(start, Edge(start, end))
        if edge.end != end:
            raise ConfigurationError(
                f"from {start} one step leads to {edge.end} and another to {end}",
                hint="let both lead to the same version: data then takes one way only",
            )
        return edge

    @property
    def base(self) -> str:
        """The earliest version that is known."""
        return min(self.edges, key=order, default=self.current)

    def check(self) -> None:
        """Raise ``ConfigurationError`` for steps that do not lead to the current version."""
        for start in self.edges:
            if self.way(start) is None:
                last = start
                while (edge := self.edges.get(last)) is not None:
                    last = edge.end
                raise ConfigurationError(
                    f"the steps of {self} from {start} end at {last}; its current version is {self.current}",
                    hint=f"write a step from {last!r}, or set the current version to {last!r}",
                )

    def _way(self, start: str, end: str | None = None) -> tuple[Edge, ...] | None:
        """The edges from ``start`` to ``end`` (None: the current version). None: there is no such way."""
        end = self.current if end is None else end
        known = sorted(
            {*self.edges, *(edge.end for edge in self.edges.values()), self.current, end}, key=order
        )
        taken: list[Edge] = []
        at = start
        while order(at) < order(end):
            edge = self.edges.get(at)
            if edge is not None:
                taken.append(edge)
                at = edge.end
                continue
            up = [v for v in known if order(v) > order(at) and major(v) == major(at)]
            if not up:
                return None
            at = up[0]
        return tuple(taken) if order(at) == order(end) or not taken else None

    def _label(self, key: str, version: str | None = None) -> str:
        """The version in which the form of ``key`` last changed, up to ``version`` (None: the current)."""
        found, way = self._until(self.current if version is None else version)
        for edge in way:
            if edge.touching(key):
                found = edge.end
        return found

    def _way_until(self, version: str) -> tuple[str, tuple[Edge, ...]]:
        """The first version that is known up to ``version``, and the edges from there."""
        first = min(self.base, version, key=order)
        return first, self.way(first, version) or ()

    def last_of_major_before(self, label: str) -> str | None:
        """The last version with the major number before the current one's, if the form changed since."""
        if major(label) != major(self.current):
            return None  # nothing changed in this major version: the record itself is as before
        way = self.way(self.base) or ()
        versions = {self.base, *(edge.start for edge in way), *(edge.end for edge in way)}
        return max((v for v in versions if major(v) < major(self.current)), key=order, default=None)
