"""What the body of a client's transaction has changed, how to undo it, and how it is stored."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import ref

from ..errors import ConfigurationError, PersistenceError
from ..keys import MISSING, Missing
from ..layers.observed import Origin
from ..persistence._parts import commit_together
from ..storage.adapter import Changes, Durability, Expect
from ..store.store import Store
from ._cell import fingerprint
from ._fields import Field
from ._state import Entry, Holder, State, settle

__all__ = ["Body", "Savepoint"]


class Savepoint(NamedTuple):
    """The fields at one moment. What can be changed in place is kept as JSON, which no body can reach."""

    values: dict[str, Any]
    mutable: dict[str, bytes]


class Body:
    """What a body has changed so far, and how to undo it."""

    def __init__(self, state: State, outer: Holder | None, manager: object, store: Store | None) -> None:
        state.follow()
        state.notice_mutations()
        self.state = state
        self.outer = outer
        self.task: Task[Any] | None = None  # that waits where it ends, if one does
        self.stamps: dict[str, int] = {}
        self.points: list[Savepoint] = []
        self.start = self.savepoint()
        self._store = store  # where everything is to be kept. None: where the first field is that changes
        self._first: Field | None = None
        self._ended = self._sent = self._done = False
        self._manager = ref(manager)
        self._entries: list[Entry] = []
        self._known: list[tuple[bytes | None, str | Missing | None]] = []

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
        if name not in self.stamps:
            self._note_present(field)
        cell = state.cells[name]
        cell.stamp += 1
        self.stamps[name] = cell.stamp
        state.put(field, value)

    def _note_present(self, field: Field) -> None:
        """Before the body assigns a field: others may have done so since its beginning."""
        state, name = self.state, field.name
        present = getattr(state.client, name)
        for point in self.points:
            if point.values[name] is not present:
                point.values[name] = present
                point.mutable.pop(name, None)
                if name in state.mutable:
                    point.mutable[name] = state.encoded(field)

    def _must_be_together(self, field: Field) -> None:
        """Refuse a second field that cannot be stored in one step with the first one."""
        state, first, store = self.state, self._first, self.state.place(field).store
        if self._store is None:
            self._store = store
        elif store is not self._store:
            raise ConfigurationError(
                f"{state.name}.{field.name} is kept in another place than what else changes in the "
                "transaction, and two places cannot change as one",
                hint="assign secure fields in a transaction of their own",
            )
        if first is None or first is field:
            self._first = field
            return
        if not store.adapter.traits.atomic:
            raise ConfigurationError(
                f"{state.name}.{first.name} and .{field.name} cannot change as one: a transaction of several "
                "fields needs an atomic adapter",
                adapter=store.adapter,
                hint="put Journaled around it, or change one field at a time",
            )

    # -- undoing -----------------------------------------------------------------------------------

    def savepoint(self) -> Savepoint:
        state = self.state
        mutable = {name: state.encoded(state.fields[name]) for name in state.mutable}
        self.points.append(Savepoint(state.values(), mutable))
        return self.points[-1]

    def undo(self, point: Savepoint) -> None:
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
        """Undo all of it. If it may have been stored all the same, the old values are stored again.

        What is known to be stored stays, whatever a hook that was told of it has raised.
        """
        if self._done:
            return
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
            if cell.saved == fingerprint(data) and not cell.under_way:
                continue  # the store surely has it
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

    def prepare(self) -> tuple[Changes, Expect]:
        """The records to be committed, and the versions that must still be there."""
        with self.state.lock:
            entries = self._entries = self.changes()
            self.ask()
            self.end()
            expect = {e.key: e.cell.version for e in entries if not isinstance(e.cell.version, Missing)}
            self._known = [(e.cell.saved, e.cell.version) for e in entries]
            self._sent = bool(entries)
            for entry in entries:
                entry.cell.begin(entry)
        return {e.key: e.data for e in entries}, expect

    def committed(self, versions: Mapping[str, str], durability: Durability | None) -> None:
        """What was prepared is stored."""
        settle(self._entries, versions)
        self._done = True
        if self._entries and durability is not None:
            self.state.unsynced += 1

    def withdrawn(self) -> None:
        """Nothing was stored."""
        self._sent = False
        for entry, (saved, version) in zip(self._entries, self._known, strict=True):
            entry.cell.end(entry)
            if entry.cell.version is MISSING:
                entry.cell.saved, entry.cell.version = saved, version

    def unclear(self) -> None:
        """Nobody knows what was stored."""
        self._done = False
        settle(self._entries, None)

    def tell(self) -> None:
        """Tell hooks and streams what has changed."""
        self.state.announce(self.old(), Origin.HERE)

    async def commit(self, durability: Durability | None) -> None:
        """The end of a transaction of this client alone."""
        changes, expect = self.prepare()
        if changes:
            await commit_together(self._entries[0].store, [self], changes, expect, durability)
            return
        for store in self.state.stores():  # somebody may have promised less for what is as it shall be
            await store.commit({}, durability=durability)
        self.tell()

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
