"""A row: jobs that are run in turn, figures of each, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["OURS", "Goal", "Job", "Metric", "Row"]

OURS: Final = "axiom-persistence"
"""How the label of every job of our own begins."""


@dataclass(frozen=True)
class Job:
    """One measurement in a process of its own. ``series`` and ``x`` place it in a chart of lines."""

    label: str
    scenario: str
    parameters: Mapping[str, Any]
    series: str = ""
    x: float = 0


@dataclass(frozen=True)
class Metric:
    """A figure of every job of a row. ``pool`` says how rounds become one figure."""

    name: str
    title: str
    pool: str = "median"
    """"median", or "mean" where the rare bad case is the point."""


@dataclass(frozen=True)
class Goal:
    """What is asked: ``ours / against`` at most ``limit``; with ``times``, ``against / ours`` at least it.

    Without ``against`` it is the figure of ours itself.
    """

    ours: str
    against: str | None
    metric: str
    limit: float
    times: bool = False
    at_least: bool = False
    unit: str = ""

    def ratio(self, ours: float, against: float | None) -> float:
        if against is None:
            return ours
        return against / ours if self.times else ours / against

    def reached(self, ratio: float) -> bool:
        return ratio >= self.limit if self.times or self.at_least else ratio <= self.limit

    @property
    def text(self) -> str:
        side = "at least" if self.times or self.at_least else "at most"
        unit = "x" if self.against is not None else f" {self.unit}" if self.unit != "%" else "%"
        return f"{side} {self.limit:g}{unit}"


@dataclass(frozen=True)
class Row:
    """With ``prepare``, every label has one directory through all rounds, made before the first."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    jobs: tuple[Job, ...]
    goals: tuple[Goal, ...] = ()
    note: str = ""
    rounds: int | None = None
    """At most so many rounds, where one takes long."""
    chart: str = ""
    """"bars", "lines" (one a series), "metrics" (one a figure in µs) or nothing."""
    prepare: tuple[Job, ...] = field(default=())
