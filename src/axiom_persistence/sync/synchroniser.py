"""Meeting the remote again and again, as long as a store is open."""

from __future__ import annotations

import asyncio
import math
import random
import socket
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import msgspec

from ..errors import (
    CapabilityUnavailableError,
    ConflictError,
    ForeignStoreError,
    InsecureStorageError,
    PersistenceError,
    StorageError,
)
from ..jobs.walk import OnProgress, Progress
from ..layers.tracked import DIRTY, Tracked
from ..records.migrations import Migrations
from ..records.record import INTERNAL_SCHEMA, look_at
from ..records.stamp import Clock, is_stamp, new_who
from ..runtime.upkeep import Upkeep
from ..storage.adapter import StorageAdapter
from ..store.store import Store
from ._conflict import CONFLICTS, KEPT, Conflict
from ._cycle import Outcome, cycle, stamp_all
from ._deleted import forget_deleted
from ._device import Device
from ._devices import SyncDevice, listed_devices
from ._feed import Feed
from ._identity import identity, remember
from ._lease import Lease
from ._listed import listed_conflicts, take_back
from ._listing import list_all, mark_untracked
from ._options import Sync
from ._packed import remote_over
from ._pause import Pause
from ._status import Phase, SyncEvent, SyncStatus, Told

__all__ = ["SyncEvent", "SyncStatus", "Synchroniser"]

_LOOK_S: Final = 0.2
"""How often it is looked whether anything was changed here: a comparison of two numbers."""
_FIRST_DELAY_S: Final = 1.0
_LONGEST_DELAY_S: Final = 300.0
"""Between two attempts to reach a remote that cannot be reached: the delay doubles, with full jitter."""
_SELDOM: Final = 12
"""How many times as long it is between two looks at a remote that tells when it changes."""
_DAY_S: Final = 86400.0
_METERED: Final = "the network is metered; now() meets at once"
_LATE: Final = "the deadline of the meeting was over; the next one goes on"
_BY_HAND: Final = "until it is resumed; now() meets at once"


class Synchroniser:
    """``persistence.sync``: the synchronisation of an open store. It works by itself.

    A device is what has this store open in this place. Of several processes that have, one meets the remote
    by itself, and another takes over when it has ended. ``now`` meets from any of them.
    """

    def __init__(
        self, asked: Sync, tracked: Tracked | None, remote: StorageAdapter, migrations: Migrations | None
    ) -> None:
        """``tracked``: the layer of the store that marks what is changed."""
        assert tracked is not None
        if tracked.traits.confidential and not remote.traits.confidential:
            raise InsecureStorageError(
                "what is sent would be plain text, and this store is confidential",
                adapter=tracked,
                hint="give all devices one key: Sync(..., remote_keys=PassphraseKey(...))",
            )
        self._asked = asked
        self._tracked = tracked
        self._adapter = remote
        self._remote = remote_over(remote, asked)
        # Below the caches, which then learn of what comes as they learn of what other processes commit.
        self._store = Store(tracked, migrations=migrations)
        self._top: Store = self._store
        self._device: Device | None = None
        self._upkeep = Upkeep(lambda: [(0.0, self._turn), (0.0, self._feed.listen)])
        self._meeting = asyncio.Lock()
        self._status = SyncStatus(since=time.time())
        self._audited: str | None = ""
        self._failures = 0
        self._next = 0.0
        self._marked = -1
        self._mark: Hashable | None = None
        self._local: Hashable | None = None
        self._lease: Lease | None = None
        self._feed = Feed(remote, asked.every)
        self._told = Told()
        self._pause = Pause(self._store)
        self._introduced = -math.inf
        self._begun = 0
        self._after = ""
        self._is_done = True
        self._progress: OnProgress | None = None
        self._forget_after, self._forget_next = "", 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._status.state} with {self._adapter}>"

    # -- lifecycle ---------------------------------------------------------------------------------

    async def start(self, store: Store) -> None:
        """Begin, over ``store``, which was just opened. The remote need not be there."""
        self._top = store
        await self._store.aopen()
        name, is_new = await identity(self._tracked)
        self._tracked.clock = clock = Clock(new_who(name))
        async for mark in self._tracked.keys(DIRTY):
            stored = (await self._tracked.fetch((mark,))).get(mark)
            record = None if stored is None else look_at(mark, stored.data, INTERNAL_SCHEMA)[0]
            stamp = None if record is None else msgspec.json.decode(record.value)
            if isinstance(stamp, str) and is_stamp(stamp):
                clock.go_on_from(stamp)
        asked = self._asked
        self._device = Device(
            self._store,
            self._remote,
            clock,
            name,
            self._tracked.wants,
            asked.resolver,
            asked.keep_deleted * _DAY_S,
            socket.gethostname(),
        )
        if is_new:
            await remember(self._store, name)
        await stamp_all(self._device)
        if await self._pause.look():
            self._become("paused", _BY_HAND)
        self._lease = Lease(self._store, clock.who)
        self._upkeep.start()

    async def stop(self) -> None:
        """End. What was not sent is sent when the store is opened again."""
        await self._upkeep.stop()
        if self._lease is not None:
            with suppress(PersistenceError):  # then another process waits for some seconds
                await self._lease.release()
        self._told.tell(None)
        await self._adapter.aclose()

    # -- what users call ---------------------------------------------------------------------------

    @property
    def status(self) -> SyncStatus:
        """How far this device is."""
        return self._status

    async def now(self, *, progress: OnProgress | None = None) -> SyncStatus:
        """Meet the remote until there is nothing left to send or to take over, or the deadline is over.

        Also while it is paused.
        The first call after the opening also looks at every key for what was saved without ``sync=``. Raises
        what kept it from that: ``StorageError`` where the remote cannot be reached. Keys that cannot be sent
        or taken over are in ``status.faults``. ``progress`` is told how many keys were sent and taken over.
        """
        device = self._opened()
        while self._audited is not None:
            self._audited = await mark_untracked(device, self._audited)
        return await self._meet(device, progress)

    @property
    def place(self) -> StorageAdapter:
        """Where devices meet."""
        return self._adapter

    async def bring(self) -> None:
        """Meet if anything was changed here that was not sent."""
        if self._tracked.marked != self._marked or self._audited is not None:
            await self.now()

    def _opened(self) -> Device:
        if self._device is None:
            raise CapabilityUnavailableError(
                "the store is not open", adapter=self._tracked, hint="open it first"
            )
        return self._device

    async def _meet(self, device: Device, progress: OnProgress | None = None) -> SyncStatus:
        async with self._meeting:
            self._progress, self._begun = progress, self._status.sent + self._status.received
            self._marked, self._local = self._tracked.marked, self._tracked.change_mark()
            self._mark = self._mark_there()
            await self._count_pending()
            self._become("syncing")
            try:
                await self._meet_until_done(device)
            except PersistenceError as error:
                offline = isinstance(error, StorageError) and not isinstance(error, ForeignStoreError)
                self._become("offline" if offline else "stuck", str(error))
                raise
            except BaseException:
                self._become("idle")
                raise
            await self._count_pending()
            state: Phase = "stuck" if self._status.faults else "idle"
            why = "; ".join(f"{key}: {why}" for key, why in self._status.faults[:3]) or None
            if self._is_done:
                self._become(state, why, last_success=time.time())
            else:
                self._become(state, why or _LATE)
        return self._status

    async def _count_pending(self) -> None:
        pending = 0
        async for _ in self._tracked.keys(DIRTY):
            pending += 1
        self._status = replace(self._status, pending=pending)

    def events(self) -> AsyncIterator[SyncEvent]:
        """The status, each later one, and each conflict as it is decided, until the store is closed.

        A slow listener misses the oldest of more than 256.
        """
        return self._told.events(self._status)

    async def pause(self) -> None:
        """Meet no more until ``resume``, but for ``now``. What is changed meanwhile is sent then.

        It holds for the store: in each process that has it open, and when it is opened again. A meeting that
        has begun goes on to its end.
        """
        self._opened()
        await self._pause.set(on=True)
        self._become("paused", _BY_HAND)

    async def resume(self) -> None:
        """Go on by itself, whoever has paused it; and where iCloud has another account than before."""
        self._opened()
        self._remote.accept()
        await self._pause.set(on=False)
        self._go_on()

    def _go_on(self) -> None:
        self._failures, self._next = 0, 0.0
        self._become("idle")

    async def devices(self) -> list[SyncDevice]:
        """Who meets there, the one that was last there first. ``StorageError``: it cannot be reached."""
        self._opened()
        await self._reach()
        return await listed_devices(self._adapter)

    async def forget(self, device: str) -> bool:
        """Take the device with this id from the list, one that was lost or sold. False: there is none.

        What it sent stays. What it changed after that only it has: if it ever meets the others again, that
        arrives, and it is listed again. To keep it out, take its access to the remote away.
        """
        self._opened()
        await self._reach()
        return await self._remote.forget(device)

    async def conflicts(self) -> list[Conflict]:
        """What lost on this device to a change elsewhere, or elsewhere to one from here; the oldest first.

        The last 256 are remembered.
        """
        return await listed_conflicts(self._store.adapter)

    async def take_back(self, conflict: Conflict) -> bool:
        """Save what ``conflict`` lost, as a change of now. False: the key is not there any more."""
        return await take_back(self._top, conflict)

    # -- by itself ---------------------------------------------------------------------------------

    async def _turn(self) -> float:
        """Meet the remote if there is a reason to; the seconds until the next look."""
        device = self._device
        if device is None or await self._is_paused() or not await self._leads() or self._is_metered():
            self._feed.is_wanted = False
            return _LOOK_S
        if not await self._is_due():
            return _LOOK_S
        try:
            await self._meet(device)
        except PersistenceError:
            # Told by ``status``: a device may be offline for days, and there is nobody to raise it to.
            self._failures += 1
            longest = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(self._failures, 10))
            self._next = time.monotonic() + random.uniform(0, longest)  # noqa: S311 - no secret
            return _LOOK_S
        self._failures = 0
        is_told = self._feed.is_up and self._is_done
        self._next = time.monotonic() + self._asked.every * (_SELDOM if is_told else 1)
        self._feed.is_wanted = True
        await self._audit(device)
        await self._forget_deleted(device)
        return _LOOK_S

    async def _is_paused(self) -> bool:
        is_on = await self._pause.look()  # another process may have paused it, or resumed
        if is_on:
            self._become("paused", _BY_HAND)
        elif self._status.why == _BY_HAND:
            self._go_on()
        return is_on

    async def _leads(self) -> bool:
        leads = self._lease is not None and await self._lease.hold()
        if leads != self._status.leading:
            self._status = replace(self._status, leading=leads)
            self._told.tell(self._status)
        return leads

    def _is_metered(self) -> bool:
        """Whether only what is asked for may use the network."""
        metered = self._asked.metered is not None and bool(self._asked.metered())
        if metered:
            self._become("paused", _METERED)
        elif self._status.why == _METERED:
            self._become("idle")
        return metered

    async def _is_due(self) -> bool:
        if self._feed.take_news() or time.monotonic() >= self._next:
            return True
        if self._failures:
            return False
        if self._tracked.marked != self._marked:
            return True
        local = self._tracked.change_mark()
        if local is not None and local != self._local:  # another process has changed something
            self._local = local
            async for _ in self._tracked.keys(DIRTY, limit=1):
                return True
        mark = self._mark_there()
        return mark is not None and mark != self._mark

    def _mark_there(self) -> Hashable | None:
        try:
            return self._adapter.change_mark()
        except CapabilityUnavailableError:
            return None  # it is opened when its time comes

    async def _reach(self) -> None:
        await self._adapter.aopen()
        await self._remote.check()

    async def _meet_until_done(self, device: Device) -> None:
        """Or until the deadline; then the next meeting begins where this one ended."""
        deadline = self._asked.deadline
        end = math.inf if deadline is None else time.monotonic() + deadline

        def is_late() -> bool:
            return time.monotonic() >= end

        if time.monotonic() >= self._introduced + _DAY_S:
            await self._reach()
            await self._remote.introduce(device.now())
            self._introduced = time.monotonic()
        faults: dict[str, str] = {}
        begun = after = self._after
        self._is_done = False
        while not self._is_done:
            outcome = await cycle(device, after)
            await self._note(outcome, faults)
            if outcome.must_list:
                listed = await list_all(device, lambda received: self._count(0, received, 0), is_late)
                faults.update(listed.faults)
                self._status = replace(self._status, set_back=self._status.set_back + listed.set_back)
                begun = after = ""
            elif not outcome.more:
                # What lies before the place where it began comes last.
                self._is_done = outcome.last is None and not begun
                begun, after = (begun, outcome.last) if outcome.last is not None else ("", "")
            if is_late():
                break
        self._after = after
        faults.update(await self._remote.faults())
        self._status = replace(self._status, faults=tuple(sorted(faults.items())))

    async def _note(self, outcome: Outcome, faults: dict[str, str]) -> None:
        faults.update(outcome.faults)
        self._count(outcome.sent, outcome.received, len(outcome.conflicts))
        for conflict in outcome.conflicts:
            self._told.tell(conflict)
        if outcome.conflicts:
            await self._forget_old_conflicts()

    async def _forget_deleted(self, device: Device) -> None:
        """A page of keys a turn, and all of them once a day."""
        if time.monotonic() < self._forget_next:
            return
        try:
            forgotten, last = await forget_deleted(device, self._forget_after)
        except (ConflictError, StorageError):
            return  # again at the next turn
        if forgotten:
            self._next = 0.0  # the log tells this device as well
        self._forget_after = last or ""
        self._forget_next = time.monotonic() + (0.0 if last else _DAY_S)

    def _count(self, sent: int, received: int, conflicts: int) -> None:
        was = self._status
        self._status = replace(
            was,
            sent=was.sent + sent,
            received=was.received + received,
            conflicts=was.conflicts + conflicts,
            bytes_sent=self._remote.sent,
            bytes_received=self._remote.received,
            bytes_saved=self._remote.saved,
        )
        if self._status != was:
            self._told.tell(self._status)
        if self._progress is not None:
            self._progress(Progress(self._status.sent + self._status.received - self._begun))

    async def _forget_old_conflicts(self) -> None:
        names = [name async for name in self._store.adapter.keys(CONFLICTS)]
        if len(names) > KEPT:
            await self._store.commit(dict.fromkeys(names[:-KEPT]), durability=self._store.weakest)

    async def _audit(self, device: Device) -> None:
        """Find what was changed while there was no ``sync=``: a page of keys a turn, once an opening."""
        if self._audited is not None:
            try:
                self._audited = await mark_untracked(device, self._audited)
            except ConflictError:
                return  # again at the next turn
            self._next = 0.0  # what was found is sent

    def _become(self, state: Phase, why: str | None = None, **more: Any) -> None:
        if self._pause.is_on and state == "idle":
            state, why = "paused", _BY_HAND
        if (state, why) != (self._status.state, self._status.why):
            more["since"] = time.time()
        status = replace(self._status, state=state, why=why, **more)
        if status != self._status:
            self._status = status
            self._told.tell(status)
