"""One meeting with the remote: stamp what was changed here, join it with what is there, take over the rest.

1. *Stamp.* What differs from a key's shadow bears the stamp of its mark. The new shadow is made durable
   before anything is sent: what was sent is what stands here, whatever is killed in between.
2. *Join.* One fetch brings the states of all keys that changed here or, says the log, there. Each is joined
   with its shadow; what the remote did not know goes out in one commit that expects the log's end unmoved.
3. *Apply.* One local commit makes records, shadows and the place in the log what was joined, and takes the
   marks away, if all is still as step 1 found it. Else everything begins anew; to send again is harmless.

A transaction arrives whole: its keys are marked in one commit, sent in one, and taken over in one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from ..errors import ConflictError, StorageFullError
from ..layers.tracked import DIRTY, SHADOW
from ..records.migrations import order
from ..records.record import INTERNAL_SCHEMA
from ..records.stamp import later_than
from ..runtime.turn import backoff
from ..storage.adapter import Stored
from ._conflict import Conflict, resolved, sealed_conflict
from ._cursor import Cursor
from ._device import Device, is_untracked
from ._remote import TOGETHER, Head, Seen
from ._shadow import Local, Shadow, sealed_shadow
from ._state import State, fields_of, latest, stamped

__all__ = ["Outcome", "cycle", "stamp_all"]

_ATTEMPTS: Final = 16
_BYTES: Final = 16 << 20
"""Of values that are sent together, where it is more than one: a slow link has to take it in one request."""
_INTENDED: Final = 31
"""Stamps of a key that are remembered until one is known to have arrived."""


@dataclass(slots=True)
class Outcome:
    """What one cycle did."""

    sent: int = 0
    """Keys whose states were sent."""
    received: int = 0
    """Keys that were changed here."""
    conflicts: list[Conflict] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    """Keys that were left alone, and why."""
    more: bool = False
    """Whether all of it is to be done once more, as others were faster again and again."""
    last: str | None = None
    """Of more changed keys than are sent together: the last one that was looked at."""
    must_list: bool = False
    """The log does not tell what changed at the remote: all its keys have to be looked at."""


class _AgainError(Exception):
    """Something was changed here meanwhile."""


async def cycle(device: Device, after: str = "") -> Outcome:
    """One meeting. Raises what kept it from being done; it can be begun again at any time.

    Of more changed keys than go out together it sends the first ones ``after``; ``Outcome.last`` says where
    they end.
    """
    for attempt in range(_ATTEMPTS):
        outcome = Outcome()
        try:
            await _Meeting(device, outcome, after).hold()
            return outcome
        except (_AgainError, ConflictError):
            await backoff(attempt)
    return Outcome(more=True)


async def stamp_all(device: Device) -> None:
    """Stamp what was changed here before: of a store that was copied, before anything is changed in it.

    Else both copies might stamp one change anew, and it would win over what was written knowing it.
    """
    after: str | None = ""
    while after is not None:
        after = await _stamp_from(device, after)


async def _stamp_from(device: Device, after: str) -> str | None:
    outcome = Outcome()
    for attempt in range(_ATTEMPTS):
        try:
            await _Meeting(device, outcome, after).stamp()
            break
        except ConflictError:
            await backoff(attempt)
    return outcome.last


class _Meeting:
    def __init__(self, device: Device, outcome: Outcome, after: str) -> None:
        self._device = device
        self._after = after
        self._remote = device.remote
        self._outcome = outcome

    async def hold(self) -> None:
        cursor = await Cursor.read(self._device.store.adapter)
        if cursor.is_new or cursor.listed is not None:
            self._outcome.must_list = True
            return
        dirty = await self.stamp()
        found = await self._fetch(dirty, cursor)
        if found is None:
            self._outcome.must_list = True
            return
        locals, seen = found
        joined = self._join(locals, seen, cursor.at)
        head, versions = await self._send(joined, seen, cursor)
        await self._apply(locals, joined, head, {**seen.versions, **versions}, cursor)
        await self._device.purge_deleted(joined)

    # -- stamping ----------------------------------------------------------------------------------

    async def stamp(self) -> dict[str, Local]:
        """The keys that were changed here, their shadows being what is going to be sent."""
        dirty = await self._dirty()
        groups: dict[str, list[Local]] = {}
        for local in dirty.values():
            groups.setdefault(local.mark or "", []).append(local)
        changes: dict[str, bytes | None] = {}
        expect: dict[str, str | None] = {}
        intents: dict[str, Shadow] = {}
        for mark, group in groups.items():
            known = max(latest(local.shadow.state) for local in group)
            stamp = mark or self._device.clock.tick()
            if stamp <= known:  # the wall clock was set back since, or another process's is behind
                stamp = later_than(known, self._device.clock.who)
            for local in group:
                shadow = self._intent(local, stamp)
                if shadow != local.shadow:
                    intents[local.key] = shadow
                    changes[SHADOW + local.key] = sealed_shadow(local.key, shadow)
                    expect.update(local.versions)
        if changes:
            versions = await self._device.commit(changes, expect)
            for key, shadow in intents.items():
                name, local = SHADOW + key, dirty[key]
                local.shadow = shadow
                local.found[name] = Stored(changes[name] or b"", versions[name])
        return dirty

    async def _dirty(self) -> dict[str, Local]:
        keys, last = await self._marked_keys()
        locals: dict[str, Local] = {}
        for _ in range(_ATTEMPTS):
            locals = await self._device.locals(keys)
            # A commit that changed one of these keys before the fetch may have changed others, too.
            now, last = await self._marked_keys()
            more = [key for key in now if key not in locals]
            if not more or last is not None:
                break
            keys += more
        self._outcome.last = last
        marked = {key: local for key, local in locals.items() if local.mark is not None}
        for key, local in marked.items():
            if local.damage is not None:
                self._outcome.faults[key] = f"it cannot be read here: {local.damage}"
        return self._fitting({key: local for key, local in marked.items() if local.damage is None})

    def _fitting(self, locals: dict[str, Local]) -> dict[str, Local]:
        """As many as go out in one commit; the last one is noted, if there are more."""
        size = 0
        fitting: dict[str, Local] = {}
        for key, local in sorted(locals.items()):
            size += 0 if local.record is None else len(local.record.value)
            if size > _BYTES and fitting:
                self._outcome.last = next(reversed(fitting))
                break
            fitting[key] = local
        return fitting

    async def _marked_keys(self) -> tuple[list[str], str | None]:
        """The next keys that were changed here; and the last of them, if there are more."""
        after = DIRTY + self._after if self._after else None
        names = self._device.store.adapter.keys(DIRTY, after=after, limit=TOGETHER + 1)
        keys = [name[len(DIRTY) :] async for name in names]
        return keys[:TOGETHER], keys[TOGETHER - 1] if len(keys) > TOGETHER else None

    def _intent(self, local: Local, stamp: str) -> Shadow:
        shadow, record = local.shadow, local.record
        state = self._device.renewed(local.key, shadow.state)
        schema = INTERNAL_SCHEMA if state is None else state.schema
        if record is not None:
            schema = max(record.schema, schema if state is not None else record.schema, key=order)
        now = None if record is None else fields_of(record)
        made = stamped(state, now, stamp, schema)
        if made == shadow.state:
            return shadow
        before = {} if state is None else state.fields
        changed = [name for name, f in (made.fields.items() if made else ()) if f != before.get(name)]
        base = {**{name: before.get(name) for name in changed}, **shadow.base}
        return Shadow(shadow.remote, made, base, (*shadow.intended[-_INTENDED:], stamp))

    # -- meeting -----------------------------------------------------------------------------------

    async def _fetch(
        self, dirty: Mapping[str, Local], cursor: Cursor
    ) -> tuple[dict[str, Local], Seen] | None:
        """All keys to be joined, as they are here and there. None: the log does not tell which they are."""
        device = self._device
        locals = dict(dirty)
        reached = cursor.head
        for _ in range(_ATTEMPTS):
            seen = await self._remote.fetch(list(locals))
            if seen.head == reached:
                return locals, seen
            sent = await self._remote.since(cursor.head, seen.head)
            if sent is None:
                return None
            reached = seen.head
            news = [key for key in sent if key not in locals and device.wants(key)]
            if not news:
                return locals, seen
            found = await device.locals(news)
            await self._mark_untracked(found.values())
            locals.update((key, local) for key, local in found.items() if local.damage is None)
        raise _AgainError

    async def _mark_untracked(self, locals: Collection[Local]) -> None:
        """A key that was changed since, or without a mark, must be stamped before it is joined."""
        if any(local.mark is not None for local in locals):
            raise _AgainError
        changes: dict[str, bytes | None] = {}
        expect: dict[str, str | None] = {}
        for local in locals:
            if is_untracked(local):
                changes[DIRTY + local.key] = await self._device.mark_of(local)
                expect.update(local.versions)
        if changes:
            await self._device.commit(changes, expect)
            raise _AgainError

    def _join(self, locals: dict[str, Local], seen: Seen, at: float) -> dict[str, State | None]:
        device, outcome = self._device, self._outcome
        joined: dict[str, State | None] = {}
        outcome.faults.update(seen.faults)
        for key, local in locals.items():
            theirs = seen.states.get(key)
            fault = seen.faults.get(key) or device.fault_of(key, theirs)
            if fault is not None:
                outcome.faults[key] = fault
                continue
            theirs = device.renewed(key, theirs)
            state = device.joined(local, theirs, at)
            pairs = self._remote.clashes(local, theirs, seen)
            if pairs and state is not None:
                try:
                    state, found = resolved(key, state, pairs, device.resolver(key), device.clock)
                except Exception as error:  # the application's own
                    # Without what it says, which may be a value.
                    outcome.faults[key] = f"its resolver raised {type(error).__name__}"
                    continue
                outcome.conflicts += found
            if state != theirs and state is not None:
                refused = self._remote.refusal(state)
                if refused is not None:
                    outcome.faults[key] = refused
                    continue
            joined[key] = state
        return joined

    async def _send(
        self, joined: dict[str, State | None], seen: Seen, cursor: Cursor
    ) -> tuple[Head, Mapping[str, str]]:
        device, faults = self._device, self._outcome.faults
        news = {
            key: state
            for key, state in joined.items()
            if state is not None and state != device.renewed(key, seen.states.get(key))
        }
        if self._outcome.conflicts:
            # Before what they lost to is sent: afterwards nobody could tell that there was a conflict.
            await device.commit(dict(map(sealed_conflict, self._outcome.conflicts)), {})
        try:
            head, versions = await self._remote.push(news, seen, device.now(), faults)
        except StorageFullError as error:
            if not self._remote.adapter.traits.replicated:
                raise  # parts of what was sent together must not be taken over
            faults.update(dict.fromkeys(news, error.message))
            for key in news:
                del joined[key]
            return cursor.head, {}  # so all is looked at again
        self._outcome.sent = len(news)
        return head, versions

    # -- applying ----------------------------------------------------------------------------------

    async def _apply(
        self,
        locals: Mapping[str, Local],
        joined: Mapping[str, State | None],
        head: Head,
        versions: Mapping[str, str],
        cursor: Cursor,
    ) -> None:
        device = self._device
        changes: dict[str, bytes | None] = {}
        expect = await device.learn_subjects(joined.values())
        for key, state in joined.items():
            local = locals[key]
            made = device.applied(local, state, versions.get(key))
            if made:
                changes.update(made)
                expect.update(local.versions)
                self._outcome.received += key in made
        moved = cursor.moved(head, device.store.clock())
        if moved is not None:
            changes.update(moved[0])
            expect.update(moved[1])
        if changes:
            await device.commit(changes, expect)
