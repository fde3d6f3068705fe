"""A commit on its way to a writer thread, and its result on the way back to whoever awaits it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from .adapter import Changes, Expect
from .listing import Listing

__all__ = ["Job", "deliver"]

_SLICE: Final = 128
"""Futures resolved in one turn of a loop: keeps a thousand savers from stalling everything else."""


class Job:
    """One commit for a writer thread, and the future of whoever awaits it on the running event loop.

    The thread sets ``versions`` or ``error``, then hands the job to ``deliver``. ``sweep``: every key
    in it is deleted, and the one in ``changes`` only names the prefix; the thread sets ``deleted``.
    ``generations``: become what is kept before the current values; there are no ``changes`` then.
    ``purges``: what ``changes`` delete is overwritten, and so are the generations before these keys.
    """

    __slots__ = (
        "changes",
        "deleted",
        "durable",
        "error",
        "expect",
        "future",
        "generations",
        "loop",
        "purges",
        "sweep",
        "versions",
    )

    def __init__(
        self,
        changes: Changes,
        expect: Expect | None,
        *,
        durable: bool,
        sweep: Listing | None = None,
        generations: Mapping[str, bytes | None] | None = None,
        purges: Sequence[str] | None = None,
    ) -> None:
        # Copies: the caller may change its own while this waits.
        self.changes: dict[str, bytes | None] = dict(changes)
        self.expect: dict[str, str | None] | None = dict(expect) if expect else None
        self.durable: bool = durable
        self.sweep: Listing | None = sweep
        self.generations: Mapping[str, bytes | None] | None = generations
        self.purges: Sequence[str] | None = purges
        self.deleted: int = 0
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.future: asyncio.Future[Mapping[str, str]] = self.loop.create_future()
        self.versions: Mapping[str, str] = {}
        self.error: BaseException | None = None

    @property
    def key(self) -> str | None:
        """A key to name in an error."""
        return next(iter(self.changes or self.expect or self.generations or ()), None)


def deliver(jobs: Sequence[Job]) -> None:
    """Resolve the futures of finished jobs, from any thread: one wake-up for each event loop."""
    if not jobs:
        return
    loop = jobs[0].loop
    parts: dict[asyncio.AbstractEventLoop, Sequence[Job]] = {loop: jobs}
    if any(job.loop is not loop for job in jobs):
        parts = {each: [job for job in jobs if job.loop is each] for each in {job.loop for job in jobs}}
    for loop, part in parts.items():
        try:
            loop.call_soon_threadsafe(_settle, loop, part, 0)
        except RuntimeError:
            continue  # the loop is closed: nobody awaits these any more


def _settle(loop: asyncio.AbstractEventLoop, jobs: Sequence[Job], start: int) -> None:
    end = start + _SLICE
    for job in jobs[start:end]:
        future = job.future
        if future.done():
            continue  # cancelled: the commit is done or not done, and nobody asks
        if job.error is None:
            future.set_result(job.versions)
        else:
            future.set_exception(job.error)
    if end < len(jobs):
        loop.call_soon(_settle, loop, jobs, end)
