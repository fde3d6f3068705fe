"""The figures of a run as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .row import OURS, Goal, Job, Row
from .runner import Results, pooled

__all__ = ["Run", "figure", "judged", "markdown", "medians", "unmeasured", "worst_survived"]

Run = Mapping[str, Any]
"""What a run wrote down: machine, settings and ``results``."""


def figure(value: float) -> str:
    """Three digits that matter."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return f"{value:.2f}"


def _text(metric: str, value: float) -> str:
    return _percent(value) if metric.endswith("percent") else figure(value)


def _rounds(results: Results, row: Row, label: str | None) -> Sequence[Mapping[str, float]]:
    if label is None:
        return ()
    found: Sequence[Mapping[str, float]] = results.get(row.name, {}).get(label, {}).get("rounds", ())
    return found


def _pool(row: Row, metric: str) -> str:
    return next(each.pool for each in row.metrics if each.name == metric)


def judged(results: Results, row: Row, goal: Goal) -> tuple[float, float | None, float, float, float] | None:
    """Ours, theirs, their ratio, and the least and greatest ratio of a round. None: not measured."""
    ours, theirs = _rounds(results, row, goal.ours), _rounds(results, row, goal.against)
    if not ours or (goal.against is not None and not theirs):
        return None
    pool = _pool(row, goal.metric)
    mine = pooled(ours, goal.metric, pool)
    if goal.against is None:
        each = [figures[goal.metric] for figures in ours]
        return mine, None, mine, min(each), max(each)
    other = pooled(theirs, goal.metric, pool)
    ratios = [
        goal.ratio(one[goal.metric], another[goal.metric]) for one, another in zip(ours, theirs, strict=False)
    ]
    return mine, other, goal.ratio(mine, other), min(ratios), max(ratios)


def unmeasured(results: Results, rows: Iterable[Row]) -> Iterator[tuple[Row, str, str, str]]:
    """Every job without figures: its row, label, "missing" or "failed", and why."""
    for row in rows:
        for label, found in results.get(row.name, {}).items():
            for word in ("missing", "failed"):
                if word in found:
                    yield row, label, word, found[word]


def medians(results: Results, rows: Iterable[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """Row, label, metric: the one figure that the report shows."""
    return {
        row.name: {
            job.label: {m.name: round(pooled(found, m.name, m.pool), 4) for m in row.metrics}
            for job in row.jobs
            if (found := _rounds(results, row, job.label))
        }
        for row in rows
        if row.name in results
    }


def markdown(run: Run, rows: Sequence[Row], chart: str) -> str:
    """The whole page. ``rows`` that were not part of the run are left out."""
    results: Results = run["results"]
    present = [row for row in rows if row.name in results]
    parts = [
        _head(run, chart),
        _goals(results, present),
        *(_details(run, row) for row in present if _has_figures(results, row)),
        _survival(results, present),
        _left_out(results, present),
        _machine(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _has_figures(results: Results, row: Row) -> bool:
    return any(found.get("rounds") for found in results[row.name].values())


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def _head(run: Run, chart: str) -> str:
    shorter = (
        ""
        if run["scale"] >= 1
        else (
            f"\n\n**A short run** ({run['scale']:g} of the full length): good for seeing that "
            "everything works, not for conclusions."
        )
    )
    volatile = f"\n\n**{run['warning']}**" if run.get("warning") else ""
    return f"""# Benchmarks

Written by `make bench` ({run["date"]}); do not edit. How it is measured and how to read it:
[performance.md](performance.md). The raw figures: [benchmarks.json](benchmarks.json).{shorter}{volatile}

![Benchmarks]({chart})"""


def _goals(results: Results, rows: Sequence[Row]) -> str:
    lines = []
    reached = measured = 0
    for row in rows:
        for goal in row.goals:
            found = judged(results, row, goal)
            if found is None:
                continue
            mine, other, ratio, least, most = found
            good = goal.reached(ratio)
            measured += 1
            reached += good
            sign = "" if goal.against is None else "x"
            title = next(m.title for m in row.metrics if m.name == goal.metric)
            lines.append(
                (
                    f"{row.title}: {goal.ours} ({title})",
                    _text(goal.metric, mine),
                    "" if goal.against is None else goal.against,
                    "" if other is None else _text(goal.metric, other),
                    f"{_text(goal.metric, ratio) if not sign else figure(ratio)}{sign}",
                    f"{_text(goal.metric, least) if not sign else figure(least)} to "
                    f"{_text(goal.metric, most) if not sign else figure(most)}",
                    goal.text,
                    "yes" if good else "**missed**",
                )
            )
    if not lines:
        return ""
    head = ("What", "ours", "against", "theirs", "ratio", "least to most", "goal", "reached")
    return f"## Goals\n\n{reached} of {measured} reached.\n\n" + _table(head, lines)


def _details(run: Run, row: Row) -> str:
    results: Results = run["results"]
    date = run.get("dates", {}).get(row.name, run["date"])
    earlier = "" if date == run["date"] else f", measured {date}"
    measured = [(job, found) for job in row.jobs if (found := _rounds(results, row, job.label))]
    compared = any(not job.label.startswith(OURS) for job, _ in measured) or row.name == "collection"
    kept = any("survives" in found[0] for _, found in measured)
    head = ["Contender", *(metric.title for metric in row.metrics)]
    head.insert(2, "least to most")
    head += ["against ours"] * compared + ["survives"] * kept
    lines = []
    for job, found in measured:
        line = _line(row, job, found)
        if compared:
            base = _base(results, row, job)
            mine = pooled(found, row.metrics[0].name, row.metrics[0].pool)
            line.append("" if not base else f"{figure(mine / base)}x")
        if kept:
            line.append(worst_survived(found[0].get("survives")))
        lines.append(line)
    note = f"\n\n{row.note}" if row.note else ""
    return f"## {row.title}\n\n`--only {row.name}`{earlier}\n\n{_table(head, lines)}{note}"


def _base(results: Results, row: Row, job: Job) -> float | None:
    """The figure of ours that ``job`` is compared with: the first, or the one at the same place."""
    for other in row.jobs:
        if other.label.startswith(OURS) and other.x == job.x:
            found = _rounds(results, row, other.label)
            return pooled(found, row.metrics[0].name, row.metrics[0].pool) if found else None
    return None


def _line(row: Row, job: Job, found: Sequence[Mapping[str, float]]) -> list[str]:
    first = row.metrics[0].name
    each = [figures[first] for figures in found]
    line = [job.label]
    line += [_text(metric.name, pooled(found, metric.name, metric.pool)) for metric in row.metrics]
    line.insert(2, f"{_text(first, min(each))} to {_text(first, max(each))}")
    return line


def worst_survived(survives: Any) -> str:
    """The worst that an acknowledged save survives."""
    if survives is None:
        return ""
    said = "nothing"
    for worse, answer in zip(("an exception", "SIGKILL", "power loss"), survives, strict=False):
        if answer == "no":
            break
        said = worse if answer == "yes" else f"{said}, {worse} {answer}"
    return said


def _survival(results: Results, rows: Sequence[Row]) -> str:
    said: dict[str, Sequence[str]] = {}
    for row in rows:
        for job in row.jobs:
            for figures in _rounds(results, row, job.label):
                if "survives" in figures and not job.series and job.label not in said:
                    said[job.label] = figures["survives"]  # type: ignore[assignment]
    if not said:
        return ""
    head = ("An acknowledged save survives", "an exception", "SIGKILL", "power loss", "according to")
    lines = [(label, *survives) for label, survives in said.items()]
    return "## What is kept\n\n" + _table(head, lines)


def _left_out(results: Results, rows: Sequence[Row]) -> str:
    words = {"missing": "not there", "failed": "failed"}
    lines = [
        f"* {row.title}: {label}: {words[word]}: {why}" for row, label, word, why in unmeasured(results, rows)
    ]
    return "## Left out\n\n" + "\n".join(lines) if lines else ""


def _machine(run: Run) -> str:
    lines = [(name, value) for name, value in run["machine"].items()]
    settings = f"{run['rounds']} rounds, seed {run['seed']}, {run['minutes']:.1f} minutes."
    return f"## Machine\n\n{settings}\n\n" + _table(("", ""), lines).replace("| ---: |", "| --- |")
