"""Forgetting at the remote what was deleted long ago."""

from __future__ import annotations

from typing import Final

from ..layers.tracked import SHADOW
from ._device import Device
from ._state import State, deleted_at

__all__ = ["forget_deleted"]

_PAGE: Final = 256


async def forget_deleted(device: Device, after: str) -> tuple[int, str | None]:
    """Remove from the remote what was deleted longer ago than it is kept, of one page of the keys known here.

    How many keys they were, and where the next page begins; None: it was the last. The log names them, so
    each device then drops what it knows of them, this one, too. A tenth longer than a device keeps it, so
    that clocks may differ. Raises ``ConflictError`` where somebody sends something at the same time.
    """
    keys = [
        name[len(SHADOW) :]
        async for name in device.store.adapter.keys(
            SHADOW, after=SHADOW + after if after else None, limit=_PAGE
        )
    ]
    last = keys[-1] if len(keys) == _PAGE else None
    before = device.store.clock() - 1.1 * device.keep_deleted
    old = [key for key, local in (await device.locals(keys)).items() if _is_old(local.shadow.state, before)]
    if not old:
        return 0, last
    seen = await device.remote.fetch(old)
    gone = [key for key, state in seen.states.items() if _is_old(state, before)]
    if gone:
        await device.remote.push(dict.fromkeys(gone), seen, device.now())
    return len(gone), last


def _is_old(state: State | None, before: float) -> bool:
    deleted = deleted_at(state)
    return deleted is not None and deleted < before
