"""Many items of one type, each a record of its own."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import unquote

from .codec import is_immutable
from .errors import ConfigurationError
from .keys import encode_segment
from .storage import NOT_NOW, Durability
from .store import Store

__all__ = ["Collection"]

T = TypeVar("T")

PAGE: Final = 512
"""Items read together while iterating: few round trips, little memory."""

_NEVER_IN_A_NAME: Final = re.compile("[/\\x00-\\x1f\\x7f]")
_ENCODED: Final = re.compile("[%/\\x00-\\x1f\\x7f]")


class _Known(NamedTuple):
    """An item that nothing can change, and the key and version of the record that holds it."""

    key: str
    version: str
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

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._prefix!r} of {self._kind!r} in {self._store.adapter}>"

    def _key(self, id: str) -> str:
        plain = id and not _ENCODED.search(id)
        return self._store.check_key(self._prefix + (id if plain else encode_segment(id)))

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
        ids = {key: id async for key, id in self._keys()}
        seen = await self._store.read_many(list(ids))
        items: dict[str, T] = {}
        self._known.clear()
        for key, id in ids.items():
            record, version = seen[key].record, seen[key].version
            if record is not None and version is not None:
                item = items[id] = self._store.decode(key, record, self._kind)
                # One that expires, or of another schema, is another record when it is saved anew.
                if record.expires is None and record.schema == self._store.schema:
                    self._remember(id, key, version, item)
        return items

    async def save_all(self, items: Mapping[str, T], *, replace: bool = False) -> int:
        """Store ``items`` in one commit, all or nothing; how many records were written or deleted.

        Only items whose record would differ from the stored one are written; those of immutable types
        that were loaded or saved here before are not even encoded. ``replace``: items that are not among
        ``items`` are deleted. Raises ``ConfigurationError`` where several changes would be one commit
        that the adapter cannot make all or nothing.
        """
        store = self._store
        changes, ids = await self._changed(items)
        if replace:
            changes.update([(key, None) async for key, id in self._keys() if id not in items])
        if len(changes) > 1 and not store.adapter.traits.atomic:
            raise ConfigurationError(
                "save_all is all or nothing, which this adapter cannot promise",
                adapter=store.adapter,
                hint="put Journaled around it, or put the items one by one",
            )
        if changes:
            versions = await store.commit(changes, durability=self._durability)
            for key, id in ids.items():
                self._remember(id, key, versions[key], items[id])
        return len(changes)

    async def _changed(self, items: Mapping[str, T]) -> tuple[dict[str, bytes | None], dict[str, str]]:
        """The records that differ from what is stored, by key, and their ids."""
        store, known = self._store, self._known
        keys = [self._key(id) if (same := known.get(id)) is None else same.key for id in items]
        found = await store.adapter.fetch(keys)
        changes: dict[str, bytes | None] = {}
        ids: dict[str, str] = {}
        for key, (id, item) in zip(keys, items.items(), strict=True):
            stored, same = found.get(key), known.get(id)
            version = None if stored is None or stored.damage is not None else stored.version
            if same is not None and same.item is item and same.version == version:
                continue
            data = store.seal(key, item, self._kind)
            if stored is None or version is None or stored.data != data:
                changes[key] = data
                ids[key] = id
            else:
                self._remember(id, key, version, item)
        return changes, ids

    def _remember(self, id: str, key: str, version: str, item: object) -> None:
        if is_immutable(item):
            self._known[id] = _Known(key, version, item)

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
