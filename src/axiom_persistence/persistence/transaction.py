"""All or nothing: reads remembered, writes held back, one commit with ``expect`` at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar
from weakref import ref

from ..errors import ConfigurationError, ConflictError, shown
from ..keys import encode_segment
from ..runtime.faces import AsyncOnly
from ..runtime.turn import backoff
from ..storage.adapter import Durability
from ..store._options import Ttl
from ..store.store import Store
from ._body import TransactionBody
from ._collected import TransactionCollection
from ._parts import Participant, in_order
from ._turns import ATTEMPTS, Turns, current, running

__all__ = ["Transaction", "run_transaction", "transaction"]

T = TypeVar("T")


class Transaction(TransactionBody):
    """What a body sees: a store that nobody else changes, and its own writes on top.

    Every read checks, in the same snapshot, that what was read before is still so; a body therefore never
    sees a torn state. ``ConflictError`` at a read or at the end means that somebody else won: run it again.
    Values read twice are equal. Belongs to one task; it cannot be used after its end.
    """

    def collection(self, name: str, type: type[T], *, ttl: Ttl | None = None) -> TransactionCollection[T]:
        """The collection ``name`` as this transaction sees and changes it."""
        return TransactionCollection(self, f"{encode_segment(name)}/", type, ttl)


class transaction(AsyncOnly):  # noqa: N801 - called like a function
    """One transaction: committed when the body ends, nothing at all when it raises.

    Raises ``ConfigurationError`` where the adapter is not atomic, and inside another transaction of the
    same store and task, whose writes it could not see.
    """

    __slots__ = (
        "__weakref__",
        "_before",
        "_clients",
        "_durability",
        "_exits",
        "_prefix",
        "_tx",
        "over",
        "store",
        "task",
    )

    def __init__(
        self,
        store: Store,
        clients: Sequence[Participant] = (),
        *,
        prefix: str = "",
        durability: Durability | None = None,
    ) -> None:
        self.store: Store = store
        self.task: asyncio.Task[Any] | None = None
        self.over: bool = False
        self._clients = in_order(clients)
        self._prefix = prefix
        self._durability = durability

    async def __aenter__(self) -> Transaction:
        if not self.store.adapter.traits.atomic:
            raise ConfigurationError(
                "a transaction needs an atomic adapter",
                adapter=self.store.adapter,
                hint="put Journaled around it",
            )
        self.task = asyncio.current_task()
        # A task started inside a body inherits the context, and may well outlive the body: it is another.
        if any(other.task is self.task for other in running(self.store)):
            raise ConfigurationError(
                "a transaction of this store is running in this task already",
                adapter=self.store.adapter,
                hint="use the outer transaction; pass it to the function that needs it",
            )
        tx, durability = Transaction(self.store, self._prefix), self._durability
        async with AsyncExitStack() as exits:
            parts = [await exits.enter_async_context(client.join(self.store)) for client in self._clients]

            async def end(_kind: object, error: BaseException | None, _trace: object) -> None:
                if error is None:
                    await tx._end(parts, durability)

            exits.push_async_exit(end)
            self._exits = exits.pop_all()
        self._tx = tx
        self._before = current.get()
        # Weakly: this object goes with its ``async with``, also where Ctrl-C keeps the end from being said.
        current.set((*self._before, ref(self)))
        return tx

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            await self._exits.__aexit__(kind, error, trace)
        finally:
            self.over = self._tx.over = True
            current.set(self._before)


async def run_transaction(
    store: Store,
    function: Callable[[Transaction], Awaitable[T]],
    clients: Sequence[Participant] = (),
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
                Turns(store, lost),
                transaction(store, clients, prefix=prefix, durability=durability) as tx,
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
