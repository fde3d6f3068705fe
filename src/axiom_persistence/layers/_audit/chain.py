"""Sealing: entries become batches, each of which holds the hash of the one before."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from ...errors import ConflictError
from ...security._seals import (
    NEW,
    SEALED,
    Checkpoint,
    Dropped,
    Entry,
    Sealed,
    batch_key,
    head_of,
    json_in,
    number_in,
    raw_record,
    root_of,
)
from ...storage.adapter import StorageAdapter, Stored

__all__ = ["Chain", "batch_in"]

_TOGETHER: Final = 512
"""Entries in a batch, at most."""
_LARGEST: Final = 256 * 1024
"""Bytes of a batch beyond which no further entry joins it."""
_LOOK_FOR_OLD_SECONDS: Final = 3600.0
_OLD_AT_ONCE: Final = 256

_encode: Final = msgspec.json.Encoder().encode
_decode_batch: Final = msgspec.json.Decoder(Sealed).decode
_decode_entry: Final = msgspec.json.Decoder(Entry).decode


def batch_in(key: str, stored: Stored) -> Sealed | None:
    """The batch in a stored record. None: it cannot be read."""
    value = json_in(key, stored.data) if stored.damage is None else None
    try:
        return None if value is None else _decode_batch(value)
    except msgspec.MsgspecError:
        return None


class Chain:
    """The batches of one trail in ``adapter``. Several processes may seal: one wins each number."""

    def __init__(self, adapter: StorageAdapter, trail: str, written: dict[str, tuple[bytes, int]]) -> None:
        """``written``: entries that this process wrote, and when, by their key: they need not be read."""
        self._written = written
        self._adapter = adapter
        self._trail = trail
        self._head: Checkpoint | None = None
        self._look_for_old = 0.0

    async def seal(self) -> int:
        """Seal all entries that are there now; how many there were."""
        count, is_more = 0, True
        while is_more:
            sealed, is_more = await self._seal_some()
            count += sealed
        return count

    async def _seal_some(self) -> tuple[int, bool]:
        """How many entries a new batch has, and whether there may be more that are as old."""
        # The head first: a number that is free afterwards was free all the time, so that what was listed in
        # between is in no batch yet.
        head = await self.head()
        keys = [key async for key in self._adapter.keys(NEW, limit=_TOGETHER)]
        if not keys:
            return 0, False
        entries: dict[str, bytes] = {}
        size = last = 0
        written = self._written
        others = [key for key in keys if key not in written]
        found = await self._adapter.fetch(others) if others else {}
        for key in keys:
            entry = written.get(key) or (_entry_in(key, found[key]) if key in found else None)
            if entry is None:
                continue  # another process was faster
            entries[key], at = entry
            size, last = size + len(entries[key]), max(last, at)
            if size > _LARGEST:
                break
        if not entries or not await self._append(head, list(entries.values()), last, dict.fromkeys(entries)):
            return 0, True  # another process was faster
        for key in entries:
            written.pop(key, None)
        return len(entries), len(entries) < len(keys) or len(keys) == _TOGETHER

    async def _append(
        self, head: Checkpoint, entries: Sequence[bytes], last: int, changes: Mapping[str, bytes | None]
    ) -> bool:
        """Add a batch, in one commit with ``changes``. False: another process was faster."""
        sealed = Sealed(
            batch=head.batch + 1,
            prev=head.head,
            root=root_of(entries).hex(),
            count=len(entries),
            total=head.entries + len(entries),
            last=last,
            entries=[*map(msgspec.Raw, entries)],
        )
        key = batch_key(sealed.batch)
        record = raw_record(key, _encode(sealed))
        self._head = None  # not known until the commit is: it may be cancelled, and yet be made
        try:
            # As durable as can be: in files, what is not synced may be lost by halves.
            await self._adapter.commit({key: record, **changes}, expect={key: None})
        except ConflictError:
            return False
        self._head = Checkpoint(self._trail, sealed.batch, sealed.total, head_of(self._trail, sealed))
        return True

    async def head(self) -> Checkpoint:
        """The state of the trail, as this object knows it."""
        if self._head is None:
            self._head = Checkpoint(self._trail, -1, 0, "")
            async for key in self._adapter.keys(SEALED, reverse=True):
                number = number_in(key)
                if number is not None:  # else it is none of ours, and whoever verifies finds it
                    self._head = await self._head_at(key, number)
                    break
        return self._head

    async def _head_at(self, key: str, number: int) -> Checkpoint:
        stored = (await self._adapter.fetch((key,))).get(key)
        sealed = None if stored is None else batch_in(key, stored)
        if sealed is None:  # the trail goes on behind it, and whoever verifies finds it
            return Checkpoint(self._trail, number, 0, "")
        return Checkpoint(self._trail, number, sealed.total, head_of(self._trail, sealed))

    async def has(self, known: Checkpoint) -> bool:
        """Whether the trail is what ``known`` says that it was, or has gone on from there."""
        if known.trail != self._trail:
            return False
        if known.batch < 0:
            return True
        key = batch_key(known.batch)
        stored = (await self._adapter.fetch((key,))).get(key)
        if stored is not None:
            sealed = batch_in(key, stored)
            return sealed is not None and head_of(self._trail, sealed) == known.head
        # Retention may have taken it, but nothing may be missing at the end.
        return [key async for key in self._adapter.keys(SEALED, after=key, limit=1)] != []

    async def drop_old(self, keep: timedelta) -> None:
        """Drop the batches of which every entry is older than ``keep``, but the last one.

        That they were dropped is an entry of its own, in the same commit, so that nobody else can drop any.
        """
        if time.monotonic() < self._look_for_old:
            return
        since = (time.time() - keep.total_seconds()) * 1_000_000
        head = await self.head()
        old: dict[str, bytes | None] = {}
        dropped = None
        async for key in self._adapter.keys(SEALED, limit=_OLD_AT_ONCE):
            stored = (await self._adapter.fetch((key,))).get(key)
            sealed = None if stored is None else batch_in(key, stored)
            if sealed is None or sealed.last >= since or sealed.batch >= head.batch:
                break
            old[key] = None
            dropped = Dropped(sealed.batch, sealed.total, head_of(self._trail, sealed))
        if dropped is not None:
            entry = Entry(time.time_ns() // 1000, "", 0, why=f"older than {keep}", dropped=dropped)
            if not await self._append(head, [_encode(entry)], entry.at, old):
                return  # another process seals: look again the next time
        if len(old) < _OLD_AT_ONCE:
            self._look_for_old = time.monotonic() + _LOOK_FOR_OLD_SECONDS


def _entry_in(key: str, stored: Stored) -> tuple[bytes, int]:
    """The entry under ``key``, and when it was made; in place of an unreadable one, one that says so."""
    value = json_in(key, stored.data) if stored.damage is None else None
    try:
        if value is not None:
            entry = _decode_entry(value)
            if entry.dropped is None:  # only ``drop_old`` says that, in a batch of its own
                return value, entry.at
    except msgspec.MsgspecError:
        pass  # damaged, too
    digits = key.removeprefix(NEW).split("-")[0]
    at = int(digits, 16) if digits.isalnum() and digits.isascii() and len(digits) == 15 else 0
    return _encode(Entry(at, "", 0, damaged="an entry was unreadable when it was to be sealed")), at
