"""The verbs of a transaction: reads remembered, writes held back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar, overload

from ..errors import CapabilityUnavailableError, ConflictError
from ..keys import INTERNAL, MISSING, Key
from ..records.record import Record
from ..storage.adapter import Durability
from ..storage.listing import Listing
from ..store._kept import Kept, kept_of
from ..store._options import Ttl
from ..store._reading import Seen
from ..store.store import Store
from ._arguments import kind_and_default, mapping, several, update_arguments
from ._parts import Part, end_together
from ._turns import new_value

__all__ = ["TransactionBody"]

T = TypeVar("T")
D = TypeVar("D")


class TransactionBody:
    """The verbs of a transaction, and its end."""

    def __init__(self, store: Store, prefix: str = "") -> None:
        self._store = store
        self._prefix = prefix
        self._seen: dict[str, Seen] = {}
        self._listed: dict[_Listing, list[str]] = {}
        self._writes: dict[str, bytes | None] = {}
        self._kept: dict[str, Kept | None] = {}
        self.over: bool = False
        """Whether it has ended."""

    def _key(self, key: str | Key[Any]) -> str:
        name = key.name if isinstance(key, Key) else key
        self._refuse_over(name)
        return self._store.check_key(name, self._prefix)

    def _refuse_over(self, name: str) -> None:
        if self.over:
            raise CapabilityUnavailableError(
                "the transaction is over", key=name, hint="use it inside its `with` block only"
            )

    # -- one value ---------------------------------------------------------------------------------

    @overload
    async def load(self, key: Key[T]) -> T: ...
    @overload
    async def load(self, key: str, type: type[T], *, default: None = None) -> T | None: ...
    @overload
    async def load(self, key: str, type: type[T], *, default: D) -> T | D: ...
    @overload
    async def load(self, key: str, type: Any, *, default: Any = None) -> Any: ...
    async def load(self, key: str | Key[Any], type: Any = MISSING, *, default: Any = None) -> Any:
        """The value under ``key``, the transaction's own writes included."""
        name = self._key(key)
        kind, default = kind_and_default(key, type, default)
        record = await self._record(name)
        return default if record is None else self._decoded(name, record, kind)

    def _decoded(self, name: str, record: Record, kind: Any) -> Any:
        """The value in ``record``; what its type does not know stays when a value is saved over it."""
        value = self._store.decode(name, record, kind)
        self._kept[name] = kept_of(record, kind, value, self._store.schema_of(name))
        return value

    async def exists(self, key: str | Key[Any]) -> bool:
        """Whether ``key`` holds a value, the transaction's own writes included."""
        return await self._record(self._key(key)) is not None

    async def save(
        self,
        key: str | Key[Any],
        value: Any,
        *,
        type: Any = None,
        ttl: Ttl | None = None,
        subject: str | None = None,
    ) -> None:
        """Store ``value`` at the end of the transaction. Encoding errors are raised here.

        As every save, it sets expiry and subject anew: without ``ttl`` the value stays for good. ``update``
        keeps both.
        Of a value that was loaded here before, it keeps the fields that its type does not know.
        """
        name = self._key(key)
        kind = key.kind if isinstance(key, Key) else type
        kept = self._kept.get(name)
        await self._write({name: self._store.seal(name, value, kind, self._store.expiry(ttl), kept)}, subject)

    async def _write(self, changes: Mapping[str, bytes], subject: str | None) -> None:
        """Hold sealed records back, as records about ``subject``; nobody erases it before the end."""
        if subject is None or not changes:
            self._writes |= changes
            return
        tag = await self._store.tag_of(subject)
        self._seen.setdefault(tag.place, tag.seen)
        self._writes |= tag.mark(changes)

    @overload
    async def update(self, key: Key[T], type: Callable[[T], T], *, subject: str | None = None) -> T: ...
    @overload
    async def update(
        self,
        key: str,
        type: type[T],
        function: Callable[[T], T],
        *,
        default: T,
        subject: str | None = None,
    ) -> T: ...
    @overload
    async def update(
        self, key: str, type: Any, function: Callable[[T], T], *, default: T, subject: str | None = None
    ) -> T: ...
    async def update(
        self,
        key: str | Key[Any],
        type: Any,
        function: Callable[[Any], Any] | None = None,
        *,
        default: Any = None,
        subject: str | None = None,
    ) -> Any:
        """Replace the value by ``function(value)`` at the end of the transaction, and return the new one."""
        kind, function, default = update_arguments(key, type, function, default)
        return await self._replace(self._key(key), kind, function, default, subject=subject)

    async def _replace(
        self,
        name: str,
        kind: Any,
        function: Callable[[Any], Any],
        default: Any,
        *,
        ttl: Ttl | None = None,
        subject: str | None = None,
    ) -> Any:
        """``update`` of the store's key ``name``; a value that is new stays for ``ttl``."""
        store, record = self._store, await self._record(name)
        expires = store.expiry(ttl)
        value, data = new_value(store, name, kind, function, default, record, expires)
        await self._write({name: data}, subject)
        return value

    async def delete(self, key: str | Key[Any]) -> bool:
        """Forget ``key`` at the end of the transaction; whether it was there."""
        return await self._delete([self._key(key)]) > 0

    # -- how long it stays -------------------------------------------------------------------------

    async def touch(self, key: str | Key[Any], *, ttl: Ttl | None) -> bool:
        """Have the value stay for ``ttl`` from now on (None: for good); whether it was there."""
        store, name, expires = self._store, self._key(key), self._store.expiry(ttl)
        if await self._record(name) is None:
            return False
        data = self._writes.get(name)
        if data is None:
            stored = (await store.adapter.fetch((name,))).get(name)
            if stored is None or stored.version != self._seen[name].version:
                self._lost(name)
            data = stored.data
        self._writes[name] = store.reseal(name, data, expires)
        return True

    async def expires_at(self, key: str | Key[Any]) -> float | None:
        """When the value stops being there, in seconds since 1970 UTC. None: never, or there is none."""
        record = await self._record(self._key(key))
        return None if record is None or record.expires is None else record.expires / 1000

    @overload
    async def load_with_expiry(self, key: Key[T]) -> tuple[T, float | None]: ...
    @overload
    async def load_with_expiry(
        self, key: str, type: type[T], *, default: None = None
    ) -> tuple[T | None, float | None]: ...
    @overload
    async def load_with_expiry(
        self, key: str, type: type[T], *, default: D
    ) -> tuple[T | D, float | None]: ...
    @overload
    async def load_with_expiry(
        self, key: str, type: Any, *, default: Any = None
    ) -> tuple[Any, float | None]: ...
    async def load_with_expiry(
        self, key: str | Key[Any], type: Any = MISSING, *, default: Any = None
    ) -> tuple[Any, float | None]:
        """What ``load`` returns, and what ``expires_at`` does."""
        if isinstance(key, Key):
            return await self.load(key), await self.expires_at(key)
        return await self.load(key, type, default=default), await self.expires_at(key)

    # -- several -----------------------------------------------------------------------------------

    async def save_many(
        self,
        values: Mapping[str, Any],
        *,
        type: Any = None,
        ttl: Ttl | None = None,
        subject: str | None = None,
    ) -> None:
        """Store all of ``values`` at the end of the transaction. None of them if one cannot be encoded."""
        expires = self._store.expiry(ttl)
        named = {self._key(key): value for key, value in mapping(values, "save_many").items()}
        seal, kept = self._store.seal, self._kept
        changes = {n: seal(n, value, type, expires, kept.get(n)) for n, value in named.items()}
        await self._write(changes, subject)

    async def load_many(self, keys: Iterable[str], type: type[T]) -> dict[str, T]:
        """The values of ``keys``, one snapshot, own writes included; absent ones are left out."""
        self._store.codec.decoder(type)
        names = {self._key(key): key for key in several(keys, "load_many")}
        found = await self._records(names)
        return {names[name]: self._decoded(name, record, type) for name, record in found.items()}

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Forget all of ``keys`` at the end of the transaction; how many were there."""
        return await self._delete([self._key(key) for key in several(keys, "delete_many")])

    async def delete_prefix(self, prefix: str) -> int:
        """Forget every key that begins with ``prefix`` at the end of the transaction; how many there were.

        The listing of them is protected as that of ``keys``.
        """
        return await self._delete([self._key(key) for key in await self._list(prefix, None, None, False)])

    # -- keys --------------------------------------------------------------------------------------

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        """The keys that begin with ``prefix``, in code point order, own writes included.

        ``after``, ``limit`` and ``reverse`` as everywhere. The list is made at the first step. It is made
        again at the end of the transaction, also of one that writes nothing: ``ConflictError`` if a key has
        appeared in it or left it. Only a key that another task or process saves in the very moment between
        that look and the commit goes unnoticed: where that must not happen, let all who add a key change
        one more that everybody reads.
        """
        for name in await self._list(prefix, after, limit, reverse):
            yield name

    async def count(self, prefix: str = "") -> int:
        """How many keys begin with ``prefix``; protected as the listing of ``keys``."""
        return len(await self._list(prefix, None, None, False))

    async def _list(self, prefix: str, after: str | None, limit: int | None, reverse: bool) -> list[str]:
        self._refuse_over(prefix)
        full = self._prefix + prefix
        start = None if after is None else self._prefix + after
        # So many more as own deletions may take away.
        asked = _Listing(full, start, None if limit is None else limit + len(self._writes), reverse)
        if asked not in self._listed:
            self._listed[asked] = await self._keys_now(asked)
            await self._records((), again=True)
        there = set(self._listed[asked])
        for name, data in self._writes.items():
            if asked.wants(name) and name[0] != INTERNAL:
                (there.discard if data is None else there.add)(name)
        for name in [name for name in there if name in self._writes and self._known(name) is None]:
            there.discard(name)  # its time has passed since
        return [name[len(self._prefix) :] for name in sorted(there, reverse=reverse)[:limit]]

    async def _keys_now(self, asked: _Listing) -> list[str]:
        keys = self._store.keys(asked.prefix, after=asked.after, limit=asked.limit, reverse=asked.reverse)
        return [key async for key in keys]

    # -- reading -----------------------------------------------------------------------------------

    async def _record(self, name: str) -> Record | None:
        """What is under ``name``: an own write, or what is stored."""
        return (await self._records((name,))).get(name)

    async def _records(self, names: Collection[str], *, again: bool = False) -> dict[str, Record]:
        """The records of ``names``; in the same snapshot, make sure that the earlier reads still hold.

        ``again``: make sure of that even if there is nothing new to read.
        """
        new = [name for name in names if name not in self._writes and name not in self._seen]
        if new or (again and self._seen):
            fresh = await self._store.read_many([*self._seen, *new])
            for key, seen in self._seen.items():
                if fresh[key].version != seen.version:
                    self._lost(key)
            self._seen.update((name, fresh[name]) for name in new)
        return {name: record for name in names if (record := self._known(name)) is not None}

    def _known(self, name: str) -> Record | None:
        if name not in self._writes:
            return self._seen[name].record
        data = self._writes[name]
        record = None if data is None else self._store.open_record(name, data)
        return None if record is None or self._store.expired(record) else record

    async def _delete(self, names: list[str]) -> int:
        there = await self._records(names)
        self._writes |= dict.fromkeys(names)
        for name in names:
            self._kept.pop(name, None)
        return len(there)

    def _lost(self, key: str) -> NoReturn:
        raise ConflictError(
            "somebody else committed a key this transaction has read; nothing was changed",
            key=key,
            adapter=self._store.adapter,
            hint="run the transaction again (run_transaction does so by itself)",
        )

    # -- the end -----------------------------------------------------------------------------------

    async def _end(self, parts: Sequence[Part], durability: Durability | None) -> None:
        if self._listed:
            await self._list_again()
        expect = {key: seen.version for key, seen in self._seen.items()}
        await end_together(self._store, parts, self._writes, expect, durability)

    async def _list_again(self) -> None:
        await self._store.settle()  # what was saved before this moment is listed
        for asked, listed in self._listed.items():
            there = await self._keys_now(asked)
            for key in sorted({*there}.symmetric_difference(listed))[:1]:
                self._lost(key)


class _Listing(NamedTuple):
    """What one listing was asked for, in the store's keys."""

    prefix: str
    after: str | None
    limit: int | None
    reverse: bool

    def wants(self, key: str) -> bool:
        """Whether ``key`` belongs into it, wherever it ends."""
        return Listing(self.prefix, self.after, reverse=self.reverse).wants(key)
