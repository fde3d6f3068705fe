"""``audit``: who changed what, and the proof that nobody altered it since."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final

import click
import msgspec

from ..jobs.walk import OnProgress
from ..opening.addresses import adapter_for
from ..security._seals import Checkpoint
from ..security._signed import sign_checkpoint, verified_checkpoint
from ..security.audit import AuditEntry, KeptAudit
from ._endings import Ending, ExitCode
from ._jobs import Shown, finish, job, run_job
from ._output import counted, data, note, printable, style, to_json
from .base import command, complete_store, opened

if TYPE_CHECKING:
    from ..jobs.audit import AuditReport

__all__ = ["audit"]

_FORMATS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]


@click.group("audit", short_help="Show and prove who changed what.")
def audit() -> None:
    """Show, verify or export the audit trail of a store that was opened with audit=."""


def _choices(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose entries."""
    for option in reversed(
        (
            click.option("--since", type=click.DateTime(_FORMATS), help="Not before this moment, in UTC."),
            click.option("--until", type=click.DateTime(_FORMATS), help="Before this moment, in UTC."),
            click.option("--actor", help="Only what this actor did."),
            click.option("--key", help="Only changes of this key."),
            click.option("--prefix", default="", help="Only changes of keys that begin so."),
            click.option("--operation", type=click.Choice(["save", "delete"]), help="Only such changes."),
        )
    ):
        function = option(function)
    return function


async def _entries(where: str, choice: dict[str, Any]) -> AsyncIterator[AuditEntry]:
    for name in ("since", "until"):
        if choice[name] is not None:
            choice[name] = choice[name].replace(tzinfo=UTC)
    async with opened(where, "inspect") as persistence:
        async for entry in persistence.audit(**choice):
            yield entry


@audit.command("show", short_help="Print entries.")
@click.argument("where", shell_complete=complete_store)
@_choices
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the last N of them.")
@command
def _show(where: str, last: int | None, as_json: bool, **choice: Any) -> None:
    """Print who changed what, when and why, a line each; with --json an array."""

    async def work() -> list[AuditEntry]:
        found: deque[AuditEntry] = deque(maxlen=last)
        async for entry in _entries(where, choice):
            if last is None and not as_json:
                data(_line(entry))
            else:
                found.append(entry)
        return list(found)

    found = asyncio.run(work())
    if as_json:
        data(to_json([_facts(entry) for entry in found]))
        return
    for entry in found:
        data(_line(entry))


def _line(entry: AuditEntry) -> str:
    keys = [*(f"+{key}" for key in entry.saved), *(f"-{key}" for key in entry.deleted)]
    shown = " ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
    reason = "" if entry.reason is None else f"  ({entry.reason})"
    open_ended = "" if entry.batch is not None else "  not sealed yet"
    who = "-" if entry.actor is None else entry.actor
    return printable(f"{_moment(entry.at)}  {who}  {entry.operation}  {shown}{reason}{open_ended}")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _facts(entry: AuditEntry) -> dict[str, Any]:
    return {**entry._asdict(), "at": _moment(entry.at)}


@audit.command("export", short_help="Write entries as JSON Lines.")
@click.argument("where", shell_complete=complete_store)
@click.argument("target", type=click.Path(allow_dash=True, dir_okay=False), default="-")
@_choices
@command
def _export(where: str, target: str, as_json: bool, **choice: Any) -> None:
    """Write the entries to TARGET, an object a line; - is standard output.

    With --json, say at the end how many there were; that needs a TARGET that is a file.
    """
    if target == "-" and as_json:
        raise click.UsageError(
            "the entries go to standard output, and so would JSON", click.get_current_context()
        )

    async def work() -> int:
        count = 0
        with _output(target) as output:
            async for entry in _entries(where, choice):
                output.write(to_json(_facts(entry), ascii_only=False).encode() + b"\n")
                count += 1
        return count

    count = asyncio.run(work())
    if as_json:
        data(to_json({"entries": count}))
    else:
        note(f"{counted(count, 'entry')} exported")


@contextmanager
def _output(target: str) -> Iterator[IO[bytes]]:
    """Where entries go: a file that is there whole, or not at all."""
    if target == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = f"{target}.part"
    try:
        with open(part, "wb") as output:
            yield output
        os.replace(part, target)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise Ending(ExitCode.NOT_WRITTEN, f"{target} cannot be written: {said}") from None


@audit.command("verify", short_help="Prove that nothing was altered.")
@click.argument("where", shell_complete=complete_store)
@click.option("--anchor", metavar="ADDRESS", help="The place that the program gives as AuditLog(anchor=).")
@click.option(
    "--checkpoint",
    type=click.File("rb"),
    help="What --json wrote earlier: the trail must have gone on from there.",
)
@click.option("--signed-by", type=click.File("rb"), help="The public key (PEM) that signed the checkpoint.")
@click.option("--sign", type=click.File("rb"), help="Sign the new checkpoint with this private key (PEM).")
@job
def _verify(
    where: str,
    anchor: str | None,
    checkpoint: IO[bytes] | None,
    signed_by: IO[bytes] | None,
    sign: IO[bytes] | None,
    shown: Shown,
) -> int:
    """Check every sealed entry, the chain of batches, and its end against an anchor or a checkpoint.

    Exits with 3 when something was altered, removed, put elsewhere or cut. Without an anchor or a checkpoint,
    a trail that was cut at its end, or written anew, looks whole. Changes nothing. Keys are of Ed25519, as
    `openssl genpkey -algorithm ed25519` makes them.
    """
    if signed_by is not None and checkpoint is None:
        raise click.UsageError("--signed-by is about a --checkpoint", click.get_current_context())
    known = None if checkpoint is None else _checkpoint_in(checkpoint, signed_by)
    log = None if anchor is None else KeptAudit(anchor=adapter_for(anchor, inspect=True))

    async def work(progress: OnProgress) -> AuditReport:
        async with opened(where, "inspect", audit=log) as persistence:
            return await persistence.verify_audit(checkpoint=known, progress=progress)

    report = run_job(work, "verifying", shown, resume="nothing was changed; begin again")
    summary = {
        "ok": bool(report),
        "entries": report.entries,
        "batches": report.batches,
        "unsealed": report.unsealed,
        "dropped": report.dropped,
        "compared": report.compared,
        "checkpoint": _facts_of(report, sign),
        "faults": [fault._asdict() for fault in report.faults],
    }
    if not finish(summary, shown):
        _tell(report)
    return ExitCode.DONE if report else ExitCode.FOUND


def _tell(report: AuditReport) -> None:
    for batch, reason in report.faults:
        place = "" if batch is None else f"batch {batch}: "
        data(f"{style('✖', 'red')} {place}{printable(reason)}")
    found = len(report.faults)
    said = f"{found} {'fault' if found == 1 else 'faults'} found" if found else "no fault found"
    note(f"{counted(report.entries, 'sealed entry')} checked, {said}")
    if report.dropped:
        note(f"dropped by retention: {counted(report.dropped, 'older entry')}")
    if report.unsealed:
        note(f"not sealed yet, so not proved: {counted(report.unsealed, 'entry')}")
    if not report.compared:
        note("hint: with --anchor or --checkpoint, a trail that was cut or written anew is found, too")


def _facts_of(report: AuditReport, sign: IO[bytes] | None) -> Any:
    """The checkpoint of a report; signed only where the trail is whole."""
    if report.checkpoint is None or sign is None or not report:
        return report.checkpoint and msgspec.structs.asdict(report.checkpoint)
    return msgspec.json.decode(sign_checkpoint(report.checkpoint, sign.read()))


def _checkpoint_in(source: IO[bytes], signed_by: IO[bytes] | None) -> Checkpoint:
    """The checkpoint in a file: what ``--json`` wrote, or that part of it."""
    try:
        found = msgspec.json.decode(source.read())
        found = found.get("checkpoint", found)
        if signed_by is not None:
            return verified_checkpoint(msgspec.json.encode(found), signed_by.read())
        return msgspec.convert(found, Checkpoint)
    except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError):
        raise Ending(
            ExitCode.USAGE,
            f"there is no checkpoint in {source.name}",
            hint="`audit verify --json > checkpoint.json` makes one",
        ) from None
