"""What a database file and its log still have of earlier records, overwritten."""

from __future__ import annotations

import time
from contextlib import ExitStack

from .writer import Writer

__all__ = ["scrub"]


def scrub(writer: Writer, *, timeout: float) -> None:
    """Forget the generations before, write the file anew, and cut the log. Commits wait meanwhile.

    Raises sqlite3.Error, also where another process reads or writes for ``timeout`` seconds.
    """
    with ExitStack() as held:
        for lock in writer.resting():
            held.enter_context(lock)
        writer.commits.check(None)
        writer.transactions.scrub(time.monotonic() + timeout)
