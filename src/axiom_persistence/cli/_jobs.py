"""What every command shares that takes long: progress, events, and what Ctrl-C says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

import click

from ..jobs.walk import OnProgress, Progress
from ._endings import Ending, ExitCode
from ._output import STATUS_EVERY_SECONDS, StatusLine, data, on_terminal, to_json
from .base import command

__all__ = ["Shown", "dry_run_option", "finish", "job", "run_job"]

T = TypeVar("T")

PROGRESS_AFTER_SECONDS: Final = 0.5
_BAR: Final = 24


class Shown(NamedTuple):
    """How a job shows what it does."""

    as_json: bool
    jsonl: bool
    no_progress: bool


def job(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every job, given to it as ``shown``."""

    @click.option("--jsonl", is_flag=True, help="Write an object a line: progress, faults, summary.")
    @click.option("--no-progress", is_flag=True, help="Show no progress on a terminal.")
    @command
    def wrapped(*args: Any, as_json: bool, jsonl: bool, no_progress: bool, **options: Any) -> Any:
        return function(*args, shown=Shown(as_json, jsonl, no_progress), **options)

    wrapped.__doc__ = function.__doc__
    # Options that were put on the function already come with it.
    wrapped.__click_params__ = [  # type: ignore[attr-defined]
        *getattr(wrapped, "__click_params__", ()),
        *getattr(function, "__click_params__", ()),
    ]
    return wrapped


dry_run_option: Final = click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")


def run_job(
    work: Callable[[OnProgress], Coroutine[Any, Any, T]], doing: str, shown: Shown, *, resume: str
) -> T:
    """Do it, tell how far it is, and say after Ctrl-C how to go on."""
    quiet = shown.no_progress or shown.as_json or shown.jsonl
    line = StatusLine(after_seconds=PROGRESS_AFTER_SECONDS, enabled=not quiet and on_terminal(err=True))
    progress = _events() if shown.jsonl else lambda so_far: line.show(_text(doing, so_far))
    try:
        return asyncio.run(work(progress))
    except KeyboardInterrupt:
        raise Ending(ExitCode.INTERRUPTED, "interrupted", hint=resume) from None
    finally:
        line.clear()


def _text(doing: str, so_far: Progress) -> str:
    if so_far.total is None:
        return f"{doing}: {so_far.done:,} records"
    filled = _BAR if not so_far.total else _BAR * so_far.done // so_far.total
    return f"{doing}: {'█' * filled}{'░' * (_BAR - filled)} {so_far.done:,} of {so_far.total:,}"


def _events() -> OnProgress:
    last = time.monotonic()

    def show(so_far: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= STATUS_EVERY_SECONDS:
            last = time.monotonic()
            data(to_json({"event": "progress", "records": so_far.done}))

    return show


def finish(summary: dict[str, Any], shown: Shown) -> bool:
    """Write what a job did as JSON, where that was asked for. False: nobody asked; say it in words."""
    if shown.jsonl:
        for fault in summary.get("faults", ()):
            data(to_json({"event": "fault", **fault}))
        counted = {name: len(it) if name == "faults" else it for name, it in summary.items()}
        data(to_json({"event": "summary", **counted}))
    elif shown.as_json:
        data(to_json(summary))
    return shown.as_json or shown.jsonl
