"""Fetches that go out together: whoever waits for a connection shares the next request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from ...storage.adapter import Stored

__all__ = ["FetchGroup"]

_MOST_KEYS: Final = 1000
"""Keys in one request, unless it is a single fetch."""

Asked = tuple[Collection[str], "asyncio.Future[dict[str, Stored]]"]


class FetchGroup:
    """The fetches of one event loop. ``ask`` answers one, from one snapshot; ``lanes`` are asked at a time.

    A fetch that finds a lane free is asked by its own caller, which costs nothing more. Those that come
    while all are busy are asked as one.
    """

    def __init__(self, ask: Callable[[Collection[str]], Awaitable[dict[str, Stored]]], lanes: int) -> None:
        self._ask = ask
        self._free = lanes
        self._waiting: deque[Asked] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        """What is stored under ``keys``."""
        if not self._free:
            future: asyncio.Future[dict[str, Stored]] = asyncio.get_running_loop().create_future()
            self._waiting.append((keys, future))
            return await future
        self._free -= 1
        try:
            return await self._ask(keys)
        finally:
            self._free += 1
            if self._waiting:
                self._free -= 1
                task = asyncio.get_running_loop().create_task(self._work())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._answer(self._take())
        finally:
            self._free += 1

    def _take(self) -> list[Asked]:
        batch: list[Asked] = []
        count = 0
        while self._waiting:
            keys, future = self._waiting[0]
            count += len(keys)
            if batch and count > _MOST_KEYS:
                break
            self._waiting.popleft()
            if not future.done():
                batch.append((keys, future))
        return batch

    async def _answer(self, batch: list[Asked]) -> None:
        if not batch:
            return
        wanted = list(dict.fromkeys(key for keys, _ in batch for key in keys))
        try:
            found = await self._ask(wanted)
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # a caller that was cancelled meanwhile asks no more
            return
        except BaseException:
            for _, future in batch:
                future.cancel()
            raise
        for keys, future in batch:
            if not future.done():
                future.set_result({key: found[key] for key in keys if key in found})
