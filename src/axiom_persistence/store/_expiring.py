"""Which records have an end, and which of them are past it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Unpack

from ..keys import INTERNAL
from ..records.head import HEAD_BYTES, UNSAID, expiry_in
from ..records.record import INTERNAL_SCHEMA, seal_record
from ..storage.adapter import Changes, Durability, Expect, NotNow, StorageAdapter
from ._header import Headed
from ._options import Asked

__all__ = ["EXPIRING", "MARKED", "Expiring"]

EXPIRING: Final = INTERNAL + "expiring"
"""Says that records here may have an end. Once there, it stays: every process remembers it."""
MARKED: Final = seal_record(EXPIRING, b"true", INTERNAL_SCHEMA)
"""The record that is kept there."""


class Expiring(Headed):
    """Tells which keys hold a record that has expired, by the first bytes of each.

    A store that never held one that expires is spared that: the first such record brings a mark with it,
    in the same commit, which stays for good.
    """

    def __init__(self, adapter: StorageAdapter, **asked: Unpack[Asked]) -> None:
        super().__init__(adapter, **asked)
        self._is_marked = False  # known to be

    def note_expiry(self) -> None:
        """A record with an end is about to be committed: the next commit brings the mark if there is none."""
        if not self._is_marked:
            self._beginning.add(EXPIRING)

    async def _commit_carefully(
        self,
        changes: Changes,
        expect: Expect | None,
        durability: Durability | None,
        *,
        preparing: bool = False,
    ) -> Mapping[str, str]:
        if not changes or EXPIRING not in self._beginning:
            return await super()._commit_carefully(changes, expect, durability, preparing=preparing)
        marked = {EXPIRING: MARKED, **changes}
        versions = await super()._commit_carefully(marked, expect, durability)
        self._is_marked = True
        self._beginning.discard(EXPIRING)
        return {key: version for key, version in versions.items() if key != EXPIRING}

    async def may_expire(self) -> bool:
        """Whether any record may have an end, so that each must be looked at."""
        if not self._is_marked and self._header is not None and self._header.marks_expiry:
            found = self._fetch_now(EXPIRING)
            there = await self.adapter.exists(EXPIRING) if isinstance(found, NotNow) else found is not None
            self._is_marked = there
            return there
        return True

    async def living(self, keys: Collection[str]) -> list[str]:
        """Those of ``keys`` that hold a record which has not expired, damaged ones among them.

        Only the first bytes of each are read, and no check is made of the rest.
        """
        heads = await self.adapter.fetch_range(keys, 0, HEAD_BYTES)
        now = self.clock() * 1000
        ends = {key: expiry_in(head) for key, head in heads.items()}
        unsaid = [key for key, end in ends.items() if end == UNSAID]
        if unsaid:
            found = await self.adapter.fetch(unsaid)
            ends.update({key: None for key, stored in found.items() if not self._is_expired(key, stored)})
        return [key for key in keys if key in ends and ((end := ends[key]) is None or end > now)]
