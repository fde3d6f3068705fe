"""Commits that wait for the writer thread, in the order of the calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice

from ...storage.delivery import Job

__all__ = ["Queue"]


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
        for key in job.changes:
            self._last[key] = job.sequence
        if job.expect is not None:
            for key in job.expect:
                self._last[key] = job.sequence
        self.jobs.append(job)  # last: an exception from a signal handler leaves no job that others overtake

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
