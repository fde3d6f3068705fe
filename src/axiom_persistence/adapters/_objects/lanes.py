"""The threads that wait for the server, and what each event loop sends by them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from ...errors import PersistenceError
from ...storage.adapter import Stored
from .._networked.commit import Commit
from .._networked.fetch import FetchGroup
from .._networked.group import CommitGroup
from .._networked.settle import Unreachable, answer
from .bucket import Bucket
from .checkpoint import make_checkpoint
from .log import Log
from .place import Place

__all__ = ["Lanes", "Workers"]

T = TypeVar("T")

_CALLS: Final = 4
_READERS: Final = 8
_FETCHES: Final = 2
_CHECKPOINT_EVERY: Final = 200
"""Entries of the log, or a hundredth of the keys where that is more: a checkpoint names every key."""
_ENDING_S: Final = 5.0
_PURGES: Final = 20
"""Checkpoints that others may make before ours, while something is purged."""


class Workers:
    """The log of a store, and threads for it: one writes, one makes checkpoints, the others read.

    The client's own event loop is not used: requests that are under way when one of Python's ends would
    bring the process down.
    """

    def __init__(self, place: Place, adapter: object) -> None:
        names = ("write", 1), ("tidy", 1), ("call", _CALLS), ("read", _READERS)
        self._pools = {
            name: ThreadPoolExecutor(count, thread_name_prefix=f"axiom-objects-{name}")
            for name, count in names
        }
        self.bucket: Bucket = Bucket(place, adapter)
        self.log: Log = Log(self.bucket, self._pools["read"], adapter)
        self.checkpoints = 0
        self._adapter = adapter
        self._timeout = place.timeout
        self._is_closed = False
        self._due = self._next_due()

    @property
    def readers(self) -> ThreadPoolExecutor:
        return self._pools["read"]

    async def run(self, lane: str, work: Callable[..., T], *arguments: object) -> T:
        """What ``work`` returns, from a thread."""
        return await asyncio.wrap_future(self._pools[lane].submit(work, *arguments))

    async def long(self, lane: str, work: Callable[[], T]) -> T:
        """The same of what makes many requests; it is begun again where the server does not answer."""
        return await answer(lambda: self.run(lane, work), self._timeout, self._adapter, is_long=True)

    async def read(self, work: Callable[..., T], *arguments: object, key: str | None = None) -> T:
        """The same, asked for again as long as the server does not answer."""
        return await answer(lambda: self.run("call", work, *arguments), self._timeout, self._adapter, key)

    def append(self, commits: Sequence[Commit]) -> dict[str, list[str]]:
        """See ``Log.append``; and begin a checkpoint when one is due."""
        outcomes = self.log.append(commits)
        if self.log.index.last >= self._due and not self._is_closed:
            self._due = self._next_due()
            self._pools["tidy"].submit(self._tidy)
        return outcomes

    def _next_due(self) -> int:
        index = self.log.index
        every = max(_CHECKPOINT_EVERY, index.count // 100)
        # Not all processes at the same time: all but one would do it for nothing.
        return max(index.base, index.last) + int(every * (1 + random.random()))  # noqa: S311 - no secret

    def _tidy(self) -> None:
        try:
            self.checkpoints += make_checkpoint(self.log, self.stopped)
        except (Unreachable, PersistenceError):
            pass  # nothing depends on it, and the next one is due soon

    def purge(self) -> None:
        """Make a checkpoint after which no byte is left that is not needed."""
        self.log.values.clear()
        for _ in range(_PURGES):
            if make_checkpoint(self.log, self.stopped, everything=True):
                self.checkpoints += 1
                return
        raise Unreachable("others tidy up all the time")

    def stopped(self) -> bool:
        return self._is_closed

    async def close(self) -> None:
        """Let go of the threads. What a checkpoint has begun, another one goes on with."""
        self._is_closed = True
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        loop = asyncio.get_running_loop()
        ending = loop.run_in_executor(None, partial(self._pools["tidy"].shutdown, wait=True))
        await asyncio.wait({ending}, timeout=_ENDING_S)


class Lanes:
    """What one event loop sends."""

    def __init__(self, workers: Workers, place: Place, adapter: object) -> None:
        self._workers = workers
        self._adapter = adapter
        self.commits: CommitGroup = CommitGroup(
            self._send, self._refuse, apart=False, timeout=place.timeout, adapter=adapter
        )
        self.fetches: FetchGroup = FetchGroup(self._fetch, _FETCHES)

    async def aclose(self) -> None:
        """There is no connection of this event loop."""

    async def _fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        return await self._workers.read(self._workers.log.fetch, keys, key=next(iter(keys)))

    async def _send(self, commits: Sequence[Commit]) -> None:
        outcomes = await self._workers.run("write", self._workers.append, commits)
        for commit in commits:
            wrong = outcomes[commit.id]
            if wrong:
                commit.conflicts(wrong, self._adapter)
            else:
                commit.applied()
        self._workers.log.forget(outcomes)

    async def _refuse(self, ids: Sequence[str]) -> None:
        # The next commit takes the number that theirs may still be on the way to.
        self._workers.log.forget(ids)
