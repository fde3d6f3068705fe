"""The picture of the first page: four comparisons on linear scales, coloured by what a save survives."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from .report import figure, worst_survived
from .row import OURS, Row
from .runner import Results, pooled

__all__ = ["comparison"]

PANELS: Final = {
    "durable-save": "One save after another",
    "concurrent-save": "A save, 100 tasks at once",
    "process-exit-save": "A save that needs no sync",
    "uncached-load": "A typed load, no cache",
}
FLOOR: Final = "append + fdatasync"
"""How the labels of what is no store begin: the page of all figures has them."""

KINDS: Final = {"power": "a power cut", "kill": "SIGKILL, but no power cut", "less": "less than that"}
WIDTH: Final = 860
PANEL: Final = 420
LABEL: Final = 146
ROOM: Final = 160
STEP: Final = 20

STYLE: Final = """
svg { color: #1f2328; font: 12.5px system-ui, sans-serif; }
text { fill: currentColor; }
.title { font-weight: 600; font-size: 14px; }
.faint { opacity: .7; }
.ours { font-weight: 700; }
.power { fill: #1a7f64; }
.kill { fill: #bf8700; }
.less { fill: #8c959f; }
@media (prefers-color-scheme: dark) {
  svg { color: #e6edf3; }
  .power { fill: #3fb68b; }
  .kill { fill: #d29922; }
  .less { fill: #7d8590; }
}
"""


class Bar(NamedTuple):
    label: str
    value: float
    kind: str


def comparison(results: Results, rows: Sequence[Row]) -> str:
    """Four panels; in each one the scale begins at 0 and ends at the longest bar."""
    panels = [(PANELS[row.name], _bars(results, row)) for row in rows if row.name in PANELS]
    panels = [(title, bars) for title, bars in panels if bars]
    parts, top = _legend(), 52.0
    for first in range(0, len(panels), 2):
        pair = panels[first : first + 2]
        for column, (title, bars) in enumerate(pair):
            parts += _panel(title, bars, 10 + column * (PANEL + 10), top)
        top += 34 + STEP * max(len(bars) for _, bars in pair) + 14
    label = "Medians of four comparisons with other libraries, and what a save survives in each"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" role="img" '
    return "\n".join([f'{head}aria-label="{label}">', f"<style>{STYLE}</style>", *parts, "</svg>\n"])


def _bars(results: Results, row: Row) -> list[Bar]:
    found = results.get(row.name, {})
    metric = row.metrics[0]
    bars = []
    for job in row.jobs:
        rounds = found.get(job.label, {}).get("rounds")
        if rounds and not job.label.startswith(FLOOR):
            worst = worst_survived(rounds[0].get("survives"))
            kind = "power" if worst == "power loss" else "kill" if worst.startswith("SIGKILL") else "less"
            bars.append(Bar(job.label.partition(",")[0], pooled(rounds, metric.name, metric.pool), kind))
    return sorted(bars, key=lambda bar: bar.value)


def _legend() -> list[str]:
    parts = [_text(10, 16, "µs, medians; shorter is faster. A save that has returned survives:", "faint")]
    place = 10
    for kind, said in KINDS.items():
        parts.append(f'<rect x="{place}" y="26" width="11" height="11" rx="2" class="{kind}"/>')
        parts.append(_text(place + 17, 36, said))
        place += 40 + 7 * len(said)
    return parts


def _panel(title: str, bars: Sequence[Bar], left: float, top: float) -> list[str]:
    parts = [_text(left, top + 14, title, "title")]
    longest = max(bar.value for bar in bars)
    top += 26
    for bar in bars:
        length = max(ROOM * bar.value / longest, 1)
        ours = "ours" if bar.label.startswith(OURS) else ""
        parts += [
            _text(left + LABEL - 8, top + 12, bar.label, ours, "end"),
            f'<rect x="{left + LABEL:.0f}" y="{top:.0f}" width="{length:.1f}" height="14" rx="2" '
            f'class="{bar.kind}"/>',
            _text(left + LABEL + length + 6, top + 12, f"{figure(bar.value)} µs", ours),
        ]
        top += STEP
    return parts


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'
