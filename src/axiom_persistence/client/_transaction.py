"""Several fields as one: a body's changes are one commit, and undone in memory when it does not happen."""

from __future__ import annotations

import functools
import inspect
from asyncio import AbstractEventLoop, current_task
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from ..errors import CapabilityUnavailableError, ConfigurationError, ConflictError
from ..layers.observed import Origin
from ..runtime.faces import AsyncOnly
from ..storage.adapter import Durability
from ..store.store import Store
from ._body import Body
from ._fields import Field
from ._restore import refresh
from ._state import Entry, Holder, State, current, settle, state_of

__all__ = ["Participation", "action", "forget", "in_client_transaction_on", "transaction"]

P = ParamSpec("P")
R = TypeVar("R")


class _Running:
    """A transaction that takes the assignments of the body, and undoes them when it raises.

    It is there as long as its ``with`` is. Ctrl-C may come before the first line of ``__exit__``.
    """

    def __init__(self, state: State, store: Store | None = None) -> None:
        self._enclosing = current.get()
        self.body = Body(state, self._enclosing, self, store)
        state.transactions.append(self.body)
        current.set(self.body)

    def __enter__(self) -> Body:
        return self.body

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        body = self.body
        body.end()
        try:
            if error is not None:
                body.roll_back()
        finally:
            body.state.transactions.remove(body)
            current.set(self._enclosing)


@contextmanager
def _joined(outer: Holder) -> Iterator[None]:
    """A body inside another: committed with it, undone alone."""
    assert isinstance(outer, Body)
    point = outer.savepoint()
    try:
        yield
    except BaseException:
        outer.undo(point)
        raise
    finally:
        outer.points = [each for each in outer.points if each is not point]


class _InTurn:
    """A transaction of a client, in its turn. Whoever made it commits it, before its end.

    After a conflict at that commit the fields have what is stored.
    """

    __slots__ = ("_running", "_state", "_store", "_turn")

    def __init__(self, state: State, store: Store | None = None) -> None:
        self._state = state
        self._store = store

    async def __aenter__(self) -> Body:
        state = self._state
        if not state.is_live:
            state.refuse_closed()
            raise CapabilityUnavailableError(
                "the client is not restored yet",
                key=state.plain.prefix,
                hint="use it inside its `with` block",
            )
        self._turn = state.plain.store.turn("client " + state.plain.prefix)
        await self._turn.__aenter__()
        try:
            self._running = _Running(state, self._store)
            self._running.body.task = current_task()
            return self._running.body
        except BaseException:
            self._turn.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state, body = self._state, self._running.body
        tried = body.over
        try:
            self._running.__exit__(kind, error, trace)
            if tried and isinstance(error, ConflictError):
                lost = [name for name in body.stamps if state.fields[name].persisted]
                await refresh(state, lost, Origin.PROCESS)
        finally:
            self._turn.release()


class transaction(AsyncOnly):  # noqa: N801 - called like a function
    """All assignments of the body as one commit, or none of them.

    Transactions of one client take turns; one inside another joins it. ``ConflictError`` when somebody
    else stored one of the assigned fields meanwhile: the fields then have what is stored.
    """

    __slots__ = ("_body", "_durability", "_joined", "_own", "_state")

    def __init__(self, state: State, durability: Durability | None) -> None:
        self._state = state
        self._durability = durability
        self._joined: AbstractContextManager[None] | None = None

    async def __aenter__(self) -> None:
        outer = self._state.transaction()
        if outer is not None:
            self._joined = _joined(outer)
            self._joined.__enter__()
            return
        self._own = _InTurn(self._state)
        self._body = await self._own.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._joined is not None:
            self._joined.__exit__(kind, error, trace)
            return
        try:
            if error is None:
                await self._body.commit(self._durability)
        except BaseException as failure:
            await self._own.__aexit__(type(failure), failure, failure.__traceback__)
            raise
        await self._own.__aexit__(kind, error, trace)


class Participation:
    """How a client takes part in a transaction of its persistence."""

    def __init__(self, state: State) -> None:
        self.name: str = state.plain.prefix
        self._state = state

    def join(self, store: Store) -> AbstractAsyncContextManager[Body]:
        """Make what is assigned until the end of the context part of a transaction of ``store``."""
        state = self._state
        state.refuse_in_transaction("a transaction of the persistence")
        if state.plain.store is not store:
            raise ConfigurationError(
                f"{state.name} is kept by another persistence, and two cannot change as one",
                key=self.name,
                adapter=state.plain.store.adapter,
                hint="use a transaction of that one",
            )
        return _InTurn(state, store)


def in_client_transaction_on(loop: AbstractEventLoop) -> bool:
    """Whether the running code is inside the body of a client's transaction whose task ``loop`` runs."""
    holder = current.get()
    while isinstance(holder, Body):
        if not holder.over and holder.task is not None and holder.task.get_loop() is loop:
            return True
        holder = holder.outer
    return False


def action(method: Callable[P, R]) -> Callable[P, R]:
    """Make what a method of a ``Client`` changes one commit, undone when it raises.

    For ``async def`` and plain methods. An action inside another joins it. What it changed has outlived
    the process when it returns, as an assignment has; ``persist_state`` makes it survive power loss. In a
    plain method of a client over an adapter that cannot commit at once, auto-save does it.

    Limits: over an adapter that is not atomic, a second field is refused (``ConfigurationError``); other
    tasks see the fields as the body assigns them; of the fields with ``persisted=False`` only assignments
    are undone, not changes inside their values.
    """
    if getattr(method, "__is_action__", False):
        return method
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def acting(*args: Any, **kwargs: Any) -> Any:
            state = _own_state(method, args)
            async with transaction(state, state.plain.store.weakest):
                return await method(*args, **kwargs)

        chosen: Callable[..., Any] = acting
    else:

        @functools.wraps(method)
        def acting_now(*args: Any, **kwargs: Any) -> Any:
            state = _own_state(method, args)
            outer = state.transaction()
            if outer is not None:
                with _joined(outer):
                    return method(*args, **kwargs)
            state.refuse_closed()
            with _Running(state) as running:
                result = method(*args, **kwargs)
                running.commit_now()
                return result

        chosen = acting_now
    chosen.__is_action__ = True  # type: ignore[attr-defined]
    return cast("Callable[P, R]", chosen)


def _own_state(method: Callable[..., Any], args: tuple[Any, ...]) -> State:
    state = state_of(args[0]) if args else None
    if state is None:
        raise ConfigurationError(
            f"@action is for methods of a Client; {method.__qualname__} is none",
            hint="write it in the body of the class, with self first",
        )
    return state


async def forget(state: State, fields: Collection[Field]) -> None:
    """Give ``fields`` their defaults, and delete their records."""
    with state.lock:
        old = state.values([field.name for field in fields])
        if state.will_observe:
            state.client.state_will_update(old, {field.name: field.default() for field in fields})
        by_store: dict[Store, list[Entry]] = {}
        known: dict[Entry, bytes | None] = {}
        for field in fields:
            name, cell = field.name, state.cells[field.name]
            cell.stamp += 1
            state.put_default(field)
            state.dirty.pop(name, None)
            if field.persisted:
                store = state.place(field).store
                entry = Entry(state, name, cell, cell.stamp, store, state.key(field), None)
                by_store.setdefault(store, []).append(entry)
                known[entry] = cell.saved
                cell.begin(entry)
        state.announce(old, Origin.HERE)
    for store, entries in by_store.items():
        try:
            versions = await store.commit({entry.key: None for entry in entries})
        except BaseException:
            settle(entries, None)
            for entry in entries:  # the old record may still be there: the default is stored over it
                state.later(entry.name, 0.0)
            raise
        settle(entries, versions)
        for entry in entries:
            if entry.cell.stamp == entry.stamp:
                entry.cell.saved = known[entry]
