"""Taking turns, across event loops and threads."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from typing import Any, Final

__all__ = ["LOOK_S", "Holder", "Turn", "backoff"]

LOOK_S: Final = 0.2
"""How often one who waits looks whether the one who is waited for is still there."""


class Holder:
    """The running task, as one that others wait for."""

    __slots__ = ("_interruptible", "task")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "only a task takes a turn"
        self.task: asyncio.Task[Any] = task
        # Signal handlers run on the main thread only. Elsewhere a task may end and leave its turn to another.
        self._interruptible = threading.current_thread() is threading.main_thread()

    def has_left(self) -> bool:
        """Whether it will never give back what it holds: its event loop is closed, or Ctrl-C hit it where it
        would have done so. Who asks for what he holds himself has been hit, too.
        """
        if self.task.get_loop().is_closed():
            return True
        return self._interruptible and (self.task.done() or self.task is _running())


def _running() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None


class Turn:
    """A lock for tasks of any number of event loops and threads, first come, first served.

    Code that does not wait takes it by ``with turn.lock:``, if it is not ``held`` then.
    """

    def __init__(self) -> None:
        self.lock: threading.Lock = threading.Lock()
        self._holder: Holder | None = None
        self._waiting: deque[tuple[Holder, asyncio.Future[None]]] = deque()

    @property
    def held(self) -> bool:
        """Whether a task has it. Under ``lock``."""
        return self._holder is not None and not self._holder.has_left()

    def take_now(self) -> bool:
        """Take it for this task if nobody has it; whether that was so. To be followed by ``release``."""
        me = Holder()
        with self.lock:
            if self.held:
                return False
            self._holder = me
            return True

    async def __aenter__(self) -> None:
        if self.take_now():
            return
        me, turn = Holder(), asyncio.get_running_loop().create_future()
        try:
            with self.lock:
                self._waiting.append((me, turn))
            while not turn.done():
                with self.lock:
                    # It may be ours already, and the call that says so be on its way.
                    if self._holder is not me and not self.held:
                        self._pass_on()
                await asyncio.wait((turn,), timeout=LOOK_S)
        except BaseException:
            with self.lock:
                self._waiting = deque(entry for entry in self._waiting if entry[0] is not me)
                if self._holder is me:
                    self._pass_on()
            raise

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let the next one have it."""
        with self.lock:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            self._holder, turn = self._waiting.popleft()
            try:
                self._holder.task.get_loop().call_soon_threadsafe(_wake, turn)
            except RuntimeError:
                continue  # that loop was closed; nobody waits there
            return
        self._holder = None


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


async def backoff(attempt: int) -> None:
    """Wait a little, longer and more randomly each time, so that contenders get out of step."""
    await asyncio.sleep(int.from_bytes(os.urandom(2)) / 0xFFFF * min(0.05, 0.0005 * 2**attempt))
