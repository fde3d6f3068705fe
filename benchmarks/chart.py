"""The figures of a run as an SVG picture, in the colours of a light or a dark page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from .report import figure
from .row import OURS, Metric, Row
from .runner import Results, pooled

__all__ = ["svg"]

WIDTH: Final = 860
LEFT: Final = 250
RIGHT: Final = 110
BAR: Final = 15
STEP: Final = 21
LETTER: Final = 6.5
"""About the width of a letter, which only the viewer's font knows."""
PLOT_WIDTH: Final = 380
PLOT_HEIGHT: Final = 190

STYLE: Final = """
svg { color: #1f2328; font: 12px system-ui, sans-serif; }
text { fill: currentColor; }
.title { font-weight: 600; font-size: 14px; }
.faint { opacity: .65; }
.ours { fill: #1a7f64; stroke: #1a7f64; }
.peer { fill: #8c959f; stroke: #8c959f; }
.second { fill: #bf8700; stroke: #bf8700; }
.bar { stroke: none; }
.line { fill: none; stroke-width: 2; }
.axis { stroke: currentColor; stroke-opacity: .2; }
@media (prefers-color-scheme: dark) {
  svg { color: #e6edf3; }
  .ours { fill: #3fb68b; stroke: #3fb68b; }
  .peer { fill: #7d8590; stroke: #7d8590; }
  .second { fill: #d29922; stroke: #d29922; }
}
"""


def svg(results: Results, rows: Sequence[Row]) -> str:
    """One picture: bars for what is compared, lines for what grows. Shorter and lower are better."""
    parts: list[str] = []
    top = 28.0
    for row in rows:
        if row.chart == "bars":
            drawn, top = _bars(results, row, top)
            parts += drawn
    column = 0
    for row in rows:
        if row.chart in ("lines", "metrics"):
            plot = _plot(results, row, 20 + column * (PLOT_WIDTH + 40), top)
            if plot:
                parts += plot
                column += 1
                if column == 2:
                    column, top = 0, top + PLOT_HEIGHT + 90
    height = top + (PLOT_HEIGHT + 90 if column else 0)
    label = "Benchmarks of axiom-persistence and its peers; less is better"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-label="{label}">',
            f"<style>{STYLE}</style>",
            _text(20, 16, "Medians of interleaved rounds; logarithmic scales; less is better", "faint"),
            *parts,
            "</svg>\n",
        )
    )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def _medians(results: Results, row: Row, metric: Metric) -> dict[str, float]:
    found = results.get(row.name, {})
    return {
        job.label: pooled(found[job.label]["rounds"], metric.name, metric.pool)
        for job in row.jobs
        if found.get(job.label, {}).get("rounds")
    }


def _bars(results: Results, row: Row, top: float) -> tuple[list[str], float]:
    medians = _medians(results, row, row.metrics[0])
    if not medians:
        return [], top
    unit = row.metrics[0].title
    parts = [_text(20, top + 14, f"{row.title} ({unit})", "title")]
    top += 26
    # A decade below the least, so that no bar is of no length.
    low = math.floor(math.log10(min(medians.values())) - 0.3)
    high = math.log10(max(medians.values()))
    room = WIDTH - LEFT - RIGHT
    for label, value in sorted(medians.items(), key=lambda item: item[1]):
        length = room * (math.log10(value) - low) / max(high - low, 0.1)
        kind = "ours" if label.startswith(OURS) else "peer"
        said = f"{label}: {figure(value)} {unit}"
        parts += [
            _text(LEFT - 8, top + BAR - 3, label, anchor="end"),
            f'<rect x="{LEFT}" y="{top:.1f}" width="{max(length, 1):.1f}" height="{BAR}" rx="2" '
            f'class="bar {kind}"><title>{escape(said)}</title></rect>',
            _text(LEFT + length + 6, top + BAR - 3, figure(value)),
        ]
        top += STEP
    return parts, top + 16


def _plot(results: Results, row: Row, left: float, top: float) -> list[str]:
    lines, unit = _lines(results, row)
    if not lines:
        return []
    points = [point for line in lines.values() for point in line]
    across = Scale([x for x, _ in points], left + 46, left + PLOT_WIDTH - 10)
    heights = [y for _, y in points]
    down = Scale([min(heights) * 0.8, max(heights) * 1.2], top + 30 + PLOT_HEIGHT, top + 30)
    parts = [_text(left, top + 14, f"{row.title} ({unit})", "title")]
    parts += _axes(sorted({x for x, _ in points}), across, down, left, top)
    kinds = dict(zip(lines, _kinds(lines), strict=True))
    place = left + 46
    for name, line in lines.items():
        kind = kinds[name]
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" class="line {kind}" style="fill:none"/>')
        parts += [
            f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="3" class="{kind}">'
            f"<title>{escape(f'{name}: {figure(y)} {unit}')}</title></circle>"
            for x, y in line
        ]
        parts.append(
            f'<rect x="{place:.1f}" y="{top + PLOT_HEIGHT + 56:.1f}" width="10" height="10" class="{kind}"/>'
        )
        parts.append(_text(place + 15, top + PLOT_HEIGHT + 65, name))
        place += 32 + LETTER * len(name)
    return parts


def _lines(results: Results, row: Row) -> tuple[dict[str, list[tuple[float, float]]], str]:
    """The points of each line, and their unit."""
    lines: dict[str, list[tuple[float, float]]] = {}
    if row.chart == "lines":
        medians = _medians(results, row, row.metrics[0])
        for job in row.jobs:
            if job.label in medians:
                lines.setdefault(job.series, []).append((job.x, medians[job.label]))
        return lines, row.metrics[0].title
    for metric in row.metrics:
        title, _, unit = metric.title.partition(", µs")
        if unit or metric.title.endswith("µs"):
            medians = _medians(results, row, metric)
            points = [(job.x, medians[job.label]) for job in row.jobs if job.label in medians]
            if points:
                lines[title] = points
    return lines, "µs"


def _kinds(lines: Mapping[str, object]) -> list[str]:
    if not any(name.startswith(OURS) for name in lines):
        return ["ours", "second", "peer"][: len(lines)]
    others = iter(("peer", "second"))
    return ["ours" if name.startswith(OURS) else next(others) for name in lines]


class Scale:
    """From a logarithmic range to a range of the picture."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = math.log10(min(values)), math.log10(max(values))
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self.low) / max(self.high - self.low, 1e-9)
        return self._start + share * (self._end - self._start)


def _axes(at: Sequence[float], across: Scale, down: Scale, left: float, top: float) -> list[str]:
    parts = []
    bottom = top + 30 + PLOT_HEIGHT
    for x in at:
        parts.append(_text(across(x), bottom + 16, _short(x), "faint", "middle"))
    for value in _ticks(10**down.low, 10**down.high):
        y = down(value)
        parts.append(
            f'<line x1="{left + 46:.1f}" y1="{y:.1f}" x2="{left + PLOT_WIDTH - 10:.1f}" y2="{y:.1f}" '
            'class="axis"/>'
        )
        parts.append(_text(left + 40, y + 4, _short(value), "faint", "end"))
    return parts


def _ticks(least: float, most: float) -> list[float]:
    """Powers of ten in between; within two decades also their doubles and fives."""
    steps = (1, 2, 5) if most / least < 100 else (1,)
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return [tick for tick in ticks if least <= tick <= most]


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
