"""Two versions of the library against each other: ``python -m benchmarks.compare ANOTHER_CHECKOUT``.

Every round runs each of our jobs once with the code of either checkout, in turn, each in a process of its
own; what the ratios need of peers and floors runs in the same rounds. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .row import OURS, Job, Row
from .rows import rows
from .runner import ROOT, measure

__all__ = ["main"]

LEFT_OUT = frozenset({"live-clients", "keys", "sizes", "savers", "processes", "under-10-ms"})
"""Rows that take minutes, or show the same trips at other sizes."""


def _jobs(row: Row) -> list[Job]:
    """Ours, and whoever a goal of the row names."""
    named = {goal.against for goal in row.goals}
    return [job for job in row.jobs if job.label.startswith(OURS) or job.label in named]


def _table(row: Row, figures: dict[tuple[str, str], list[dict[str, float]]]) -> list[str]:
    metric = row.metrics[0]
    lines = []
    for job in _jobs(row):
        medians = {
            side: statistics.median(each[metric.name] for each in found if metric.name in each)
            for side in ("before", "after")
            if (found := figures.get((side, job.label))) and any(metric.name in each for each in found)
        }
        if len(medians) == 2:
            ratio = f"{medians['after'] / medians['before']:.2f}"
            shown = f"{medians['before']:.2f} | {medians['after']:.2f} | {ratio}"
        elif "after" in medians:
            shown = f"| {medians['after']:.2f} |"
        else:
            shown = "| not there |"
        lines.append(f"| {row.title} | {job.label} | {metric.title} | {shown} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("before", type=Path, help="a checkout of the version to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=0.5, help="of the calls that a full run makes")
    parser.add_argument("--only", nargs="+", help="names of rows")
    parser.add_argument("--directory", type=Path, default=ROOT / ".benchmarks")
    asked = parser.parse_args(arguments)
    asked.directory.mkdir(exist_ok=True)
    print("| row | contender | figure | before | after | after / before |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for row in rows(quick=False):
        if row.name in LEFT_OUT or row.prepare or (asked.only and row.name not in asked.only):
            continue
        figures: dict[tuple[str, str], list[dict[str, float]]] = {}
        with tempfile.TemporaryDirectory(dir=asked.directory) as place:
            for turn in range(asked.rounds):
                for job in _jobs(row):
                    sides = (
                        [("before", asked.before), ("after", ROOT)]
                        if job.label.startswith(OURS)
                        else [("after", ROOT)]
                    )
                    for side, root in sides if turn % 2 else sides[::-1]:
                        answer = measure(job, Path(place), asked.scale, turn, root=root.resolve())
                        if "figures" in answer:
                            figures.setdefault((side, job.label), []).append(answer["figures"])
                        elif "failed" in answer:
                            print(f"{row.name}, {job.label}, {side}: {answer['failed']}", file=sys.stderr)
        print("\n".join(_table(row, figures)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
