"""Looking at all keys of a remote: at a first meeting, and after a time longer than the log reaches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ..errors import ConflictError
from ..jobs.walk import pages
from ..keys import BEHIND_INTERNAL
from ..layers.tracked import DIRTY, SHADOW
from ..runtime.turn import backoff
from ._cursor import Cursor
from ._device import Device, is_untracked
from ._remote import NOTHING, Head, Seen
from ._shadow import Local

__all__ = ["list_all", "mark_untracked"]

PAGE: Final = 256
_ATTEMPTS: Final = 16


@dataclass(slots=True)
class Listed:
    """What was found when all keys were looked at."""

    faults: dict[str, str] = field(default_factory=dict)
    """Keys that were left alone, and why."""
    set_back: bool = False
    """Whether the remote is older than it was when this device saw it last, or another one."""


async def list_all(
    device: Device,
    told: Callable[[int], object] | None = None,
    is_late: Callable[[], bool] = lambda: False,
) -> Listed:
    """Take over what the remote has, a page and a commit at a time, resumed where it was interrupted.

    ``told`` is called with how many keys each page has changed here. What has to be sent is marked. Until it
    is done, parts of transactions may be seen; afterwards the log brings what was sent meanwhile. It ends
    after the page at which it ``is_late``. Where somebody else does the same, it goes on from where they are:
    another process, or a meeting that was given up while its commit was on its way.
    """
    found = Listed()
    for attempt in range(_ATTEMPTS - 1):
        try:
            await _list(device, found, told, is_late)
        except ConflictError:
            await backoff(attempt)
        else:
            return found
    await _list(device, found, told, is_late)
    return found


async def _list(
    device: Device, found: Listed, told: Callable[[int], object] | None, is_late: Callable[[], bool]
) -> None:
    head = await device.remote.look()
    cursor = await Cursor.read(device.store.adapter)
    after = cursor.listed or ""
    if cursor.listed is None or cursor.head.place != head.place:
        # Of a remote that was set back nobody knows what it has forgotten: then everything is sent again.
        goes_on = await device.remote.went_on_from(cursor.head, head)
        found.set_back = not goes_on and cursor.head != NOTHING
        was_up_to_date = cursor.at if goes_on else 0.0
        after = ""
        cursor = await _note(device, head, after, was_up_to_date)
    names = _known(device, device.remote.keys(after or BEHIND_INTERNAL), after)
    async for page in pages(names, size=PAGE):
        wanted = [key for key in page if device.wants(key)]
        received = await _take(device, wanted, found.faults, cursor.at)
        cursor = await _note(device, cursor.head, page[-1], cursor.at)
        if told is not None:
            told(received)
        if is_late():
            return
    await _note(device, cursor.head, None, device.store.clock())


async def _note(device: Device, head: Head, listed: str | None, at: float) -> Cursor:
    """Remember how far it is. Raises ``ConflictError`` where somebody else does the same."""
    moved = (await Cursor.read(device.store.adapter)).moved(head, at, listed)
    if moved is not None:
        await device.commit(*moved)
    return await Cursor.read(device.store.adapter)


async def _known(
    device: Device, keys: AsyncIterator[str], after: str, limit: int | None = None
) -> AsyncIterator[str]:
    """``keys``, which begin behind ``after``, and those between that have a shadow here; all in order."""
    start = SHADOW + after if after else None
    shadows = device.store.adapter.keys(SHADOW, after=start, limit=limit)
    key, name = await anext(keys, None), await anext(shadows, None)
    while key is not None or name is not None:
        other = None if name is None else name[len(SHADOW) :]
        least = min(one for one in (key, other) if one is not None)
        yield least
        if key == least:
            key = await anext(keys, None)
        if other == least:
            name = await anext(shadows, None)


async def _take(device: Device, keys: list[str], faults: dict[str, str], at: float) -> int:
    """Make the records of ``keys`` what they are when joined with the remote's; how many were changed."""
    for attempt in range(_ATTEMPTS):
        locals = await device.locals(keys)
        seen = await device.remote.fetch(keys)
        faults.update(seen.faults)
        changes: dict[str, bytes | None] = {}
        known = [*seen.states.values(), *(local.shadow.state for local in locals.values())]
        expect = await device.learn_subjects(known)
        for key, local in locals.items():
            theirs = seen.states.get(key)
            fault = seen.faults.get(key) or device.fault_of(key, theirs)
            if fault is not None:
                faults[key] = fault
                continue
            made = await _made(device, local, seen, at)
            if made:
                changes.update(made)
                expect.update(local.versions)
        try:
            if changes:
                await device.commit(changes, expect)
            return sum(key in changes for key in keys)
        except ConflictError:
            await backoff(attempt)
    raise ConflictError(
        f"the store was changed all the time; {_ATTEMPTS} attempts to take over a page were in vain",
        adapter=device.store.adapter,
        hint="it is tried again later",
    )


async def _made(device: Device, local: Local, seen: Seen, at: float) -> dict[str, bytes | None]:
    """The changes of one key, or its mark where it has to be sent."""
    if local.mark is not None or local.damage is not None:
        return {}  # it is joined when it is sent
    if is_untracked(local):
        return {DIRTY + local.key: await device.mark_of(local)}
    theirs = device.renewed(local.key, seen.states.get(local.key))
    if device.remote.clashes(local, theirs, seen):
        return {DIRTY + local.key: await device.mark_of(local)}  # a meeting decides, and lists it
    joined = device.joined(local, theirs, at)
    made = device.applied(local, joined, seen.versions.get(local.key))
    if joined != theirs:
        made[DIRTY + local.key] = await device.mark_of(local)
    return made


async def mark_untracked(device: Device, after: str) -> str | None:
    """Mark what was changed here without a mark, of one page of keys; where the next page begins.

    By a program that opened the store without ``sync=``, or before there was any. None: it was the last page.
    """
    adapter = device.store.adapter
    here = adapter.keys(after=after or BEHIND_INTERNAL, limit=PAGE)
    page = [key async for key in _known(device, here, after, PAGE)][:PAGE]
    last = page[-1] if len(page) == PAGE else None
    locals = await device.locals(filter(device.wants, page))
    found = [local for local in locals.values() if is_untracked(local)]
    try:
        await _mark(device, found)
    except ConflictError:
        for local in found:
            with suppress(ConflictError):  # it was changed just now, with a mark
                await _mark(device, [local])
    return last


async def _mark(device: Device, found: list[Local]) -> None:
    if found:
        changes = {DIRTY + local.key: await device.mark_of(local) for local in found}
        await device.commit(changes, {name: one for local in found for name, one in local.versions.items()})
