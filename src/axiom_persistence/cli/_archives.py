"""``export``, ``import`` and ``copy``: records out of a store, and into it."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from ..jobs.walk import OnProgress
from ..opening.open import open_persistence
from ._endings import Ending, ExitCode
from ._jobs import Shown, dry_run_option, finish, job, run_job
from ._keys import keys_given, refuse_to_reveal, reveal_option
from ._output import counted, data, note, printable, writable
from .base import complete_store, kept_audit, must_be_there, opened

if TYPE_CHECKING:
    from ..jobs._lines import ArchiveFault
    from ..jobs.export import ExportReport
    from ..jobs.intake import ImportReport

__all__ = ["bring", "copy", "export"]

_BY_SUFFIX: Final = {".gz": "deflate", ".zst": "zstd", ".zstd": "zstd"}

_conflict: Final = click.option(
    "--conflict",
    type=click.Choice(["skip", "overwrite", "newer", "fail"]),
    default="skip",
    show_default=True,
    help="What becomes of a key that has another value already.",
)
_prefix: Final = click.option("--prefix", default="", help="Only keys that begin so.")
_pattern: Final = click.option("--pattern", help="Only keys like this: *, ? and [...] as in file names.")


@click.command("export", short_help="Write all records to an archive.")
@click.argument("where", shell_complete=complete_store)
@click.argument("target", type=click.Path(allow_dash=True))
@_prefix
@_pattern
@click.option("--subject", help="Only what was saved about somebody.")
@click.option("--sealed", is_flag=True, help="What is about somebody stays sealed with their own key.")
@click.option(
    "--compression",
    type=click.Choice(["none", "deflate", "zstd"]),
    help="Without it, as TARGET ends: .gz, .zst, else none.",
)
@reveal_option
@click.option("--times", is_flag=True, help="Also when each was saved, for import --conflict newer.")
@dry_run_option
@job
def export(
    where: str,
    target: str,
    compression: str | None,
    reveal: bool,
    dry_run: bool,
    shown: Shown,
    **choice: Any,
) -> int:
    """Write every record to TARGET, a line of JSON each; - is standard output.

    An archive is in clear, so that a confidential store needs --reveal. The store may be
    in use, and no byte of it is changed. Interrupted, the same command goes on where it was.
    Exits with 3 when records are damaged, and left out.
    """
    if compression is None:
        compression = _BY_SUFFIX.get(os.path.splitext(target)[1].lower())
    to: Any = _Nowhere() if dry_run else _Standard() if target == "-" else target

    async def work(progress: OnProgress) -> ExportReport:
        async with opened(where, "inspect") as persistence:
            confidential = persistence.adapter.traits.confidential
            if confidential and not reveal:
                raise refuse_to_reveal("what is in this store")
            return await persistence.export_to(
                to,
                secure=confidential,
                compression=None if compression == "none" else compression,  # type: ignore[arg-type]
                progress=progress,
                **choice,
            )

    if target == "-" and (shown.as_json or shown.jsonl):
        raise click.UsageError(
            "the archive goes to standard output, and so would JSON", click.get_current_context()
        )
    resume = f"the same command within an hour goes on where it was: {_again()}"
    report = run_job(work, "exporting", shown, resume=resume)
    summary = {
        "records": report.records,
        "resumed": report.resumed,
        "dry_run": dry_run,
        "faults": [fault._asdict() for fault in report.faults],
    }
    if not finish(summary, shown):
        _tell_faults(report.faults, to_error=target == "-")
        note(f"{counted(report.records, 'record')} {'would be ' if dry_run else ''}exported")
    return ExitCode.DONE if report else ExitCode.FOUND


@click.command("import", short_help="Bring the records of an archive in.")
@click.argument("where", shell_complete=complete_store)
@click.argument("source", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@_conflict
@_prefix
@dry_run_option
@job
def bring(where: str, source: str, conflict: Any, prefix: str, dry_run: bool, shown: Shown) -> int:
    """Bring the records of the archive SOURCE into the store; - is standard input.

    Makes the store if there is none. Interrupted, the same command goes on: what is there already is found to
    be the same. Exits with 3 when something in the archive is damaged; all else is imported.
    """

    async def work(progress: OnProgress) -> ImportReport:
        target = await _target(where, dry_run)
        async with open_persistence(target, keys=keys_given(), audit=kept_audit()) as persistence:
            return await persistence.import_from(
                sys.stdin.buffer if source == "-" else source,
                conflict=conflict,
                prefix=prefix,
                dry_run=dry_run,
                progress=progress,
            )

    report = run_job(work, "importing", shown, resume=f"the same command goes on where it was: {_again()}")
    return _tell(report, shown, dry_run, "imported")


@click.command("copy", short_help="Copy records from one store to another.")
@click.argument("where", shell_complete=complete_store)
@click.argument("to", shell_complete=complete_store)
@_conflict
@_prefix
@_pattern
@reveal_option
@dry_run_option
@job
def copy(
    where: str,
    to: str,
    conflict: Any,
    prefix: str,
    pattern: str | None,
    reveal: bool,
    dry_run: bool,
    shown: Shown,
) -> int:
    """Copy the records of the store WHERE into the store TO, of any kind.

    TO is not encrypted, so that a confidential store needs --reveal.
    Makes the store if there is none. Interrupted, the same command goes on where it was. Exits with 3 when
    records are damaged, and left out.
    """

    async def work(progress: OnProgress) -> ImportReport:
        from ..jobs._selection import Selection
        from ..jobs.intake import Place, copy_into

        opening = open_persistence(await _target(to, dry_run), audit=kept_audit())
        async with opened(where, "inspect") as source, opening as target:
            confidential = [each.adapter.traits.confidential for each in (source, target)]
            if confidential == [True, False] and not reveal:
                raise refuse_to_reveal("what is in this store")
            selection = Selection(source.place("")[0], "", prefix, pattern)
            return await copy_into(
                Place(target.place("")[0]), [selection], conflict=conflict, dry_run=dry_run, progress=progress
            )

    report = run_job(work, "copying", shown, resume=f"the same command goes on where it was: {_again()}")
    return _tell(report, shown, dry_run, "copied")


class _Nowhere(io.RawIOBase):
    """Where a dry run writes."""

    def write(self, data: Any) -> int:
        return len(data)


class _Standard:
    """Standard output, whose errors are those of every command."""

    def write(self, data: bytes) -> None:
        self._do(lambda: sys.stdout.buffer.write(data))

    def flush(self) -> None:
        self._do(sys.stdout.buffer.flush)

    def _do(self, writing: Callable[[], object]) -> None:
        try:
            with writable():
                writing()
        except BrokenPipeError:
            raise Ending(ExitCode.NO_READER) from None


async def _target(where: str, dry_run: bool) -> str:
    """Where records go: a dry run makes no store, and looks at an empty one instead."""
    if dry_run:
        try:
            await must_be_there(where)
        except Ending as ending:
            if ending.code is not ExitCode.NO_SUCH_STORE:
                raise
            return "memory:"
    return where


def _tell(report: ImportReport, shown: Shown, dry_run: bool, done: str) -> int:
    counts = {
        name: getattr(report, name) for name in ("added", "replaced", "kept", "same", "expired", "erased")
    }
    faults = [fault._asdict() for fault in report.faults]
    if not finish({**counts, "dry_run": dry_run, "faults": faults}, shown):
        _tell_faults(report.faults)
        said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        note(f"{'would be ' if dry_run else ''}{done}: {said or 'nothing'}")
    return ExitCode.DONE if report else ExitCode.FOUND


def _tell_faults(faults: list[ArchiveFault], *, to_error: bool = False) -> None:
    for line, key, reason in faults:
        place = "" if line is None else f"line {line}: "
        named = "" if key is None else f"{printable(key)}: "
        (note if to_error else data)(f"{place}{named}{printable(reason)}")


def _again() -> str:
    return shlex.join(["axiom-persistence", *sys.argv[1:]])
