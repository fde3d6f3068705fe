"""Commits that go out together: whatever came while the last request was under way is the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from ...storage.adapter import Changes, Expect
from .commit import Commit
from .settle import settle

__all__ = ["CommitGroup"]

_MOST: Final = 256
"""Commits in one request."""
_MOST_BYTES: Final = 4 << 20
"""Bytes in one request, unless it is a single commit."""


class CommitGroup:
    """The commits of one event loop, on their way to a server one request after the other.

    So they take effect in the order of the calls. A commit that comes alone is sent at once; nothing waits
    for a timer. A conflict fails only its own commit. One whose caller is cancelled goes on to its end.

    ``send`` gives some commits to the server in one request: see ``settle``. ``refuse`` makes sure that
    commits which nobody knows the end of have taken effect by now, or never will: it is called before what
    comes after them is sent. ``apart``: two commits never share a request where one changes a key
    that the other names.
    ``timeout``: seconds that a commit may take.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Commit]], Awaitable[None]],
        refuse: Callable[[Sequence[str]], Awaitable[None]],
        *,
        apart: bool,
        timeout: float,
        adapter: object,
    ) -> None:
        self._send = send
        self._refuse = refuse
        self._apart = apart
        self._timeout = timeout
        self._adapter = adapter
        self._waiting: deque[Commit] = deque()
        self._lost: list[str] = []
        self._lane: asyncio.Task[None] | None = None
        self.commits = self.requests = 0

    async def commit(self, changes: Changes, expect: Expect | None) -> Mapping[str, str]:
        """The new versions. Raises ``ConflictError``, ``StorageError``."""
        commit = Commit(changes, expect, self._timeout)
        self._waiting.append(commit)
        if self._lane is None or self._lane.done():
            self._lane = asyncio.get_running_loop().create_task(self._work())
        return await commit.future

    async def finish(self) -> None:
        """Return when everything that was called before has come to its end."""
        while self._lane is not None and not self._lane.done():
            await asyncio.wait({self._lane})

    async def _work(self) -> None:
        batch: list[Commit] = []
        try:
            while self._waiting:
                batch = self._take()
                if batch:
                    lost = await settle(batch, self._request, self._timeout, self._adapter)
                    self._lost += [commit.id for commit in lost]
        except BaseException:  # the event loop ends, or there is a fault in here: nobody is left waiting
            for commit in (*batch, *self._waiting):
                commit.future.cancel()
            self._waiting.clear()
            raise

    async def _request(self, commits: Sequence[Commit]) -> None:
        if self._lost:
            # What comes late must not overwrite what is acknowledged after it.
            await self._refuse(self._lost)
            self._lost = []
        if not commits[0].keys:
            commits[0].applied()
            return
        self.requests += 1
        self.commits += sum(not commit.is_sent for commit in commits)
        await self._send(commits)

    def _take(self) -> list[Commit]:
        """The next commits that go out together, in their order."""
        batch: list[Commit] = []
        named: set[str] = set()
        written: set[str] = set()
        size = 0
        while self._waiting and len(batch) < _MOST:
            commit = self._waiting[0]
            if commit.future.cancelled():
                self._waiting.popleft()  # it was never sent
                continue
            if not commit.keys:  # asks that all before it have come to their end
                return batch or [self._waiting.popleft()]
            size += commit.size
            meets = not (named.isdisjoint(commit.written) and written.isdisjoint(commit.keys))
            if batch and (size > _MOST_BYTES or (self._apart and meets)):
                break
            named |= commit.keys
            written |= commit.written
            batch.append(self._waiting.popleft())
        return batch
