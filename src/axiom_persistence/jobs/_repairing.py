"""A store that is damaged as a whole: moved aside, and made anew of what can still be read."""

from __future__ import annotations

import logging
import time

from ..errors import CorruptedDataError
from ..keys import KEYSET
from ..records.corruption import Corruption, CorruptionReport
from ..storage._salvage import Fate, SalvageReport
from ..storage.adapter import StorageAdapter
from ..store._expiring import EXPIRING, MARKED
from ..store._recovery import decision
from ..store.store import Store

__all__ = ["open_after", "salvage"]

_log = logging.getLogger("axiom_persistence")


async def open_after(store: Store, error: CorruptedDataError) -> SalvageReport:
    """Open a store that could not be opened for ``error``, by a repair, if the application asked for it.

    Else raises ``error``.
    """
    choice = store.on_corruption
    if error.key is None and not isinstance(choice, Corruption):
        report = CorruptionReport(
            key="", reason=error.message, size=0, adapter=str(store.adapter), at=store.clock()
        )
        choice = decision(choice, report)
    if error.key is not None or choice is not Corruption.REPAIR:
        raise error
    made = await salvage(store.adapter)
    if made is None:
        raise error
    await store.aopen()
    return made


async def salvage(adapter: StorageAdapter) -> SalvageReport | None:
    """Have ``adapter`` move its store aside and make it anew; it is open then. None: there was no need."""
    begun = time.monotonic()
    report = await adapter.salvage()
    if report is None:
        return None
    _log.warning(
        "%s was damaged and is made anew, in %.1f seconds: %s", adapter, time.monotonic() - begun, report
    )
    await adapter.aopen()
    if report.fates.get(EXPIRING, Fate.LOST) is Fate.LOST and not await adapter.exists(KEYSET):
        # Lost, it would have what has expired listed again.
        await adapter.commit({EXPIRING: MARKED})
    return report
