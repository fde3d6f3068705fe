"""Asking the person at this machine to show who it is."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from ..runtime.threads import in_thread

__all__ = ["Authenticator", "asked"]


class Authenticator(ABC):
    """Asks the person: by a fingerprint, a face, a PIN. Subclass it for a way of your own."""

    name: str
    """What it is called in messages."""

    @abstractmethod
    async def authenticate(self, reason: str) -> None:
        """Return once the person has shown who it is; ``reason`` says to the person what for.

        Raises ``AuthenticationError``, whose ``outcome`` says how it ended. A cancelled call takes its
        question back.
        """

    async def can_authenticate(self) -> bool:
        """Whether the person could be asked now. Asks nobody."""
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


async def asked(work: Callable[[threading.Event], None]) -> None:
    """``work``, done in a thread. Cancelled, it sets the event, and waits until the work has noticed."""
    stop = threading.Event()
    working = asyncio.ensure_future(in_thread(lambda: work(stop)))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait((working,))
        working.exception()  # of no interest to anybody any more
        raise
