"""What an adapter keeps for each event loop that uses it: a connection belongs to one loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from ...errors import CapabilityUnavailableError

__all__ = ["Closing", "PerLoop"]


class Closing(Protocol):
    """What is kept for an event loop."""

    async def aclose(self) -> None:
        """Let go of every connection, on the event loop that made it. Not interrupted."""


S = TypeVar("S", bound=Closing)


class PerLoop(Generic[S]):
    """One ``S`` for each running event loop, made when a loop first asks and closed when the loop ends.

    A forked child is refused: it shares the sockets of its parent.
    """

    def __init__(self, make: Callable[[], S], adapter: object) -> None:
        self._make = make
        self._adapter = adapter
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._kept: dict[asyncio.AbstractEventLoop, tuple[S, asyncio.Task[None]]] = {}
        self._closed = False

    def here(self) -> S:
        """That of the running event loop."""
        self.check()
        loop = asyncio.get_running_loop()
        kept = self._kept.get(loop)
        if kept is not None:
            return kept[0]
        with self._lock:
            for ended in [each for each in self._kept if each.is_closed()]:
                del self._kept[ended]
            made = self._make()
            # ``asyncio.run`` cancels the tasks that are left at its end: that is when to hang up.
            self._kept[loop] = made, loop.create_task(_keep(made))
        return made

    def check(self) -> None:
        """Raise ``CapabilityUnavailableError`` where nothing may be used any more."""
        if self._process != os.getpid():
            raise CapabilityUnavailableError(
                "the store was opened in the process that this one was forked from",
                adapter=self._adapter,
                hint="open it again",
            )
        if self._closed:
            raise CapabilityUnavailableError(
                "the store is not open", adapter=self._adapter, hint="open it first, in `async with`"
            )

    @property
    def is_usable(self) -> bool:
        """Whether this process may go on using it."""
        return not self._closed and self._process == os.getpid()

    def all(self) -> list[S]:
        """What is kept, of every loop."""
        return [kept for kept, _ in list(self._kept.values())]

    async def aclose(self, finish: Callable[[S], Awaitable[None]]) -> None:
        """Refuse from now on. ``finish`` what waits, on its loop; then let go of all."""
        self._closed = True
        if self._process != os.getpid():
            return  # the connections are the parent's
        with self._lock:
            kept, self._kept = self._kept, {}
        here = asyncio.get_running_loop()
        for loop, (each, keeper) in kept.items():
            if loop is here:
                await _end(each, keeper, finish)
            elif loop.is_running():
                ending = asyncio.run_coroutine_threadsafe(_end(each, keeper, finish), loop)
                await asyncio.wait({asyncio.wrap_future(ending)}, timeout=5)


async def _keep(kept: Closing) -> None:
    try:
        await asyncio.get_running_loop().create_future()  # for ever
    finally:
        await kept.aclose()


async def _end(kept: S, keeper: asyncio.Task[None], finish: Callable[[S], Awaitable[None]]) -> None:
    try:
        await finish(kept)
    finally:
        # Soon: a keeper that has never run would be cancelled before its ``try``. And whatever cancels this.
        asyncio.get_running_loop().call_soon(keeper.cancel)
        await asyncio.wait({keeper})
