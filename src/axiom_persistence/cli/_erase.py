"""``erase``: all that is about somebody, so that nothing of it comes back; and its receipt."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from ..jobs.walk import OnProgress
from ._endings import Ending, ExitCode
from ._jobs import Shown, dry_run_option, finish, job, run_job
from ._output import counted, data, note, printable, timestamp, to_json
from .base import command, complete_key, complete_store, opened

if TYPE_CHECKING:
    from ..jobs._receipt import Receipt
    from ..jobs.erase import ErasureReport

__all__ = ["erase"]

_receipt: Final = click.option(
    "--receipt", type=click.File("wb", lazy=True), help="Write the receipt to this file as well."
)
_yes: Final = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@click.group("erase", short_help="Erase all that is about somebody.")
def erase() -> None:
    """Erase records for good, in the snapshots beside the store too, and prove it later."""


@erase.command("subject", short_help="Erase what was saved about somebody.")
@click.argument("where", shell_complete=complete_store)
@click.argument("subject")
@_receipt
@_yes
@dry_run_option
@job
def _subject(where: str, subject: str, **options: Any) -> int:
    """Erase every record that was saved with this SUBJECT, and print the receipt.

    Killed, the same command goes on. What is erased already gives the receipt it had. Exits with 4 where
    nothing about the subject was ever there.
    """
    return _erase(where, {"subject": subject}, **options)


@erase.command("prefix", short_help="Erase what has keys that begin so.")
@click.argument("where", shell_complete=complete_store)
@click.argument("prefix", shell_complete=complete_key)
@_receipt
@_yes
@dry_run_option
@job
def _prefix(where: str, prefix: str, **options: Any) -> int:
    """Erase every record whose key begins with PREFIX, and print the receipt."""
    return _erase(where, {"prefix": prefix}, **options)


def _erase(where: str, what: dict[str, str], *, receipt: Any, yes: bool, dry_run: bool, shown: Shown) -> int:
    (name,) = what.values()
    if not (dry_run or yes):
        if not sys.stdin.isatty():
            raise Ending(ExitCode.USAGE, "erasing needs --yes where nobody can be asked")
        if not click.confirm(f"Erase all of {printable(name)} for good?", err=True):
            raise Ending(ExitCode.FAILED, "nothing was erased")

    async def work(progress: OnProgress) -> ErasureReport:
        async with opened(where, "normal") as persistence:
            return await persistence.erase(**what, dry_run=dry_run, progress=progress)

    report = run_job(work, "erasing", shown, resume="the same command erases the rest")
    made = report.receipt
    summary = {
        "records": report.records,
        "snapshots": report.snapshots,
        "dry_run": dry_run,
        "keys": report.keys,
        "receipt": None if made is None else msgspec.to_builtins(made),
    }
    if made is not None and receipt is not None:
        receipt.write(made.to_json())
    if not finish(summary, shown):
        for key in report.keys if dry_run else ():
            data(printable(key))
        if made is not None:
            data(made.to_json().decode().rstrip())
        note(f"{counted(report.records, 'record')} {'would be ' if dry_run else ''}erased")
    return ExitCode.DONE if made is not None or report.keys else ExitCode.NO_SUCH_KEY


@erase.command("verify", short_help="Check a receipt.")
@click.argument("where", shell_complete=complete_store)
@click.argument("receipt", type=click.Path(exists=True, dir_okay=False))
@click.option("--subject", help="It must be about this subject.")
@click.option("--prefix", help="It must be about the keys that begin so.")
@command
def _verify(where: str, receipt: str, subject: str | None, prefix: str | None, as_json: bool) -> None:
    """Say whether the store agrees with a RECEIPT, and nothing of what was erased is there.

    Exits with 2 for the receipt of another store, or about somebody else, and with 3 where it was altered.
    """

    async def work() -> Receipt:
        async with opened(where, "inspect") as persistence:
            return await persistence.verify_erasure(receipt, subject, prefix=prefix)

    found = asyncio.run(work())
    if as_json:
        data(to_json({"receipt": msgspec.to_builtins(found), "valid": True}))
        return
    for part in found.erased:
        data(f"{counted(part.records, 'record')} erased, {timestamp(part.begun)} to {timestamp(part.ended)}")
