"""Streams of values: a stream of changes says when to look, and the clock when something expires."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, Final

from xxhash import xxh3_128_digest

from ..errors import CapabilityUnavailableError, ConfigurationError
from ..jobs.walk import pages
from ..layers.observed import Change, ChangeStream, Observed
from ..records.record import Record
from ..runtime.faces import walk
from ..store.store import Store

__all__ = ["change_stream", "observe", "observe_prefix"]

_LOOK_AT_THE_CLOCK_S: Final = 30.0
"""The longest sleep until an expiry: the system's clock may be set meanwhile."""


def change_stream(store: Store, prefix: str, *, exact: bool = False) -> ChangeStream:
    """The changes of keys with ``prefix``, or of the key ``prefix`` alone."""
    observed = store.adapter.find(Observed)
    if observed is None:
        raise ConfigurationError(
            "nobody watches this adapter",
            adapter=store.adapter,
            hint="open it with open_persistence, or wrap it in Observed",
        )
    return observed.changes(prefix, exact=exact)


def observe(store: Store, key: str, kind: Any, default: Any) -> AsyncIterator[Any]:
    """The value of ``key``, and each other one it gets."""
    return _values(_Observer(store, change_stream(store, key, exact=True), kind, default), key)


def observe_prefix(
    store: Store, prefix: str, kind: Any, default: Any, wants: Callable[[str], object] | None = None
) -> AsyncIterator[tuple[str, Any]]:
    """The values of all keys with ``prefix`` that ``wants`` takes, and what becomes of them."""
    observer = _Observer(store, change_stream(store, prefix), kind, default, wants)
    return _named_values(observer, store, prefix)


@walk
async def _values(observer: _Observer, key: str) -> AsyncIterator[Any]:
    async with observer:
        first = await observer.news([key])
        if not first and observer.is_over:
            return
        yield first[0][1] if first else observer.default
        while keys := await observer.next_keys():
            for _, value in await observer.news(keys):
                yield value


@walk
async def _named_values(observer: _Observer, store: Store, prefix: str) -> AsyncIterator[tuple[str, Any]]:
    async with observer:
        async for page in pages(store.keys(prefix)):
            for told in await observer.news(page):
                yield told
        while keys := await observer.next_keys():
            for told in await observer.news(keys):
                yield told


class _Observer:
    """What one consumer was told last, and when that expires."""

    def __init__(
        self,
        store: Store,
        changes: ChangeStream,
        kind: Any,
        default: Any,
        wants: Callable[[str], object] | None = None,
    ) -> None:
        self.default = default
        self._wants = wants
        self._store = store
        self._changes = changes
        self._kind = kind
        self._told: dict[str, bytes] = {}
        self._expiries: list[tuple[int, str]] = []
        self._waiting: asyncio.Task[Change] | None = None

    async def __aenter__(self) -> None:
        await self._changes.start()

    async def __aexit__(self, *_: object) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)
        await self._changes.aclose()

    @property
    def is_over(self) -> bool:
        """Whether the persistence was closed."""
        return self._changes.is_closed

    async def news(self, keys: Collection[str]) -> list[tuple[str, Any]]:
        """What is there under ``keys`` now, where that is another value than was told last."""
        if self._wants is not None:
            keys = [key for key in keys if self._wants(key)]
        try:
            seen = await self._store.read_many(keys)
        except CapabilityUnavailableError:
            if self.is_over:
                return []
            raise
        return [
            (key, self.default if record is None else self._store.decode(key, record, self._kind))
            for key, one in seen.items()
            if self._is_new(key, record := one.record)
        ]

    def _is_new(self, key: str, record: Record | None) -> bool:
        if record is None:
            return self._told.pop(key, None) is not None
        if record.expires is not None:
            heapq.heappush(self._expiries, (record.expires, key))
        mark = xxh3_128_digest(record.value)
        if self._told.get(key) == mark:
            return False
        self._told[key] = mark
        return True

    async def next_keys(self) -> list[str]:
        """Wait until something may have become of keys, and name them. Empty: it is over."""
        while True:
            if self._waiting is None:
                self._waiting = asyncio.ensure_future(anext(self._changes))
            # Not wait_for: a cancelled anext could lose the change that it was about to give.
            done, _ = await asyncio.wait([self._waiting], timeout=self._until_expiry())
            if done:
                waiting, self._waiting = self._waiting, None
                try:
                    return [waiting.result().key]
                except StopAsyncIteration:
                    return []
            if expired := self._expired():
                return expired

    def _until_expiry(self) -> float | None:
        if not self._expiries:
            return None
        seconds = self._expiries[0][0] / 1000 - self._store.clock()
        return min(max(seconds, 0.0), _LOOK_AT_THE_CLOCK_S)

    def _expired(self) -> list[str]:
        now, keys = self._store.clock() * 1000, []
        while self._expiries and self._expiries[0][0] <= now:
            keys.append(heapq.heappop(self._expiries)[1])
        return list(dict.fromkeys(keys))
