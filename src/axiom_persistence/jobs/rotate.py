"""A new data key for an encrypted store: every record is sealed anew, while the store is in use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from ..errors import ConflictError
from ..keys import KEYSET
from ..layers.encrypted import Encrypted
from ..storage.adapter import Stored
from .walk import OnProgress, pages

__all__ = ["RotationReport", "rotate"]

_PAGE: Final = 64
"""Records in one commit: those of others wait behind it."""
_GRACE_S: Final = 86_400.0
"""How long an old key is kept when no record needs it: another process may still seal with it."""


@dataclass(slots=True)
class RotationReport:
    """What ``rotate`` did."""

    records: int = 0
    """How many records were looked at."""
    sealed: int = 0
    """How many were sealed anew. The others had the new key already, or were damaged or deleted."""
    damaged: int = 0
    """How many could not be opened. They are left as they are; ``verify`` names them."""
    destroyed: int = 0
    """How many old keys were destroyed."""


async def rotate(encrypted: Encrypted, *, progress: OnProgress | None = None) -> RotationReport:
    """Seal every record with a new key. Killed or cancelled, the next call goes on with that key.

    An old key goes on opening: what another process seals with it meanwhile, and generations before. It is
    destroyed by a later rotation, at least a day after this one, if no record is found under it then.
    """
    report = RotationReport()
    await encrypted.rotate()
    damaged: dict[str, int] = {}
    async for page in pages(encrypted.inner.keys(), size=_PAGE, progress=progress):
        report.records += len(page)
        while not await _seal_page(encrypted, [key for key in page if key != KEYSET], damaged, report):
            pass
    report.damaged = len(damaged)
    now = time.time()
    needed = {encrypted.keyset.primary, *damaged.values()}
    unused = {number: key for number, key in encrypted.keyset.keys.items() if number not in needed}
    old = [n for n, key in unused.items() if key.emptied is not None and key.emptied < now - _GRACE_S]
    await encrypted.retire(unused.keys() - set(old), destroyed=old, now=now)
    report.destroyed = len(old)
    return report


async def _seal_page(
    encrypted: Encrypted, page: list[str], damaged: dict[str, int], report: RotationReport
) -> bool:
    """Seal anew what another key sealed. False: somebody changed one of them meanwhile; try again."""
    below = await encrypted.inner.fetch(page)
    numbers = {key: encrypted.number_of(key, stored) for key, stored in below.items()}
    primary = encrypted.keyset.primary
    behind = {key: number for key, number in numbers.items() if number is not None and number < primary}
    opened: dict[str, Stored] = {}
    for key, stored in (await encrypted.fetch(list(behind))).items():
        if stored.damage is None:
            opened[key] = stored
        else:
            damaged[key] = behind[key]
    groups = [list(opened)] if encrypted.traits.atomic else [[key] for key in opened]
    for group in groups:
        changes = {key: opened[key].data for key in group}
        if not changes:
            continue
        try:
            await encrypted.commit(changes, expect={key: opened[key].version for key in group})
        except ConflictError:
            return False
        report.sealed += len(group)
    return True
