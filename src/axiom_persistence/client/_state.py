"""The state of one client: its values, what of them is stored, and what is still to be."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..errors import CapabilityUnavailableError, ConfigurationError, PersistenceError
from ..keys import MISSING
from ..layers.observed import Origin
from ..records.codec import can_change_in_place
from ..store.store import Store
from ._auto_save import AutoSave
from ._cell import Cell, fingerprint
from ._fields import Field, unknown_field
from ._lifecycle import ClientPhase, RestoreReport
from ._place import Place
from ._stream import Watchers

__all__ = [
    "CLOSED",
    "Cell",
    "Entry",
    "Holder",
    "Saver",
    "State",
    "current",
    "fingerprint",
    "settle",
    "state_of",
]

_log = logging.getLogger("axiom_persistence")

_PATIENCE: Final = 8
CLOSED: Final = "the client is closed"


@dataclass(slots=True, weakref_slot=True, eq=False)
class Entry:
    """One field's value on its way to the store."""

    state: State
    name: str
    cell: Cell
    stamp: int
    store: Store
    key: str
    data: bytes | None


class Saver(Protocol):
    """Who saves in the background, on one event loop."""

    loop: asyncio.AbstractEventLoop

    def changed(self, state: State, delay: float) -> None: ...
    def watch_mutations(self, state: State) -> None: ...
    async def quiet(self) -> None: ...


class Keeper(Protocol):
    """Who keeps the clients of a store."""

    def follow(self, state: State) -> None: ...
    def rest(self, state: State) -> None: ...
    def hold(self, state: State) -> None: ...


class Holder(Protocol):
    """A running transaction: it takes the assignments of its body."""

    state: State
    outer: Holder | None
    stamps: dict[str, int]

    @property
    def over(self) -> bool: ...
    @property
    def lost(self) -> bool: ...
    def assign(self, field: Field, value: Any, data: bytes | None) -> None: ...
    def roll_back(self) -> None: ...


current: ContextVar[Holder | None] = ContextVar("axiom_client_transaction", default=None)


class State:
    """The fields of one client, their cells, and where they go. Safe to use from any thread."""

    __slots__ = (
        *("__weakref__", "auto_save", "cells", "client", "closed_reason", "deferrals", "dirty", "due_at"),
        *("due_by", "failures", "fields", "home", "immediate", "last_error", "lock", "mutable", "name"),
        *("not_before", "observed", "on_error", "phase", "plain", "report", "reported", "roster", "saver"),
        *("secret", "store_closed", "transactions", "unreadable", "unsynced", "watchers", "will_observe"),
    )

    def __init__(
        self,
        client: Any,
        name: str,
        fields: Mapping[str, Field],
        plain: Place,
        secret: Place,
        *,
        auto_save: AutoSave,
        immediate: bool,
        on_error: Callable[[Any, PersistenceError], object] | None,
    ) -> None:
        self.client = client
        self.name = name
        self.fields = fields
        self.plain, self.secret = plain, secret
        self.auto_save = auto_save
        self.immediate = immediate
        self.on_error = on_error
        self.roster: Callable[[], Keeper] | None = None
        """Who keeps this client. None while it is built."""
        self.reported: dict[str, int] = {}  # which assignment of a field an error has named as not stored
        self.store_closed = False  # the store was closed in spite of what is not stored
        self.phase = ClientPhase.CREATED
        self.report: RestoreReport | None = None
        self.last_error: PersistenceError | None = None
        self.lock = threading.RLock()
        self.cells = {name: Cell() for name in fields}
        self.dirty: dict[str, None] = {}
        self.mutable: set[str] = set()
        self.unreadable: dict[str, PersistenceError] = {}
        self.watchers = Watchers()
        self.saver: Saver | None = None
        self.home: asyncio.AbstractEventLoop | None = None  # where it was saved and watched last
        self.unsynced = 1  # what was stored here or found, and power loss could still take
        self.failures = self.deferrals = 0
        self.due_at = self.due_by = self.not_before = 0.0
        self.transactions: list[Holder] = []
        self.closed_reason = CLOSED
        self.will_observe = self.observed = False

    # -- values ------------------------------------------------------------------------------------

    def put(self, field: Field, value: Any) -> None:
        """Make ``value`` the attribute, and nothing else."""
        object.__setattr__(self.client, field.name, value)
        if field.persisted:
            if can_change_in_place(value):
                if field.name not in self.mutable:
                    self.mutable.add(field.name)
                    if self.saver is not None:
                        self.saver.watch_mutations(self)
            elif self.mutable:
                self.mutable.discard(field.name)

    def put_default(self, field: Field) -> None:
        """Take the default, which is not stored: a later version of the program may have a better one."""
        value, cell = field.default(), self.cells[field.name]
        self.put(field, value)
        cell.kept = None  # what it would have been saved as is remembered, to notice a change inside it
        cell.saved = fingerprint(self.seal(field, value)) if field.name in self.mutable else None

    def values(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        return {name: getattr(self.client, name) for name in (self.fields if names is None else names)}

    def field(self, name: str) -> Field:
        if (field := self.fields.get(name)) is None:
            known = f"its fields are {', '.join(self.fields)}"
            raise ConfigurationError(unknown_field(self.name, name, self.fields), hint=known)
        return field

    def place(self, field: Field) -> Place:
        return self.secret if field.secure else self.plain

    def key(self, field: Field) -> str:
        return self.place(field).prefix + field.segment

    def stores(self, names: Collection[str] | None = None) -> set[Store]:
        """Where the fields (only ``names``, if given) are kept."""
        return {
            self.place(field).store
            for name, field in self.fields.items()
            if field.persisted and (names is None or name in names)
        }

    def seal(self, field: Field, value: Any) -> bytes:
        """The record of ``value``, without an end, so that equal ones are equal. Raises ``EncodingError``."""
        store, prefix = self.secret if field.secure else self.plain
        name, kept = prefix + field.segment, self.cells[field.name].kept
        return store.seal(name, value, field.kind, None, kept, ends=False)

    def encoded(self, field: Field) -> bytes:
        """The present value as JSON. Raises like ``seal``."""
        store, value = self.place(field).store, getattr(self.client, field.name)
        try:
            return store.codec.encode(value)
        except PersistenceError:
            self.seal(field, value)  # the same error, with its key and without secrets
            raise

    @property
    def is_live(self) -> bool:
        return self.phase is ClientPhase.READY or self.phase is ClientPhase.DEGRADED

    def refuse_closed(self) -> None:
        if self.phase is ClientPhase.CLOSED:
            raise CapabilityUnavailableError(
                f"{self.closed_reason}: nothing can be kept any more",
                key=self.plain.prefix,
                hint="use it inside its `with` block, or restore it again"
                if self.closed_reason == CLOSED
                else "use a client that was built later",
            )

    def follow(self) -> None:
        """Be saved and watched on the running event loop from here on, if the one before runs no more."""
        if self.roster is not None:
            self.roster().follow(self)

    # -- assignment --------------------------------------------------------------------------------

    def assign(self, field: Field, value: Any) -> None:
        """Take a new value: checked, made the attribute, and stored at once where that is possible."""
        with self.lock:
            if self.phase is ClientPhase.CLOSED:
                self.refuse_closed()
            if self.saver is None or self.saver.loop is not asyncio._get_running_loop():
                self.follow()
            data = self.seal(field, value) if field.persisted else None
            if field.validate is not None or data is None:
                field.check(value, f"{self.name}.{field.name}")
            if self.transactions and self.running() and (holder := self.transaction()) is not None:
                holder.assign(field, value, data)
                return
            name = field.name
            old = getattr(self.client, name)
            if self.will_observe:
                self.client.state_will_update({name: old}, {name: value})
            cell = self.cells[name]
            cell.stamp += 1
            if data is not None:
                self.dirty[name] = None  # first: Ctrl-C may come at any line
            self.put(field, value)
            if data is not None:
                self._keep(field, cell, data)
            if self.observed or self.watchers:
                self.announce({name: old}, Origin.HERE)

    def _keep(self, field: Field, cell: Cell, data: bytes) -> None:
        """Store ``data`` before returning, or note that it is still to be stored."""
        name = field.name
        # READY is live, with nothing unreadable.
        if self.phase is not ClientPhase.READY and (not self.is_live or name in self.unreadable):
            if self.phase is ClientPhase.CREATED and self.roster is not None:
                self.roster().hold(self)
            return
        mark = fingerprint(data)
        if cell.saved == mark and not cell.under_way:
            self.dirty.pop(name, None)
            return
        store, prefix = self.secret if field.secure else self.plain
        if self.immediate and store is self.plain.store:
            key = prefix + field.segment
            cell.saved = None
            try:
                versions = store.commit_now({key: data})
            except PersistenceError as error:
                self.failed(error.naming(key=key))
                return
            if versions is not None:
                cell.version, cell.saved = versions[key], mark
                if cell.kept is not None:
                    cell.renew(store, key, field.kind, data)
                self.unsynced += 1
                self.deferrals = 0
                self.dirty.pop(name, None)
                if self.last_error is not None:
                    self.settled()
                return
            # Another process holds the lock: right away by the queue. If that goes on, some layer never
            # commits at once, and the interval keeps its commits few.
            self.deferrals += 1
            self.later(name, 0.0 if self.deferrals <= _PATIENCE else self.auto_save.interval)
            return
        self.later(name, self.auto_save.interval)

    def settled(self) -> None:
        """Forget what went wrong, once everything is stored."""
        if not self.dirty:
            self.last_error, self.failures = None, 0

    def later(self, name: str, delay: float) -> None:
        """Leave a field to the saver."""
        self.dirty[name] = None
        if self.saver is not None:
            self.saver.changed(self, delay)

    def transaction(self) -> Holder | None:
        """The transaction of this client in whose body the running code is."""
        holder = current.get()
        while holder is not None and (holder.state is not self or holder.over):
            holder = holder.outer
        return holder

    def running(self) -> list[Holder]:
        """The transactions under way. One whose end Ctrl-C kept from being said is undone here."""
        with self.lock:
            for holder in [each for each in self.transactions if each.lost]:
                holder.roll_back()
                self.transactions.remove(holder)
            return self.transactions

    def is_held(self, name: str) -> bool:
        """Whether a running transaction has assigned this field."""
        return any(name in holder.stamps for holder in self.running())

    def refuse_in_transaction(self, verb: str) -> None:
        if self.transactions and self.transaction() is not None:
            raise ConfigurationError(
                f"{verb} inside a transaction or an action of the same client",
                hint="the end of the transaction saves what its body changed",
            )

    def announce(
        self, old: Mapping[str, Any], origin: Origin, overwritten: Mapping[str, Any] | None = None
    ) -> None:
        """Tell the hook and the streams that fields changed."""
        if self.observed and old:
            self.client.state_did_update(old, self.values(old))
        if self.watchers:
            self.watchers.tell(old, origin, overwritten or {})

    # -- what is still to be stored ----------------------------------------------------------------

    def notice_mutations(self, names: Collection[str] | None = None) -> list[str]:
        """Find the fields that were changed in place, by their encoded bytes. They are dirty from here on."""
        noticed: list[str] = []
        with self.lock:
            if self.transactions and self.running():  # its end compares by itself
                return noticed
            for name in self.mutable if names is None else self.mutable.intersection(names):
                if name in self.dirty:
                    continue
                field, cell = self.fields[name], self.cells[name]
                try:
                    data = self.seal(field, getattr(self.client, name))
                except PersistenceError:
                    data = None  # it cannot be stored as it is now: saving it raises that again
                if data is None or cell.differs(data, self.seal, field):
                    cell.stamp += 1
                    self.dirty[name] = None
                    noticed.append(name)
            if noticed and (self.observed or self.watchers):
                self.announce(self.values(noticed), Origin.HERE)
        return noticed

    def unreported(self) -> list[str]:
        """The fields that are not stored and of which no error of an end has said so."""
        return [name for name in self.dirty if self.reported.get(name) != self.cells[name].stamp]

    def note_reported(self) -> None:
        """Remember that whoever ended the client, the store or the process knows what is not stored."""
        self.reported = {name: self.cells[name].stamp for name in self.dirty}

    def __del__(self) -> None:
        roster, self.observed = self.roster, False
        if roster is None or sys.is_finalizing():
            return
        if self.is_live:
            self.warn_unclosed()
        # Nobody restored it and nobody can any more, but something may have been put into one of its lists.
        elif self.phase is ClientPhase.CREATED and self.mutable and self.notice_mutations():
            roster().hold(self)

    def warn_unclosed(self) -> None:
        """Name a client that was left without a close."""
        warnings.warn(
            f"unclosed client {self.plain.prefix.rstrip('/')!r}: use it in a `with` block, or close it",
            ResourceWarning,
            stacklevel=2,
        )

    def collect(self, names: Collection[str] | None = None) -> tuple[list[Entry], list[PersistenceError]]:
        """What is dirty, sealed; and why some of it cannot be stored."""
        entries, errors = [], []
        with self.lock:
            self.notice_mutations(names)
            for name in self.dirty if names is None else [n for n in self.dirty if n in names]:
                if (refused := self.unreadable.get(name)) is not None:
                    errors.append(refused)
                    continue
                field, cell = self.fields[name], self.cells[name]
                try:
                    data = self.seal(field, getattr(self.client, name))
                except PersistenceError as error:
                    errors.append(error)
                    continue
                store = self.place(field).store
                entries.append(Entry(self, name, cell, cell.stamp, store, self.key(field), data))
                cell.begin(entries[-1])
        return entries, errors

    def failed(self, error: PersistenceError) -> None:
        """A save in the background did not succeed: say so, and try again later.

        Nothing is tried again once the store is closed, and that is said once.
        """
        closed = isinstance(error, CapabilityUnavailableError)
        told = closed and isinstance(self.last_error, CapabilityUnavailableError)
        self.last_error = error
        self.failures = 0 if closed else self.failures + 1
        if closed and self.roster is not None:
            self.roster().rest(self)
        elif self.saver is not None:
            self.saver.changed(self, self.auto_save.interval)
        if told:
            pass
        elif self.on_error is None:
            _log.error("%s could not be saved and stays pending: %s", self.plain.prefix.rstrip("/"), error)
        else:
            self.on_error(self.client, error)


def settle(entries: Iterable[Entry], versions: Mapping[str, str] | None) -> None:
    """Note that a commit of ``entries`` ended: with ``versions``, or (None) without success."""
    for entry in entries:
        state, cell = entry.state, entry.cell
        with state.lock:
            cell.end(entry)
            if versions is None:
                cell.forget()  # it may have happened or not
                continue
            if cell.stamp != entry.stamp:
                continue  # assigned again meanwhile, and stored or pending with that
            cell.version = MISSING if cell.overlapping else versions.get(entry.key)
            cell.saved = None if entry.data is None else fingerprint(entry.data)
            if cell.kept is not None:
                cell.renew(entry.store, entry.key, state.fields[entry.name].kind, entry.data)
            state.dirty.pop(entry.name, None)
            state.settled()


def state_of(client: object) -> State | None:
    """The state of a ``Client``; None for whatever else is persistable."""
    state = getattr(client, "_state", None)
    return state if isinstance(state, State) else None
