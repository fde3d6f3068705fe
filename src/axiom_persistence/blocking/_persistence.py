"""The persistence whose verbs return when they are done, instead of being awaited."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, cast, overload

from ..errors import ConfigurationError
from ..jobs._schedule import Every
from ..keys import MISSING, Key
from ..layers.cached import CachePolicy
from ..layers.observed import Change
from ..opening.addresses import Where
from ..opening.open import open_persistence as _open_persistence
from ..persistence._parts import Participant
from ..persistence._turns import ATTEMPTS
from ..persistence.capability import CapabilityState
from ..persistence.persistence import AdapterBasedPersistence
from ..persistence.transaction import Transaction as _Transaction
from ..records.corruption import Corruption, CorruptionReport, OnCorruption
from ..records.migrations import Migrations
from ..storage.adapter import Durability, StorageAdapter
from ..store._options import Ttl
from ._background import entered, in_caller, run
from ._collection import Collection
from ._mapping import PersistentMapping
from ._spelling import Entering
from ._streams import Stream, paged
from ._transaction import Transaction
from ._values import Values
from ._waiting import waiting

if TYPE_CHECKING:
    from ..jobs.audit import Operation
    from ..security.audit import AuditEntry, AuditLog
    from ..security.gates import Gate
    from ..security.keys import KeyProvider
    from ..storage._salvage import SalvageReport
    from ..sync._options import Sync
    from ._sync import Synchroniser

__all__ = ["Persistence", "open_persistence"]

T = TypeVar("T")
D = TypeVar("D")

_DEFAULT_CACHE: Final = CachePolicy()


def open_persistence(
    where: Where,
    *,
    durability: Durability | str | None = None,
    cache: CachePolicy | None = _DEFAULT_CACHE,
    on_corruption: OnCorruption | Literal["recover", "raise", "repair"] = Corruption.RECOVER,
    secure: StorageAdapter | str | None = None,
    keys: KeyProvider | Literal["keychain"] | None = None,
    guard: Gate | None = None,
    migrations: Migrations | None = None,
    snapshots: Every | None = None,
    retention: Mapping[str, timedelta] | None = None,
    audit: AuditLog | None = None,
    sync: Sync | None = None,
    mode: Literal["normal", "inspect"] = "normal",
    exclusive: bool = False,
) -> Persistence:
    """The persistence at ``where``, to be used in a ``with`` block; with the same arguments."""
    return Persistence(
        _open_persistence(
            where,
            durability=durability,
            cache=cache,
            on_corruption=on_corruption,
            secure=secure,
            keys=keys,
            guard=guard,
            migrations=migrations,
            snapshots=snapshots,
            retention=retention,
            audit=audit,
            sync=sync,
            mode=mode,
            exclusive=exclusive,
        )
    )


class Persistence(Values):
    """``AdapterBasedPersistence`` without ``await``: see there for what each verb promises and raises.

    Any number of threads may use one, each call returns when it is done. A load that memory can answer
    and a save that need only outlive the process happen on the calling thread; everything else on one
    event loop in the background, the function given to ``update`` too. Ctrl-C while a call waits cancels it:
    it is then done or not done. An event loop that runs on the calling thread, as in a notebook, stands still
    meanwhile; inside an asynchronous transaction of that loop a call raises ``CapabilityUnavailableError``.
    """

    def open(self) -> Self:
        """Open it, if the ``with`` block is not for you. Close it with ``close``."""
        run(self.inner.activate())
        return self

    def close(self) -> None:
        """Close it; everything acknowledged is stored. Fine when it is closed."""
        run(self.inner.deactivate())

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the capability ----------------------------------------------------------------------------

    @property
    def state(self) -> CapabilityState:
        """Whether it can be used now."""
        return self.inner.state

    @property
    def is_available(self) -> bool:
        """Whether it is open."""
        return self.inner.is_available

    is_supported: Final = waiting(AdapterBasedPersistence.is_supported)
    request_permission: Final = waiting(AdapterBasedPersistence.request_permission)

    def state_stream(self, *, timeout: float | None = None) -> Stream[CapabilityState]:
        """The current state, then every later one; the loop ends after ``timeout`` quiet seconds."""
        return Stream(self.inner.state_stream(), timeout)

    @property
    def adapter(self) -> StorageAdapter:
        """The outermost adapter this persistence writes to."""
        return self.inner.adapter

    @property
    def location(self) -> str:
        """Where the data is, for a person."""
        return self.inner.location

    @property
    def secure(self) -> Persistence:
        """The confidential store beside this one. Raises ``InsecureStorageError`` where there is none."""
        return Persistence(self.inner.secure)

    @property
    def sync(self) -> Synchroniser:
        """The synchronisation with other devices. Raises ``ConfigurationError`` if there is none."""
        from ._sync import Synchroniser  # not every program has a second device

        return Synchroniser(self.inner.sync)

    @property
    def reports(self) -> tuple[CorruptionReport, ...]:
        """What was found damaged and repaired since this persistence was made."""
        return self.inner.reports

    @property
    def salvaged(self) -> SalvageReport | None:
        """What was made of a store that could not be opened, where ``on_corruption`` asked for it."""
        return self.inner.salvaged

    # -- transactions ------------------------------------------------------------------------------

    def transaction(
        self, *clients: Participant, durability: Durability | str | None = None
    ) -> AbstractContextManager[Transaction]:
        """All or nothing, isolated: ``with persistence.transaction() as tx``.

        ``clients``: what the body assigns to their fields is part of the same commit.
        """
        return Entering(self._transaction(clients, durability))

    @contextmanager
    def _transaction(
        self, clients: tuple[Participant, ...], durability: Durability | str | None
    ) -> Iterator[Transaction]:
        with self._only_one(), entered(self.inner.transaction(*clients, durability=durability)) as tx:
            yield Transaction(tx)

    def run_transaction(
        self,
        function: Callable[[Transaction], T],
        *clients: Participant,
        attempts: int = ATTEMPTS,
        durability: Durability | str | None = None,
    ) -> T:
        """Run ``function(tx)`` in a transaction, on this thread, again after each conflict, fairly."""

        async def body(tx: _Transaction) -> T:
            answer = await in_caller(lambda: function(Transaction(tx)))
            if isinstance(answer, CoroutineType):
                answer.close()
                raise ConfigurationError(
                    "run_transaction takes a plain function, and this one returned a coroutine",
                    adapter=self.adapter,
                    hint="write `def` and call the verbs of the transaction plainly",
                )
            return answer

        with self._only_one():
            return run(self.inner.run_transaction(body, *clients, attempts=attempts, durability=durability))

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Refuse a transaction of the same store inside another, whose writes it could not see."""
        adapter, running = self.inner.adapter, _running.adapters
        if adapter in running:
            raise ConfigurationError(
                "a transaction of this store is running in this thread already",
                adapter=adapter,
                hint="use the outer transaction; pass it to the function that needs it",
            )
        running.append(adapter)
        try:
            yield
        finally:
            running.remove(adapter)

    # -- views and jobs ----------------------------------------------------------------------------

    def namespace(self, name: str) -> Persistence:
        """A view in which every key begins with ``name/``. It opens and closes with this one."""
        return Persistence(self.inner.namespace(name))

    def collection(self, name: str, type: type[T], *, ttl: Ttl | None = None) -> Collection[T]:
        """Many items of one type, a record each, under ``name/``. ``ttl``: how long an item stays."""
        return Collection(self.inner.collection(name, type, ttl=ttl))

    @overload
    def mapping(self, name: str) -> PersistentMapping[Any]: ...
    @overload
    def mapping(self, name: str, type: type[T]) -> PersistentMapping[T]: ...
    def mapping(self, name: str, type: Any = Any) -> PersistentMapping[Any]:
        """A dict that stays: its values are kept under ``name/``, those of ``type`` if one is given."""
        return PersistentMapping(self.namespace(name), type)

    def changes(self, prefix: str = "", *, timeout: float | None = None) -> Stream[Change]:
        """What is changed under ``prefix`` from now on, here and by other processes; see ``Stream``.

        A loop over it ends when nothing has changed for ``timeout`` seconds (None: it waits on).
        """
        return Stream(self.inner.changes(prefix), timeout)

    @overload
    def observe(self, key: Key[T], *, timeout: float | None = None) -> Stream[T]: ...
    @overload
    def observe(
        self, key: str, type: type[T], *, default: None = None, timeout: float | None = None
    ) -> Stream[T | None]: ...
    @overload
    def observe(
        self, key: str, type: type[T], *, default: D, timeout: float | None = None
    ) -> Stream[T | D]: ...
    @overload
    def observe(
        self, key: str, type: Any, *, default: Any = None, timeout: float | None = None
    ) -> Stream[Any]: ...
    def observe(
        self,
        key: str | Key[Any],
        type: Any = MISSING,
        *,
        default: Any = None,
        timeout: float | None = None,
    ) -> Stream[Any]:
        """The value under ``key`` first, then each other value it gets; see ``Stream``.

        ``default`` while nothing is stored. The loop ends after ``timeout`` quiet seconds.
        """
        return Stream(self.inner.observe(cast(str, key), type, default=default), timeout)

    @overload
    def observe_prefix(
        self, prefix: str, type: type[T], *, default: None = None, timeout: float | None = None
    ) -> Stream[tuple[str, T | None]]: ...
    @overload
    def observe_prefix(
        self, prefix: str, type: type[T], *, default: D, timeout: float | None = None
    ) -> Stream[tuple[str, T | D]]: ...
    @overload
    def observe_prefix(
        self, prefix: str, type: Any, *, default: Any = None, timeout: float | None = None
    ) -> Stream[tuple[str, Any]]: ...
    def observe_prefix(
        self, prefix: str, type: Any, *, default: Any = None, timeout: float | None = None
    ) -> Stream[tuple[str, Any]]:
        """Each key that begins with ``prefix``, with its value: those that are there, then what changes.

        ``default`` for one that is gone. The loop ends after ``timeout`` quiet seconds.
        """
        return Stream(self.inner.observe_prefix(prefix, type, default=default), timeout)

    def audit(
        self,
        *,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        actor: str | None = None,
        key: str | None = None,
        prefix: str = "",
        operation: Operation | None = None,
    ) -> Iterator[AuditEntry]:
        """The entries of the audit trail, oldest first; see ``AdapterBasedPersistence.audit``."""
        found = self.inner.audit(
            since=since, until=until, actor=actor, key=key, prefix=prefix, operation=operation
        )
        return paged(found)

    verify_audit: Final = waiting(AdapterBasedPersistence.verify_audit)
    about: Final = waiting(AdapterBasedPersistence.about)
    describe: Final = waiting(AdapterBasedPersistence.describe)
    verify: Final = waiting(AdapterBasedPersistence.verify)
    import_legacy: Final = waiting(AdapterBasedPersistence.import_legacy)
    rotate_keys: Final = waiting(AdapterBasedPersistence.rotate_keys)
    encrypt: Final = waiting(AdapterBasedPersistence.encrypt)
    decrypt: Final = waiting(AdapterBasedPersistence.decrypt)
    change_key: Final = waiting(AdapterBasedPersistence.change_key)
    migrate: Final = waiting(AdapterBasedPersistence.migrate)
    rollback: Final = waiting(AdapterBasedPersistence.rollback)
    finalize: Final = waiting(AdapterBasedPersistence.finalize)
    quarantined: Final = waiting(AdapterBasedPersistence.quarantined)
    show_quarantined: Final = waiting(AdapterBasedPersistence.show_quarantined)
    restore_quarantined: Final = waiting(AdapterBasedPersistence.restore_quarantined)
    drop_quarantined: Final = waiting(AdapterBasedPersistence.drop_quarantined)
    export_to: Final = waiting(AdapterBasedPersistence.export_to)
    import_from: Final = waiting(AdapterBasedPersistence.import_from)
    snapshot: Final = waiting(AdapterBasedPersistence.snapshot)
    snapshots: Final = waiting(AdapterBasedPersistence.snapshots)
    restore: Final = waiting(AdapterBasedPersistence.restore)
    erase: Final = waiting(AdapterBasedPersistence.erase)
    verify_erasure: Final = waiting(AdapterBasedPersistence.verify_erasure)
    sweep: Final = waiting(AdapterBasedPersistence.sweep)
    flush: Final = waiting(AdapterBasedPersistence.flush)

    def stats(self) -> dict[str, int]:
        """Counters of the adapter and its layers, by name."""
        return self.inner.stats()


class _Running(threading.local):
    """The stores of the transactions whose body runs in this thread."""

    def __init__(self) -> None:
        self.adapters: list[StorageAdapter] = []


_running: Final = _Running()
