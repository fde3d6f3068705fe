"""What a write-back cache has accepted and not yet stored, in the order in which it was accepted."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Collection, Container, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

import msgspec

from ...runtime.turn import Turn
from ...storage.adapter import CachedRecord, Changes, Durability, StorageAdapter
from ...storage.listing import Listing

__all__ = ["Batch", "Flusher", "Pending", "merged"]

_NAMES_KEPT: Final = 8192
"""Versions of stored keys that are still known under the name they had while they were pending."""

_POLL_S: Final = 0.0005
_EXIT_WAIT_S: Final = 5.0
"""How long the exiting thread waits for another thread's flush before it flushes by itself."""


class _Accepted(msgspec.Struct, frozen=True):
    kept: CachedRecord | None
    number: int


class Batch:
    """Changes that are stored by one commit: everything accepted up to ``last``, after earlier batches."""

    __slots__ = ("changes", "first", "last", "size", "taken")

    def __init__(self, first: int) -> None:
        self.changes: dict[str, bytes | None] = {}
        self.first = self.last = first
        self.size = 0
        self.taken = False

    def takes(self, changes: Changes) -> bool:
        """Whether ``changes`` may join. A key written anew after it was deleted may not.

        The two would become a replacement, and the store would keep the deleted bytes as the previous
        generation of the new ones.
        """
        if self.taken:
            return False
        mine = self.changes
        return not any(data is not None and mine.get(key, b"") is None for key, data in changes.items())

    def count(self, changes: Changes, number: int) -> None:
        """Make ready for ``changes``, which are then to be put into ``self.changes``."""
        replaced = [(key, self.changes[key]) for key in changes if key in self.changes]
        self.size += sum(_size(*each) for each in changes.items()) - sum(_size(*each) for each in replaced)
        self.last = number


class Pending:
    """Accepted changes as batches, oldest first, and the newest of them by key.

    Stored one batch after the other, each by one atomic commit, they leave a prefix of what was accepted
    at every moment. Where the store is not atomic (``joins`` false) every accepted commit stays alone.
    Not locked: the owner does that.
    """

    def __init__(self, *, joins: bool) -> None:
        self._joins = joins
        self._batches: deque[Batch] = deque()
        self._latest: dict[str, _Accepted] = {}
        self._number = 0
        self._session = os.urandom(8).hex()
        self._names: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._latest)

    def __len__(self) -> int:
        return len(self._latest)

    def __contains__(self, key: object) -> bool:
        return key in self._latest

    @property
    def number(self) -> int:
        """How many commits were accepted so far."""
        return self._number

    @property
    def size(self) -> int:
        """The bytes of all keys and data that wait."""
        return sum(batch.size for batch in self._batches)

    def get(self, key: str) -> _Accepted | None:
        """The newest accepted change of ``key``."""
        return self._latest.get(key)

    def keys(self, prefix: str) -> tuple[list[str], set[str]]:
        """The pending keys with ``prefix`` that are written, in order, and those that are deleted."""
        written, deleted = [], set()
        for key, accepted in self._latest.items():
            if key.startswith(prefix):
                if accepted.kept is None:
                    deleted.add(key)
                else:
                    written.append(key)
        return sorted(written), deleted

    def accept(self, changes: Mapping[str, bytes | None]) -> dict[str, str]:
        """Add one commit; the versions of what it writes, which no key of any store ever had."""
        self._number += 1
        version = f"{self._session}.{self._number}"
        accepted = {
            key: _Accepted(None if data is None else CachedRecord(data, version), self._number)
            for key, data in changes.items()
        }
        if not (self._joins and self._batches and self._batches[-1].takes(changes)):
            self._batches.append(Batch(self._number))
        batch, taken = self._batches[-1], dict(changes)
        batch.count(taken, self._number)
        for key in taken:
            self._names.pop(key, None)
        try:
            # In one step: Ctrl-C leaves all of them to be stored, or none.
            batch.changes.update(taken)
        finally:
            # What is to be stored is what is shown, also where Ctrl-C comes between the two.
            self._latest.update(accepted)
        return {key: version for key, data in changes.items() if data is not None}

    def take(self) -> Batch | None:
        """The oldest batch, to be stored; nothing joins it any more, until it is ``settled``."""
        if not self._batches:
            return None
        self._batches[0].taken = True
        return self._batches[0]

    def only(self, keys: Collection[str]) -> Batch | None:
        """The batch that is all there is and touches none of ``keys``, taken; None: there is no such."""
        if not self._joins or len(self._batches) != 1 or any(key in self._latest for key in keys):
            return None
        return self.take()

    def settle(self, batch: Batch, versions: Mapping[str, str]) -> None:
        """Forget ``batch``, which is stored: ``versions`` are those the store gave."""
        if not self._batches or self._batches[0] is not batch:
            return  # stored twice: at the exit of the interpreter, over a flush that never came back
        for key in batch.changes:
            accepted = self._latest.get(key)
            if accepted is None or accepted.number > batch.last:
                continue
            if accepted.kept is not None:
                self._names[key] = (accepted.kept.version, versions[key])
                if len(self._names) > _NAMES_KEPT:
                    self._names.popitem(last=False)
            del self._latest[key]
        # Last: after Ctrl-C among these lines it is stored once more, and no key waits for ever.
        self._batches.popleft()

    # -- versions ----------------------------------------------------------------------------------

    def outer(self, key: str, version: str) -> str:
        """The name that the stored ``version`` of ``key`` was given when it was accepted."""
        names = self._names.get(key)
        return names[0] if names is not None and version == names[1] else version

    def inner(self, key: str, version: str | None) -> str | None:
        """The store's version for one that was given here."""
        names = self._names.get(key)
        return names[1] if names is not None and version == names[0] else version


class Flusher:
    """Brings what is pending into ``inner``: when told, by interval, and at the end of the interpreter.

    One batch at a time, in order, so that a batch is only stored after all before it. ``lock`` is that of
    ``pending``; ``moves`` changes whenever something is pending no more.
    """

    def __init__(
        self, inner: StorageAdapter, pending: Pending, lock: AbstractContextManager[object], interval: float
    ) -> None:
        self.turn = Turn()
        self.flushes = 0
        self.moves = 0
        self.weakest = min(Durability.PROCESS_EXIT, inner.traits.durability)
        self._inner = inner
        self._pending = pending
        self._lock = lock
        self._interval = interval
        self._failure: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._process = os.getpid()

    # -- now ---------------------------------------------------------------------------------------

    async def flush(self, durability: Durability) -> None:
        """Store all that was accepted before the call. Raises what kept it from being stored."""
        async with self.turn:
            await self.store_pending()
        if durability > self.weakest:
            await self._inner.commit({}, durability=durability)

    async def store_pending(self) -> None:
        """The same without a sync, for a caller that has the turn."""
        until = self._pending.number
        while (batch := self._take()) is not None and batch.first <= until:
            self.stored(batch, await self._inner.commit(batch.changes, durability=self.weakest))
        self._failure = None

    def store_pending_now(self) -> bool:
        """The same without waiting, where the store can do that."""
        while (batch := self._take()) is not None:
            versions = self._inner.commit_now(batch.changes)
            if versions is None:
                return False
            self.stored(batch, versions)
        self._failure = None
        return True

    def _take(self) -> Batch | None:
        with self._lock:
            return self._pending.take()

    def stored(self, batch: Batch, versions: Mapping[str, str]) -> None:
        with self._lock:
            self._pending.settle(batch, versions)
            self.flushes += 1
            self.moves += 1

    # -- later -------------------------------------------------------------------------------------

    def schedule(self) -> None:
        """See to it that what is pending is stored after the interval."""
        if self._loop is not None and self._loop.is_running():
            return
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._interval, self._begin)

    def cancel(self) -> None:
        """Forget what is scheduled."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = self._timer = None

    def raise_failure(self) -> None:
        """Raise, once, what a flush by interval failed with."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _begin(self) -> None:
        if self._loop is not None:
            self._task = self._loop.create_task(self._flush_by_interval())

    async def _flush_by_interval(self) -> None:
        try:
            await self.flush(self.weakest)
        except Exception as error:
            self._failure = error  # raised by the next save, flush or close
        finally:
            self.cancel()
        if self._pending:
            self.schedule()

    # -- at the end --------------------------------------------------------------------------------

    def finish_at_exit(self) -> None:
        """Store all that is pending, on the thread that ends the interpreter. A forked child has nothing."""
        if self._process != os.getpid() or not self._pending:
            return
        deadline = time.monotonic() + _EXIT_WAIT_S
        while self.turn.held and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if not self.store_pending_now():
            asyncio.run(self.store_pending())


async def merged(
    listing: Listing, written: Sequence[str], deleted: Container[str], stored: AsyncIterator[str]
) -> AsyncIterator[str]:
    """The ``stored`` keys of a listing, with the pending ones ``written`` and without those ``deleted``."""
    waiting, left = deque(listing.of(written)), listing.limit
    async for key in stored:
        while waiting and left != 0 and waiting[0] != key and (waiting[0] < key) is not listing.reverse:
            yield waiting.popleft()
            left = None if left is None else left - 1
        if left == 0:
            return
        if waiting and waiting[0] == key:
            waiting.popleft()
        if key not in deleted:
            yield key
            left = None if left is None else left - 1
    for key in list(waiting)[:left]:
        yield key


def _size(key: str, data: bytes | None) -> int:
    return len(key) + (0 if data is None else len(data))
