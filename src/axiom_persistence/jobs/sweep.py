"""Remove what has expired, and what has lain in quarantine for long."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec

from ..errors import ConfigurationError, ConflictError, StorageFullError, StorageLockedError, shown
from ..records.corruption import QUARANTINE, Quarantined
from ..records.record import INTERNAL_SCHEMA, look_at
from ..runtime.acting import because
from ..store.store import Store
from ._sweeping import SWEPT_TOGETHER, end_some, sweep_some
from .walk import OnProgress, Progress, pages

__all__ = ["KEPT_FOR", "SweepReport", "sweep", "sweep_quarantine"]

KEPT_FOR: Final = timedelta(days=90)
"""How long damaged bytes and generations before are kept, unless a sweep is told otherwise."""


@dataclass(slots=True)
class SweepReport:
    """What a sweep removed, or would remove."""

    records: int = 0
    """How many keys were looked at."""
    expired: int = 0
    """Records whose time was over."""
    ended: int = 0
    """Records that were to stay for good and were given an end, which the store's retention asks for."""
    quarantined: int = 0
    """Damaged bytes that had been kept for long enough."""
    previous: int = 0
    """Generations before, of records that are there, that had been kept for long enough."""
    freed: int = 0
    """Bytes that the medium has back. A dry run does not look for them, nor for generations before."""


async def sweep(
    store: Store,
    *,
    prefix: str = "",
    quarantine: timedelta = KEPT_FOR,
    previous: timedelta = KEPT_FOR,
    dry_run: bool = False,
    progress: OnProgress | None = None,
) -> SweepReport:
    """Remove the records under ``prefix`` whose time is over, and of a whole store what was kept for long.

    A few at a time, while the store is in use. Broken off, the next sweep does the rest.
    """
    for name, age in (("quarantine", quarantine), ("previous", previous)):
        if not isinstance(age, timedelta) or age < timedelta(0):
            raise ConfigurationError(
                f"{name} is a timedelta of zero or more, not {shown(age)}",
                hint=f"leave {name} out to keep it for 90 days",
            )
    report = SweepReport()

    def told(so_far: Progress) -> None:
        report.records = so_far.done
        if progress is not None:
            progress(so_far)

    if store.retention is not None or await store.may_expire():
        async for page in pages(store.adapter.keys(prefix), size=SWEPT_TOGETHER, progress=told):
            report.expired += await sweep_some(store, page, dry_run=dry_run)
            if not dry_run:
                report.ended += await end_some(store, page)
    if not prefix:
        report.quarantined = await sweep_quarantine(store, quarantine, dry_run=dry_run)
    if not dry_run:
        await store.adapter.commit({}, durability=store.default_durability)
        if not prefix:
            # Somebody reads for long, or there is no room to move anything: the next sweep tidies up.
            with suppress(StorageLockedError, StorageFullError):
                before = store.clock() - previous.total_seconds()
                report.previous, report.freed = await store.adapter.tidy(before)
    return report


async def sweep_quarantine(store: Store, age: timedelta, *, dry_run: bool = False) -> int:
    """Forget what has been in quarantine for longer than ``age``; how much there was."""
    count = 0
    before = store.clock() - age.total_seconds()
    async for page in pages(store.adapter.keys(QUARANTINE), size=SWEPT_TOGETHER):
        expect: dict[str, str | None] = {}
        for key, stored in (await store.adapter.fetch(page)).items():
            record = None if stored.damage else look_at(key, stored.data, INTERNAL_SCHEMA)[0]
            if record is not None and msgspec.json.decode(record.value, type=Quarantined).at <= before:
                expect[key] = stored.version
        if expect and not dry_run:
            try:
                with because("in quarantine for long enough"):
                    await store.adapter.commit(dict.fromkeys(expect), expect=expect, durability=store.weakest)
            except ConflictError:
                continue  # somebody else sweeps it, too
        count += len(expect)
    return count
