"""What every command shares: its options, its streams, how it ends."""

from __future__ import annotations

import asyncio
import difflib
import functools
import json
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Self, TypeVar

import click
from click.shell_completion import CompletionItem

from ..errors import (
    ConfigurationError,
    CorruptedDataError,
    EncodingError,
    InvalidKeyError,
    PersistenceError,
    SchemaTooNewError,
    StorageLockedError,
    StoreNotFoundError,
)
from ..open import adapter_for, open_persistence
from ..persistence import AdapterBasedPersistence
from ..storage import StorageAdapter

__all__ = [
    "Ending",
    "ExitCode",
    "StatusLine",
    "colour_option",
    "coloured",
    "command",
    "complete_key",
    "complete_store",
    "data",
    "ending_of",
    "must_be_there",
    "no_such_key",
    "note",
    "on_terminal",
    "opened",
    "place_of",
    "printable",
    "report",
    "run_async",
    "set_colour",
    "style",
    "suggestion",
    "timestamp",
    "to_json",
]

T = TypeVar("T")

SUGGESTED_FROM_MAX: Final = 20_000
"""Keys compared with a misspelt one; more would make the error slow."""

STATUS_EVERY_SECONDS: Final = 0.1

COMPLETED_MAX: Final = 500
"""Keys offered to a shell: more than a person reads."""


class ExitCode(IntEnum):
    """How a command ends. Unknown codes are failures; more may be added."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        self = int.__new__(cls, code)
        self._value_ = code
        self.meaning = meaning
        return self

    DONE = 0, "done"
    FAILED = 1, "failed"
    USAGE = 2, "the command, its address, key or value cannot be"
    FOUND = 3, "done, and something was found that should not be"
    NO_SUCH_KEY = 4, "no such key"
    NO_SUCH_STORE = 10, "no such store"
    LOCKED = 11, "locked or busy: another process holds it"
    WRONG_KEY = 12, "wrong key or password (kept for encrypted stores)"
    SCHEMA_TOO_NEW = 13, "written by a newer version of the program"
    INTERRUPTED = 130, "interrupted, as a shell reports it (128 + SIGINT)"
    NO_READER = 141, "whoever read the output had enough (128 + SIGPIPE)"

    @property
    def label(self) -> str:
        """What JSON calls it."""
        return self.name.lower()


class Ending(Exception):
    """A command's end with a message for the person who gave it."""

    def __init__(self, code: ExitCode, message: str = "", *, key: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.key = key
        self.hint = hint


def ending_of(error: BaseException) -> Ending | None:
    """How a command ends that raised ``error``. None: that is a bug, and wants its traceback."""
    if isinstance(error, Ending):
        return error
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Ending(ExitCode.INTERRUPTED, "interrupted")
    if isinstance(error, click.UsageError):
        context = error.ctx
        hint = f"see {context.command_path} --help" if context is not None else ""
        return Ending(ExitCode.USAGE, error.format_message(), hint=hint)
    if isinstance(error, click.ClickException):
        return Ending(ExitCode.FAILED, error.format_message())
    if isinstance(error, BrokenPipeError) and not isinstance(error, PersistenceError):
        return Ending(ExitCode.NO_READER)
    if isinstance(error, PersistenceError):
        return Ending(_code_of(error), _message_of(error), key=error.key, hint=error.hint)
    return None


def _code_of(error: PersistenceError) -> ExitCode:
    for kind, code in (
        (StoreNotFoundError, ExitCode.NO_SUCH_STORE),
        (StorageLockedError, ExitCode.LOCKED),
        (SchemaTooNewError, ExitCode.SCHEMA_TOO_NEW),
        (ConfigurationError, ExitCode.USAGE),
        (InvalidKeyError, ExitCode.USAGE),
        (EncodingError, ExitCode.USAGE),
    ):
        if isinstance(error, kind):
            return code
    return ExitCode.FAILED


def _message_of(error: PersistenceError) -> str:
    place = "" if error.adapter is None or error.adapter in error.message else f" (in {error.adapter})"
    key = "" if error.key is None or repr(error.key) in error.message else f"{printable(error.key)}: "
    return f"{key}{error.message}{place}"


def report(ending: Ending, as_json: bool) -> None:
    """Say on standard error how the command ended, if there is something to say."""
    if not ending.message:
        return
    if as_json:
        error = {
            "code": ending.code.label,
            "message": ending.message,
            "key": ending.key,
            "hint": ending.hint,
        }
        click.echo(to_json({"error": error}, ascii_only=True), err=True)
        return
    note(f"{style('error:', 'red', err=True)} {printable(ending.message)}")
    if ending.hint:
        note(f"{style('hint:', 'cyan', err=True)} {printable(ending.hint)}")


# -- colour and text -----------------------------------------------------------------------------------

_colour: Literal["auto", "always", "never"] = "auto"


def set_colour(asked: Literal["auto", "always", "never"]) -> None:
    global _colour
    _colour = asked


def coloured(*, err: bool = False) -> bool:
    """Whether to write colours: as asked, as the environment says, else on a terminal."""
    if _colour != "auto":
        return _colour == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and on_terminal(err=err)


def on_terminal(*, err: bool = False) -> bool:
    return (sys.stderr if err else sys.stdout).isatty()


def style(text: str, colour: str, *, err: bool = False) -> str:
    return click.style(text, fg=colour, bold=True) if coloured(err=err) else text


def printable(text: str) -> str:
    """``text`` on one line, with nothing in it that would steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def to_json(value: Any, *, indent: int | None = None, ascii_only: bool | None = None) -> str:
    """``value`` as JSON, in letters that standard output can carry."""
    if ascii_only is None:
        encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "").replace("_", "")
        ascii_only = encoding not in ("utf8", "utf8sig")
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only)


def data(text: str) -> None:
    """Write one line of what was asked for."""
    click.echo(text, color=coloured())


def note(text: str) -> None:
    """Write one line for the person at the terminal."""
    click.echo(text, err=True, color=coloured(err=True))


def timestamp(seconds: float | None) -> str | None:
    """A time since 1970 as ISO 8601 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class StatusLine:
    """One line on the terminal that is written over, once it takes long enough to wonder."""

    WIDTH_MAX: Final = 78

    def __init__(self, *, after_seconds: float, enabled: bool) -> None:
        self._next = time.monotonic() + after_seconds
        self._enabled = enabled
        self._shown = False

    def show(self, text: str) -> None:
        now = time.monotonic()
        if not self._enabled or now < self._next:
            return
        self._next = now + STATUS_EVERY_SECONDS
        self._shown = True
        click.echo(f"\r{text[: self.WIDTH_MAX]:<{self.WIDTH_MAX}}", nl=False, err=True)

    def clear(self) -> None:
        if self._shown:
            click.echo("\r" + " " * self.WIDTH_MAX + "\r", nl=False, err=True)


# -- options and arguments -----------------------------------------------------------------------------


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command: ``--json`` and ``--color``."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON; errors, too, on stderr.")
    return colour_option(as_json(function))


def colour_option(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, color: Literal["auto", "always", "never"] | None = None, **options: Any) -> Any:
        if color is not None:
            set_colour(color)
        return function(*args, **options)

    return click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        help="When to colour; auto: on a terminal, unless NO_COLOR is set.",
    )(wrapped)


def complete_store(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """An address is completed like a file."""
    del ctx, param
    return [CompletionItem(incomplete, type="file")]


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A key is completed from the store in front of it."""
    del param
    where = ctx.params.get("where")
    if not where:
        return []
    try:
        found = asyncio.run(_keys(where, incomplete, COMPLETED_MAX))
    except PersistenceError:
        return []  # in the middle of a line there is nobody to tell
    return [CompletionItem(key) for key in found if key.isprintable()]


# -- stores and keys -----------------------------------------------------------------------------------


def run_async(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@asynccontextmanager
async def opened(where: str, mode: Literal["normal", "inspect"]) -> AsyncIterator[AdapterBasedPersistence]:
    """The store at ``where``, which must be there: only ``set`` makes one."""
    if mode == "normal":
        await must_be_there(where)
    async with _explained(where), open_persistence(where, mode=mode) as persistence:
        yield persistence


async def must_be_there(where: str) -> None:
    """Raise ``Ending`` where there is no store."""
    async with _explained(where), adapter_for(where, inspect=True):
        pass


@asynccontextmanager
async def _explained(where: str) -> AsyncIterator[None]:
    """What the library says of a store, in the words of the command line."""
    try:
        yield
    except StoreNotFoundError:
        adapter = adapter_for(where)
        raise Ending(
            ExitCode.NO_SUCH_STORE,
            f"no store at {place_of(adapter)}",
            hint=f"{where!r} was read as the address of a {type(adapter).__name__}; `set` makes a new store",
        ) from None
    except CorruptedDataError as error:
        raise Ending(
            ExitCode.FAILED,
            _message_of(error),
            key=error.key,
            hint=f"axiom-persistence verify {shlex.quote(where)} --repair brings back the value before it",
        ) from None


def place_of(adapter: StorageAdapter) -> str:
    """Where an adapter keeps its data, in full: a ``directory`` may have been given relative."""
    directory = getattr(adapter, "directory", None)
    return str(directory.absolute()) if isinstance(directory, Path) else adapter.location


async def _keys(where: str, prefix: str, most: int) -> list[str]:
    found: list[str] = []
    async with open_persistence(where, mode="inspect") as persistence:
        async for key in persistence.keys(prefix):
            if len(found) == most:
                break
            found.append(key)
    return found


async def no_such_key(persistence: AdapterBasedPersistence, key: str) -> NoReturn:
    """Raise the ``Ending`` for a key that is not there, naming the nearest one that is."""
    known: list[str] = []
    async for other in persistence.keys():
        known.append(other)
        if len(known) == SUGGESTED_FROM_MAX:
            break
    raise Ending(
        ExitCode.NO_SUCH_KEY,
        f"no key {key!r} in {place_of(persistence.adapter)}",
        key=key,
        hint=suggestion(key, known) or ("the store is empty" if not known else ""),
    )


def suggestion(word: str, known: Iterable[str]) -> str:
    """``did you mean …?``, or nothing."""
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return f"did you mean {printable(folded[near[0]])!r}?" if near else ""
