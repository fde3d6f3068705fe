"""Several fields as one: a body's changes are one commit, and undone in memory when it does not happen."""

from __future__ import annotations

import functools
import inspect
from asyncio import AbstractEventLoop, Task, current_task
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast
from weakref import ref

from ..errors import CapabilityUnavailableError, ConfigurationError, ConflictError, PersistenceError
from ..keys import MISSING
from ..layers.observed import Origin
from ..runtime.faces import AsyncOnly
from ..storage.adapter import Durability
from ..store.store import Store
from ._cell import fingerprint
from ._fields import Field
from ._restore import refresh
from ._state import Entry, Holder, State, current, settle, state_of

__all__ = ["action", "forget", "in_client_transaction_on", "transaction"]

P = ParamSpec("P")
R = TypeVar("R")


class _Savepoint(NamedTuple):
    """The fields at one moment. What can be changed in place is kept as JSON, which no body can reach."""

    values: dict[str, Any]
    mutable: dict[str, bytes]


class _Transaction:
    """What a body has changed so far, and how to undo it."""

    def __init__(self, state: State, outer: Holder | None, manager: _Running) -> None:
        state.follow()
        state.notice_mutations()
        self.state = state
        self.outer = outer
        self.task: Task[Any] | None = None  # that waits where it ends, if one does
        self.stamps: dict[str, int] = {}
        self.start = self.savepoint()
        self._ended = self._sent = False
        self._manager = ref(manager)
        self._first: Field | None = None

    @property
    def over(self) -> bool:
        """Whether it takes no assignments any more."""
        return self._ended or self.lost

    @property
    def lost(self) -> bool:
        """Whether Ctrl-C kept its end from being said: what manages it goes with its ``with``."""
        return self._manager() is None

    def assign(self, field: Field, value: Any, data: bytes | None) -> None:
        state, name = self.state, field.name
        if data is not None:
            refused = state.unreadable.get(name)
            if refused is not None:
                raise refused
            self._must_be_together(field)
        cell = state.cells[name]
        cell.stamp += 1
        self.stamps[name] = cell.stamp
        state.put(field, value)

    def _must_be_together(self, field: Field) -> None:
        """Refuse a second field that cannot be stored in one step with the first one."""
        state, first = self.state, self._first
        if first is None or first is field:
            self._first = field
            return
        store = state.place(field).store
        if store is not state.place(first).store:
            raise ConfigurationError(
                f"{state.name}.{field.name} is kept in another place than what was changed before it, "
                "and two places cannot change as one",
                hint="assign secure fields in a transaction of their own",
            )
        if not store.adapter.traits.atomic:
            raise ConfigurationError(
                f"{state.name}.{first.name} and .{field.name} cannot change as one: a transaction of several "
                "fields needs an atomic adapter",
                adapter=store.adapter,
                hint="put Journaled around it, or change one field at a time",
            )

    # -- undoing -----------------------------------------------------------------------------------

    def savepoint(self) -> _Savepoint:
        state = self.state
        mutable = {name: state.encoded(state.fields[name]) for name in state.mutable}
        return _Savepoint(state.values(), mutable)

    def undo(self, point: _Savepoint) -> None:
        """Put back what the body changed since ``point``, but for what others have assigned meanwhile."""
        state = self.state
        with state.lock:
            for name, stamp in self.stamps.items():
                cell = state.cells[name]
                if cell.stamp == stamp:
                    cell.stamp = self.stamps[name] = stamp + 1
                    state.put(state.fields[name], point.values[name])
            for name, data in point.mutable.items():
                field = state.fields[name]
                if getattr(state.client, name) is point.values[name] and not _encodes_to(state, field, data):
                    state.put(field, state.plain.store.codec.decode(data, field.kind))

    def roll_back(self) -> None:
        """Undo all of it. If it may have been stored all the same, the old values are stored again."""
        self.undo(self.start)
        for name in self.stamps if self._sent else ():
            if self.state.fields[name].persisted:
                self.state.cells[name].forget()
                self.state.later(name, 0.0)

    # -- the end -----------------------------------------------------------------------------------

    def end(self) -> None:
        """Take no assignments from here on."""
        self._ended = True

    def changes(self) -> list[Entry]:
        """The records that differ from before, sealed."""
        state = self.state
        entries = []
        for name in dict.fromkeys((*self.stamps, *self.start.mutable)):
            field, cell = state.fields[name], state.cells[name]
            if not field.persisted:
                continue
            if name not in self.stamps and state.encoded(field) == self.start.mutable[name]:
                continue
            data = state.seal(field, getattr(state.client, name))
            if cell.holds(fingerprint(data)):
                continue
            if name in state.unreadable:  # changed in place: an assignment was refused when it was made
                raise state.unreadable[name]
            if name not in self.stamps:
                self._must_be_together(field)
                cell.stamp += 1
                self.stamps[name] = cell.stamp
            store = state.place(field).store
            entries.append(Entry(state, name, cell, cell.stamp, store, state.key(field), data))
        return entries

    def old(self) -> dict[str, Any]:
        """The earlier values of what the body assigned or changed in place."""
        return {name: self.start.values[name] for name in self.stamps}

    def ask(self) -> None:
        """Let the hook refuse the whole."""
        if self.state.will_observe and self.stamps:
            old = self.old()
            self.state.client.state_will_update(old, self.state.values(old))

    async def commit(self, durability: Durability | None) -> None:
        state = self.state
        with state.lock:
            entries = self.changes()
            self.ask()
            self.end()
            expect = {e.key: e.cell.version for e in entries if e.cell.version is not MISSING}
            known = [(e.cell.saved, e.cell.version) for e in entries]
            self._sent = bool(entries)
            for entry in entries:
                entry.cell.begin(entry)
        if entries:
            try:
                versions = await entries[0].store.commit(
                    {e.key: e.data for e in entries},
                    expect=expect,
                    durability=durability,
                )
                settle(entries, versions)
            except ConflictError:
                self._sent = False
                for entry, (saved, version) in zip(entries, known, strict=True):
                    entry.cell.end(entry)
                    if entry.cell.version is MISSING:
                        entry.cell.saved, entry.cell.version = saved, version
                raise
            except BaseException:
                settle(entries, None)
                raise
            if durability is not None:
                state.unsynced += 1
        else:
            for store in state.stores():  # somebody may have promised less for what is as it shall be
                await store.commit({}, durability=durability)
        state.announce(self.old(), Origin.HERE)

    def commit_now(self) -> None:
        """The end of a body without ``await``: stored before this returns, or left to the saver."""
        state = self.state
        with state.lock:
            state.refuse_closed()  # another thread may have closed it meanwhile
            entries = self.changes()
            self.ask()
            self.end()
            for entry in entries:
                state.dirty[entry.name] = None
            if entries and state.is_live:
                self._store_now(entries)
            state.announce(self.old(), Origin.HERE)

    def _store_now(self, entries: list[Entry]) -> None:
        state, store = self.state, entries[0].store
        self._sent, versions = True, None
        for entry in entries:
            entry.cell.begin(entry)
        if state.immediate and store is state.plain.store:
            try:
                versions = store.commit_now({entry.key: entry.data for entry in entries})
            except PersistenceError as error:
                settle(entries, None)
                state.failed(error.naming(key=entries[0].key))
                return
        if versions is None:
            settle(entries, None)
            for entry in entries:
                state.later(entry.name, 0.0 if state.immediate else state.auto_save.interval)
            return
        settle(entries, versions)
        state.unsynced += 1


def _encodes_to(state: State, field: Field, data: bytes) -> bool:
    try:
        return state.encoded(field) == data
    except PersistenceError:  # it was changed into what cannot be stored
        return False


class _Running:
    """A transaction that takes the assignments of the body, and undoes them when it raises.

    It is there as long as its ``with`` is. Ctrl-C may come before the first line of ``__exit__``.
    """

    def __init__(self, state: State) -> None:
        self._enclosing = current.get()
        self.body = _Transaction(state, self._enclosing, self)
        state.transactions.append(self.body)
        current.set(self.body)

    def __enter__(self) -> _Transaction:
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
    assert isinstance(outer, _Transaction)
    point = outer.savepoint()
    try:
        yield
    except BaseException:
        outer.undo(point)
        raise


class transaction(AsyncOnly):  # noqa: N801 - called like a function
    """All assignments of the body as one commit, or none of them.

    Transactions of one client take turns; one inside another joins it. ``ConflictError`` when somebody
    else stored one of the assigned fields meanwhile: the fields then have what is stored.
    """

    __slots__ = ("_durability", "_joined", "_running", "_state", "_turn")

    def __init__(self, state: State, durability: Durability | None) -> None:
        self._state = state
        self._durability = durability
        self._joined: AbstractContextManager[None] | None = None

    async def __aenter__(self) -> None:
        state = self._state
        outer = state.transaction()
        if outer is not None:
            self._joined = _joined(outer)
            self._joined.__enter__()
            return
        if not state.is_live:
            state.refuse_closed()
            raise CapabilityUnavailableError(
                "the client is not restored yet",
                key=state.plain.prefix,
                hint=f"use it inside its `{state.client._with}`",
            )
        self._turn = state.plain.store.turn("client " + state.plain.prefix)
        await self._turn.__aenter__()
        try:
            self._running = _Running(state)
            self._running.body.task = current_task()
        except BaseException:
            self._turn.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._joined is not None:
            self._joined.__exit__(kind, error, trace)
            return
        try:
            if error is None:
                await self._commit()
            else:
                self._running.__exit__(kind, error, trace)
        finally:
            self._turn.release()

    async def _commit(self) -> None:
        state = self._state
        try:
            with self._running as body:
                await body.commit(self._durability)
        except ConflictError:
            lost = [name for name in body.stamps if state.fields[name].persisted]
            await refresh(state, lost, Origin.PROCESS)
            raise


def in_client_transaction_on(loop: AbstractEventLoop) -> bool:
    """Whether the running code is inside the body of a client's transaction whose task ``loop`` runs."""
    holder = current.get()
    while isinstance(holder, _Transaction):
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
