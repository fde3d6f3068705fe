"""One step of a sweep: some keys, and those of them that have expired are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..errors import ConflictError
from ..keys import INTERNAL
from ..records.record import look_at
from ..runtime.acting import because
from ..store.store import Store

__all__ = ["SWEPT_TOGETHER", "sweep_some"]

SWEPT_TOGETHER: Final = 128
"""Keys looked at in one step: what they hold up is a millisecond."""


async def sweep_some(store: Store, keys: Sequence[str], *, dry_run: bool = False) -> int:
    """Forget those of ``keys`` whose time is over, in one commit; how many there were.

    A record that is damaged is left alone, whatever its first bytes say, and so are all of them where
    somebody saves one at that moment: the next sweep finds the others.
    """
    users = [key for key in keys if key[0] != INTERNAL]
    living = set(await store.living(users))
    found = await store.adapter.fetch([key for key in users if key not in living])
    expect: dict[str, str | None] = {}
    for key, stored in found.items():
        record = None if stored.damage else look_at(key, stored.data, store.schema_of(key))[0]
        if record is not None and store.expired(record):
            expect[key] = stored.version
    if not expect or dry_run:
        return len(expect)
    try:
        with because("expired"):
            await store.adapter.commit(dict.fromkeys(expect), expect=expect, durability=store.weakest)
    except ConflictError:
        return 0
    return len(expect)
