"""From the store into the fields: the restore at the start, and what others change later."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, Final

from ..errors import (
    AccessDeniedError,
    AuthenticationError,
    ConfigurationError,
    CorruptedDataError,
    MigrationError,
    PersistenceError,
    SchemaTooNewError,
    StorageError,
    TypeMismatchError,
    ValidationError,
)
from ..keys import MISSING, Missing
from ..layers.observed import Origin
from ..records.corruption import CorruptionReport
from ..store._kept import kept_of
from ..store._reading import Seen
from ..store.store import Store
from ._cell import fingerprint
from ._changed import converted, take_over
from ._commit import save_together
from ._fields import Field
from ._lifecycle import ClientPhase, RestoreReport
from ._place import Place, evidence_of
from ._state import State

__all__ = ["accept", "refresh", "restore"]

_log = logging.getLogger("axiom_persistence")

_OF_ONE_RECORD: Final = (AccessDeniedError, CorruptedDataError, MigrationError, SchemaTooNewError)
"""What a read of several keys may raise because of one of them."""

Found = Mapping[str, Seen | PersistenceError]
Version = str | Missing | None
Latest = Mapping[Place, CorruptionReport | None]


async def restore(state: State, *, save: bool = True) -> RestoreReport:
    """Take over what is stored, where nothing was assigned meanwhile; save what was, if ``save`` says so.

    Raises what kept the store as a whole from being read; the client is then as it was before.
    """
    before, known = state.phase, set(state.unreadable)
    if not state.is_live:
        state.phase = ClientPhase.RESTORING
    try:
        await _prepare(state)
        latest = _latest_reports(state)
        found = await _read(state, [f for f in state.fields.values() if f.persisted])
        await take_over(state, found)
        report = _apply_all(state, found, latest)
    except BaseException:
        state.phase = before
        raise
    finally:
        _tell_unreadable(state, known)
    if save and state.dirty:
        for failed, errors in (await save_together([state], background=True)).items():
            if any(error not in state.unreadable.values() for error in errors):
                failed.failed(errors[0])
    return report


async def _prepare(state: State) -> None:
    for store in {state.plain.store, state.secret.store}:
        try:
            await store.prepare()
        except StorageError:
            # A place that cannot be written can still be read; the first save says what is wrong with it.
            if state.dirty:
                raise


async def _read(state: State, fields: Collection[Field]) -> dict[str, Seen | PersistenceError]:
    """The record of each field, or why it cannot be read, by the fields' names."""
    found: dict[str, Seen | PersistenceError] = {}
    by_store: dict[Store, dict[str, str]] = {}
    for field in fields:
        by_store.setdefault(state.place(field).store, {})[state.key(field)] = field.name
    for store, names in by_store.items():
        try:
            seen = await store.read_many(list(names))
            found.update({names[key]: one for key, one in seen.items()})
        except AuthenticationError as error:  # the person was asked for all of them
            found.update(dict.fromkeys(names.values(), error))
        except _OF_ONE_RECORD:
            for key, name in names.items():
                try:
                    found[name] = await store.read(key)
                except _OF_ONE_RECORD as error:
                    found[name] = error
    return found


def _decoded(state: State, field: Field, seen: Seen, migrated: list[str] | None = None) -> Any:
    """The value in a record. Raises what makes it unreadable for this program."""
    assert seen.record is not None
    store, key, where = state.place(field).store, state.key(field), f"{state.name}.{field.name}"
    kept = None
    try:
        try:
            value = store.decode(key, seen.record, field.kind)
            kept = kept_of(seen.record, field.kind, value, store.schema_of(key))
        except TypeMismatchError:
            if field.migrate is None:
                raise
            value = converted(store, key, seen.record, field, where)
            if migrated is not None:
                migrated.append(field.name)
        field.check(value, where)
    except (TypeMismatchError, ValidationError) as error:
        error.hint = (error.hint and error.hint + "; ") + (
            f"where the type of the field changed, `{field.name}: ... = client_state(..., migrate=...)` with "
            f"a function of the stored value; `client.accept({field.name!r})` lets the present value "
            "replace it; another key= begins anew"
        )
        raise
    state.cells[field.name].kept = kept
    return value


def _apply_all(state: State, found: Found, latest: Latest) -> RestoreReport:
    outcomes: dict[str, list[str]] = {"restored": [], "defaulted": [], "kept": []}
    migrated: list[str] = []
    old: dict[str, Any] = {}
    with state.lock:
        # A list that was appended to before the restore counts as assigned.
        state.notice_mutations()
        state.unreadable.clear()
        state.unsynced += 1
        for name, one in found.items():
            field = state.fields[name]
            if isinstance(one, PersistenceError):
                state.unreadable[name] = one
                continue
            ours = state.place(field).store.schema_of(state.key(field))
            if one.record is not None and one.record.schema != ours:
                migrated.append(name)
            was = getattr(state.client, name)
            try:
                outcome = _take(state, field, one, migrated)
            except (TypeMismatchError, ValidationError, ConfigurationError) as error:
                state.unreadable[name] = error
                state.cells[name].version = one.version
                continue
            outcomes[outcome].append(name)
            if outcome == "restored":
                old[name] = was
        state.report = report = RestoreReport(
            restored=tuple(outcomes["restored"]),
            defaulted=tuple(outcomes["defaulted"]),
            kept=tuple(outcomes["kept"]),
            migrated=tuple(name for name in outcomes["restored"] if name in migrated),
            unreadable=dict(state.unreadable),
            damaged=_damaged(latest),
        )
        state.phase = ClientPhase.DEGRADED if state.unreadable else ClientPhase.READY
        if old:
            state.announce(old, Origin.HERE)
    return report


def _take(state: State, field: Field, seen: Seen, migrated: list[str]) -> str:
    """Give a field what is stored, unless it was assigned before."""
    cell = state.cells[field.name]
    if seen.record is None:
        cell.version, cell.kept = seen.version, None
        if field.name in state.dirty:
            return "kept"
        if state.report is not None and cell.saved is not None:  # it was deleted since the restore before
            state.put_default(field)
        return "defaulted"
    value = _decoded(state, field, seen, migrated)
    cell.version = seen.version
    if field.name in state.dirty:
        return "kept"
    state.put(field, value)
    # The record may be spelt otherwise than we would: what counts is whether our own bytes change.
    cell.saved = fingerprint(state.seal(field, value)) if field.name in state.mutable else None
    return "restored"


def _latest_reports(state: State) -> Latest:
    """The latest report of damage in each place of the client, as it is now."""
    places = {place: place.store.recovery.reports for place in (state.plain, state.secret)}
    return {place: reports[-1] if reports else None for place, reports in places.items()}


def _damaged(latest: Latest) -> tuple[CorruptionReport, ...]:
    """The reports on this client's records since ``latest``. Not by their number: only so many are kept."""
    found: list[CorruptionReport] = []
    for place, last in latest.items():
        new: list[CorruptionReport] = []
        for report in reversed([*place.store.recovery.reports]):
            if report is last:
                break
            if report.key.startswith(place.prefix):
                new.append(report)
        found += reversed(new)
    return tuple(found)


def _tell_unreadable(state: State, known: Collection[str]) -> None:
    """Say of each field once that its stored value cannot be read: those in ``known`` were told before."""
    for name in [name for name in state.unreadable if name not in known]:
        error = state.unreadable[name]
        client = state.plain.prefix.rstrip("/")
        _log.warning("%s.%s cannot be read and is left as it is stored: %s", client, name, error)
        if state.on_error is not None:
            state.on_error(state.client, error)


async def refresh(state: State, names: Collection[str], origin: Origin) -> None:
    """Look at records that somebody else changed: a clean field takes them, a dirty one keeps its value."""
    versions = {name: state.cells[name].version for name in names}
    found = await _read(state, [state.fields[name] for name in names])
    known = set(state.unreadable)
    try:
        _take_changes(state, found, versions, origin)
    finally:
        _tell_unreadable(state, known)


def _take_changes(state: State, found: Found, versions: Mapping[str, Version], origin: Origin) -> None:
    old: dict[str, Any] = {}
    overwritten: dict[str, Any] = {}
    with state.lock:
        if not state.is_live:
            return
        state.notice_mutations(found)
        state.unsynced += 1
        for name, one in found.items():
            field, cell = state.fields[name], state.cells[name]
            if cell.version != versions[name]:
                continue  # somebody here has stored it meanwhile: what was read may be older than that
            if isinstance(one, PersistenceError):
                state.unreadable[name], cell.version = one, MISSING
                continue
            if one.version == cell.version or cell.under_way or state.is_held(name):
                continue  # our own, or about to be decided by a commit with ``expect``
            was = getattr(state.client, name)
            cell.kept = None
            try:
                value = field.default() if one.record is None else _decoded(state, field, one)
            except (TypeMismatchError, ValidationError, ConfigurationError) as error:
                state.unreadable[name], cell.version = error, one.version
                continue
            state.unreadable.pop(name, None)
            cell.version = one.version
            if name in state.dirty:
                cell.saved = None
                overwritten[name] = value
                continue
            cell.stamp += 1
            state.put(field, value)
            cell.saved = fingerprint(state.seal(field, value)) if name in state.mutable else None
            old[name] = was
        state.phase = ClientPhase.DEGRADED if state.unreadable else ClientPhase.READY
        if old or overwritten:
            state.announce(old, origin, overwritten)


async def accept(state: State, name: str) -> None:
    """Let the field's present value replace a stored one that cannot be read; its bytes go to quarantine."""
    field = state.field(name)
    refused = state.unreadable.get(name)
    if refused is None:
        return
    store, key = state.place(field).store, state.key(field)
    evidence, version = await evidence_of(store, key, str(refused))
    with state.lock:
        cell = state.cells[name]
        stamp = cell.stamp
        data = state.seal(field, getattr(state.client, name))
    store.forget_refusal(key)
    versions = await store.commit({**evidence, key: data}, expect={key: version})
    with state.lock:
        state.unreadable.pop(name, None)
        cell.version = versions[key]
        if cell.stamp == stamp:
            cell.saved = fingerprint(data)
            state.dirty.pop(name, None)
        else:
            state.later(name, 0.0)
        if not state.unreadable and state.phase is ClientPhase.DEGRADED:
            state.phase = ClientPhase.READY
