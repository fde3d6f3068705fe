"""``snapshot``, ``snapshots``, ``restore`` and ``sweep``: a store as a whole, kept and put back."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import StoreNotFoundError
from ..jobs.walk import OnProgress
from ._endings import Ending, ExitCode
from ._jobs import Shown, dry_run_option, finish, job, run_job
from ._output import counted, data, note, printable, timestamp, to_json
from .base import command, complete_store, opened

if TYPE_CHECKING:
    from ..jobs._snapshots import Snapshot
    from ..jobs.snapshot import RestoreReport
    from ..jobs.sweep import SweepReport

__all__ = ["restore", "snapshot", "snapshots", "sweep"]

_KEEP: Final = re.compile(r"(\d{1,6})(d?)")

_directory: Final = click.option(
    "--in", "directory", type=click.Path(), help="Where snapshots are; without it, beside the store."
)


class _Keep(click.ParamType[Any]):
    name = "N|Nd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        said = _KEEP.fullmatch(str(value))
        if said is None or not int(said[1]):
            self.fail(f"{value!r} is no number of snapshots (7), and no number of days (30d)", param, ctx)
        return timedelta(days=int(said[1])) if said[2] else int(said[1])


@click.command("snapshot", short_help="Copy a whole store while it is in use.")
@click.argument("where", shell_complete=complete_store)
@_directory
@click.option("--keep", type=_Keep(), help="Then leave so many (7), or those of so many days (30d).")
@dry_run_option
@job
def snapshot(where: str, directory: str | None, keep: Any, dry_run: bool, shown: Shown) -> None:
    """Copy the whole store, as it is at one moment, and print where the copy is.

    Programs that use the store go on. When this ends, the copy is on the disk.
    """

    async def work(progress: OnProgress) -> Snapshot:
        async with opened(where, "normal") as persistence:
            return await persistence.snapshot(directory, keep=keep, dry_run=dry_run, progress=progress)

    made = run_job(work, "copying", shown, resume="no snapshot was made; the same command makes one")
    if not finish({**_facts(made), "removed": made.removed, "dry_run": dry_run}, shown):
        data(made.path)
        if dry_run:
            note(f"would be made, and {len(made.removed):,} older ones removed")


@click.command("snapshots", short_help="List the snapshots of a store.")
@click.argument("where", shell_complete=complete_store)
@_directory
@command
def snapshots(where: str, directory: str | None, as_json: bool) -> None:
    """List the snapshots, the oldest first."""

    async def work() -> list[Snapshot]:
        async with opened(where, "inspect") as persistence:
            return await persistence.snapshots(directory)

    found = asyncio.run(work())
    if as_json:
        data(to_json([_facts(one) for one in found]))
        return
    for one in found:
        data(f"{one.name}  {printable(one.path)}")


def _facts(one: Snapshot) -> dict[str, Any]:
    return {"name": one.name, "path": one.path, "at": timestamp(one.at)}


@click.command("restore", short_help="Make a store what a snapshot is.")
@click.argument("where", shell_complete=complete_store)
@click.argument("snapshot")
@dry_run_option
@job
def restore(where: str, snapshot: str, dry_run: bool, shown: Shown) -> None:
    """Make the store what SNAPSHOT is, a name that `snapshots` lists or a path.

    All of it, in one commit, or nothing. The store as it was becomes a snapshot first, so a restore can be
    taken back.
    """

    async def work(progress: OnProgress) -> RestoreReport:
        async with opened(where, "normal") as persistence:
            try:
                return await persistence.restore(snapshot, dry_run=dry_run, progress=progress)
            except StoreNotFoundError as error:  # which is about the snapshot: the store is open
                raise Ending(ExitCode.NO_SUCH_STORE, error.message, hint=error.hint) from None

    resume = "nothing was restored, or all of it; the same command does it"
    report = run_job(work, "comparing", shown, resume=resume)
    before = report.before and report.before.name
    summary = {
        "changed": report.changed,
        "removed": report.removed,
        "before": before,
        "dry_run": dry_run,
    }
    if not finish(summary, shown):
        would = "would be " if dry_run else ""
        note(f"{counted(report.changed, 'record')} {would}put back, {report.removed:,} {would}removed")
        if before is not None:
            note(f"the store as it was is the snapshot {before}")


@click.command("sweep", short_help="Remove what has expired.")
@click.argument("where", shell_complete=complete_store)
@click.option(
    "--quarantine",
    type=click.IntRange(0),
    metavar="DAYS",
    help="Also what is in quarantine for longer.  [default: 90]",
)
@click.option(
    "--previous",
    type=click.IntRange(0),
    metavar="DAYS",
    help="Also the generation before a value, where it is kept for longer.  [default: 90]",
)
@dry_run_option
@job
def sweep(where: str, quarantine: int | None, previous: int | None, dry_run: bool, shown: Shown) -> None:
    """Remove the records whose time is over, and what was kept for long; give free room back."""

    async def work(progress: OnProgress) -> SweepReport:
        async with opened(where, "normal") as persistence:
            return await persistence.sweep(
                quarantine=None if quarantine is None else timedelta(days=quarantine),
                previous=None if previous is None else timedelta(days=previous),
                dry_run=dry_run,
                progress=progress,
            )

    report = run_job(work, "sweeping", shown, resume="the same command does the rest")
    summary = {
        "expired": report.expired,
        "quarantined": report.quarantined,
        "previous": report.previous,
        "freed": report.freed,
        "dry_run": dry_run,
    }
    if not finish(summary, shown):
        would = "would be " if dry_run else ""
        quarantined = counted(report.quarantined, "quarantined one")
        note(f"{counted(report.expired, 'expired record')} and {quarantined} {would}removed")
        if report.previous or report.freed:
            earlier, freed = counted(report.previous, "earlier generation"), counted(report.freed, "byte")
            note(f"{earlier} removed, {freed} given back")
