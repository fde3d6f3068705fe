"""What an open store does by itself: a little now and then, and never on anybody's path."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Final

__all__ = ["UNATTENDED", "Chore", "Upkeep"]

_log = logging.getLogger("axiom_persistence")

Chore = Callable[[], Awaitable[float | None]]
"""Does a little and says after how many seconds it wants to be called again; None: never."""

UNATTENDED: Final[ContextVar[str]] = ContextVar("axiom_persistence_unattended", default="")
"""What runs without anybody waiting for it, and so asks nobody: ``"upkeep"``, ``"client"``, or nothing."""

_AFTER_FAILURE_SECONDS = 60.0


class Upkeep:
    """Calls chores on the event loop that starts it, until it is stopped or the loop ends.

    Between two calls there is a timer and no task, so a program that closes nothing hears no complaint, and
    the timer keeps nothing alive. What a chore raises is logged, and it is tried again a minute later: there
    is nobody whom it could be raised to.
    """

    def __init__(self, chores: Callable[[], Sequence[tuple[float, Chore]]]) -> None:
        """``chores`` are asked for at the start: each with the seconds before its first call."""
        self._chores = chores
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin. Only with a running event loop."""
        self._loop = asyncio.get_running_loop()
        for number, (delay, chore) in enumerate(self._chores()):
            self._later(number, delay, chore)

    async def stop(self) -> None:
        """End it, and wait for what is just being done to be broken off."""
        loop, self._loop = self._loop, None
        if loop is None or loop.is_closed():
            return
        if loop is asyncio.get_running_loop():
            self._cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
        else:
            loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _later(self, number: int, delay: float, chore: Chore) -> None:
        if self._loop is not None:
            me: weakref.ref[Upkeep] = weakref.ref(self)
            self._timers[number] = self._loop.call_later(delay, _begin, me, number, chore)

    def _begin(self, number: int, chore: Chore) -> None:
        if self._loop is not None:
            task = self._loop.create_task(self._call(number, chore))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _call(self, number: int, chore: Chore) -> None:
        delay: float | None = _AFTER_FAILURE_SECONDS
        UNATTENDED.set("upkeep")  # in this task's own context
        try:
            delay = await chore()
        except Exception:
            if self._loop is not None:  # else the store is being closed under it
                _log.exception("what an open store does by itself failed; it is tried again in a minute")
        if delay is not None:
            self._later(number, delay, chore)


def _begin(upkeep: weakref.ref[Upkeep], number: int, chore: Chore) -> None:
    alive = upkeep()
    if alive is not None:
        alive._begin(number, chore)
