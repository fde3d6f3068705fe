"""``demo``: the promise, shown on this machine."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..adapters.file import FileStorageAdapter
from ..adapters.sqlite import SQLiteAdapter
from ..persistence.persistence import AdapterBasedPersistence
from ..storage.adapter import StorageAdapter
from ..testing.torture import TortureReport, percentile, torture
from ._endings import ExitCode
from ._output import StatusLine, coloured, data, note, on_terminal, printable, to_json

__all__ = ["show"]

_COLUMNS: Final = (
    *("store", "kills", "acknowledged", "found", "lost", "torn"),
    *("save p50", "save p99", "load p50", "load p99"),
)

_NEXT: Final = (
    "axiom-persistence set notes greeting '\"hello\"'    save a value of your own",
    "axiom-persistence get notes greeting              read it back",
    "axiom-persistence path notes                      see where it is",
)


class _Kind(NamedTuple):
    name: str
    make: Callable[[str], StorageAdapter]
    place: str
    damage: Callable[[Path], None]


def _damage_row(place: Path) -> None:
    """Change a letter in a row, behind the library's back."""
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute("UPDATE record SET data = replace(data, 'dark', 'dork') WHERE key = 'theme'")


def _damage_file(place: Path) -> None:
    """Change a letter in a file, behind the library's back."""
    record = place / "theme.json"
    record.write_bytes(record.read_bytes().replace(b"dark", b"dork"))


_KINDS: Final = (
    _Kind("sqlite", SQLiteAdapter, "notes.db", _damage_row),
    _Kind("files", FileStorageAdapter, "notes", _damage_file),
)


def show(kills: int, seconds: float, as_json: bool) -> ExitCode:
    """Kill, count and compare in each embedded store; then damage a record and watch it come back."""
    if not as_json:
        note(f"Saving typed values in a process that is killed (SIGKILL) up to {kills} times a store …")
    shown: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="axiom-persistence-demo-") as directory:
        for kind in _KINDS:
            here = Path(directory) / kind.name
            here.mkdir()
            result = _kill(kind, here / kind.place, kills, seconds / len(_KINDS), as_json)
            damage = asyncio.run(_recover(kind, here / f"damaged-{kind.place}"))
            shown.append(_facts(kind.name, result, damage))
    kept = all(store["kept"] for store in shown)
    if as_json:
        data(to_json({"kept": kept, "stores": shown}))
    else:
        _tell(shown, kept)
    return ExitCode.DONE if kept else ExitCode.FAILED


def _kill(kind: _Kind, place: Path, kills: int, seconds: float, as_json: bool) -> TortureReport:
    line = StatusLine(after_seconds=0.0, enabled=not as_json and on_terminal(err=True))

    def progress(report: TortureReport) -> None:
        line.show(
            f"{kind.name}: kill {report.kills}, {report.acknowledged:,} saves acknowledged, "
            f"{report.lost} lost, {report.torn} torn"
        )

    result = asyncio.run(torture(kind.make, place, kills=kills, seconds=seconds, progress=progress))
    line.clear()
    return result


async def _recover(kind: _Kind, place: Path) -> dict[str, Any]:
    """What was in a store, and what came back after it was damaged."""
    async with AdapterBasedPersistence(kind.make(str(place))) as persistence:
        await persistence.save("theme", "light")
        await persistence.save("theme", "dark")
    kind.damage(place)
    async with AdapterBasedPersistence(kind.make(str(place))) as persistence:
        found = await persistence.load("theme", str)
        report = next(iter(persistence.reports), None)
    return {
        "value": "dark",
        "found": found,
        "recovered": report is not None and report.recovered,
        "reason": report and report.reason,
        "quarantine": report and report.quarantine,
    }


def _facts(name: str, result: TortureReport, damage: dict[str, Any]) -> dict[str, Any]:
    counted = ("kills", "acknowledged", "found", "lost", "torn", "failed", "violations")
    return {
        "store": name,
        "kept": bool(result) and damage["found"] == "light" and damage["recovered"],
        **{what: getattr(result, what) for what in counted},
        "save_ms": _milliseconds(result.save_seconds),
        "load_ms": _milliseconds(result.load_seconds),
        "damage": damage,
    }


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    return {f"p{share}": round(1000 * percentile(seconds, share / 100), 3) for share in (50, 99)}


def _tell(shown: list[dict[str, Any]], kept: bool) -> None:
    rows = [list(_COLUMNS)]
    for store in shown:
        counts = [f"{store[name]:,}" for name in _COLUMNS[1:6]]
        times = [f"{time:.2f} ms" for what in ("save_ms", "load_ms") for time in store[what].values()]
        rows.append([store["store"], *counts, *times])
    _table(rows)
    data("")
    for store in shown:
        damage = store["damage"]
        data(
            f"{store['store']}: a letter of the stored {damage['value']!r} was changed behind our back. "
            f"Found: {printable(str(damage['reason']))}."
        )
        data(
            f"  The load gave {damage['found']!r}, the save before; the damaged bytes are in quarantine."
            if damage["recovered"]
            else f"  The load gave {damage['found']!r}: not as promised."
        )
        for violation in store["violations"]:
            data(f"  {printable(violation)}")
    said = (
        "Every acknowledged value was there." if kept else "A PROMISE WAS BROKEN; please report this output."
    )
    data(f"\n{said}\n\nNext:")
    for line in _NEXT:
        data(f"  {line}")


def _table(rows: list[list[str]]) -> None:
    """Show ``rows``, the first of which is the head."""
    if on_terminal() and coloured():
        try:
            from rich.console import Console
            from rich.table import Table
        except ModuleNotFoundError:
            pass  # the plain one says the same
        else:
            table = Table(box=None, header_style="bold", pad_edge=False)
            for name in rows[0]:
                table.add_column(name, justify="left" if name == "store" else "right", no_wrap=True)
            for row in rows[1:]:
                table.add_row(*row, style="red" if row[4:6] != ["0", "0"] else "green")
            Console().print(table)
            return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        data("  ".join([row[0].ljust(widths[0]), *cells[1:]]))
