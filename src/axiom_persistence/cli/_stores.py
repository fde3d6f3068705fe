"""``info``, ``path`` and ``verify``: a store as a whole."""

from __future__ import annotations

import asyncio
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from ..errors import CorruptedDataError
from ..jobs._repairing import salvage
from ..jobs.verify import VerifyReport
from ..jobs.verify import verify as verify_store
from ..jobs.walk import OnProgress, Progress
from ..opening.addresses import adapter_for
from ..records.corruption import QUARANTINE
from ..records.record import INTERNAL_SCHEMA, look_at
from ..storage._salvage import Fate, SalvageReport
from ..store import store as typed
from ..store._header import HEADER
from ._endings import ExitCode
from ._output import (
    STATUS_EVERY_SECONDS,
    StatusLine,
    counted,
    data,
    note,
    on_terminal,
    printable,
    style,
    timestamp,
    to_json,
)
from .base import (
    command,
    complete_key,
    complete_store,
    facts_of,
    must_be_there,
    no_such_key,
    opened,
    unopened,
)

__all__ = ["info", "path", "verify"]

PROGRESS_AFTER_SECONDS: Final = 0.5


@click.command("info", short_help="Describe a store or a key.")
@click.argument("where", shell_complete=complete_store)
@click.argument("key", shell_complete=complete_key, required=False)
@command
def info(where: str, key: str | None, as_json: bool) -> int:
    """Describe the store, or KEY, without showing a value. Exits with 3 when that is damaged."""
    facts = asyncio.run(_about_store(where) if key is None else _about_key(where, key))
    if as_json:
        data(to_json(facts))
        return _ending(facts)
    width = max(len(name) for name in facts)
    for name, fact in facts.items():
        shown = "-" if fact is None else f"{fact:,}" if type(fact) is int else printable(str(fact))
        data(f"{name.replace('_', ' '):<{width}}  {shown}")
    return _ending(facts)


def _ending(facts: dict[str, Any]) -> ExitCode:
    return ExitCode.FOUND if facts["damage"] else ExitCode.DONE


async def _about_store(where: str) -> dict[str, Any]:
    async with opened(where, "inspect") as persistence:
        adapter = persistence.adapter
        quarantined = 0
        async for _ in adapter.keys(QUARANTINE):
            quarantined += 1
        about = await persistence.about()
        stored = (await adapter.fetch((HEADER,))).get(HEADER)  # None before the first save
        damage = look_at(HEADER, stored.data, INTERNAL_SCHEMA)[1] if stored else None
        return {
            "adapter": about.adapter,
            "location": about.location,
            "records": await persistence.count(),
            "quarantined": quarantined,
            "size": _size_on_disk(about.location),
            "durability": about.durability.value,
            "atomic": about.traits.atomic,
            "shared": about.traits.shared,
            "confidential": about.traits.confidential,
            "id": about.id,
            "format": about.format,
            "created": None if about.created is None else timestamp(about.created),
            "damage": damage and f"of the header: {damage}",
        }


def _size_on_disk(location: str) -> int | None:
    """Bytes of the file and its companions, or of everything in the directory. None: it has no files."""
    place = Path(location)
    if place.is_dir():
        files = [entry for entry in place.rglob("*") if entry.is_file() and not entry.is_symlink()]
    else:
        files = [file for end in ("", "-wal", "-shm") if (file := Path(location + end)).is_file()]
    return sum(file.stat().st_size for file in files) if files else None


async def _about_key(where: str, key: str) -> dict[str, Any]:
    async with opened(where, "inspect") as persistence:
        facts = await facts_of(persistence, key)
        if facts is None:
            await no_such_key(persistence, key)
    return facts


@click.command("path", short_help="Print where a store is.")
@click.argument("where", shell_complete=complete_store)
@command
def path(where: str, as_json: bool) -> None:
    """Print where the store is, or would be: nothing is made."""
    adapter = adapter_for(where)
    location = adapter.location
    data(to_json({"adapter": type(adapter).__name__, "location": location}) if as_json else location)


@click.command("verify", short_help="Check everything, and repair it.")
@click.argument("where", shell_complete=complete_store)
@click.option("--repair", is_flag=True, help="Bring back what is damaged, or make the store anew.")
@click.option("--jsonl", is_flag=True, help="Write an object a line: progress, findings, summary.")
@click.option("--no-progress", is_flag=True, help="Show no progress on a terminal.")
@command
def verify(where: str, repair: bool, jsonl: bool, no_progress: bool, as_json: bool) -> int:
    """Read and check every record and the medium. Exits with 3 when something was found.

    Changes nothing without --repair. With it, damaged bytes go to quarantine, and the earlier generation of
    a record comes back where there is one. A store that cannot be opened is moved aside whole, into a
    directory beside it, and made anew of what can still be read; close the programs that use it before.
    """
    line = StatusLine(
        after_seconds=PROGRESS_AFTER_SECONDS, enabled=not (no_progress or as_json) and on_terminal(err=True)
    )
    progress = _events() if jsonl else lambda so_far: line.show(f"{so_far.done:,} records checked")
    result = asyncio.run(_verify(where, repair, progress))
    line.clear()
    if jsonl or as_json:
        _write_json(result, jsonl)
    else:
        _write_text(result, where, repair)
    return ExitCode.FOUND if result.findings or result.medium or result.salvage is not None else ExitCode.DONE


async def _verify(where: str, repair: bool, progress: OnProgress) -> VerifyReport:
    made = None
    try:
        await must_be_there(where)
    except CorruptedDataError:
        if repair:
            ruined = adapter_for(where)
            made = await salvage(ruined)
            await ruined.aclose()
        if made is None:
            raise
    # Not by way of a persistence: that one would not open a store whose header is what is damaged.
    async with unopened(where, inspect=not repair) as adapter:
        result = await verify_store(typed.Store(adapter), repair=repair, progress=progress)
    result.salvage = made if result.salvage is None else result.salvage
    return result


def _events() -> OnProgress:
    last = time.monotonic()

    def show(so_far: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= STATUS_EVERY_SECONDS:
            last = time.monotonic()
            data(to_json({"event": "progress", "records": so_far.done}))

    return show


def _write_json(result: VerifyReport, jsonl: bool) -> None:
    findings, made = list(map(asdict, result.findings)), result.salvage
    summary = {
        "ok": not findings and not result.medium and made is None,
        "records": result.records,
        "quarantined": result.quarantined,
        "medium": result.medium,
        "findings": findings,
        "salvage": None if made is None else asdict(made),
    }
    if jsonl:
        for finding in findings:
            data(to_json({"event": "finding", **finding}))
        summary = {"event": "summary", **summary, "findings": len(findings)}
    data(to_json(summary))


def _write_salvage(made: SalvageReport) -> None:
    for key, fate in sorted(made.fates.items()):
        if fate not in (Fate.RECOVERED, Fate.LOG):
            data(f"{style('✖', 'red')} {fate}: {printable(key)}")
    for line in made.notes:
        data(printable(line))
    note(f"the store was made anew: {printable(str(made))}")


def _write_text(result: VerifyReport, where: str, repair: bool) -> None:
    if result.salvage is not None:
        _write_salvage(result.salvage)
    for fault in result.medium:
        data(f"{style('✖', 'red')} {printable(fault)}")
    for finding in result.findings:
        mark = style("✔", "green") if finding.outcome == "recovered" else style("✖", "red")
        data(f"{mark} {finding.outcome}: {printable(finding.key)}: {printable(finding.reason)}")
    found = len(result.findings) + len(result.medium)
    said = f"{found} {'fault' if found == 1 else 'faults'} found" if found else "no fault found"
    earlier = f", {result.quarantined} in quarantine" if result.quarantined else ""
    note(f"{counted(result.records, 'record')} checked, {said}{earlier}")
    if found and not repair:
        note(f"hint: axiom-persistence verify {shlex.quote(where)} --repair")
