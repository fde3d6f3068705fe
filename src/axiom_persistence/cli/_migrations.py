"""``migrate``, ``rollback`` and ``finalize``: a store from one version of its application to another."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Final

import click

from ..jobs.migrate import MigrationProgress, MigrationReport
from ..jobs.rollback import RollbackReport
from ..jobs.walk import OnProgress
from ..records.migrations import Migrations, order
from ._applications import find
from ._endings import Ending, ExitCode
from ._jobs import Shown, finish, job, run_job
from ._output import StatusLine, counted, data, note, on_terminal, printable, to_json
from .base import command, complete_store, opened

__all__ = ["finalize", "migrate", "rollback"]

PROGRESS_AFTER_SECONDS: Final = 0.5

_BAR: Final = 30

_app = click.option(
    "--app",
    metavar="MODULE:NAME",
    required=True,
    help="The Migrations of the application, or a function that returns them.",
)


def load_migrations(app: str) -> Migrations:
    """The Migrations at ``module:name``. Raises ``Ending`` where there are none."""
    module, _, name = app.partition(":")
    try:
        found = find(module, name.split("."))
        found = found() if callable(found) else found
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        hint = "write --app module:name, as for `python -c 'from module import name'`"
        raise Ending(ExitCode.USAGE, f"no migrations at {app!r}: {error}", hint=hint) from error
    if not isinstance(found, Migrations):
        raise Ending(ExitCode.USAGE, f"{app!r} is no Migrations but {type(found).__name__}")
    return found


@click.command("migrate", short_help="Bring a store to its application's version.")
@click.argument("where", shell_complete=complete_store)
@_app
@click.option("-n", "--dry-run", is_flag=True, help="Try every step, write nothing, say what would change.")
@click.option("--no-progress", is_flag=True, help="Show no progress on a terminal.")
@command
def migrate(where: str, app: str, dry_run: bool, no_progress: bool, as_json: bool) -> None:
    """Bring every record of the store to the version of its application.

    Whole or not at all: when a step fails, every record is as it was. Interrupted by a kill, run it again.
    The originals are kept until `finalize`; `rollback` goes back to them.
    """
    shown = not (no_progress or as_json) and on_terminal(err=True)
    line = StatusLine(after_seconds=PROGRESS_AFTER_SECONDS, enabled=shown)
    try:
        report = asyncio.run(_migrate(where, load_migrations(app), dry_run, line))
    finally:
        line.clear()
    if as_json:
        data(to_json({"changed": bool(report), **asdict(report)}))
        return
    if not report:
        note(f"nothing to do: the store is at version {report.to_version}")
        return
    for step, count in report.steps.items():
        data(f"{count:>9,}  {printable(step)}")
    for key, done in report.moved.items():
        data(f"{done:>9}  {printable(key)}")
    would = "would be rewritten" if dry_run else "rewritten"
    rewritten = counted(report.rewritten, "record")
    note(f"version {report.from_version} to {report.to_version}: {rewritten} {would}")
    for key in report.damaged:
        note(f"damaged, left as it is: {printable(key)}")


async def _migrate(where: str, migrations: Migrations, dry_run: bool, line: StatusLine) -> MigrationReport:
    async with opened(where, "normal", migrations) as persistence:
        header = persistence.place("x")[0].header
        current = migrations.current
        start = current if header is None else min(header.schema, header.migrated, current, key=order)
        return await persistence.migrate(
            start, current, dry_run=dry_run, progress=lambda progress: line.show(_bar(progress))
        )


def _bar(progress: MigrationProgress) -> str:
    if not progress.total:
        return f"{progress.phase}: {progress.done:,} records"
    full = min(_BAR, _BAR * progress.done // progress.total)
    return f"{progress.phase} [{'#' * full:.<{_BAR}}] {progress.done:,} of {progress.total:,}"


@click.command("rollback", short_help="Bring a store back to an earlier version.")
@click.argument("where", shell_complete=complete_store)
@click.argument("version")
@_app
@job
def rollback(where: str, version: str, app: str, shown: Shown) -> None:
    """Bring the store back to VERSION, which it had before a migration.

    From the originals, which are kept until `finalize`; afterwards by the `down` of each step. End the newer
    programs first. Interrupted, run it again.
    """
    migrations = load_migrations(app)

    async def work(progress: OnProgress) -> RollbackReport:
        async with opened(where, "normal", migrations) as persistence:
            return await persistence.rollback(version, progress=progress)

    report = run_job(work, "going back", shown, resume="the same command goes on")
    if finish(asdict(report), shown):
        return
    restored = counted(report.restored, "record")
    note(f"back at version {version}: {restored} restored, {report.converted:,} converted")
    for key in report.set_aside:
        note(f"in quarantine, since it has no earlier form: {printable(key)}")


@click.command("finalize", short_help="Drop what a migration keeps to go back.")
@click.argument("where", shell_complete=complete_store)
@command
def finalize(where: str, as_json: bool) -> None:
    """Drop the originals of finished migrations. `rollback` then works by `down` alone."""
    dropped = asyncio.run(_finalize(where))
    if as_json:
        data(to_json({"dropped": dropped}))
    else:
        note(f"{counted(dropped, 'original')} dropped")


async def _finalize(where: str) -> int:
    async with opened(where, "normal") as persistence:
        return await persistence.finalize()
