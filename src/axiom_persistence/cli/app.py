"""The command itself, with its sub-commands; and the one place where errors become exit codes."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Final

import click

from ._archives import bring, copy, export
from ._audit import audit
from ._browse import browse
from ._copies import restore, snapshot, snapshots, sweep
from ._doctor import doctor
from ._encryption import decrypt, encrypt, keys
from ._endings import ExitCode, ending_of
from ._erase import erase
from ._legacy import import_legacy
from ._migrations import finalize, migrate, rollback
from ._output import data, flush, report, set_colour, to_json, writable
from ._quarantine import quarantine, watch
from ._records import get, has, listing, remove, save
from ._schema import schema
from ._stores import info, path, verify
from ._sync import sync
from .base import colour_option, command, suggestion

__all__ = ["PROGRAM", "app", "run"]

PROGRAM: Final = "axiom-persistence"
_COMPLETE: Final = "_AXIOM_PERSISTENCE_COMPLETE"


class _Commands(click.Group):
    """Sub-commands in the order in which they were added, and a guess at a misspelt one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            near = suggestion(args[0], [*self.commands])
            ctx.fail(f"no such command {args[0]!r}{'; ' + near if near else ''}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="WHERE is an application's name (notes), a file (notes.db), a directory (./notes) or an address "
    "(sqlite:notes.db, file:notes). Exit codes: 0 done, 1 failed, 2 usage, 3 damage was found, 4 no such "
    "key, 10 no such store, 11 locked, 12 wrong key, 13 written by a newer program, 14 output not written, "
    "130 interrupted.",
)
@click.version_option(package_name="axiom-persistence", prog_name=PROGRAM)
@click.pass_context
@colour_option
def app(context: click.Context) -> None:
    """Look into a store of axiom-persistence, change it, check it."""
    if context.invoked_subcommand is None:
        data(context.get_help())


@click.command("demo", short_help="Show that nothing is lost.")
@click.option(
    "--kills", type=click.IntRange(1), default=150, show_default=True, help="In each store, at most."
)
@click.option(
    "--seconds", type=click.FloatRange(1), default=11, show_default=True, help="For all of it, about."
)
@command
def demo(kills: int, seconds: float, as_json: bool) -> int:
    """Kill a saving process again and again, and prove that nothing acknowledged is lost."""
    from ._demo import show

    return show(kills, seconds, as_json)


@click.command("completion", short_help="Set a shell up to complete keys.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@command
def completion(shell: str, as_json: bool) -> None:
    """Print what makes SHELL complete commands, options and keys.

    \b
    bash:  eval "$(axiom-persistence completion bash)"   in ~/.bashrc
    zsh:   eval "$(axiom-persistence completion zsh)"    in ~/.zshrc
    fish:  axiom-persistence completion fish | source    in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root()
    maker = kind(root.command, {}, PROGRAM, _COMPLETE)
    script = maker.source_template % maker.source_vars()
    data(to_json({"shell": shell, "script": script}) if as_json else script)


for _command in (
    *(demo, listing, browse, get, save, remove, has, info, path, watch),
    *(verify, quarantine, sweep, erase, snapshot, snapshots, restore, export, bring, copy),
    *(encrypt, decrypt, keys, doctor, sync, audit),
    *(migrate, rollback, finalize, schema, import_legacy, completion),
):
    app.add_command(_command)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. Only a bug of ours raises."""
    if _COMPLETE in os.environ:
        app.main(arguments, prog_name=PROGRAM, complete_var=_COMPLETE)
    set_colour("auto")
    # A terminal or a pipe that knows few letters gets escapes instead of a traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # What a command finds out it says itself; without a handler Python would print the log as well.
    logging.getLogger("axiom_persistence").addHandler(logging.NullHandler())
    try:
        code = _invoke(arguments)
        flush()
    except BaseException as error:
        ending = ending_of(error)
        if ending is None:
            raise
        if ending.code in (ExitCode.NO_READER, ExitCode.NOT_WRITTEN):
            # Whatever is still buffered has no place to go; the interpreter would complain while it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        report(ending, "--json" in arguments or "--jsonl" in arguments)
        return ending.code
    return code


def _invoke(arguments: list[str]) -> int:
    # Not by click's own main: that one ends a broken pipe and Ctrl-C with codes of its own.
    try:
        with writable():  # a call for help is answered here
            context = app.make_context(PROGRAM, list(arguments))
        with context:
            return int(app.invoke(context) or ExitCode.DONE)
    except click.exceptions.Exit as end:
        return end.exit_code
