"""Taking turns, across event loops and threads."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque

__all__ = ["Turn", "backoff"]


class Turn:
    """A lock for tasks of any number of event loops and threads, first come, first served."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = False
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self._held:
                self._held = True
                return
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.append((loop, turn))
        try:
            await turn
        except asyncio.CancelledError:
            with self._lock:
                waiting = [entry for entry in self._waiting if entry[1] is not turn]
                handed_over = len(waiting) == len(self._waiting)
                self._waiting = deque(waiting)
            if handed_over:
                self.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self.release()

    @property
    def is_free(self) -> bool:
        """Whether nobody has it, or waits for it."""
        return not self._held

    def take_now(self) -> bool:
        """Take it if nobody has it; whether that was so. To be followed by ``release``."""
        with self._lock:
            taken, self._held = not self._held, True
            return taken

    def release(self) -> None:
        """Let the next one have it."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._held = False
                    return
                loop, turn = self._waiting.popleft()
            try:
                loop.call_soon_threadsafe(_wake, turn)
            except RuntimeError:
                continue  # that loop was closed; nobody waits there
            return


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


async def backoff(attempt: int) -> None:
    """Wait a little, longer and more randomly each time, so that contenders get out of step."""
    await asyncio.sleep(int.from_bytes(os.urandom(2)) / 0xFFFF * min(0.05, 0.0005 * 2**attempt))
