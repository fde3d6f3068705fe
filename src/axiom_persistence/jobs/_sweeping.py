"""One step of a sweep: some keys, and those of them that have expired are gone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ..errors import ConflictError, CorruptedDataError, SchemaTooNewError
from ..keys import INTERNAL
from ..layers.cached import Cached
from ..records.head import HEAD_BYTES, UNSAID, expiry_in
from ..records.record import look_at, whole_body
from ..runtime.acting import because
from ..storage.adapter import Stored
from ..store.store import Store

__all__ = ["SWEPT_TOGETHER", "end_some", "sweep_some"]

SWEPT_TOGETHER: Final = 64
"""Keys looked at in one step: what they hold up is half a millisecond."""


async def sweep_some(store: Store, keys: Sequence[str], *, dry_run: bool = False) -> int:
    """Forget those of ``keys`` whose time is over, in one commit; how many there were.

    A record that is damaged is left alone, whatever its first bytes say, and so are all of them where
    somebody saves one at that moment: the next sweep finds the others.
    """
    users = [key for key in keys if key[0] != INTERNAL]
    living = set(await store.living(users))
    cached = store.adapter.find(Cached)  # which would forget what the application needs for what goes now
    source = store.adapter if cached is None else cached.inner
    found = await source.fetch([key for key in users if key not in living])
    expect: dict[str, str | None] = {
        key: stored.version for key, stored in found.items() if _has_expired(store, key, stored)
    }
    if not expect or dry_run:
        return len(expect)
    try:
        with because("expired"):
            await store.adapter.commit(dict.fromkeys(expect), expect=expect, durability=store.weakest)
    except ConflictError:
        return 0
    return len(expect)


async def end_some(store: Store, keys: Sequence[str]) -> int:
    """Give those of ``keys`` an end that may not stay for good, and have none; how many there were.

    They were saved before the program said so, by another one, or are fields of clients. What is damaged or
    of a newer program is left alone.
    """
    retention, ended = store.retention, 0
    if retention is None:
        return 0
    covered = [key for key in keys if key[0] != INTERNAL and retention.covers(key)]
    heads = await store.adapter.fetch_range(covered, 0, HEAD_BYTES)
    for key, head in heads.items():
        end = expiry_in(head)
        latest = retention.end(key, None, store.clock())
        if end is None or (end != UNSAID and latest is not None and end > latest):
            with because("retention"), suppress(CorruptedDataError, SchemaTooNewError):
                ended += await store.touch(key, end, durability=store.weakest)
    return ended


def _has_expired(store: Store, key: str, stored: Stored) -> bool:
    if stored.damage is not None:
        return False
    end = expiry_in(stored.data[:HEAD_BYTES])
    if end is not None and end != UNSAID and whole_body(key, stored.data) is not None:
        return end <= store.clock() * 1000  # the short way, of nearly all
    record = look_at(key, stored.data, store.schema_of(key))[0]
    return record is not None and store.expired(record)
