"""What is written where: data, notes, errors, colour and JSON."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal

import click

from ._endings import Ending, ExitCode

__all__ = [
    "STATUS_EVERY_SECONDS",
    "Colour",
    "StatusLine",
    "coloured",
    "counted",
    "data",
    "each_of",
    "flush",
    "note",
    "on_terminal",
    "printable",
    "quoted",
    "report",
    "set_colour",
    "style",
    "timestamp",
    "to_json",
    "writable",
]

STATUS_EVERY_SECONDS: Final = 0.1

Colour = Literal["auto", "always", "never"]
_colour: Colour = "auto"


def set_colour(asked: Colour) -> None:
    global _colour
    _colour = asked


def counted(number: int, noun: str) -> str:
    """``1 record``, ``2,000 records``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun.removesuffix('y') + 'ies' if noun.endswith('y') else noun + 's'}"


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


def quoted(text: str) -> str:
    """``text`` as a shell takes it, whatever is in it."""
    if not text.isprintable():
        return f"$'{printable(text).replace(chr(39), chr(92) + chr(39))}'"
    return "'" + text.replace("'", "'\\''") + "'"


def to_json(value: Any, *, indent: int | None = None, ascii_only: bool | None = None) -> str:
    """``value`` as JSON, in letters that standard output can carry."""
    if ascii_only is None:
        encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "").replace("_", "")
        ascii_only = encoding not in ("utf8", "utf8sig")
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only)


def data(text: str, *, end: str = "\n") -> None:
    """Write what was asked for, one line of it unless ``end`` is empty."""
    with writable():
        click.echo(text + end, nl=False, color=coloured())


async def each_of(
    entries: AsyncIterator[dict[str, Any] | None], line: Callable[[dict[str, Any]], str], *, as_json: bool
) -> None:
    """Write each entry at once, as a ``line`` or as an item of one JSON array; None is left out."""
    before = "["
    async for entry in entries:
        if entry is None:
            continue
        if as_json:
            data(f"{before}{to_json(entry)}", end="")
            before = ",\n "
        else:
            data(line(entry))
    if as_json:
        data("[]" if before == "[" else "]")


def flush() -> None:
    """Have everything written that was asked for."""
    with writable():
        sys.stdout.flush()


@contextmanager
def writable() -> Iterator[None]:
    """Turn what standard output refuses into an ``Ending``."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        said = error.strerror or type(error).__name__
        hint = "free some space, or write elsewhere" if error.errno == errno.ENOSPC else "write elsewhere"
        raise Ending(ExitCode.NOT_WRITTEN, f"the output cannot be written: {said}", hint=hint) from None


def note(text: str) -> None:
    """Write one line for the person at the terminal."""
    with suppress(OSError):  # where standard error cannot be written, nobody can be told that either
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


def report(ending: Ending, as_json: bool) -> None:
    """Say on standard error how the command ended, if there is something to say."""
    if not ending.message:
        return
    if as_json:
        error = {"code": ending.code.label, "message": ending.message, "key": ending.key, "hint": ending.hint}
        with suppress(OSError):
            click.echo(to_json({"error": error}, ascii_only=True), err=True)
        return
    note(f"{style('error:', 'red', err=True)} {printable(ending.message)}")
    if ending.hint:
        note(f"{style('hint:', 'cyan', err=True)} {printable(ending.hint)}")
