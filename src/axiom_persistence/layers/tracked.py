"""Which keys have changed since they were last sent: a mark in the very commit that changes them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

from ..keys import INTERNAL, check_stored_key
from ..records.record import INTERNAL_SCHEMA, sealer
from ..records.stamp import Clock
from ..storage.adapter import Changes, Durability, Expect, StorageAdapter, Traits
from ..storage.layer import Layer
from ..storage.listing import Listing

__all__ = ["DIRTY", "SHADOW", "SYNC", "Tracked"]

SYNC: Final = INTERNAL + "sync/"
"""What every key of the synchronisation's own begins with."""
DIRTY: Final = SYNC + "dirty/"
"""Behind it: a key whose last change has not been sent. The record there is the stamp of that change."""


SHADOW: Final = SYNC + "shadow/"
"""Behind it: a key as it was sent or received last."""

_ROOM: Final = len(SHADOW)


_REMEMBERED: Final = 4096
"""Versions that others have sent."""
_KEYS: Final = 4096
"""Keys whose marks are not made anew at each save."""
_Mark = tuple[str, Callable[[bytes], bytes]]


class Tracked(Layer):
    """Adds to each change of a key the mark that it is to be sent, and when it was made.

    The mark is written blind, beside the record and in the same commit: nothing is read, so ``commit_now``
    and its promise stay as they are, and a thousand changes of one key leave one mark. A commit that names
    the mark of a key itself is the synchronisation's own: nothing is added, and what it changes is told to
    everybody above as the change of somebody else that it is. Above this layer no listing shows the marks.
    """

    def __init__(self, inner: StorageAdapter, wants: Callable[[str], object]) -> None:
        """``wants``: which keys are sent."""
        super().__init__(inner)
        self._inner_mark = inner.change_mark
        self.wants: Callable[[str], object] = wants
        self.clock: Clock | None = None
        """Whose stamps the marks are. Given when the store is opened; until then nothing is marked."""
        self.marked: int = 0
        """How many commits were marked and have returned: whoever sends looks whether there is anything new.

        Counted once the marks are there: else a look in between would find none, and know of none later.
        """
        self._arrivals = 0
        self._brought: OrderedDict[str, str | None] = OrderedDict()
        traits = inner.traits
        self._most = traits.max_key_bytes - _ROOM
        # Remembered: it is asked at every save.
        self._mark_of: Callable[[str], _Mark | None] = lru_cache(_KEYS)(self._made_mark)
        self._traits = replace(traits, synchronised=True, max_key_bytes=self._most)

    @property
    def traits(self) -> Traits:
        return self._traits

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        marked = self._marked(changes)
        if marked is changes:
            return await self._bring(changes, expect, durability)
        try:
            versions = await self.inner.commit(marked, expect=expect, durability=durability)
        finally:
            self.marked += 1
        return _without_marks(versions, changes)

    async def _bring(
        self, changes: Changes, expect: Expect | None, durability: Durability | None
    ) -> Mapping[str, str]:
        """Commit what needs no mark; what others have sent is told when it is there, whoever waits or not."""
        brought = [key for key in changes if key[:1] != INTERNAL and DIRTY + key in changes]
        if not brought:
            return await self.inner.commit(changes, expect=expect, durability=durability)
        commit = asyncio.ensure_future(self.inner.commit(changes, expect=expect, durability=durability))
        commit.add_done_callback(lambda done: self._note_arrivals(brought, done))
        return await asyncio.shield(commit)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        marked = self._marked(changes)
        versions = self.inner.commit_now(marked)
        self.marked += marked is not changes
        return versions if marked is changes or versions is None else _without_marks(versions, changes)

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        await self.inner.purge(keys, previous_of=previous_of)
        # Afterwards: a mark of what is not gone yet would be taken away. What a kill leaves unmarked is found
        # at the next opening.
        marked = self._marked(dict.fromkeys(keys))
        marks = {mark: data for mark, data in marked.items() if data is not None}
        if marks:
            await self.inner.commit(marks)
            self.marked += 1

    def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        """Without marks and shadows, unless the prefix asks for them."""
        if prefix.startswith(SYNC) or not SYNC.startswith(prefix):
            return self.inner.keys(prefix, after=after, limit=limit, reverse=reverse)
        return self._keys_around(SYNC, Listing(prefix, after, limit, reverse))

    def change_mark(self) -> Hashable | None:
        mark = self._inner_mark()
        return None if mark is None else (mark, self._arrivals)

    @property
    def mark_reader(self) -> Callable[[], Hashable | None]:
        read = self.inner.mark_reader

        def mark() -> Hashable | None:
            found = read()
            return None if found is None else (found, self._arrivals)

        return mark

    def is_remote(self, key: str, version: str | None) -> bool:
        return self._brought.get(key, "") == version

    def _marked(self, changes: Changes) -> Changes:
        clock = self.clock
        if clock is None:
            return changes
        marked: dict[str, bytes | None] | None = None
        stamp = b""
        # On the way of every save: one loop, and nothing made where nothing is to be marked.
        for key in changes:
            known = self._mark_of(key)
            if known is None or known[0] in changes:
                continue
            if marked is None:
                marked = dict(changes)
                stamp = b'"%b"' % clock.tick().encode()
            mark, seal = known
            marked[mark] = seal(stamp)
        return changes if marked is None else marked

    def _made_mark(self, key: str) -> _Mark | None:
        """What marks ``key``, and how it is sealed. None: the key is not sent.

        Raises ``InvalidKeyError`` for a key that leaves no room for its mark.
        """
        if key[:1] == INTERNAL or not self.wants(key):
            return None
        mark = DIRTY + check_stored_key(key, self._most)
        return mark, sealer(mark, INTERNAL_SCHEMA)

    def _note_arrivals(self, brought: Collection[str], done: asyncio.Future[Mapping[str, str]]) -> None:
        self._arrivals += 1  # also where it failed, for it may be there: everybody reads anew
        if done.cancelled() or done.exception() is not None:
            return
        versions = done.result()
        for key in brought:
            self._brought[key] = versions.get(key)
            self._brought.move_to_end(key)
        while len(self._brought) > _REMEMBERED:
            self._brought.popitem(last=False)


def _without_marks(versions: Mapping[str, str], changes: Changes) -> Mapping[str, str]:
    if len(changes) == 1:  # as most have
        (key,) = changes
        return {key: versions[key]} if key in versions else {}
    return {key: versions[key] for key in changes if key in versions}
