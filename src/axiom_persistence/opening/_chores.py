"""What an open store does by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from ..runtime.upkeep import Chore
from ..store.store import Store

if TYPE_CHECKING:
    from ..jobs._schedule import Every

__all__ = ["chores_of"]

LOOK_SECONDS: Final = 3600.0
"""A longer wait is cut in pieces: the clock of timers may stand still while the machine sleeps."""


def chores_of(every: Every | None) -> Callable[[Store], Sequence[tuple[float, Chore]]]:
    """The chores of a store that was opened with ``snapshots=every``, and when each begins, in seconds."""

    def of(store: Store) -> Sequence[tuple[float, Chore]]:
        return () if every is None else ((0.0, _Scheduled(store, every)),)

    return of


class _Scheduled:
    """Makes a snapshot when the last one is old enough, whoever made it."""

    def __init__(self, store: Store, every: Every) -> None:
        self._store = store
        self._every = every

    async def __call__(self) -> float:
        from ..jobs.snapshot import snapshots, take

        known = await snapshots(self._store)
        age = time.time() - known[-1].at if known else None
        # A snapshot of the future says that somebody set the clock: it is not waited for.
        if age is not None and 0 <= age < self._every.seconds:
            return min(self._every.seconds - age, LOOK_SECONDS)
        await take(self._store, None, self._every.keep)
        return min(self._every.seconds, LOOK_SECONDS)
