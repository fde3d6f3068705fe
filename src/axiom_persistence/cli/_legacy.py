"""``import-legacy``: take over what other programs and libraries have stored."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import asdict
from typing import Any, Final

import click

from ..errors import StoreNotFoundError
from ..jobs.legacy import FORMATS, ImportReport
from ..opening.addresses import adapter_for
from ..opening.open import open_persistence
from ._applications import named_in
from ._endings import ExitCode
from ._keys import keys_given
from ._output import StatusLine, data, note, on_terminal, printable, style, to_json
from .base import command, complete_store, kept_audit

__all__ = ["import_legacy"]

PROGRESS_AFTER_SECONDS: Final = 0.5
_KINDS: Final = {kind.__name__: kind for kind in (str, int, float, bool, bytes, list, dict)}


@click.command("import-legacy", short_help="Take over what others have stored.")
@click.argument("where", shell_complete=complete_store)
@click.argument("source", type=click.Path())
@click.option("--format", "form", type=click.Choice(FORMATS), help="Needed for pickles; else it is told.")
@click.option("--into", default="", metavar="PREFIX", help="What the new keys begin with.")
@click.option("--type", "kinds", multiple=True, metavar="NAME=TYPE", help="The type of matching names.")
@click.option("--allow", multiple=True, metavar="MODULE:CLASS", help="A class that pickles may hold.")
@click.option("--dry-run", is_flag=True, help="Only say what would be imported.")
@click.option("--no-progress", is_flag=True, help="Show no progress on a terminal.")
@command
def import_legacy(
    where: str,
    source: str,
    form: str | None,
    into: str,
    kinds: tuple[str, ...],
    allow: tuple[str, ...],
    dry_run: bool,
    no_progress: bool,
    as_json: bool,
) -> int:
    """Save what is in SOURCE, a file or directory of another program, in the store at WHERE.

    SOURCE is only read, and what is in the store already stays. Exits with 3 when something was damaged
    or did not fit. --type 'window/*=int' reads texts as numbers: str, int, float, bool, bytes, list or
    dict.
    """
    line = StatusLine(
        after_seconds=PROGRESS_AFTER_SECONDS, enabled=not (no_progress or as_json) and on_terminal(err=True)
    )
    options = {
        "format": form,
        "into": into,
        "types": dict(_typed(each) for each in kinds),
        "allow": [named_in(each) for each in allow],
        "dry_run": dry_run,
        "progress": lambda count: line.show(f"{count:,} names"),
    }
    result = asyncio.run(_import(where, source, options))
    line.clear()
    if as_json:
        data(to_json({"ok": bool(result), **asdict(result)}))
    else:
        _write(result, where)
    return ExitCode.DONE if result else ExitCode.FOUND


async def _import(where: str, source: str, options: dict[str, Any]) -> ImportReport:
    mode: Any = "inspect" if options["dry_run"] else "normal"
    try:
        opening = open_persistence(where, mode=mode, keys=keys_given(), audit=kept_audit())
        async with opening as persistence:
            return await persistence.import_legacy(source, **options)
    except StoreNotFoundError:
        if not options["dry_run"]:
            raise
        adapter_for(where)  # an address that cannot be is refused here, too
    async with open_persistence("memory:") as persistence:  # where no store is, nothing is in the way
        return await persistence.import_legacy(source, **options)


def _typed(text: str) -> tuple[str, Any]:
    name, _, kind = text.rpartition("=")
    if not name or kind not in _KINDS:
        raise click.UsageError(
            f"--type {text!r} is not NAME=TYPE with one of {', '.join(_KINDS)}", click.get_current_context()
        )
    return name, _KINDS[kind]


def _write(result: ImportReport, where: str) -> None:
    for entry in result.entries:
        if entry.outcome == "imported":
            data(f"{style('✔', 'green')} {printable(entry.key)}")
        else:
            mark = style("✖" if entry.outcome == "damaged" else "-", "red")
            data(f"{mark} {entry.outcome}: {printable(entry.name)}: {printable(entry.reason)}")
    done = "would be imported" if result.dry_run else "imported"
    note(
        f"{len(result.imported):,} {done} from {printable(result.source)} ({result.format}), "
        f"{len(result.skipped):,} skipped, {len(result.damaged):,} damaged; the source is as it was"
    )
    if result.dry_run and result.imported:
        note(f"hint: the same without --dry-run stores them in {shlex.quote(where)}")
