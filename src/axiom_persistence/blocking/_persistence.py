"""The persistence whose verbs return when they are done, instead of being awaited."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, cast

from ..errors import ConfigurationError, PersistenceError
from ..keys import MISSING, Key
from ..layers.cached import CachePolicy
from ..layers.observed import Change
from ..opening.addresses import Where
from ..opening.open import open_persistence as _open_persistence
from ..persistence._arguments import kind_and_default
from ..persistence.capability import CapabilityState
from ..persistence.persistence import AdapterBasedPersistence
from ..persistence.transaction import ATTEMPTS
from ..persistence.transaction import Transaction as _Transaction
from ..records.corruption import Corruption, CorruptionReport, OnCorruption
from ..storage.adapter import NOT_NOW, Durability, StorageAdapter
from ._background import entered, in_caller, refuse_deadlock, run
from ._collection import Collection
from ._spelling import Entering
from ._streams import Stream, paged
from ._transaction import Transaction
from ._waiting import ByHand, Face, waiting

if TYPE_CHECKING:
    from ..security.keys import KeyProvider

__all__ = ["Persistence", "open_persistence"]

T = TypeVar("T")

_DEFAULT_CACHE: Final = CachePolicy()


def open_persistence(
    where: Where,
    *,
    durability: Durability | str | None = None,
    cache: CachePolicy | None = _DEFAULT_CACHE,
    on_corruption: OnCorruption | Literal["recover", "raise"] = Corruption.RECOVER,
    secure: StorageAdapter | str | None = None,
    keys: KeyProvider | Literal["keychain"] | None = None,
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
            mode=mode,
            exclusive=exclusive,
        )
    )


class Persistence(Face[AdapterBasedPersistence]):
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
    def reports(self) -> tuple[CorruptionReport, ...]:
        """What was found damaged and repaired since this persistence was made."""
        return self.inner.reports

    # -- one value ---------------------------------------------------------------------------------

    def _save(
        self,
        key: str | Key[Any],
        value: Any,
        *,
        type: Any = None,
        ttl: timedelta | None = None,
        durability: Durability | str | None = None,
    ) -> None:
        refuse_deadlock()
        if not self._saved_now(key, value, type, ttl, durability):
            run(self.inner.save(cast(str, key), value, type=type, ttl=ttl, durability=durability))

    save: Final = ByHand(_save).typed_as(AdapterBasedPersistence.save)

    def _saved_now(
        self,
        key: str | Key[Any],
        value: Any,
        type: Any,
        ttl: timedelta | None,
        durability: Durability | str | None,
    ) -> bool:
        """Save on this thread, where outliving the process is enough and the adapter can do it at once."""
        store = self.inner._store
        if (store.durability(durability) or store.default_durability) is not Durability.PROCESS_EXIT:
            return False
        name = self.inner._name(key)
        data = store.seal(name, value, key.kind if isinstance(key, Key) else type, store.expiry(ttl))
        try:
            return store.commit_now({name: data}) is not None
        except PersistenceError as error:
            raise error.naming(key=name, adapter=store.adapter)  # noqa: B904 - the same error, named

    def _load(self, key: str | Key[Any], type: Any = MISSING, *, default: Any = None) -> Any:
        refuse_deadlock()
        inner = self.inner
        kind, missing = kind_and_default(key, type, default)
        value = inner._store.load_now(inner._name(key), kind, missing)
        if value is not NOT_NOW:
            return value
        return run(inner.load(cast(str, key), type, default=default))

    load: Final = ByHand(_load).typed_as(AdapterBasedPersistence.load)

    delete: Final = waiting(AdapterBasedPersistence.delete)
    exists: Final = waiting(AdapterBasedPersistence.exists)
    update: Final = waiting(AdapterBasedPersistence.update)

    # -- several values ----------------------------------------------------------------------------

    save_many: Final = waiting(AdapterBasedPersistence.save_many)
    load_many: Final = waiting(AdapterBasedPersistence.load_many)
    delete_many: Final = waiting(AdapterBasedPersistence.delete_many)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Every key that begins with ``prefix``, in code point order, fetched a page at a time."""
        return paged(self.inner.keys(prefix))

    # -- transactions ------------------------------------------------------------------------------

    def transaction(
        self, *, durability: Durability | str | None = None
    ) -> AbstractContextManager[Transaction]:
        """All or nothing, isolated: ``with persistence.transaction() as tx``."""
        return Entering(self._transaction(durability))

    @contextmanager
    def _transaction(self, durability: Durability | str | None) -> Iterator[Transaction]:
        with self._only_one(), entered(self.inner.transaction(durability=durability)) as tx:
            yield Transaction(tx)

    def run_transaction(
        self,
        function: Callable[[Transaction], T],
        *,
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
            return run(self.inner.run_transaction(body, attempts=attempts, durability=durability))

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

    def collection(self, name: str, type: type[T]) -> Collection[T]:
        """Many items of one type, a record each, under ``name/``."""
        return Collection(self.inner.collection(name, type))

    def changes(self, prefix: str = "", *, timeout: float | None = None) -> Stream[Change]:
        """What is changed under ``prefix`` from now on, here and by other processes; see ``Stream``.

        A loop over it ends when nothing has changed for ``timeout`` seconds (None: it waits on).
        """
        return Stream(self.inner.changes(prefix), timeout)

    describe: Final = waiting(AdapterBasedPersistence.describe)
    verify: Final = waiting(AdapterBasedPersistence.verify)
    rotate_keys: Final = waiting(AdapterBasedPersistence.rotate_keys)
    change_key: Final = waiting(AdapterBasedPersistence.change_key)
    migrate: Final = waiting(AdapterBasedPersistence.migrate)
    flush: Final = waiting(AdapterBasedPersistence.flush)

    def stats(self) -> dict[str, int]:
        """Counters of the adapter and its layers, by name."""
        return self.inner.stats()


class _Running(threading.local):
    """The stores of the transactions whose body runs in this thread."""

    def __init__(self) -> None:
        self.adapters: list[StorageAdapter] = []


_running: Final = _Running()
