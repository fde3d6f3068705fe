"""Many items of one type, each a record of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from xxhash import xxh3_128_digest

from ..errors import ConfigurationError, ConflictError
from ..jobs.walk import PAGE, pages
from ..keys import MISSING, Missing, decode_segment, encode_segment
from ..layers.cached import Cached, Follower
from ..records.codec import is_immutable
from ..records.record import Record, look_at, value_of
from ..records.unknown import can_hide
from ..runtime.faces import not_iterable, walk
from ..runtime.turn import Turn, backoff
from ..storage.adapter import NOT_NOW, Changes, Durability, Expect, NotNow, Stored
from ..store._kept import Kept, kept_of
from ..store._options import Ttl
from ..store.store import Store
from ._known import Known, is_same, known_as
from ._turns import update

__all__ = ["PAGE", "Collection"]

T = TypeVar("T")


class Collection(Generic[T]):
    """Items of type ``T`` under ids, one record an item at ``<prefix><id>``.

    Ids are any strings but the empty one. The order is that of the keys: by code point, with ``%``, ``/``
    and control characters in their percent-encoded form. Every method that changes something returns when
    the change is as durable as ``durability`` says (None: what the store does by itself).

    ``ttl``: how long an item stays once it was put or saved, where that names nothing else.

    Limits: ``count`` and ``ids`` decode nothing, so they include items that are damaged. What ``load_all``
    and ``save_all`` remember, some 300 bytes an item, is this object's: keep it for the next ``save_all``.
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        kind: Any,
        *,
        ttl: Ttl | None = None,
        durability: Durability | str | None = None,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._kind = kind
        self._ttl = ttl
        store.expiry(ttl)  # refused here, not at the first put
        self._durability = store.durability(durability)
        self._turn = Turn()
        self._cache = store.adapter.find(Cached)
        self._follower = Follower(prefix)
        # By id. Nobody has written the known ones since; with the doubted ones somebody may have.
        self._known: dict[str, Known] = {}
        self._doubted: dict[str, Known] = {}
        self._looks = 0
        # What was saved after which look, since the last one.
        self._saved: list[tuple[int, dict[str, Known]]] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._prefix!r} of {self._kind!r} in {self._store.adapter}>"

    def _key(self, id: str) -> str:
        return self._store.check_key(self._prefix + encode_segment(id))

    def _id(self, key: str) -> str | None:
        """The id of the item at ``key``. None: it is not one of this collection's keys."""
        return decode_segment(key[len(self._prefix) :])

    # -- one item ----------------------------------------------------------------------------------

    async def get(self, id: str, default: T | None = None) -> T | None:
        """The item under ``id``, or ``default``. Raises what ``load`` raises."""
        store, key = self._store, self._key(id)
        item = store.load_now(key, self._kind, default)
        if item is NOT_NOW:
            item = await store.load(key, self._kind, default)
        found: T | None = item
        return found

    async def exists(self, id: str) -> bool:
        """Whether there is an item under ``id``, read or not: true for a damaged one."""
        return await self._store.exists(self._key(id))

    async def put(
        self, id: str, item: T, *, ttl: Ttl | Missing | None = MISSING, subject: str | None = None
    ) -> None:
        """Store ``item`` under ``id``, for ``ttl`` (None: for good; left out: what the collection says).

        ``subject``: whom the item is about, so that ``erase`` finds it. Fields of the stored item that its
        type does not know stay.
        """
        store, key, kind, expires = self._store, self._key(id), self._kind, self._expiry(ttl)
        if can_hide(kind):
            while (seen := await self._seen(key)) and (kept := self._kept(key, seen)):
                changes = {key: store.seal(key, item, kind, expires, kept)}
                try:
                    await self._commit(changes, subject, {key: seen.version})
                except ConflictError:
                    await backoff(0)
                    continue
                return
        if subject is None:
            await store.save(key, item, kind, expires=expires, durability=self._durability)
        else:
            await self._commit({key: store.seal(key, item, kind, expires)}, subject)

    async def _commit(
        self, changes: Changes, subject: str | None, expect: Expect | None = None
    ) -> Mapping[str, str]:
        """Commit sealed items as items about ``subject``; the versions where they are about nobody."""
        if subject is None:
            return await self._store.commit(changes, expect=expect, durability=self._durability)
        await self._store.save_about(subject, changes, expect=expect, durability=self._durability)
        return {}

    async def _seen(self, key: str) -> Stored | None:
        found = self._store.adapter.fetch_now(key)
        return found if not isinstance(found, NotNow) else (await self._store.adapter.fetch((key,))).get(key)

    def _kept(self, key: str, stored: Stored | None) -> Kept | None:
        """What has to be kept of a stored item that is to be replaced."""
        if stored is None or stored.damage is not None or not can_hide(self._kind):
            return None
        ours = self._store.schema_of(key)
        record, _, _ = look_at(key, stored.data, ours)
        if record is None or self._store.expired(record):
            return None
        try:
            item = self._store.codec.decoder(self._kind)(record.value)
        except Exception:  # an item of another type has no fields in common with one of this
            return None
        return kept_of(record, self._kind, item, ours)

    async def update(
        self, id: str, function: Callable[[T], T], *, default: T, subject: str | None = None
    ) -> T:
        """Replace the item by ``function(item)``, atomically, and return the new one.

        ``function`` is plain and pure: after a conflict with another writer it runs again. An item that is
        there keeps its expiry; a new one gets the collection's ``ttl``. ``subject``: whom it is about from
        now on; without, about whom it was.
        """
        new: T = await update(
            self._store,
            self._key(id),
            self._kind,
            function,
            default,
            expires=self._expiry(MISSING),
            subject=subject,
            durability=self._durability,
        )
        return new

    async def delete(self, id: str) -> bool:
        """Forget the item under ``id``; whether it was there."""
        return await self._store.delete([self._key(id)], durability=self._durability) > 0

    def _ends(self, items: Iterable[str]) -> bool:
        """Whether the store keeps one of ``items`` for a time only, which begins anew with each save."""
        retention = self._store.retention
        return retention is not None and any(retention.covers(self._key(id)) for id in items)

    def _expiry(self, ttl: Ttl | Missing | None) -> int | None:
        return self._store.expiry(self._ttl if ttl is MISSING else ttl)

    async def touch(self, id: str, *, ttl: Ttl | None) -> bool:
        """Have the item stay for ``ttl`` from now on (None: for good), as it is; whether it was there."""
        key, expires = self._key(id), self._store.expiry(ttl)
        return await self._store.touch(key, expires, durability=self._durability)

    async def expires_at(self, id: str) -> float | None:
        """When the item stops being there, in seconds since 1970 UTC. None: never, or there is none."""
        return await self._store.expires_at(self._key(id))

    # -- all of them -------------------------------------------------------------------------------

    async def load_all(self) -> dict[str, T]:
        """All items by id, in key order, read in one fetch."""
        store = self._store
        async with self._turn:
            ids = {key: id async for key, id in self._keys()}
            self._catch_up()
            seen = await store.read_many(list(ids))
            items: dict[str, T] = {}
            self._known.clear()
            self._doubted.clear()
            for key, id in ids.items():
                record, version = seen[key].record, seen[key].version
                if record is not None and version is not None:
                    item = items[id] = store.decode(key, record, self._kind)
                    if self._is_as_saved(key, record):
                        self._known[id] = known_as(key, version, record.value, item)
        return items

    async def save_all(
        self,
        items: Mapping[str, T],
        *,
        replace: bool = False,
        ttl: Ttl | Missing | None = MISSING,
        subject: str | None = None,
    ) -> int:
        """Store ``items`` in one commit, all or nothing; how many records were written or deleted.

        Only items whose record would differ from the stored one are written. Those that were loaded or
        saved here before, and that nobody else has written since, are not read again; those of immutable
        types are not even encoded. ``replace``: items that are not among ``items`` are deleted. ``ttl`` as
        for ``put``: with one every item is written, since its time begins anew; with ``subject``, whom all
        of them are about, every item is written as well. Raises ``ConfigurationError``
        where several changes would be one commit that the adapter cannot make all or nothing.
        """
        store = self._store
        async with self._turn:
            if self._cache is None or self._cache.policy.interval is None:
                await store.settle()  # what it is compared with is what was saved before
            changes, written = await self._changed(
                items, self._expiry(ttl), every=subject is not None or self._ends(items)
            )
            looks = self._looks
        if replace:
            changes.update([(key, None) async for key, id in self._keys() if id not in items])
        if len(changes) > 1 and not store.adapter.traits.atomic:
            raise ConfigurationError(
                "save_all is all or nothing, which this adapter cannot promise",
                adapter=store.adapter,
                hint="put Journaled around it, or put the items one by one",
            )
        # Without changes, too: what is stored already may have been saved by somebody who promised less.
        versions = await self._commit(changes, subject if changes else None)
        if written:
            saved = {id: now._replace(version=versions[now.key]) for id, now in written.items()}
            self._saved.append((looks, saved))
        return len(changes)

    async def _changed(
        self, items: Mapping[str, T], expires: int | None, *, every: bool
    ) -> tuple[dict[str, bytes | None], dict[str, Known]]:
        """The records that differ from what is stored, by key, and what they will be known as, by id.

        ``every``, and with an expiry: all of them, known as nothing.
        """
        self._catch_up()
        if every or expires is not None:
            for id in items:
                self._known.pop(id, None)
                self._doubted.pop(id, None)
            all_of_them: dict[str, bytes | None] = {
                self._key(id): self._store.seal(self._key(id), item, self._kind, expires)
                for id, item in items.items()
            }
            await self._keep(items, all_of_them, {}, {}, expires)
            return all_of_them, {}
        keys, found = await self._read_unknown(items)
        known, seal, kind = self._known, self._store.seal, self._kind
        changes: dict[str, bytes | None] = {}
        written: dict[str, Known] = {}
        for id, item in items.items():
            same = known.get(id)
            if same is not None and same.item is item:
                continue
            if same is not None and is_same(same, item):
                if same.item is not MISSING and is_immutable(item):
                    known[id] = same._replace(item=item)
                continue
            key = keys[id] if same is None else same.key
            data = seal(key, item, kind)
            now = known_as(key, "", value_of(data), item)
            if same is not None and same.digest == now.digest:
                known[id] = now._replace(version=same.version)
            else:
                changes[key] = data
                written[id] = now
        await self._keep({id: items[id] for id in written}, changes, written, found, None)
        return changes, written

    async def _keep(
        self,
        items: Mapping[str, T],
        changes: dict[str, bytes | None],
        written: dict[str, Known],
        found: dict[str, Stored],
        expires: int | None,
    ) -> None:
        """Put into ``changes`` what has to be kept of the items that they replace.

        ``found``: the records that were just read.
        """
        if not can_hide(self._kind):
            return
        found |= await self._store.adapter.fetch(changes.keys() - found.keys())
        for id, item in items.items():
            key = self._key(id)
            kept = self._kept(key, found.get(key))
            if kept is None:
                continue
            data = self._store.seal(key, item, self._kind, expires, kept)
            if data == found[key].data:
                del changes[key]
                written.pop(id, None)
                continue
            changes[key] = data
            if id in written:
                written[id] = known_as(key, "", value_of(data), item)

    def _catch_up(self) -> None:
        """Doubt what somebody may have written since this was called last."""
        known, doubted = self._known, self._doubted
        self._saved, saves = [], self._saved
        for look, saved in saves:
            if look == self._looks:
                known |= saved
            else:  # a look in between may have been told of it, and of what came after it
                doubted |= saved
                for each in saved:
                    known.pop(each, None)
        self._looks += 1
        written = None if self._cache is None else self._cache.written(self._follower)
        if written is None:
            doubted.update(known)
            known.clear()
            return
        for key, version in written.items():
            id = self._id(key)
            if id is not None and (same := known.get(id)) is not None and same.version != version:
                doubted[id] = known.pop(id)

    async def _read_unknown(self, items: Mapping[str, T]) -> tuple[dict[str, str], dict[str, Stored]]:
        """Find out what is stored under the ids of ``items`` that are not known; their keys and records."""
        known, doubted, store = self._known, self._doubted, self._store
        keys = {
            id: self._key(id) if (old := doubted.get(id)) is None else old.key
            for id in items
            if id not in known
        }
        found = await store.adapter.fetch(list(keys.values())) if keys else {}
        for id, key in keys.items():
            old, stored = doubted.pop(id, None), found.get(key)
            if stored is None or stored.damage is not None:
                continue
            if old is not None and old.version == stored.version:
                known[id] = old
                continue
            record, _, _ = look_at(key, stored.data, store.schema_of(key))
            if record is not None and self._is_as_saved(key, record):
                known[id] = Known(key, stored.version, xxh3_128_digest(record.value), None, MISSING)
        return keys, found

    def _is_as_saved(self, key: str, record: Record) -> bool:
        """Whether the value saved again would give the same record: no expiry, subject or other schema."""
        plain = record.expires is None and record.compat is None and record.subject is None
        return plain and record.schema == self._store.schema_of(key)

    # -- in order ----------------------------------------------------------------------------------

    @walk
    async def items(
        self, *, after: str | None = None, limit: int | None = None, reverse: bool = False, page: int = PAGE
    ) -> AsyncIterator[tuple[str, T]]:
        """Ids and items in key order, the last one first where ``reverse``.

        Only those behind ``after``, which need not exist (before it where ``reverse``), and at most
        ``limit``; ``page`` of them are read at a time, and each page is one snapshot. What is written
        meanwhile is seen or not. The first page costs what it holds, wherever it begins.
        """
        if page < 1:
            raise ConfigurationError(f"a page has at least 1 item, not {page}", hint="leave page out")
        keys = (key async for key, _ in self._keys(after, limit, reverse))
        async for some in pages(keys, size=page):
            found = await self._store.load_many(some, self._kind)
            for key, item in found.items():
                yield str(self._id(key)), item

    def __aiter__(self) -> AsyncIterator[tuple[str, T]]:
        return self.items()

    if not TYPE_CHECKING:

        def __iter__(self) -> None:
            raise not_iterable("the content of a collection")

    @walk
    async def ids(
        self, *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        """The ids in key order; ``after``, ``limit`` and ``reverse`` as for ``items``. Decodes nothing."""
        async for _, id in self._keys(after, limit, reverse):
            yield id

    async def count(self) -> int:
        """How many items there are. It walks over their keys."""
        number = 0
        async for _ in self._keys():
            number += 1
        return number

    async def clear(self) -> int:
        """Forget everything under ``name/``, in one step where the store can; how much there was."""
        return await self._store.delete_prefix(self._prefix, durability=self._durability)

    def observe(self) -> AsyncIterator[tuple[str, T | None]]:
        """Each id with its item: those that are there, in key order, then what changes. None: it is gone.

        Ends when the persistence closes; see ``persistence.observe_prefix``.
        """
        from ._observing import observe_prefix

        return self._named_by_id(observe_prefix(self._store, self._prefix, self._kind, None, self._id))

    async def _named_by_id(
        self, observed: AsyncIterator[tuple[str, T | None]]
    ) -> AsyncIterator[tuple[str, T | None]]:
        async for key, item in observed:
            yield str(self._id(key)), item

    async def _keys(
        self, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[tuple[str, str]]:
        start = None if after is None else self._key(after)
        while limit is None or limit > 0:
            keys = items = 0
            async for key in self._store.keys(self._prefix, after=start, limit=limit, reverse=reverse):
                keys, start = keys + 1, key
                id = self._id(key)
                if id is not None:
                    items += 1
                    yield key, id
            if limit is None or keys < limit:
                return
            limit -= items  # keys that are none of the collection's took the place of items
