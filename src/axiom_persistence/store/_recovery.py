"""What becomes of damaged bytes: the previous generation comes back, else what the last snapshot has.

Where there is neither, the key reads as missing. The bytes go to quarantine in any case.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from ..errors import ConfigurationError, ConflictError, CorruptedDataError, PersistenceError, shown
from ..records._subject import tag_in
from ..records.corruption import Corruption, CorruptionReport, OnCorruption, quarantine_key, quarantine_value
from ..records.record import INTERNAL_SCHEMA, seal_about, seal_record
from ..storage.adapter import StorageAdapter, Stored

__all__ = ["Older", "Recovery", "Whole", "decision"]

_log = logging.getLogger("axiom_persistence")

_REPORTS_KEPT: Final = 1000


class Older(NamedTuple):
    """A whole record from a snapshot."""

    data: bytes
    snapshot: str
    """The path of the snapshot."""
    at: float
    """When that was made, in seconds since 1970 UTC."""


Whole = Callable[[str, Stored], bool]
"""Whether bytes are a readable record of a key."""


class Recovery:
    """Recovery of the damaged records of one adapter. Nothing unreadable is ever overwritten."""

    def __init__(self, adapter: StorageAdapter, clock: Callable[[], float] = time.time) -> None:
        self.adapter = adapter
        self.clock = clock
        self.reports: deque[CorruptionReport] = deque(maxlen=_REPORTS_KEPT)
        self.unreadable: dict[str, Stored] = {}
        """Damaged records that were left in place: a save over one moves its bytes to quarantine first."""
        self.older: Callable[[str, Whole], Awaitable[Older | None]] | None = None
        """Looks for a record in the snapshots of the store."""

    def quarantined(self, key: str, bad: Stored) -> dict[str, bytes]:
        """The quarantine record for damaged bytes, ready to join a commit."""
        place = quarantine_key(key, bad.version)
        value = quarantine_value(key, bad.damage or "", bad.data)
        return {place: seal_about(place, seal_record(place, value, INTERNAL_SCHEMA), tag_in(bad.data))}

    async def recover(self, key: str, bad: Stored, choice: OnCorruption, whole: Whole) -> Stored | None:
        """What is stored under ``key`` after the ladder was taken, or None.

        Raises ``CorruptedDataError`` if that is the application's choice, or the repair could not be written.
        """
        previous = await self.adapter.previous(key)
        good = previous.data if previous is not None and whole(key, previous) else None
        older = None
        if good is None and self.older is not None and choice is not Corruption.RAISE:
            older = await self.older(key, whole)
            good = None if older is None else older.data
        now = self.clock()
        report = CorruptionReport(
            key=key,
            reason=bad.damage or "",
            size=len(bad.data),
            adapter=str(self.adapter),
            recovered=good is not None,
            snapshot=None if older is None else older.snapshot,
            age=None if older is None else now - older.at,
            quarantine=quarantine_key(key, bad.version),
            at=now,
        )
        self._refuse_unless_wanted(bad, choice, report)
        changes: dict[str, bytes | None] = {**self.quarantined(key, bad)}
        changes[key] = good
        try:
            from ..runtime.acting import because  # few programs ever recover

            with because("recovery of a damaged record"):
                versions = await self.adapter.commit(changes, expect={key: bad.version})
        except ConflictError:  # somebody healed or replaced it meanwhile: look again
            return (await self.adapter.fetch((key,))).get(key)
        except PersistenceError as error:
            self.unreadable[key] = bad
            raise CorruptedDataError(
                f"the stored record is damaged ({bad.damage}) and could not be repaired: {error}",
                key=key,
                adapter=self.adapter,
                hint="the damaged bytes are still in place",
            ) from error
        self.unreadable.pop(key, None)
        self._tell(report)
        return None if good is None else Stored(good, versions[key])

    def _refuse_unless_wanted(self, bad: Stored, choice: OnCorruption, report: CorruptionReport) -> None:
        """Raise ``CorruptedDataError`` if the application wants that, or its function raises."""
        if not isinstance(choice, Corruption):
            self.unreadable[report.key] = bad  # whatever the application's function does
            choice = decision(choice, report)
        if choice is Corruption.RAISE:
            self.unreadable[report.key] = bad
            raise CorruptedDataError(
                f"the stored record is damaged: {bad.damage}",
                key=report.key,
                adapter=self.adapter,
                hint="nothing was changed; verify(repair=True) or on_corruption=RECOVER brings the "
                "previous generation back, or what the last snapshot has, where there is one",
            )

    def _tell(self, report: CorruptionReport) -> None:
        self.reports.append(report)
        _log.warning(
            "damaged record of %r in %s: %s; %s, the bytes are kept under %r",
            report.key,
            self.adapter,
            report.reason,
            report.outcome,
            report.quarantine,
        )


def decision(ask: Callable[[CorruptionReport], Corruption], report: CorruptionReport) -> Corruption:
    """What the application's function says of a report. Raises ``ConfigurationError`` for another answer."""
    answer = ask(report)
    try:
        return Corruption(answer)
    except ValueError:
        raise ConfigurationError(
            f"on_corruption answered {shown(answer)}",
            key=report.key,
            adapter=report.adapter,
            hint="it returns a member of Corruption: RECOVER, REPAIR or RAISE; nothing was changed",
        ) from None
