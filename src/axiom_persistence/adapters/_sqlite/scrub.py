"""What a database file and its log still have of earlier records, overwritten."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .writer import Writer

__all__ = ["scrub", "tidy"]


def scrub(writer: Writer, *, timeout: float) -> None:
    """Forget the generations before, write the file anew, and cut the log. Commits wait meanwhile.

    Raises sqlite3.Error, also where another process reads or writes for ``timeout`` seconds.
    """
    with _resting(writer):
        writer.transactions.scrub(time.monotonic() + timeout)
    writer.ring()  # for the witness of the new log


def tidy(writer: Writer, kept_before: float, *, timeout: float) -> tuple[int, int]:
    """Forget the generations that were kept before this time, cut the log, and give back what is free.

    How many they were, and how many bytes. Raises as ``scrub``.
    """
    with _resting(writer):
        made = writer.transactions.tidy(int(kept_before * 1_000_000), time.monotonic() + timeout)
    writer.ring()  # for the witness of the new log
    return made


@contextmanager
def _resting(writer: Writer) -> Iterator[None]:
    with ExitStack() as held:
        for lock in writer.resting():
            held.enter_context(lock)
        writer.commits.check(None)
        yield
