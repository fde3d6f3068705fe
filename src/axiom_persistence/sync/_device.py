"""What one device works with when it meets the remote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from ..errors import PersistenceError
from ..keys import check_key
from ..layers.tracked import DIRTY, SHADOW
from ..records.migrations import order
from ..records.record import INTERNAL_SCHEMA, Record, major, seal_record
from ..records.stamp import Clock
from ..store._tagged import Tag
from ..store.store import Store
from ._conflict import Resolver
from ._devices import SyncDevice
from ._listed import names_of_conflicts
from ._remote import Remote
from ._shadow import Local, Shadow, local_keys, sealed_shadow
from ._state import (
    EXPIRES,
    SUBJECT,
    Field,
    State,
    deleted_at,
    fields_of,
    join,
    latest,
    subject_in,
    value_in,
    view,
)

__all__ = ["Device", "is_untracked"]


@dataclass(slots=True)
class Device:
    """What a cycle works with."""

    store: Store
    """The store below the caches, through the layer that marks what is changed."""
    remote: Remote
    clock: Clock
    name: str
    """8 hex digits."""
    wants: Callable[[str], object]
    resolver: Callable[[str], Resolver | None]
    keep_deleted: float = 90 * 86400.0
    """For how many seconds the remote remembers that a key was deleted."""
    host: str = ""
    """The name of its machine."""
    tags: dict[str, Tag] = field(default_factory=dict)
    """What records about a subject bear here, by the hash of the name."""

    def __post_init__(self) -> None:
        self.remote.device, self.remote.renewed = self.name, self.renewed

    def now(self) -> SyncDevice:
        """What the list of devices tells of this one when it meets the others now."""
        return SyncDevice(self.name, self.host, self.store.clock())

    async def locals(self, keys: Iterable[str]) -> dict[str, Local]:
        """What is here of ``keys``, in their order, of one moment."""
        wanted = list(keys)
        found = await self.store.adapter.fetch([name for key in wanted for name in local_keys(key)])
        return {key: Local(key, found, self.store.migrations.label(key)) for key in wanted}

    async def commit(
        self, changes: Mapping[str, bytes | None], expect: Mapping[str, str | None]
    ) -> Mapping[str, str]:
        """Durably, if all is as expected. Raises ``ConflictError``."""
        strongest = self.store.adapter.traits.durability
        return await self.store.commit(changes, expect=expect, durability=strongest)

    # -- schemas -----------------------------------------------------------------------------------

    def fault_of(self, key: str, state: State | None) -> str | None:
        """Why what the remote has of ``key`` cannot be taken over; None: it can."""
        try:
            check_key(self.store.check_key(key))
        except PersistenceError as error:
            return error.message
        if state is not None:
            known = self.store.migrations.line_of(key).current
            if major(state.schema) > major(known):
                return f"another device wrote it with schema {state.schema}; this program knows {known}"
        return None

    def renewed(self, key: str, state: State | None) -> State | None:
        """``state`` as the migrations of this program make it: the same on every device that has them."""
        now = view(state)
        migrations = self.store.migrations
        if state is None or now is None or order(state.schema) >= order(migrations.label(key)):
            return state
        made = self.store.renewed(key, _record(state.schema, now))
        if made is None:
            return state
        newest = latest(state)
        fields = {name: Field(old.stamp, None) for name, old in state.fields.items()}
        for name, value in fields_of(replace(_record(made.label, now), value=made.body)).items():
            same = now.get(name) == value
            fields[name] = Field(state.fields[name].stamp if same else newest, value)
        return State(made.label, fields, state.covered)

    def joined(self, local: Local, theirs: State | None, at: float) -> State | None:
        """What is known of a key when this device and the remote are known. Both are of one schema.

        ``at``: when this device was up to date last, in seconds since 1970 UTC; 0: nobody knows. Where that
        is longer ago than the remote remembers what was deleted, only the remote knows what is left of a
        key, unless it was changed here. Nor does a deletion as old count that the remote knew, and has
        forgotten, or for which there is nothing to delete there.
        """
        ours, before = self.renewed(local.key, local.shadow.state), self.store.clock() - self.keep_deleted
        if local.mark is None and 0 < at < before:
            return theirs
        deleted = deleted_at(ours)
        if deleted is not None and deleted < before and (theirs is None or not local.shadow.base):
            return theirs
        return join(ours, theirs)

    # -- records -----------------------------------------------------------------------------------

    async def learn_subjects(self, states: Iterable[State | None]) -> dict[str, str | None]:
        """Know what records about the subjects in ``states`` bear here; what a commit of them expects."""
        expect: dict[str, str | None] = {}
        for name in {subject_in(state) for state in states if view(state) is not None} - {None}:
            assert name is not None
            tag = self.tags[name] = await self.store.tag_named(name)
            expect[tag.place] = tag.seen.version
        return expect

    async def purge_deleted(self, joined: Mapping[str, State | None]) -> None:
        """Leave nothing of earlier values of those that were about somebody, there and here."""
        about = [key for key, state in joined.items() if subject_in(state) and view(state) is None]
        if about:
            await self.remote.adapter.purge((), previous_of=about)
            adapter, here = self.store.adapter, [name for key in about for name in (key, SHADOW + key)]
            await adapter.purge(await names_of_conflicts(adapter, about), previous_of=here)

    def sealed(self, key: str, state: State, fields: Mapping[str, bytes]) -> Mapping[str, bytes | None]:
        """The record of ``key`` that shows ``fields``; with its entry, if it is about somebody."""
        record = _record(state.schema, fields)
        migrations = self.store.migrations
        if record.expires is not None:
            self.store.note_expiry()
        compat = migrations.compat(key, record.value) if state.schema == migrations.label(key) else None
        data = seal_record(key, record.value, state.schema, expires=record.expires, compat=compat)
        name = subject_in(state) if SUBJECT in fields else None
        return {key: data} if name is None else self.tags[name].mark({key: data})

    def applied(self, local: Local, joined: State | None, version: str | None) -> dict[str, bytes | None]:
        """What has to change here so that all is as ``joined``. Empty: nothing."""
        key = local.key
        fields = view(joined)
        changes: dict[str, bytes | None] = {}
        if fields != (None if local.record is None else fields_of(local.record)):
            if fields is None or joined is None:
                changes[key] = None
            else:
                changes.update(self.sealed(key, joined, fields))
        shadow = Shadow(version, joined, {})
        if shadow != local.shadow:
            is_empty = joined is None
            changes[SHADOW + key] = None if is_empty else sealed_shadow(key, shadow)
        if changes or local.mark is not None:
            changes[DIRTY + key] = None
        return changes

    async def mark_of(self, local: Local) -> bytes:
        """A mark for what is here: of the time of its last change, where that is known."""
        saved = None if local.record is None else await self.store.adapter.saved_at(local.key)
        stamp = self.clock.tick() if saved is None else self.clock.at(saved)
        return seal_record(DIRTY + local.key, b'"%b"' % stamp.encode(), INTERNAL_SCHEMA)


def is_untracked(local: Local) -> bool:
    """Whether the record was changed without a mark: by a program that does not synchronise, or before."""
    if local.mark is not None or local.damage is not None:
        return False
    return view(local.shadow.state) != (None if local.record is None else fields_of(local.record))


def _record(schema: str, fields: Mapping[str, bytes]) -> Record:
    expires = fields.get(EXPIRES)
    return Record(schema, value_in(fields), None if expires is None else int(expires))
