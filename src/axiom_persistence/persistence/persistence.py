"""The class users hold: lifecycle and thin delegation, nothing else."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..errors import ConfigurationError, CorruptedDataError, InsecureStorageError, shown
from ..keys import encode_segment
from ..records.corruption import Corruption, CorruptionReport, OnCorruption, corruption_choice
from ..records.migrations import Migrations
from ..runtime.upkeep import Chore, Upkeep
from ..storage.adapter import Durability, StorageAdapter
from ..store._options import Ttl
from ..store.store import Store
from ._audits import Audits
from ._snapshots import look_in_snapshots
from ._turns import ATTEMPTS
from ._watching import Watching
from .capability import Capability, CapabilityState

__all__ = ["AdapterBasedPersistence"]

if TYPE_CHECKING:
    from ..storage._salvage import SalvageReport
    from ..sync.synchroniser import Synchroniser
    from ._parts import Participant
    from .collection import Collection
    from .transaction import Transaction

T = TypeVar("T")


class AdapterBasedPersistence(Audits, Watching, Capability):
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
        migrations: Migrations | None = None,
        retention: Mapping[str, timedelta] | None = None,
        upkeep: Callable[[Store], Sequence[tuple[float, Chore]]] | None = None,
        sync: Synchroniser | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(adapter, StorageAdapter):
            raise ConfigurationError(
                f"AdapterBasedPersistence takes a StorageAdapter, not {shown(adapter)}",
                hint="for an address such as 'notes.db' use open_persistence",
            )
        choice = corruption_choice(on_corruption)
        self._prefix = ""
        self._opened = Store(
            adapter,
            durability=durability,
            on_corruption=choice,
            migrations=migrations,
            retention=retention,
        )
        look_in_snapshots(self._opened)
        self._open_store: Store | None = None
        self._salvaged: SalvageReport | None = None
        self._secure = None if secure is None else _secure_persistence(secure, choice, migrations)
        store = self._opened  # and not this object, which nothing may keep alive
        self._upkeep = None if upkeep is None else Upkeep(lambda: upkeep(store))
        self._sync = sync

    @property
    def _root(self) -> AdapterBasedPersistence:
        """Who is opened and closed. Not kept: a reference to itself would put off the unclosed warning."""
        return self

    # -- lifecycle ---------------------------------------------------------------------------------

    async def _activate(self) -> None:
        try:
            await self._opened.aopen()
        except CorruptedDataError as error:
            from ..jobs._repairing import open_after  # few programs ever need it

            self._salvaged = await open_after(self._opened, error)
        if self._secure is not None:
            await self._secure.activate()
        if self._sync is not None:
            await self._sync.start(self._opened)
        self._open_store = self._opened
        if self._upkeep is not None:
            self._upkeep.start()

    async def _deactivate(self) -> None:
        if self._upkeep is not None:
            await self._upkeep.stop()
        if self._sync is not None:
            await self._sync.stop()
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
    def _second(self) -> Store | None:
        """The open store of secrets, where that is another one."""
        secure = self._root._secure
        return None if secure is None else secure._store

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
    def sync(self) -> Synchroniser:
        """The synchronisation with other devices. Raises ``ConfigurationError`` if there is none."""
        if self._root._sync is None:
            raise ConfigurationError(
                "this store is not synchronised",
                adapter=self.adapter,
                hint="open it with sync=Sync(remote), for example Sync('file:/mnt/shared/notes')",
            )
        return self._root._sync

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
    def _secure_store(self) -> Store | None:
        root = self._root
        store = root._opened if root._secure is None else root._secure._opened
        return store if store.confidential else None

    @property
    def reports(self) -> tuple[CorruptionReport, ...]:
        """What was found damaged and repaired since this persistence was made (the last 1,000)."""
        return tuple(self._root._opened.recovery.reports)

    @property
    def salvaged(self) -> SalvageReport | None:
        """What was made of a store that could not be opened, where ``on_corruption`` asked for it."""
        return self._root._salvaged

    def __repr__(self) -> str:
        place = f" namespace={self._prefix!r}" if self._prefix else ""
        promise = self.adapter.traits.durability.value
        return f"<{type(self).__name__} {self.adapter} {self.state.value} durability={promise}{place}>"

    # -- transactions ------------------------------------------------------------------------------

    def transaction(
        self, *clients: Participant, durability: Durability | str | None = None
    ) -> AbstractAsyncContextManager[Transaction]:
        """All or nothing, isolated: ``async with persistence.transaction() as tx``.

        ``clients``: what the body assigns to their fields is part of the same commit, and undone in memory
        when there is none; they are kept in this store and restored already. Transactions of one client
        take turns. Raises ``ConflictError`` at the end if somebody else committed a key that was read, or
        a field that was assigned; rolls back if the body raises.
        """
        from .transaction import transaction  # not every program has one

        store = self._store
        return transaction(store, clients, prefix=self._prefix, durability=store.durability(durability))

    async def run_transaction(
        self,
        function: Callable[[Transaction], Awaitable[T]],
        *clients: Participant,
        attempts: int = ATTEMPTS,
        durability: Durability | str | None = None,
    ) -> T:
        """Run ``await function(tx)`` in a transaction, again after each conflict, fairly."""
        from .transaction import run_transaction

        store = self._store
        return await run_transaction(
            store,
            function,
            clients,
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

    def collection(self, name: str, type: type[T], *, ttl: Ttl | None = None) -> Collection[T]:
        """Many items of one type, a record each, under ``name/``. ``ttl``: how long an item stays."""
        from .collection import Collection  # not every program has one: it is slow to import

        return Collection(self._store, f"{self._prefix}{encode_segment(name)}/", type, ttl=ttl)


def _secure_persistence(
    adapter: StorageAdapter, choice: OnCorruption, migrations: Migrations | None
) -> AdapterBasedPersistence:
    if not adapter.traits.confidential:
        raise InsecureStorageError(
            "the place given for secrets is not confidential",
            adapter=adapter,
            hint="give secure= an adapter whose traits say confidential",
        )
    values = None if migrations is None else migrations.values_only()
    return AdapterBasedPersistence(adapter, on_corruption=choice, migrations=values)


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
