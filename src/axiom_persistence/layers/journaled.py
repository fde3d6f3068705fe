"""``Journaled``: commits of several keys that are all or nothing, over an adapter that has none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from ..errors import ConfigurationError, StorageFullError
from ..keys import INTERNAL
from ..runtime.turn import Turn
from ..storage.adapter import (
    NOT_NOW,
    Changes,
    Durability,
    Expect,
    NotNow,
    StorageAdapter,
    Stored,
    Traits,
    check_changes,
    verify_expected,
)
from ..storage.journal import decode_journal, encode_journal
from ..storage.layer import Layer
from ..storage.listing import Listing

__all__ = ["Journaled"]

T = TypeVar("T")

JOURNAL: Final = INTERNAL + "journal"

READS_MAX: Final = 3
"""Reads tried beside somebody's commits, before one waits for its turn."""


class Journaled(Layer):
    """Gives ``inner`` all-or-nothing commits and snapshots, within one process.

    A commit of several keys is first written whole under one key of the library's own, then applied,
    then that key is cleared; after a crash the next opening finishes what was written whole. ``inner``
    must keep the order of its commits through a crash. Readers of this object see all of a commit or
    nothing. There is no isolation from other processes (``traits.shared`` is False), and the values of
    a commit of several keys together must fit ``traits.max_value_bytes``. ``commit_now`` takes one key, where
    that of ``inner`` works: all that ``traits.immediate`` promises.

    When ``inner`` fails while a commit is applied, the commit raises, and is finished before the next
    read or commit: it may appear later. Raises ``ConfigurationError`` where the journal's key does not fit.
    """

    def __init__(self, inner: StorageAdapter) -> None:
        super().__init__(inner)
        if inner.traits.max_key_bytes < len(JOURNAL):
            raise ConfigurationError(
                f"keys of {inner.traits.max_key_bytes} bytes are too short for a journal",
                adapter=inner,
                hint="raise max_key_bytes in the traits of the adapter, if it can keep longer ones",
            )
        self._traits = replace(inner.traits, atomic=True, shared=False)
        self._turn = Turn()
        # Odd while changes are being applied, even in between: what was read between two equal even
        # numbers is one state. Changed only by whoever has the turn.
        self._generation = 0
        self._unfinished: tuple[Changes, Durability | None] | None = None
        self._doubtful = False

    @property
    def traits(self) -> Traits:
        return self._traits

    async def aopen(self) -> None:
        await self.inner.aopen()
        async with self._turn:
            if self._unfinished is None:
                await self._recover()
            await self._finish()

    async def aclose(self) -> None:
        try:
            async with self._turn:
                await self._finish()
        finally:
            await self.inner.aclose()

    async def _recover(self) -> None:
        journal = (await self.inner.fetch((JOURNAL,))).get(JOURNAL)
        if journal is None:
            return
        self._doubtful = True
        changes = decode_journal(journal.data)
        if changes is not None:  # else it was never whole, and nothing of it was applied
            self._begin(changes, None)

    def _begin(self, changes: Changes, durability: Durability | None) -> None:
        self._unfinished = (changes, durability)
        self._generation |= 1

    async def _finish(self) -> Mapping[str, str]:
        """Apply what was decided, and clear the journal. Broken off anywhere, it can be done again."""
        versions: Mapping[str, str] = {}
        durability = None
        if self._unfinished is not None:
            changes, durability = self._unfinished
            versions = await self.inner.commit(changes, durability=durability)
        if self._doubtful:
            # Were it to stay, the next opening would undo the commits that follow.
            await self.inner.commit({JOURNAL: None}, durability=durability)
            self._doubtful = False
        if self._unfinished is not None:
            self._unfinished = None
            self._generation += 1
        return versions

    # Writing

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        changes = dict(changes)
        async with self._turn:
            await self._finish()
            if len(changes) > 1:
                return await self._commit_many(changes, expect, durability)
            self._generation += 1
            try:
                return await self.inner.commit(changes, expect=expect, durability=durability)
            finally:
                self._generation += 1

    async def _commit_many(
        self, changes: Changes, expect: Expect | None, durability: Durability | None
    ) -> Mapping[str, str]:
        journal = self._checked_journal(changes)
        if expect:
            verify_expected(await self.inner.fetch(list(expect)), expect, self)
        self._doubtful = True  # even when the journal's commit raises, it may be there
        await self.inner.commit({JOURNAL: journal}, durability=durability)
        self._begin(changes, durability)
        return await self._finish()

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        """Also what the journal held last."""
        async with self._turn:
            await self._finish()
            self._generation += 1
            try:
                await self.inner.purge([*keys, JOURNAL], previous_of=previous_of)
            finally:
                self._generation += 1

    def _checked_journal(self, changes: Changes) -> bytes:
        """Refuses what ``inner`` would refuse: once decided, a commit must go through."""
        check_changes(changes, self._traits, self)
        journal = encode_journal(changes)
        most = self._traits.max_value_bytes
        if most is not None and len(journal) > most:
            raise StorageFullError(
                f"the values of one commit take {len(journal):,} bytes together; {most:,} fit",
                key=next(iter(changes)),
                adapter=self,
                hint="save fewer or smaller values at once",
            )
        return journal

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        if len(changes) > 1 or self._turn.lock.locked():
            return None
        with self._turn.lock:
            if self._turn.held or self._unfinished is not None or self._doubtful:
                return None
            self._generation += 1
            try:
                return self.inner.commit_now(changes)
            finally:
                self._generation += 1

    # Reading

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        return await self._read(keys, lambda: self.inner.fetch(keys))

    async def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        return await self._read(keys, lambda: self.inner.fetch_range(keys, start, length))

    async def _read(self, keys: Collection[str], read: Callable[[], Awaitable[T]]) -> T:
        """What ``read`` finds under ``keys`` while no commit is half done."""
        if len(keys) == 1 and self._unfinished is None:
            return await read()
        for _ in range(READS_MAX):
            generation = self._generation
            if generation & 1:
                break
            found = await read()
            if self._generation == generation:
                return found
        async with self._turn:
            await self._finish()
            return await read()

    async def exists(self, key: str) -> bool:
        await self._settle()
        return await self.inner.exists(key)

    def fetch_now(self, key: str) -> Stored | None | NotNow:
        return NOT_NOW if self._unfinished is not None else self.inner.fetch_now(key)

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        await self._settle()
        async for key in self._keys_but(JOURNAL, Listing(prefix, after, limit, reverse)):
            yield key

    async def previous(self, key: str) -> Stored | None:
        await self._settle()
        return await self.inner.previous(key)

    async def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        await self._settle()
        await self.inner.set_previous(generations)

    async def saved_at(self, key: str) -> float | None:
        await self._settle()
        return await self.inner.saved_at(key)

    async def _settle(self) -> None:
        if self._unfinished is not None:
            async with self._turn:
                await self._finish()
