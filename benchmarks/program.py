"""The command line: choose rows, run them, write the table, the chart and the raw figures."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from .chart import svg
from .comparison import comparison
from .machine import RAM, description, file_system
from .report import markdown, medians, unmeasured
from .row import Row
from .rows import rows
from .runner import run

__all__ = ["main"]

ROOT: Final = Path(__file__).resolve().parent.parent
ROUNDS: Final = 7
QUICK_ROUNDS: Final = 3
QUICK_SCALE: Final = 0.1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls, fewer rounds")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows, e.g. durable-save")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--rounds", type=int, help=f"how often each job runs (default {ROUNDS})")
    parser.add_argument("--scale", type=float, help="the share of the calls to make (default 1)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the jobs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the raw figures here")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where to write (default: docs, or .benchmarks if not all)"
    )
    parser.add_argument("--directory", type=Path, help="where the stores are made: a real disk")
    parser.add_argument(
        "--update", action="store_true", help="with --only: keep the other rows of the last whole run"
    )
    parser.add_argument("--render", type=Path, metavar="FILE", help="measure nothing, show these raw figures")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """0: everything was measured that is there. 1: a job failed. 2: asked wrongly."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    every = rows(quick=asked.quick)
    if asked.list:
        print("\n".join(f"{row.name:20} {row.title}" for row in every))
        return 0
    known = {row.name for row in every}
    unknown = [name for name in asked.only or () if name not in known]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    chosen = [row for row in every if not asked.only or row.name in asked.only]
    part = bool(asked.only or asked.quick or asked.scale or asked.rounds) and not asked.update
    output: Path = asked.output or ROOT / (".benchmarks" if part else "docs")
    found = json.loads(asked.render.read_text()) if asked.render else _measured(asked, chosen)
    if asked.update:
        found = _updated(json.loads((output / "benchmarks.json").read_text()), found)
    _write(found, every, output, asked.json)
    left_out = list(unmeasured(found["results"], every))
    for row, label, word, why in left_out:
        print(f"{row.name}: {label}: {word}: {why}", file=sys.stderr)
    print(f"written: {output}/benchmarks.md, .svg, .json", file=sys.stderr)
    return int(any(word == "failed" for _, _, word, _ in left_out))


def _measured(asked: argparse.Namespace, chosen: Sequence[Row]) -> dict[str, Any]:
    directory: Path = asked.directory or ROOT / ".benchmarks"
    directory.mkdir(parents=True, exist_ok=True)
    kind, _ = file_system(directory)
    warning = f"The stores were on {kind}: no figure called durable means anything." if kind in RAM else ""
    machine = description(directory)
    for name, value in machine.items():
        print(f"{name}: {value}", file=sys.stderr)
    if warning:
        print(warning, file=sys.stderr)
    rounds = asked.rounds or (QUICK_ROUNDS if asked.quick else ROUNDS)
    scale = asked.scale or (QUICK_SCALE if asked.quick else 1.0)
    begin = time.monotonic()
    results = run(chosen, directory, rounds=rounds, scale=scale, seed=asked.seed, say=_say)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine,
        "rounds": rounds,
        "scale": scale,
        "seed": asked.seed,
        "minutes": (time.monotonic() - begin) / 60,
        "warning": warning,
        "results": results,
    }


def _updated(last: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The rows of the ``last`` run with those that were ``found`` now in their place, and when each was."""
    dates = dict.fromkeys(last["results"], last["date"]) | last.get("dates", {})
    dates |= dict.fromkeys(found["results"], found["date"])
    return {**found, "results": {**last["results"], **found["results"]}, "dates": dates}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(found: dict[str, Any], every: Sequence[Row], output: Path, also: Path | None) -> None:
    output.mkdir(parents=True, exist_ok=True)
    # First what cannot be made again.
    raw = json.dumps({**found, "medians": medians(found["results"], every)}, indent=1) + "\n"
    for file in (output / "benchmarks.json", *((also,) if also is not None else ())):
        file.write_text(raw)
    page = markdown(found, every, "benchmarks.svg")
    (output / "benchmarks.md").write_text(page)
    (output / "benchmarks.svg").write_text(svg(found["results"], every))
    (output / "comparison.svg").write_text(comparison(found["results"], every))
    if output.name == ".benchmarks":
        print(page)
