"""Read everything, report what is damaged, and repair it when asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from ..errors import CorruptedDataError, SchemaTooNewError, StorageError, StorageLockedError
from ..keys import INTERNAL
from ..records.corruption import QUARANTINE
from ..storage._salvage import SalvageReport
from ..store._header import HEADER
from ..store.store import Store
from ._repairing import salvage
from .walk import OnProgress, Progress, pages

__all__ = ["Finding", "VerifyReport", "verify"]

_PAGE: Final = 256


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    key: str
    reason: str
    outcome: str
    """``damaged`` (left as it is), ``recovered``, ``quarantined`` (now missing) or ``too new``."""


@dataclass(slots=True)
class VerifyReport:
    """What ``verify`` found. True when all is well."""

    records: int = 0
    """How many records were read and checked."""
    findings: list[Finding] = field(default_factory=list)
    medium: list[str] = field(default_factory=list)
    """Faults of the medium itself, such as a broken page of a database file."""
    quarantined: int = 0
    """How many damaged records of earlier are kept in quarantine."""

    salvage: SalvageReport | None = None
    """What was made of a store that was damaged as a whole, where a repair was asked for."""

    def __bool__(self) -> bool:
        mended = self.salvage is None or bool(self.salvage)
        return mended and not self.medium and all(finding.outcome == "recovered" for finding in self.findings)


async def verify(
    store: Store, *, prefix: str = "", repair: bool = False, progress: OnProgress | None = None
) -> VerifyReport:
    """Check every record under ``prefix``, and the medium.

    With ``repair``, damaged records take the recovery ladder: the previous generation comes back where
    there is one, else what the last snapshot has, and the damaged bytes go to quarantine; a medium that is
    damaged itself is moved aside, and made anew of what can be read. Without it nothing is changed.
    ``progress`` is told how many records were checked so far.
    """
    report = VerifyReport(medium=await store.adapter.check())
    if report.medium and repair:
        await _mend(store, report)

    def told(so_far: Progress) -> None:
        if progress is not None:
            progress(so_far._replace(done=report.records))

    async for page in pages(_keys(store, prefix, report), size=_PAGE, progress=told):
        report.quarantined += sum(key.startswith(QUARANTINE) for key in page)
        await _check_page(store, [key for key in page if key[0] != INTERNAL or key == HEADER], report, repair)
    return report


async def _mend(store: Store, report: VerifyReport) -> None:
    """Have the store made anew, where that helps against the faults of its medium."""
    try:
        report.salvage = await salvage(store.adapter)
    except StorageLockedError as error:
        report.medium.append(f"{error.message}: {error.hint}")
    finally:
        await store.adapter.aopen()
    if report.salvage is not None:
        report.medium = await store.adapter.check()


async def _keys(store: Store, prefix: str, report: VerifyReport) -> AsyncIterator[str]:
    try:
        async for key in store.adapter.keys(prefix):
            yield key
    except (CorruptedDataError, StorageError) as error:
        report.medium.append(f"the keys cannot be listed to their end: {error}")


async def _check_page(store: Store, page: list[str], report: VerifyReport, repair: bool) -> None:
    for key in page:
        try:
            info = await store.describe(key)
        except (
            CorruptedDataError,
            StorageError,
        ) as error:  # of this record, mostly; the others are still worth a look
            report.records += 1
            report.findings.append(Finding(key, str(error), "damaged"))
            continue
        if info is None:
            continue  # deleted meanwhile
        report.records += 1
        if info.damage is None:
            continue
        if info.too_new or not repair:
            report.findings.append(Finding(key, info.damage, "too new" if info.too_new else "damaged"))
            continue
        try:
            again = await store.repair(key)
        except SchemaTooNewError as error:
            report.findings.append(Finding(key, str(error), "too new"))
        except CorruptedDataError as error:
            report.findings.append(Finding(key, str(error), "damaged"))
        else:
            outcome = "recovered" if again else "quarantined"
            report.findings.append(Finding(key, info.damage + _from(store, key), outcome))


def _from(store: Store, key: str) -> str:
    """What to add to the reason: where the value came from, unless it is the generation before."""
    for told in reversed(store.recovery.reports):
        if told.key == key:
            return "" if told.snapshot is None else f"; {told.outcome}"
    return ""
