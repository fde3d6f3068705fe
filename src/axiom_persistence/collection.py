"""Many items of one type, each a record of its own."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Hashable, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import unquote

from xxhash import xxh3_128_intdigest

from .codec import is_immutable
from .errors import ConfigurationError
from .keys import MISSING, encode_segment
from .storage import NOT_NOW, Durability
from .store import Store

__all__ = ["Collection"]

T = TypeVar("T")

PAGE: Final = 512
"""Items read together while iterating: few round trips, little memory."""

_NEVER_IN_A_NAME: Final = re.compile("[/\\x00-\\x1f\\x7f]")


class _Known(NamedTuple):
    """An item as it is stored: a digest of its JSON, and the very object where nothing can change it."""

    digest: int
    item: object


class Collection(Generic[T]):
    """Items of type ``T`` under ids, one record an item at ``<prefix><id>``.

    Ids are any strings but the empty one. The order is that of the keys: by code point, with ``%``, ``/``
    and control characters in their percent-encoded form. Every method that changes something returns when
    the change is as durable as ``durability`` says (None: what the store does by itself).

    Limits: ``count`` and ``ids`` decode nothing, so they include items that are damaged or expired.
    """

    def __init__(
        self, store: Store, prefix: str, kind: Any, *, durability: Durability | str | None = None
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._kind = kind
        self._durability = store.durability(durability)
        self._known: dict[str, _Known] = {}
        self._known_at: Hashable | None = None
        self._known_whole = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._prefix!r} of {self._kind!r} in {self._store.adapter}>"

    def _key(self, id: str) -> str:
        return self._store.check_key(self._prefix + encode_segment(id))

    def _id(self, key: str) -> str | None:
        """The id of the item at ``key``. None: it is not one of this collection's keys."""
        name = key[len(self._prefix) :]
        if not name or _NEVER_IN_A_NAME.search(name):
            return None
        if "%" not in name:
            return name
        id = unquote(name)
        return id if encode_segment(id) == name else None

    # -- one item ----------------------------------------------------------------------------------

    async def get(self, id: str, default: T | None = None) -> T | None:
        """The item under ``id``, or ``default``. Raises what ``load`` raises."""
        store, key = self._store, self._key(id)
        item = store.load_now(key, self._kind, default)
        if item is NOT_NOW:
            item = await store.load(key, self._kind, default)
        found: T | None = item
        return found

    async def put(self, id: str, item: T) -> None:
        """Store ``item`` under ``id``."""
        await self._store.save(self._key(id), item, self._kind, durability=self._durability)

    async def delete(self, id: str) -> bool:
        """Forget the item under ``id``; whether it was there."""
        return await self._store.delete([self._key(id)], durability=self._durability) > 0

    # -- all of them -------------------------------------------------------------------------------

    async def load_all(self) -> dict[str, T]:
        """All items by id, in key order, read in one fetch."""
        mark = self._store.adapter.change_mark()
        ids = {key: id async for key, id in self._keys()}
        seen = await self._store.read_many(list(ids))
        items: dict[str, T] = {}
        known: dict[str, _Known] = {}
        for key, id in ids.items():
            record = seen[key].record
            if record is not None:
                item = items[id] = self._store.decode(key, record, self._kind)
                # One that never expires: saving it anew would change that, though not the item.
                if record.expires is None and record.schema == self._store.schema:
                    known[id] = _known(record.value, item)
        self._known, self._known_at, self._known_whole = known, mark, len(known) == len(ids)
        return items

    async def save_all(self, items: Mapping[str, T], *, replace: bool = False) -> int:
        """Store ``items`` in one commit, all or nothing; how many records were written or deleted.

        Only items whose stored bytes would change are written. ``replace``: items that are not among
        ``items`` are deleted. After ``load_all``, while nobody commits anything, what is stored is
        remembered and not read again. Raises ``ConfigurationError`` where several changes would be one
        commit that the adapter cannot make all or nothing.
        """
        mark = self._store.adapter.change_mark()
        if mark is not None and mark == self._known_at and (self._known_whole or not replace):
            changes = self._changed_since(items, replace=replace)
        else:
            changes = await self._changed(items, replace=replace)
        if len(changes) > 1 and not self._store.adapter.traits.atomic:
            raise ConfigurationError(
                "save_all is all or nothing, which this adapter cannot promise",
                adapter=self._store.adapter,
                hint="put Journaled around it, or put the items one by one",
            )
        if changes:
            await self._store.commit(changes, durability=self._durability)
        return len(changes)

    def _changed_since(self, items: Mapping[str, T], *, replace: bool) -> dict[str, bytes | None]:
        """What differs from what is known to be stored."""
        store, known = self._store, self._known
        changes: dict[str, bytes | None] = {}
        for id, item in items.items():
            stored = known.get(id)
            if stored is not None and (
                stored.item is item
                or stored.digest == xxh3_128_intdigest(store.codec.encode(item, self._kind))
            ):
                continue
            key = self._key(id)
            changes[key] = store.seal(key, item, self._kind)
        if replace:
            changes.update((self._key(id), None) for id in known.keys() - items.keys())
        return changes

    async def _changed(self, items: Mapping[str, T], *, replace: bool) -> dict[str, bytes | None]:
        """What differs from what is stored."""
        store = self._store
        sealed: dict[str, bytes] = {}
        for id, item in items.items():
            key = self._key(id)
            sealed[key] = store.seal(key, item, self._kind)
        found = await store.adapter.fetch(list(sealed))
        changes: dict[str, bytes | None] = {}
        for key, data in sealed.items():
            stored = found.get(key)
            if stored is None or stored.damage is not None or stored.data != data:
                changes[key] = data
        if replace:
            changes.update([(key, None) async for key, _ in self._keys() if key not in sealed])
        return changes

    # -- in order ----------------------------------------------------------------------------------

    async def items(self, *, after: str | None = None, page: int = PAGE) -> AsyncIterator[tuple[str, T]]:
        """Ids and items in key order, those behind ``after`` only, ``page`` of them read at a time.

        Each page is one snapshot; what is written meanwhile is seen or not. ``after`` need not exist.
        """
        if page < 1:
            raise ConfigurationError(f"a page has at least 1 item, not {page}")
        ids: dict[str, str] = {}
        last = None if after is None else self._key(after)
        async for key, id in self._keys():
            if last is None or key > last:
                ids[key] = id
            if len(ids) == page:
                async for item in self._page(ids):
                    yield item
                ids = {}
        async for item in self._page(ids):
            yield item

    async def _page(self, ids: dict[str, str]) -> AsyncIterator[tuple[str, T]]:
        if ids:
            found = await self._store.load_many(list(ids), self._kind)
            for key, item in found.items():
                yield ids[key], item

    def __aiter__(self) -> AsyncIterator[tuple[str, T]]:
        return self.items()

    async def ids(self) -> AsyncIterator[str]:
        """All ids, in key order."""
        async for _, id in self._keys():
            yield id

    async def count(self) -> int:
        """How many items there are."""
        number = 0
        async for _ in self._keys():
            number += 1
        return number

    async def _keys(self) -> AsyncIterator[tuple[str, str]]:
        async for key in self._store.keys(self._prefix):
            id = self._id(key)
            if id is not None:
                yield key, id


def _known(value: bytes, item: object) -> _Known:
    return _Known(xxh3_128_intdigest(value), item if is_immutable(item) else MISSING)
