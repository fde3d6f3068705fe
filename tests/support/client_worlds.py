"""What the tests of clients share: fields of every sort, a clock, a place that fails on request."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping
from enum import Enum
from itertools import count
from typing import Any

from axiom_persistence.client import Client, client_state
from axiom_persistence.errors import StorageError
from axiom_persistence.storage.adapter import Changes, Durability, Expect
from axiom_persistence.storage.layer import Layer


class Theme(Enum):
    SYSTEM = "system"
    DARK = "dark"
    LIGHT = "light"


class Preferences(Client):
    theme: Theme = client_state(Theme.SYSTEM)
    volume: int = client_state(5, validate=lambda volume: 0 <= volume <= 100)
    recent: list[str] = client_state(default_factory=list)
    title: str = client_state("", key="window-title")
    draft: str = client_state("", persisted=False)


class Counter(Client):
    a: int = client_state(0)
    b: int = client_state(0)


class Handle:
    def __init__(self, callback: Callable[[], Any]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._calls: list[tuple[float, int, Handle]] = []
        self._number = count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], Any], /) -> Handle:
        handle = Handle(callback)
        heapq.heappush(self._calls, (self.now + delay, next(self._number), handle))
        return handle

    @property
    def armed(self) -> int:
        return sum(not handle.cancelled for _, _, handle in self._calls)

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            when, _, handle = heapq.heappop(self._calls)
            self.now = max(self.now, when)
            if not handle.cancelled:
                handle.callback()
                await turns()
        self.now = end


async def turns() -> None:
    """Let the tasks that are ready run, and those they make ready."""
    for _ in range(50):
        await asyncio.sleep(0)


class Failing(Layer):
    """Raises ``error`` from every commit with changes, as long as there is one; counts commits.

    ``only``: keys containing this make a commit fail. ``at_once=False``: there is no synchronous commit.
    """

    def __init__(self, inner: Any, *, at_once: bool = True) -> None:
        super().__init__(inner)
        self.error: Exception | None = None
        self.only = ""
        self.at_once = at_once
        self.commits = 0
        self.gate: asyncio.Event | None = None
        self.fetch_gate: asyncio.Event | None = None

    def _check(self, changes: Changes) -> None:
        if changes:
            self.commits += 1
        if self.error is not None and any(self.only in key for key in changes):
            raise self.error

    async def fetch(self, keys: Any) -> Any:
        found = await self.inner.fetch(keys)
        if self.fetch_gate is not None:
            await self.fetch_gate.wait()
        return found

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        if self.gate is not None:
            await self.gate.wait()
        self._check(changes)
        return await self.inner.commit(changes, expect=expect, durability=durability)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        if not self.at_once:
            return None
        self._check(changes)
        return self.inner.commit_now(changes)


def full() -> StorageError:
    return StorageError("the disk says no")
