"""The class users hold: lifecycle and thin delegation, nothing else."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from ..errors import ConfigurationError, InsecureStorageError, shown
from ..keys import INTERNAL, MISSING, Key, encode_segment
from ..layers.observed import Observed
from ..records.corruption import Corruption, CorruptionReport, OnCorruption, corruption_choice
from ..runtime.faces import walk
from ..storage.adapter import NOT_NOW, Durability, StorageAdapter
from ..store.store import Store
from ._arguments import kind_and_default, several
from ._maintenance import Maintenance
from .capability import Capability, CapabilityState
from .transaction import Transaction, run_transaction, transaction, update

__all__ = ["AdapterBasedPersistence"]

if TYPE_CHECKING:
    from ..layers.observed import Change
    from .collection import Collection

T = TypeVar("T")
D = TypeVar("D")


class AdapterBasedPersistence(Maintenance, Capability):
    """Typed values under string keys, in whatever place the adapter is.

    Use it as an async context manager, or ``await`` it and close it with ``aclose``. Any number of tasks,
    threads and event loops may use one. ``await save(...)`` returns when the value survives what
    ``durability`` says (None: the strongest the adapter promises). What was acknowledged is never lost;
    a call that raised ``StorageError`` or was cancelled is done or not done, never half.
    """

    def __init__(
        self,
        adapter: StorageAdapter,
        *,
        durability: Durability | str | None = None,
        on_corruption: OnCorruption | str = Corruption.RECOVER,
        secure: StorageAdapter | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(adapter, StorageAdapter):
            raise ConfigurationError(
                f"AdapterBasedPersistence takes a StorageAdapter, not {shown(adapter)}",
                hint="for an address such as 'notes.db' use open_persistence",
            )
        choice = corruption_choice(on_corruption)
        self._prefix = ""
        self._opened = Store(adapter, durability=durability, on_corruption=choice)
        self._open_store: Store | None = None
        self._secure = None if secure is None else _secure_persistence(secure, choice)

    @property
    def _root(self) -> AdapterBasedPersistence:
        """Who is opened and closed. Not kept: a reference to itself would put off the unclosed warning."""
        return self

    # -- lifecycle ---------------------------------------------------------------------------------

    async def _activate(self) -> None:
        await self._opened.aopen()
        if self._secure is not None:
            await self._secure.activate()
        self._open_store = self._opened

    async def _deactivate(self) -> None:
        was_open, self._open_store = self._open_store is not None, None
        try:
            for closing in self._opened.closing if was_open else ():
                await closing(self._opened)
        finally:
            try:
                if self._secure is not None:
                    await self._secure.deactivate()
            finally:
                await self._opened.aclose()

    def __await__(self) -> Generator[Any, None, Self]:
        return self._opened_self().__await__()

    async def _opened_self(self) -> Self:
        await self.activate()
        return self

    def __del__(self) -> None:
        # Only a notice: what was acknowledged is stored already.
        if getattr(self, "_root", None) is self and getattr(self, "_state", "") == "available":
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    @property
    def adapter(self) -> StorageAdapter:
        """The outermost adapter this persistence writes to."""
        return self._root._opened.adapter

    @property
    def location(self) -> str:
        """Where the data is, for a person."""
        return self.adapter.location

    def stats(self) -> dict[str, int]:
        """Counters of the adapter and its layers, by name."""
        return self.adapter.stats()

    @property
    def secure(self) -> AdapterBasedPersistence:
        """The confidential store beside this one, or this one where it is confidential itself.

        Raises ``InsecureStorageError`` where there is neither.
        """
        root = self._root
        place = root if root._secure is None else root._secure
        if place._opened.confidential:
            return _Namespace(place, self._prefix) if self._prefix else place
        raise InsecureStorageError(
            "a secret has no confidential place to go",
            adapter=self.adapter,
            hint="open the store with secure=, a confidential adapter",
        )

    @property
    def reports(self) -> tuple[CorruptionReport, ...]:
        """What was found damaged and repaired since this persistence was made (the last 1,000)."""
        return tuple(self._root._opened.recovery.reports)

    def __repr__(self) -> str:
        place = f" namespace={self._prefix!r}" if self._prefix else ""
        promise = self.adapter.traits.durability.value
        return f"<{type(self).__name__} {self.adapter} {self.state.value} durability={promise}{place}>"

    # -- one value ---------------------------------------------------------------------------------

    @overload
    async def save(
        self,
        key: Key[T],
        value: T,
        *,
        ttl: timedelta | None = None,
        durability: Durability | str | None = None,
    ) -> None: ...
    @overload
    async def save(
        self,
        key: str,
        value: object,
        *,
        type: Any = None,
        ttl: timedelta | None = None,
        durability: Durability | str | None = None,
    ) -> None: ...
    async def save(
        self,
        key: str | Key[Any],
        value: Any,
        *,
        type: Any = None,
        ttl: timedelta | None = None,
        durability: Durability | str | None = None,
    ) -> None:
        """Store ``value`` under ``key``; when this returns, it is as durable as was asked.

        ``ttl``: after this time (wall clock) the value counts as missing. Raises ``InvalidKeyError``,
        ``EncodingError`` or ``TypeMismatchError`` with nothing changed, and ``StorageError`` when the
        medium refused (the new value may then still appear).
        """
        store = self._open_store or self._not_open()
        if key.__class__ is str and not self._prefix:
            name = store.check_plain(key)  # type: ignore[arg-type]  # the short way
        else:
            name = self._name(key)
            type = key.kind if isinstance(key, Key) else type
        asked = None if durability is None else store.durability(durability)
        expires = None if ttl is None else store.expiry(ttl)
        await store.save(name, value, type, expires=expires, durability=asked)

    @overload
    async def load(self, key: Key[T]) -> T: ...
    @overload
    async def load(self, key: str, type: type[T], *, default: None = None) -> T | None: ...
    @overload
    async def load(self, key: str, type: type[T], *, default: D) -> T | D: ...
    @overload
    async def load(self, key: str, type: Any, *, default: Any = None) -> Any: ...
    async def load(self, key: str | Key[Any], type: Any = MISSING, *, default: Any = None) -> Any:
        """The value under ``key`` as ``type``; ``default`` when nothing is stored.

        A stored None is a value: pass ``default=MISSING`` to tell it from nothing. Raises
        ``TypeMismatchError`` with the path when the value is of another type, ``SchemaTooNewError`` when a
        newer program wrote it, ``CorruptedDataError`` when it is damaged and may not be recovered.
        """
        store = self._open_store or self._not_open()
        if key.__class__ is str and type is not MISSING and not self._prefix:
            kind, name = type, store.check_plain(key)  # type: ignore[arg-type]  # the short way: no cast
        else:
            kind, default = kind_and_default(key, type, default)
            name = self._name(key)
        value = store.load_now(name, kind, default)
        if value is not NOT_NOW:
            return value
        return await store.load(name, kind, default)

    async def delete(self, key: str | Key[Any], *, durability: Durability | str | None = None) -> bool:
        """Forget ``key`` and its kept generations; whether it was there."""
        store = self._store
        return await store.delete([self._name(key)], durability=store.durability(durability)) > 0

    async def exists(self, key: str | Key[Any]) -> bool:
        """Whether something is stored under ``key``. Decodes nothing: true for a damaged record."""
        return await self._store.exists(self._name(key))

    @overload
    async def update(
        self, key: Key[T], type: Callable[[T], T], *, durability: Durability | str | None = None
    ) -> T: ...
    @overload
    async def update(
        self,
        key: str,
        type: type[T],
        function: Callable[[T], T],
        *,
        default: T,
        durability: Durability | str | None = None,
    ) -> T: ...
    @overload
    async def update(
        self,
        key: str,
        type: Any,
        function: Callable[[T], T],
        *,
        default: T,
        durability: Durability | str | None = None,
    ) -> T: ...
    async def update(
        self,
        key: str | Key[Any],
        type: Any,
        function: Callable[[Any], Any] | None = None,
        *,
        default: Any = None,
        durability: Durability | str | None = None,
    ) -> Any:
        """Replace the value by ``function(value)``, atomically, and return the new one.

        ``function`` is plain and pure: after a conflict with another writer it runs again.
        ``update("count", int, lambda n: n + 1, default=0)``, or with a ``Key``, ``update(COUNT, function)``.
        """
        if isinstance(key, Key) and function is None:
            type, function = MISSING, type
        if key.__class__ is not str or type is MISSING:
            type, default = kind_and_default(key, type, default)
        if not callable(function):
            raise ConfigurationError(
                f"update needs a function of the old value, not {shown(function)}",
                hint="for example `update('count', int, lambda n: n + 1, default=0)`",
            )
        store = self._open_store or self._not_open()
        name = self._name(key) if self._prefix or key.__class__ is not str else store.check_plain(key)  # type: ignore[arg-type]
        asked = None if durability is None else store.durability(durability)
        return await update(store, name, type, function, default, durability=asked)

    # -- several values ----------------------------------------------------------------------------

    async def save_many(
        self,
        values: Mapping[str, Any],
        *,
        type: Any = None,
        ttl: timedelta | None = None,
        durability: Durability | str | None = None,
    ) -> None:
        """Store all of ``values`` in one commit: all or nothing."""
        store = self._store
        if not isinstance(values, Mapping):
            raise ConfigurationError(
                f"save_many takes a dict of keys and values, not {shown(values)}",
                hint="for example `save_many({'width': 800, 'height': 600})`",
            )
        self._must_be_atomic("save_many", len(values))
        asked = store.durability(durability)
        expires = store.expiry(ttl)
        named = {self._name(key): value for key, value in values.items()}
        changes = {name: store.seal(name, value, type, expires) for name, value in named.items()}
        if changes:
            await store.commit(changes, durability=asked)

    async def load_many(self, keys: Iterable[str], type: type[T]) -> dict[str, T]:
        """The values of ``keys``, one snapshot; absent ones are left out."""
        names = {self._name(key): key for key in several(keys, "load_many")}
        found = await self._store.load_many(list(names), type)
        return {names[name]: value for name, value in found.items()}

    async def delete_many(self, keys: Iterable[str], *, durability: Durability | str | None = None) -> int:
        """Forget all of ``keys`` in one commit; how many were there."""
        store = self._store
        names = [self._name(key) for key in several(keys, "delete_many")]
        self._must_be_atomic("delete_many", len(names))
        return await store.delete(names, durability=store.durability(durability))

    def _must_be_atomic(self, verb: str, count: int) -> None:
        if count > 1 and not self.adapter.traits.atomic:
            raise ConfigurationError(
                f"{verb} is all or nothing, which this adapter cannot promise",
                adapter=self.adapter,
                hint="put Journaled around it, or save one by one",
            )

    @walk
    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """Every key that begins with ``prefix``, in code point order. Expired ones may be among them."""
        cut = len(self._prefix)
        async for key in self._store.keys(self._prefix + prefix):
            yield key[cut:]

    # -- transactions ------------------------------------------------------------------------------

    def transaction(
        self, *, durability: Durability | str | None = None
    ) -> AbstractAsyncContextManager[Transaction]:
        """All or nothing, isolated: ``async with persistence.transaction() as tx``.

        Raises ``ConflictError`` at the end if somebody else committed a key that was read; rolls back if
        the body raises.
        """
        store = self._store
        return transaction(store, prefix=self._prefix, durability=store.durability(durability))

    async def run_transaction(
        self,
        function: Callable[[Transaction], Awaitable[T]],
        *,
        attempts: int = 64,
        durability: Durability | str | None = None,
    ) -> T:
        """Run ``await function(tx)`` in a transaction, again after each conflict, fairly."""
        store = self._store
        return await run_transaction(
            store,
            function,
            prefix=self._prefix,
            attempts=attempts,
            durability=store.durability(durability),
        )

    # -- views and jobs ----------------------------------------------------------------------------

    def place(self, path: str) -> tuple[Store, str]:
        """The store, and the key that ``path`` has in it: for what is built on a persistence, as clients."""
        return self._root._opened, self._prefix + path

    def namespace(self, name: str) -> AdapterBasedPersistence:
        """A view in which every key begins with ``name/``. It opens and closes with this one."""
        return _Namespace(self, f"{self._prefix}{encode_segment(name)}/")

    def collection(self, name: str, type: type[T]) -> Collection[T]:
        """Many items of one type, a record each, under ``name/``."""
        from .collection import Collection  # not every program has one: it is slow to import

        return Collection(self._store, f"{self._prefix}{encode_segment(name)}/", type)

    def changes(self, prefix: str = "") -> AsyncIterator[Change]:
        """What is changed from now on under ``prefix``: key, version and by whom, without the value.

        Bounded: a key that changes often is told once, with its latest version. Other processes' commits
        are noticed too. Raises ``ConfigurationError`` where no ``Observed`` is in the stack.
        """
        observed = self._store.adapter.find(Observed)
        if observed is None:
            raise ConfigurationError(
                "nobody watches this adapter",
                adapter=self.adapter,
                hint="open it with open_persistence, or wrap it in Observed",
            )
        return _without_prefix(observed.changes(self._prefix + prefix), len(self._prefix))


@walk
async def _without_prefix(changes: AsyncIterator[Change], cut: int) -> AsyncIterator[Change]:
    async for change in changes:
        if change.key[cut : cut + 1] != INTERNAL:
            yield change._replace(key=change.key[cut:]) if cut else change


def _secure_persistence(adapter: StorageAdapter, choice: OnCorruption) -> AdapterBasedPersistence:
    if not adapter.traits.confidential:
        raise InsecureStorageError(
            "the place given for secrets is not confidential",
            adapter=adapter,
            hint="give secure= an adapter whose traits say confidential",
        )
    return AdapterBasedPersistence(adapter, on_corruption=choice)


class _Namespace(AdapterBasedPersistence):
    """A view of another persistence. It has no life of its own."""

    def __init__(self, outer: AdapterBasedPersistence, prefix: str) -> None:
        self._outer = outer._root
        self._prefix = prefix
        self.activation_timeout = outer.activation_timeout

    @property
    def _root(self) -> AdapterBasedPersistence:
        return self._outer

    @property
    def _open_store(self) -> Store | None:  # type: ignore[override]
        return self._root._open_store

    @property
    def state(self) -> CapabilityState:
        return self._root.state

    @property
    def is_available(self) -> bool:
        return self._root.is_available

    async def activate(self) -> None:
        await self._root.activate()

    async def deactivate(self) -> None:
        """Nothing to do: the persistence this is a view of is closed by whoever opened it."""

    def state_stream(self) -> AsyncIterator[CapabilityState]:
        return self._root.state_stream()
