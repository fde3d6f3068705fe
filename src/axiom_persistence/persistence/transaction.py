"""All or nothing: reads remembered, writes held back, one commit with ``expect`` at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from datetime import timedelta
from types import CoroutineType
from typing import Any, Final, TypeVar, overload
from weakref import ref

from ..errors import CapabilityUnavailableError, ConfigurationError, ConflictError, shown
from ..keys import MISSING, Key
from ..runtime.faces import AsyncOnly
from ..runtime.turn import Turn, backoff
from ..storage.adapter import Durability
from ..store._reading import Seen
from ..store.store import Store
from ._arguments import kind_and_default

__all__ = ["ATTEMPTS", "Transaction", "in_transaction_on", "run_transaction", "transaction", "update"]

T = TypeVar("T")
D = TypeVar("D")

ATTEMPTS: Final = 64
"""How often ``update`` and ``run_transaction`` try before they pass the conflict on."""

_PATIENCE_SECONDS: Final = 1.0
"""How long one waits for another's turn, whose body may be waiting for us. It only spares attempts."""


class Transaction:
    """What a body sees: a store that nobody else changes, and its own writes on top.

    Every read checks, in the same snapshot, that what was read before is still so; a body therefore never
    sees a torn state. ``ConflictError`` at a read or at the end means that somebody else won: run it again.
    Values read twice are equal. Belongs to one task; it cannot be used after its end.
    """

    def __init__(self, store: Store, prefix: str = "") -> None:
        self._store = store
        self._prefix = prefix
        self._seen: dict[str, Seen] = {}
        self._writes: dict[str, bytes | None] = {}
        self._task = asyncio.current_task()
        self._over = False

    def _key(self, key: str | Key[Any]) -> str:
        name = key.name if isinstance(key, Key) else key
        if self._over:
            raise CapabilityUnavailableError(
                "the transaction is over", key=name, hint="use it inside its `async with` only"
            )
        return self._store.check_key(name, self._prefix)

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
        if name in self._writes:
            data = self._writes[name]
            record = None if data is None else self._store.open_record(name, data)
        else:
            record = (await self._read(name)).record
        return default if record is None else self._store.decode(name, record, kind)

    async def exists(self, key: str | Key[Any]) -> bool:
        """Whether ``key`` holds a value, the transaction's own writes included."""
        name = self._key(key)
        if name in self._writes:
            return self._writes[name] is not None
        return (await self._read(name)).record is not None

    async def save(
        self, key: str | Key[Any], value: Any, *, type: Any = None, ttl: timedelta | None = None
    ) -> None:
        """Store ``value`` at the end of the transaction. Encoding errors are raised here.

        As every save, it sets the expiry anew: without ``ttl`` the value stays for good. ``update`` keeps it.
        """
        name = self._key(key)
        kind = key.kind if isinstance(key, Key) else type
        self._writes[name] = self._store.seal(name, value, kind, self._store.expiry(ttl))

    async def delete(self, key: str | Key[Any]) -> bool:
        """Forget ``key`` at the end of the transaction; whether it was there."""
        there = await self.exists(key)
        self._writes[self._key(key)] = None
        return there

    async def _read(self, name: str) -> Seen:
        """Read ``name`` and, in the same snapshot, make sure that the earlier reads still hold."""
        if name in self._seen:
            return self._seen[name]
        fresh = await self._store.read_many([*self._seen, name])
        for key, seen in self._seen.items():
            if fresh[key].version != seen.version:
                self._lost(key)
        self._seen[name] = fresh[name]
        return fresh[name]

    def _lost(self, key: str) -> None:
        raise ConflictError(
            "somebody else committed a key this transaction has read; nothing was changed",
            key=key,
            adapter=self._store.adapter,
            hint="run the transaction again (run_transaction does so by itself)",
        )

    async def _commit(self, durability: Durability | None) -> None:
        expect = {key: seen.version for key, seen in self._seen.items()}
        if self._writes:
            await self._store.commit(self._writes, expect=expect, durability=durability)
        else:  # each read has checked that the others still held
            await self._store.rely_on(expect, durability=durability)


class transaction(AsyncOnly):  # noqa: N801 - called like a function
    """One transaction: committed when the body ends, nothing at all when it raises.

    Raises ``ConfigurationError`` where the adapter is not atomic, and inside another transaction of the
    same store and task, whose writes it could not see.
    """

    __slots__ = ("__weakref__", "_before", "_body", "_durability", "_prefix", "_store")

    def __init__(self, store: Store, *, prefix: str = "", durability: Durability | None = None) -> None:
        self._store = store
        self._prefix = prefix
        self._durability = durability

    async def __aenter__(self) -> Transaction:
        if not self._store.adapter.traits.atomic:
            raise ConfigurationError(
                "a transaction needs an atomic adapter",
                adapter=self._store.adapter,
                hint="put Journaled around it",
            )
        self._body = Transaction(self._store, self._prefix)
        # A task started inside a body inherits the context, and may well outlive the body: it is another.
        if any(other._task is self._body._task for other in _running(self._store)):
            raise ConfigurationError(
                "a transaction of this store is running in this task already",
                adapter=self._store.adapter,
                hint="use the outer transaction; pass it to the function that needs it",
            )
        self._before = _current.get()
        # Weakly: this object goes with its ``async with``, also where Ctrl-C keeps the end from being said.
        _current.set((*self._before, ref(self)))
        return self._body

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                await self._body._commit(self._durability)
        finally:
            self._body._over = True
            _current.set(self._before)


_current: ContextVar[tuple[ref[transaction], ...]] = ContextVar("axiom_transactions", default=())


def _bodies() -> list[Transaction]:
    """The bodies that the running code is in, in this task or in one that began it."""
    managers = [manager for known in _current.get() if (manager := known()) is not None]
    return [each._body for each in managers if not each._body._over]


def _running(store: Store) -> list[Transaction]:
    return [body for body in _bodies() if body._store is store]


def in_transaction_on(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the running code is inside the body of a transaction whose task ``loop`` runs."""
    return any(body._task is not None and body._task.get_loop() is loop for body in _bodies())


async def run_transaction(
    store: Store,
    function: Callable[[Transaction], Awaitable[T]],
    *,
    prefix: str = "",
    attempts: int = ATTEMPTS,
    durability: Durability | None = None,
) -> T:
    """Run ``function(tx)`` in a transaction, again after each conflict, up to ``attempts`` times.

    Within this process those who lost a key take turns at it. Others are only met by trying again: a body
    that takes longer than the pauses between the commits of other processes may lose every time.
    """
    if attempts < 1:
        raise ConfigurationError(
            f"attempts is at least 1, not {attempts}", hint="leave attempts out, or pass 1 to try once"
        )
    lost: set[str] = set()
    for attempt in range(attempts):
        try:
            # Those who lost a key go one at a time, like its updates, or they would go on hindering others.
            async with (
                _Turns(store, lost),
                transaction(store, prefix=prefix, durability=durability) as tx,
            ):
                answer = function(tx)
                if not isinstance(answer, Awaitable):
                    raise ConfigurationError(
                        f"run_transaction takes an asynchronous function; this one returned {shown(answer)}",
                        adapter=store.adapter,
                        hint="write `async def`; `update` takes a plain function of one value",
                    )
                return await answer
        except ConflictError as conflict:
            if attempt == attempts - 1:
                raise
            lost.add(conflict.key or "")
        await backoff(attempt)
    raise AssertionError("unreachable")


async def update(
    store: Store,
    name: str,
    kind: Any,
    function: Callable[[Any], Any],
    default: Any,
    *,
    durability: Durability | None = None,
) -> Any:
    """Replace a value by ``function(value)``, again after each conflict; returns what was stored."""
    # Those of one process take turns: it is other processes, mostly, that conflict.
    async with _Turns(store, (name,)):
        for attempt in range(ATTEMPTS):
            seen = await store.read(name)
            value = default if seen.record is None else store.decode(name, seen.record, kind)
            value = function(value)
            if isinstance(value, CoroutineType):
                value.close()
                raise ConfigurationError(
                    "update takes a plain function, and this one returned a coroutine",
                    key=name,
                    hint="load and save in `run_transaction`, whose function may wait",
                )
            expires = None if seen.record is None else seen.record.expires
            data = store.seal(name, value, kind, expires)
            try:
                await store.commit({name: data}, expect={name: seen.version}, durability=durability)
            except ConflictError:
                if attempt == ATTEMPTS - 1:
                    raise
                await backoff(attempt)
                continue
            return value
    raise AssertionError("unreachable")


class _Turns:
    """Turns at ``keys``, taken in one order, so that no two wait for each other."""

    __slots__ = ("_held", "_turns")

    def __init__(self, store: Store, keys: Iterable[str]) -> None:
        # Who runs inside a body, in a task of its own perhaps, is waited for by who has the turns.
        self._turns = () if _current.get() and _running(store) else store.key_turns(keys)
        self._held: list[Turn] = []

    async def __aenter__(self) -> None:
        try:
            for turn in self._turns:
                if turn.take_now() or await _taken(turn):
                    self._held.append(turn)
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: object) -> None:
        for turn in self._held:
            turn.release()


async def _taken(turn: Turn) -> bool:
    """Wait for ``turn``. False: it took too long; going on without it costs attempts, no more."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await turn.__aenter__()
    except TimeoutError:
        return False
    return True
