"""What an open store does by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from ..errors import AccessDeniedError
from ..runtime.upkeep import Chore
from ..store.store import Store

if TYPE_CHECKING:
    from ..jobs._schedule import Every

__all__ = ["chores_of"]

FIRST_SWEEP_SECONDS: Final = 5.0
"""A program that ends sooner is spared the work."""
TURN_SECONDS: Final = 0.012
IDLE_TURN_SECONDS: Final = 0.05
"""Between two turns: what a turn takes, about a millisecond, is a small part of either."""
REMOVED_TOGETHER: Final = 64
"""Keys of a turn where there is something to remove, which takes longer than to look: saves wait for it."""
SWEEP_PAUSE_SECONDS: Final = 60.0
"""Between the end of a sweep and the next, at least."""
REST: Final = 50
"""It is longer after a sweep that took long: so many times as long as that."""

LOOK_SECONDS: Final = 3600.0
"""A longer wait is cut in pieces: the clock of timers may stand still while the machine sleeps."""


def chores_of(every: Every | None) -> Callable[[Store], Sequence[tuple[float, Chore]]]:
    """The chores of a store that was opened with ``snapshots=every``, and when each begins, in seconds."""

    def of(store: Store) -> Sequence[tuple[float, Chore]]:
        chores: list[tuple[float, Chore]] = [(FIRST_SWEEP_SECONDS, _Sweeping(store))]
        if every is not None:
            chores.append((0.0, _Scheduled(store, every)))
        if store.adapter.traits.audited:
            from ._auditing import sealing

            chores.append((0.0, sealing(store.adapter)))
        return chores

    return of


class _Sweeping:
    """Removes what has expired: some keys a turn, all of them again and again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._after: str | None = None
        self._together = REMOVED_TOGETHER
        self._worked = 0.0

    async def __call__(self) -> float | None:
        try:
            return await self._turn(self._store)
        except AccessDeniedError:
            return None  # a store that is only read is somebody else's to sweep

    async def _turn(self, store: Store) -> float:
        from ..jobs._sweeping import SWEPT_TOGETHER, end_some, sweep_some
        from ..jobs.sweep import KEPT_FOR, sweep_quarantine

        begun = time.monotonic()
        if self._after is None:
            await sweep_quarantine(store, KEPT_FOR)
            if store.retention is None and not await store.may_expire():
                return SWEEP_PAUSE_SECONDS
        size = self._together
        keys = store.adapter.keys(after=self._after, limit=size)
        page = [key async for key in keys]
        gone = await sweep_some(store, page) + await end_some(store, page)
        self._worked += time.monotonic() - begun
        self._together = REMOVED_TOGETHER if gone else SWEPT_TOGETHER
        if len(page) == size:
            self._after = page[-1]
            return TURN_SECONDS if gone else IDLE_TURN_SECONDS
        pause, self._after, self._worked = self._worked * REST, None, 0.0
        return max(SWEEP_PAUSE_SECONDS, pause)


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
