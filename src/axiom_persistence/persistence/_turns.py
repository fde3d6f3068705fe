"""Who runs in a transaction, and whose turn it is at a key; one value changed by a function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from types import CoroutineType
from typing import Any, Final, Protocol
from weakref import ref

from ..errors import ConfigurationError, ConflictError
from ..records.record import Record, seal_about
from ..runtime.turn import Turn, backoff
from ..storage.adapter import Durability
from ..store._kept import kept_of
from ..store.store import Store

__all__ = ["ATTEMPTS", "Running", "Turns", "current", "in_transaction_on", "new_value", "running", "update"]

ATTEMPTS: Final = 64
"""How often ``update`` and ``run_transaction`` try before they pass the conflict on."""

_PATIENCE_SECONDS: Final = 1.0
"""How long one waits for another's turn, whose body may be waiting for us. It only spares attempts."""


class Running(Protocol):
    """What is known of a running transaction."""

    @property
    def store(self) -> Store: ...
    @property
    def task(self) -> asyncio.Task[Any] | None: ...
    @property
    def over(self) -> bool: ...


current: ContextVar[tuple[ref[Running], ...]] = ContextVar("axiom_transactions", default=())
"""The transactions that the running code is in, in this task or in one that began it."""


def _bodies() -> list[Running]:
    bodies = [body for known in current.get() if (body := known()) is not None]
    return [body for body in bodies if not body.over]


def running(store: Store) -> list[Running]:
    """The transactions of ``store`` that the running code is in."""
    return [body for body in _bodies() if body.store is store]


def in_transaction_on(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the running code is inside the body of a transaction whose task ``loop`` runs."""
    return any(body.task is not None and body.task.get_loop() is loop for body in _bodies())


class Turns:
    """Turns at ``keys``, taken in one order, so that no two wait for each other."""

    __slots__ = ("_held", "_turns")

    def __init__(self, store: Store, keys: Iterable[str]) -> None:
        # Who runs inside a body, in a task of its own perhaps, is waited for by who has the turns.
        self._turns = () if current.get() and running(store) else store.key_turns(keys)
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


def new_value(
    store: Store,
    name: str,
    kind: Any,
    function: Callable[[Any], Any],
    default: Any,
    record: Record | None,
    expires: int | None = None,
) -> tuple[Any, bytes]:
    """What ``function`` makes of the value in ``record``, and the record of that.

    The expiry and the subject stay, and so do fields that its type does not know; ``expires`` is that of a
    value where there was none.
    """
    value, kept = default, None
    if record is not None:
        value = store.decode(name, record, kind)
        kept = kept_of(record, kind, value, store.schema_of(name))
    value = function(value)
    if isinstance(value, CoroutineType):
        value.close()
        raise ConfigurationError(
            "update takes a plain function, and this one returned a coroutine",
            key=name,
            hint="load and save in `run_transaction`, whose function may wait",
        )
    if record is None:
        return value, store.seal(name, value, kind, expires)
    data = store.seal(name, value, kind, record.expires, kept)
    return value, data if record.subject is None else seal_about(name, data, record.subject)


async def update(
    store: Store,
    name: str,
    kind: Any,
    function: Callable[[Any], Any],
    default: Any,
    *,
    expires: int | None = None,
    subject: str | None = None,
    durability: Durability | None = None,
) -> Any:
    """Replace a value by ``function(value)``, again after each conflict; returns what was stored."""
    # Those of one process take turns: it is other processes, mostly, that conflict.
    async with Turns(store, (name,)):
        for attempt in range(ATTEMPTS):
            seen = await store.read(name)
            value, data = new_value(store, name, kind, function, default, seen.record, expires)
            expect = {name: seen.version}
            try:
                if subject is None:
                    await store.commit({name: data}, expect=expect, durability=durability)
                else:
                    await store.save_about(subject, {name: data}, expect=expect, durability=durability)
            except ConflictError:
                if attempt == ATTEMPTS - 1:
                    raise
                await backoff(attempt)
                continue
            return value
    raise AssertionError("unreachable")
