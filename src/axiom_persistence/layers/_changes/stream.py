"""What one subscriber is told: bounded, coalescing, and never without the last change."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from xxhash import xxh3_64_intdigest

from ...errors import CapabilityUnavailableError
from ...keys import INTERNAL
from ...runtime.faces import not_iterable
from ...storage.adapter import Changes, Stored
from ...storage.changelog import ChangeLog

__all__ = ["MAX_PENDING", "Change", "ChangeStream", "Origin", "Source"]

MAX_PENDING: Final = 4096
"""Changes that wait for a consumer. Beyond it they are forgotten, and found again by comparing."""

_PAGE: Final = 512
_UNKNOWN: Final = -1
"""A digest that no bytes have."""
_SCAN_SHARE: Final = 10
"""A stream rests this many times as long as it took to compare everything it watches."""


class Origin(StrEnum):
    """Who made a change."""

    HERE = "here"  # through this very object
    PROCESS = "process"  # somebody else who has the store open
    REMOTE = "remote"  # another device


class Change(NamedTuple):
    """That a key has changed; load it to see to what. ``version`` None: it was deleted."""

    key: str
    version: str | None
    origin: Origin


class Source(Protocol):
    """What a stream needs of the adapter it watches."""

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]: ...
    def keys(self, prefix: str = "") -> AsyncIterator[str]: ...
    def change_mark(self) -> Hashable | None: ...


class _OnItsWay:
    """Commits of one key that have not returned. ``unclear``: there were several at once, so that what they
    leave must be read to be known. ``skipped``: what was there before was not looked at, because of them.
    """

    __slots__ = ("count", "skipped", "unclear")

    def __init__(self) -> None:
        self.count = 0
        self.unclear = self.skipped = False


class _Told(NamedTuple):
    change: Change
    digest: int | None


class ChangeStream:
    """The changes of keys that begin with ``prefix``, as an asynchronous iterator of one event loop.

    ``exact``: of the one key that is ``prefix``.

    What this process commits is told from the moment the stream is made; what others commit from
    ``start``, which ``async with`` and the first ``anext`` do: start, then load, then iterate, and no
    change is missed. A key that changed several times is told once, with its last version; one that had
    several commits at once, or one that failed or was cancelled, may be told once more, when it is known
    what is there. Commits of others that leave the bytes as they are, are not told.

    A consumer that does not read costs one entry a key, at most ``MAX_PENDING``, and one number for each
    key watched; where more was forgotten, everything is compared with what was told, and what differs is
    told with ``Origin.PROCESS``. Deletions forgotten before ``start`` cannot be named any more.
    """

    def __init__(
        self,
        source: Source,
        prefix: str,
        *,
        foreign: bool,
        poll: float,
        limit: int = MAX_PENDING,
        exact: bool = False,
        started: Callable[[], None] = lambda: None,
        log: ChangeLog | None = None,
    ) -> None:
        self.prefix = prefix
        self._log = log
        # From where its log is to be read, and the keys it named that could not be compared yet.
        self._since: str | None = None
        self._named: set[str] = set()
        self._exact = exact
        self.poll = poll
        self._source = source
        self._foreign = foreign
        self._limit = limit
        self._tell_started = started
        self._lock = threading.Lock()
        self._pending: dict[str, _Told] = {}
        self._known: dict[str, int] = {}
        self._written: set[str] = set()
        self._on_its_way: dict[str, _OnItsWay] = {}
        self._number = 0
        # Keys of commits that may yet take effect, and how many commits had been called when that was known.
        self._doubtful: dict[str, int] = {}
        self._unread: set[str] = set()
        self._compare_all = self._skipped = False
        self._started = False
        self._mark: Hashable | None = None
        self._scan_seconds = 0.0
        self._closed = False
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.prefix!r} of {self._source}>"

    def __len__(self) -> int:
        """How many changes wait."""
        return len(self._pending)

    def wants(self, key: str) -> bool:
        """Whether changes of ``key`` are told. The library's own keys only to those who name them."""
        if not isinstance(key, str) or not key.startswith(self.prefix):
            return False  # what is no key is for the adapter to refuse
        if self._exact:
            return key == self.prefix
        return key[:1] != INTERNAL or self.prefix[:1] == INTERNAL

    # -- from whoever commits, on any thread -------------------------------------------------------

    def begin(self, keys: Collection[str]) -> int:
        """A commit of ``keys`` is on its way: what it changed will be told by its ``end``."""
        with self._lock:
            self._number += 1
            for key in keys:
                way = self._on_its_way.setdefault(key, _OnItsWay())
                way.count += 1
                way.unclear = way.unclear or way.count > 1
            return self._number

    def end(self, number: int, changes: Changes, versions: Mapping[str, str]) -> None:
        """The commit ``number`` has changed ``changes``."""
        with self._lock:
            for key, data in changes.items():
                if self._returned(key).unclear:
                    self._read_anew(key)
                else:
                    self._tell(Change(key, versions.get(key), Origin.HERE), _digest(data))
                    self._written.add(key)
            # What had failed before this one was called has taken effect by now, or never will.
            for key in [key for key, failed in self._doubtful.items() if failed < number]:
                del self._doubtful[key]
                if key not in changes:
                    self._read_anew(key)
        self.wake()

    def fail(self, changes: Changes) -> None:
        """Nobody knows whether the commit has changed something, or yet will: look until that is known."""
        with self._lock:
            self._number += 1
            for key in changes:
                self._returned(key)
                self._doubtful[key] = self._number
        self.wake()

    def withdraw(self, changes: Changes) -> None:
        """The commit has changed nothing."""
        with self._lock:
            for key in changes:
                way = self._returned(key)
                if way.unclear or way.skipped:
                    self._read_anew(key)
        self.wake()

    @property
    def is_in_doubt(self) -> bool:
        """Whether a commit may yet take effect: the end of any later one, of whatever keys, is to be told."""
        return bool(self._doubtful)

    def look_again(self) -> None:
        """Have everything compared: it is not known which keys have changed."""
        with self._lock:
            self._compare_all = True
        self.wake()

    def _returned(self, key: str) -> _OnItsWay:
        way = self._on_its_way[key]
        way.count -= 1
        if way.count == 0:
            del self._on_its_way[key]
        return way

    def _read_anew(self, key: str) -> None:
        """Have what is there told, even what was told last: it may have been something else meanwhile."""
        self._unread.add(key)
        if len(self._unread) > self._limit:
            self._forget(self._unread)

    def _forget(self, keys: set[str] | dict[str, _Told]) -> None:
        """More than is kept: have everything compared, and tell what is there of ``keys``."""
        self._known.update((key, _UNKNOWN) for key in keys if key in self._known)
        keys.clear()
        self._compare_all = True

    def wake(self) -> None:
        """Have the consumer look again, if it waits."""
        loop = self._loop
        if loop is None or self._wake.is_set():
            return
        try:
            loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:
            self._closed = True  # its event loop has ended, and so has the consumer

    def _tell(self, change: Change, digest: int | None) -> None:
        self._pending.pop(change.key, None)
        self._pending[change.key] = _Told(change, digest)
        if len(self._pending) > self._limit:
            self._forget(self._pending)

    # -- to the consumer ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Remember how everything is now. Changes by others are told from here on."""
        if not self._started:
            self._loop = asyncio.get_running_loop()
            self._tell_started()
            if self._log is not None:
                self._since = (await self._log.changed(None)).mark
            await self._compare(tell=False)
            self._started = True

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    if not TYPE_CHECKING:

        def __iter__(self) -> None:
            raise not_iterable("what is changed")

    async def __anext__(self) -> Change:
        await self.start()
        while not self._closed:
            # Cleared before looking: what comes between the look and the wait ends the wait.
            self._wake.clear()
            told = self._next()
            if told is not None:
                return told
            try:
                await self._read_again()
                if self._log is not None:
                    await self._read_log(self._log)
                if not self._pending and (self._compare_all or self._moved()):
                    await self._compare(tell=True)
                if self._pending or self._compare_all:
                    continue
            except CapabilityUnavailableError:
                if self.is_closed:
                    break
                raise
            await self._wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the stream; a consumer that waits is told so."""
        self.close()

    def close(self) -> None:
        """The same from any thread, and without an event loop."""
        self._closed = True
        self.wake()

    @property
    def is_closed(self) -> bool:
        return self._closed

    def _next(self) -> Change | None:
        with self._lock:
            if not self._pending:
                return None
            key = next(iter(self._pending))
            told = self._pending.pop(key)
            self._remember(key, told.digest)
            return told.change

    def _remember(self, key: str, digest: int | None) -> None:
        if digest is None:
            self._known.pop(key, None)
        else:
            self._known[key] = digest

    def _moved(self) -> bool:
        """Whether somebody may have committed since everything was compared."""
        if not self._foreign or self._log is not None:
            return False
        mark = self._source.change_mark()
        return mark is None or mark != self._mark

    async def _wait(self) -> None:
        if self._log is not None:
            await self._wait_for_log(self._log)
            return
        delay = max(self.poll, _SCAN_SHARE * self._scan_seconds) if self._foreign or self._doubtful else None
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            pass  # time to look at the mark

    async def _wait_for_log(self, log: ChangeLog) -> None:
        waits = {
            asyncio.ensure_future(self._wake.wait()),
            asyncio.ensure_future(log.wait_for_change(self.poll)),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)

    # -- comparing ---------------------------------------------------------------------------------

    async def _read_again(self) -> None:
        """Tell what is there of keys whose last commit is not known, or may yet take effect."""
        with self._lock:
            unread, self._unread = self._unread, set()
            self._known.update(dict.fromkeys(unread, _UNKNOWN))
            keys = [*unread, *self._doubtful.keys() - unread]
            self._written.clear()
        try:
            for start in range(0, len(keys), _PAGE):
                await self._compare_page(keys[start : start + _PAGE], tell=True, origin=Origin.HERE)
        except BaseException:
            self._unread |= unread
            raise

    async def _read_log(self, log: ChangeLog) -> None:
        """Compare what others may have changed since it was read last, by its keys."""
        found = await log.changed(self._since)
        if found.keys is None:
            self._compare_all = True
        else:
            self._named.update(key for key in found.keys if self.wants(key))
        self._since = found.mark
        while self._named and not self._compare_all:
            with self._lock:
                self._written.clear()
                self._skipped = False
            page = list(self._named)[:_PAGE]
            await self._compare_page(page, tell=True)
            with self._lock:
                # What was left to this process's own commits is looked at again, once they have returned.
                self._named.difference_update(key for key in page if key not in self._on_its_way)
            if self._skipped:
                return

    async def _compare(self, *, tell: bool) -> None:
        """Compare all that is watched with what was told, and tell what differs, or just remember it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        with self._lock:
            self._compare_all = self._skipped = False
            self._written.clear()
        try:
            # Before the first read: a commit during the comparison makes it differ, and all is read again.
            mark = self._source.change_mark() if self._foreign else None
            seen: set[str] = set()
            page: list[str] = []
            async for key in self._watched():
                if self.wants(key):
                    seen.add(key)
                    page.append(key)
                if len(page) >= _PAGE:
                    await self._compare_page(page, tell=tell)
                    page = []
            with self._lock:
                page += [key for key in self._known if key not in seen]
            for start in range(0, len(page), _PAGE):
                await self._compare_page(page[start : start + _PAGE], tell=tell)
        except BaseException:
            self._compare_all = True
            raise
        # What was left to this process's own commits may have been changed by others before those returned.
        self._mark = object() if self._skipped else mark
        self._scan_seconds = loop.time() - began

    async def _watched(self) -> AsyncIterator[str]:
        if self._exact:
            yield self.prefix  # the fetch tells whether it is there
        else:
            async for key in self._source.keys(self.prefix):
                yield key

    async def _compare_page(self, keys: list[str], *, tell: bool, origin: Origin = Origin.PROCESS) -> None:
        found = await self._source.fetch(keys)
        with self._lock:
            for key in keys:
                way = self._on_its_way.get(key)
                if key in self._written or (way is not None and origin is not Origin.HERE):
                    self._skipped = True  # this process's own, and perhaps newer than what was read
                    if way is not None:
                        way.skipped = True
                    continue
                stored = found.get(key)
                digest = None if stored is None else _digest(stored.data)
                waiting = self._pending.get(key)
                if digest == (self._known.get(key) if waiting is None else waiting.digest):
                    continue
                if tell and waiting is None and len(self._pending) >= self._limit:
                    self._compare_all = True  # again, once these are read
                    return
                if tell:
                    version = None if stored is None else stored.version
                    self._tell(Change(key, version, origin), digest)
                elif waiting is None:
                    self._remember(key, digest)


def _digest(data: bytes | None) -> int | None:
    return None if data is None else xxh3_64_intdigest(data)
