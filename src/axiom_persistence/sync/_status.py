"""How far a device is, and who is told when that changes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from ..runtime.faces import walk
from ._conflict import Conflict

__all__ = ["Phase", "SyncEvent", "SyncStatus", "Told"]

Phase = Literal["idle", "syncing", "offline", "paused", "stuck"]

_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """How far this device is."""

    state: Phase = "idle"
    since: float = 0.0
    """When it came into this state, in seconds since 1970 UTC."""
    why: str | None = None
    """What keeps it offline, stuck or paused."""
    faults: tuple[tuple[str, str], ...] = ()
    """Keys that cannot be sent or taken over, and why. All others go on."""
    pending: int = 0
    """Keys changed here that were not sent when it was last looked."""
    sent: int = 0
    """Keys sent since the store was opened."""
    received: int = 0
    """Keys that others changed here."""
    conflicts: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    bytes_saved: int = 0
    """By how much what was sent would have been longer if it were not deflated."""
    set_back: int = 0
    """How often the place where devices meet was an earlier copy of itself, or another place, since then."""
    last_success: float | None = None
    """When all was the same last, in seconds since 1970 UTC."""
    leading: bool = False
    """Whether this process is the one of those that have the store open which synchronises by itself."""


SyncEvent = SyncStatus | Conflict
"""What ``events`` tells: a new status, or a conflict that was just decided."""


class Told:
    """The streams of events. What happens is told to each; a slow one misses the oldest."""

    def __init__(self) -> None:
        self._streams: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, deque[SyncEvent | None]]] = []

    def tell(self, event: SyncEvent | None) -> None:
        """To every stream. None: they end."""
        for loop, woken, waiting in list(self._streams):
            waiting.append(event)
            with suppress(RuntimeError):  # that loop is closed, and whoever listened gone with it
                loop.call_soon_threadsafe(woken.set)

    @walk
    async def events(self, now: SyncStatus) -> AsyncIterator[SyncEvent]:
        """``now``, and everything from then on."""
        woken = asyncio.Event()
        stream = (asyncio.get_running_loop(), woken, deque[SyncEvent | None]([now], maxlen=_KEPT))
        self._streams.append(stream)
        try:
            while True:
                woken.clear()
                while stream[2]:
                    event = stream[2].popleft()
                    if event is None:
                        return
                    yield event
                await woken.wait()
        finally:
            self._streams.remove(stream)
