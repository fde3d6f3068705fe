"""``doctor``: what this machine offers, and what is missing."""

from __future__ import annotations

import click

from ._endings import ExitCode
from ._output import data, note, printable, style, to_json
from .base import command, complete_store

__all__ = ["doctor"]


@click.command("doctor", short_help="Say what this machine offers a store.")
@click.argument("where", shell_complete=complete_store, required=False)
@click.option(
    "--only", multiple=True, metavar="NAME", help="Only this: place, server, keychain, 'gate polkit', ..."
)
@command
def doctor(where: str | None, only: tuple[str, ...], as_json: bool) -> int:
    """Say what is there for the store WHERE, or for any: file system or server, keychain, gates, extras.

    Writes nothing and asks nobody. Exits with 3 when something is missing or does not work, and says what to
    do; --only asks for what a program needs.
    """
    from ._probes import PROBES, usual_place

    address = usual_place() if where is None else where
    found = [each for probe in PROBES for each in probe(address)]
    known = [each.name for each in found]
    unknown = [name for name in only if name not in known]
    if unknown:
        message = f"--only {unknown[0]!r} is none of: {', '.join(known)}"
        raise click.UsageError(message, click.get_current_context())
    shown = [each for each in found if not only or each.name in only]
    if as_json:
        data(to_json([each._asdict() for each in shown]))
    else:
        width = max(len(each.name) for each in shown)
        for each in shown:
            mark = style("✔", "green") if each.ok else style("✖", "red")
            data(f"{mark} {each.name:<{width}}  {printable(each.said)}")
            if each.hint:
                note(f"  hint: {each.hint}")
    return ExitCode.DONE if all(each.ok for each in shown) else ExitCode.FOUND
