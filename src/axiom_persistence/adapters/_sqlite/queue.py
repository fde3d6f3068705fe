"""Commits that wait for the writer thread, in the order of the calls, and the delivery of their results."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from ...storage.adapter import Expect

__all__ = ["Job", "Queue", "deliver"]

_SLICE: Final = 128
"""Futures resolved in one turn of a loop: keeps a thousand savers from stalling everything else."""


class Job:
    """One commit on its way to the writer thread, and the future of whoever awaits it."""

    __slots__ = ("changes", "durable", "error", "expect", "future", "loop", "sequence", "versions")

    def __init__(
        self,
        changes: Mapping[str, bytes | None],
        expect: Expect | None,
        durable: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        # Copies: the caller may change its own while this waits.
        self.changes = dict(changes)
        self.expect = dict(expect) if expect else None
        self.durable = durable
        self.loop = loop
        self.future: asyncio.Future[Mapping[str, str]] = loop.create_future()
        self.sequence = 0
        self.versions: Mapping[str, str] = {}
        self.error: Exception | None = None

    @property
    def key(self) -> str | None:
        """A key to name in an error."""
        return next(iter(self.changes or self.expect or ()), None)


class Queue:
    """Waiting jobs, and for each key the last job that touches it. Not locked: the owner does that."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self._last: dict[str, int] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self.jobs)

    def put(self, job: Job) -> None:
        self._sequence = job.sequence = self._sequence + 1
        self.jobs.append(job)
        for key in job.changes:
            self._last[key] = job.sequence
        if job.expect is not None:
            for key in job.expect:
                self._last[key] = job.sequence

    def count_up_to(self, keys: Iterable[str]) -> int:
        """How many jobs from the front must be written before ``keys`` may be: 0 if none touches them."""
        if not self.jobs:
            return 0
        last = max((self._last.get(key, 0) for key in keys), default=0)
        return max(0, last - self.jobs[0].sequence + 1)

    def front(self, limit: int) -> list[Job]:
        return list(islice(self.jobs, limit))

    def drop(self, jobs: Sequence[Job]) -> None:
        """Forget ``jobs``, which are the front of the queue."""
        for job in jobs:
            first = self.jobs.popleft()
            assert first is job, "the queue is left in the order it was entered"
        if not self.jobs:
            self._last.clear()
            return
        for job in jobs:
            for key in (*job.changes, *(job.expect or ())):
                if self._last.get(key) == job.sequence:
                    del self._last[key]


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
