"""The same verbs without ``await``, for scripts, notebooks and GUI toolkits.

::

    from axiom_persistence.blocking import open_persistence

    with open_persistence("notes") as persistence:
        persistence.save("window", Window(800, 600))

Everything runs on one event loop in a thread of its own; any thread may call. A load that the cache or the
page cache can answer, and a save that asks for ``process_exit``, run on the calling thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, Literal, Self, TypeVar, cast, overload

from .capability import CapabilityState
from .corruption import Corruption, CorruptionReport, OnCorruption
from .errors import CapabilityUnavailableError, ConfigurationError
from .jobs.verify import VerifyReport
from .keys import MISSING, Key
from .layers.cached import CachePolicy
from .open import Where
from .open import open_persistence as _open_persistence
from .persistence import AdapterBasedPersistence
from .record import RecordInfo
from .storage import Durability, StorageAdapter
from .transaction import ATTEMPTS
from .transaction import Transaction as _Transaction

__all__ = ["Persistence", "Transaction", "open_persistence", "run"]

T = TypeVar("T")
D = TypeVar("D")

_PAGE: Final = 1000
_DEFAULT_CACHE: Final = CachePolicy()


class _Background:
    """One event loop in a daemon thread, started by the first call and again in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A forked child has the loop's object, and no thread that runs it.
            if self._loop is None or self._process != os.getpid():
                self._loop = asyncio.new_event_loop()
                self._process = os.getpid()
                threading.Thread(target=self._loop.run_forever, name="axiom-blocking", daemon=True).start()
            return self._loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            work.close()
            where = "its own thread" if running is self._loop else "a running event loop"
            raise CapabilityUnavailableError(
                f"a blocking call from {where} would stop the loop",
                hint="use axiom_persistence.open_persistence and await there",
            )
        future = asyncio.run_coroutine_threadsafe(work, self.loop())
        try:
            return future.result()
        except BaseException:
            # Ctrl-C while waiting: the work is cancelled, and done or not done.
            future.cancel()
            raise


_background: Final = _Background()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and return what it returns. Any thread without a loop."""
    return _background.run(work)


def open_persistence(
    where: Where,
    *,
    durability: Durability | str | None = None,
    cache: CachePolicy | None = _DEFAULT_CACHE,
    on_corruption: OnCorruption | Literal["recover", "raise"] = Corruption.RECOVER,
    secure: StorageAdapter | None = None,
    mode: Literal["normal", "inspect"] = "normal",
) -> Persistence:
    """The persistence at ``where``, to be used in a ``with`` block; with the same arguments."""
    return Persistence(
        _open_persistence(
            where, durability=durability, cache=cache, on_corruption=on_corruption, secure=secure, mode=mode
        )
    )


class Persistence:
    """``AdapterBasedPersistence`` without ``await``: see there for what each verb promises and raises."""

    def __init__(self, inner: AdapterBasedPersistence) -> None:
        self.inner = inner
        """The persistence itself, for ``run(...)`` and for clients."""

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

    def __repr__(self) -> str:
        return f"<blocking {self.inner!r}>"

    @property
    def state(self) -> CapabilityState:
        return self.inner.state

    @property
    def is_available(self) -> bool:
        return self.inner.is_available

    @property
    def location(self) -> str:
        return self.inner.location

    @property
    def reports(self) -> tuple[CorruptionReport, ...]:
        return self.inner.reports

    @overload
    def save(
        self,
        key: Key[T],
        value: T,
        *,
        ttl: timedelta | None = None,
        durability: Durability | str | None = None,
    ) -> None: ...
    @overload
    def save(
        self,
        key: str,
        value: object,
        *,
        type: Any = None,
        ttl: timedelta | None = None,
        durability: Durability | str | None = None,
    ) -> None: ...
    def save(
        self,
        key: str | Key[Any],
        value: Any,
        *,
        type: Any = None,
        ttl: timedelta | None = None,
        durability: Durability | str | None = None,
    ) -> None:
        run(self.inner.save(cast(str, key), value, type=type, ttl=ttl, durability=durability))

    @overload
    def load(self, key: Key[T]) -> T: ...
    @overload
    def load(self, key: str, type: type[T], *, default: None = None) -> T | None: ...
    @overload
    def load(self, key: str, type: type[T], *, default: D) -> T | D: ...
    @overload
    def load(self, key: str, type: Any, *, default: Any = None) -> Any: ...
    def load(self, key: str | Key[Any], type: Any = MISSING, *, default: Any = None) -> Any:
        return run(self.inner.load(cast(str, key), type, default=default))

    def delete(self, key: str | Key[Any], *, durability: Durability | str | None = None) -> bool:
        return run(self.inner.delete(key, durability=durability))

    def exists(self, key: str | Key[Any]) -> bool:
        return run(self.inner.exists(key))

    @overload
    def update(
        self, key: Key[T], type: Callable[[T], T], *, durability: Durability | str | None = None
    ) -> T: ...
    @overload
    def update(
        self,
        key: str,
        type: type[T],
        function: Callable[[T], T],
        *,
        default: T,
        durability: Durability | str | None = None,
    ) -> T: ...
    @overload
    def update(
        self,
        key: str,
        type: Any,
        function: Callable[[Any], Any],
        *,
        default: Any = None,
        durability: Durability | str | None = None,
    ) -> Any: ...
    def update(
        self,
        key: str | Key[Any],
        type: Any,
        function: Callable[[Any], Any] | None = None,
        *,
        default: Any = None,
        durability: Durability | str | None = None,
    ) -> Any:
        work = self.inner.update(
            cast(str, key), type, cast(Any, function), default=default, durability=durability
        )
        return run(work)

    def save_many(
        self,
        values: Mapping[str, Any],
        *,
        type: Any = None,
        ttl: timedelta | None = None,
        durability: Durability | str | None = None,
    ) -> None:
        run(self.inner.save_many(values, type=type, ttl=ttl, durability=durability))

    def load_many(self, keys: Collection[str], type: type[T]) -> dict[str, T]:
        return run(self.inner.load_many(keys, type))

    def delete_many(self, keys: Iterable[str], *, durability: Durability | str | None = None) -> int:
        return run(self.inner.delete_many(keys, durability=durability))

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Every key that begins with ``prefix``, in code point order, fetched a page at a time."""
        source = self.inner.keys(prefix)

        async def page() -> list[str]:
            found = []
            async for key in source:
                found.append(key)
                if len(found) == _PAGE:
                    break
            return found

        while found := run(page()):
            yield from found

    @contextmanager
    def transaction(self, *, durability: Durability | str | None = None) -> Iterator[Transaction]:
        """All or nothing, isolated: ``with persistence.transaction() as tx``."""
        if _in_transaction.active:
            raise ConfigurationError(
                "a transaction is running in this thread already",
                adapter=self.inner.adapter,
                hint="use the outer transaction; pass it to the function that needs it",
            )
        context = self.inner.transaction(durability=durability)
        tx = run(_enter(context))
        _in_transaction.active = True
        try:
            yield Transaction(tx)
        except BaseException as error:
            _in_transaction.active = False
            if not run(_leave(context, error)):
                raise
        else:
            _in_transaction.active = False
            run(_leave(context, None))

    def run_transaction(
        self,
        function: Callable[[Transaction], T],
        *,
        attempts: int = ATTEMPTS,
        durability: Durability | str | None = None,
    ) -> T:
        """Run ``function(tx)`` in a transaction, again after each conflict, in a pool thread."""

        async def body(tx: _Transaction) -> T:
            return await asyncio.to_thread(function, Transaction(tx))

        return run(self.inner.run_transaction(body, attempts=attempts, durability=durability))

    def namespace(self, name: str) -> Persistence:
        return Persistence(self.inner.namespace(name))

    def describe(self, key: str | Key[Any]) -> RecordInfo | None:
        return run(self.inner.describe(key))

    def verify(self, *, repair: bool = False, progress: Callable[[int], None] | None = None) -> VerifyReport:
        return run(self.inner.verify(repair=repair, progress=progress))

    def migrate(self, from_version: str, to_version: str) -> None:
        run(self.inner.migrate(from_version, to_version))

    def flush(self) -> None:
        run(self.inner.flush())

    def stats(self) -> dict[str, int]:
        return self.inner.stats()


class _InTransaction(threading.local):
    active = False


_in_transaction: Final = _InTransaction()


async def _enter(context: Any) -> _Transaction:
    tx: _Transaction = await context.__aenter__()
    return tx


async def _leave(context: Any, error: BaseException | None) -> bool:
    kind = None if error is None else type(error)
    trace = None if error is None else error.__traceback__
    return bool(await context.__aexit__(kind, error, trace))


class Transaction:
    """What the body of a blocking transaction sees; the same as the async one, without ``await``."""

    def __init__(self, inner: _Transaction) -> None:
        self._inner = inner

    @overload
    def load(self, key: Key[T]) -> T: ...
    @overload
    def load(self, key: str, type: type[T], *, default: T) -> T: ...
    @overload
    def load(self, key: str, type: type[T], *, default: None = None) -> T | None: ...
    @overload
    def load(self, key: str, type: Any, *, default: Any = None) -> Any: ...
    def load(self, key: str | Key[Any], type: Any = MISSING, *, default: Any = None) -> Any:
        return run(self._inner.load(cast(str, key), type, default=default))

    def exists(self, key: str | Key[Any]) -> bool:
        return run(self._inner.exists(key))

    def save(
        self, key: str | Key[Any], value: Any, *, type: Any = None, ttl: timedelta | None = None
    ) -> None:
        run(self._inner.save(key, value, type=type, ttl=ttl))

    def delete(self, key: str | Key[Any]) -> bool:
        return run(self._inner.delete(key))
