"""Asynchronous iterators, walked by a thread that waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, Generic, Self, TypeVar, cast

from ..keys import MISSING, Missing
from ._background import post, run
from ._spelling import BlockingOnly, Walk

__all__ = ["Stream", "paged"]

T = TypeVar("T")

_PAGE: Final = 1000


def paged(source: AsyncIterator[T], page: int = _PAGE) -> Iterator[T]:
    """What ``source`` yields, ``page`` items brought over at a time.

    It may be left half-way: the loop closes an asynchronous generator that nobody holds any more.
    """

    async def some() -> list[T]:
        found = []
        async for item in source:
            found.append(item)
            if len(found) == page:
                break
        return found

    def pages() -> Iterator[T]:
        while found := run(some()):
            yield from found

    return Walk(pages())


async def _close(source: AsyncIterator[Any], waiting: asyncio.Task[Any] | None) -> None:
    if waiting is not None:
        waiting.cancel()
        await asyncio.wait([waiting])
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()


def _look(task: asyncio.Task[Any]) -> None:
    # Its error is raised to whoever iterates next. If nobody does, nobody asked.
    if not task.cancelled():
        task.exception()


class Stream(BlockingOnly, Generic[T]):
    """What comes, as an iterator that waits for it: ``for change in persistence.changes(timeout=5):``

    A loop over it ends when nothing has come for ``timeout`` seconds (None: it waits on), and when the
    persistence or the client is closed; after a timeout it can be iterated again, and nothing is missed
    between. One that is not needed any more ends by ``close``, by the end of its ``with`` block or by
    being forgotten. Any thread may iterate or close it.
    """

    def __init__(self, source: AsyncIterator[T], timeout: float | None) -> None:
        self._source = source
        self._timeout = timeout
        self._waiting: asyncio.Task[T] | None = None
        self._over = False
        run(self._start())

    async def _start(self) -> None:
        async def next_one() -> T:
            return await anext(self_source)

        self_source = self._source  # the task must not keep this object alive
        self._waiting = asyncio.get_running_loop().create_task(next_one())
        self._waiting.add_done_callback(_look)

    async def _next(self) -> T | Missing:
        while not self._over:
            if self._waiting is None:
                await self._start()
            waiting = cast("asyncio.Task[T]", self._waiting)
            # Not wait_for: a cancelled anext would end the source, and lose what was on its way.
            done, _ = await asyncio.wait([waiting], timeout=self._timeout)
            if not done:
                return MISSING
            if self._waiting is not waiting:
                continue  # another thread has taken it
            self._waiting = None
            if waiting.cancelled():
                self._over = True
                break
            try:
                return waiting.result()
            except StopAsyncIteration:
                self._over = True
            except BaseException:
                self._over = True
                raise
        return MISSING

    async def _end(self) -> None:
        self._over = True
        waiting, self._waiting = self._waiting, None
        await _close(self._source, waiting)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        item = run(self._next())
        if item is MISSING:
            raise StopIteration
        return item

    def close(self) -> None:
        """End it; whoever iterates it comes to the end of the loop."""
        run(self._end())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_over", True):
            source, waiting = self._source, self._waiting
            post(lambda: _close(source, waiting))
