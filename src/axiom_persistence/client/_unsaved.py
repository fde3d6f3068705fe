"""What clients hold that is not stored: saved or handed over before they, their store or the process end."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from contextlib import nullcontext
from typing import Any, Final

from ..errors import ClientsFailedError, ConfigurationError, PersistenceError
from ..store.store import Store
from ._commit import save_together
from ._fields import Field
from ._lifecycle import ClientPhase
from ._restore import restore
from ._saver import roster_of, rosters
from ._state import CLOSED, State

__all__ = [
    "Failures",
    "finish",
    "holders",
    "leave_again",
    "note_unsaved",
    "notice",
    "replace_live",
    "restore_pending",
    "save_before_close",
    "tell",
    "watch_close",
]

_log = logging.getLogger("axiom_persistence")

_TOO_LATE: Final = ConfigurationError("it was assigned while its store was closing")

Failures = dict[State, list[Exception]]
"""Why something of each client is not stored."""


def watch_close(stores: Iterable[Store]) -> None:
    """Have ``save_before_close`` called before one of ``stores`` closes."""
    for store in stores:
        if save_before_close not in store.closing:
            store.closing.append(save_before_close)


def holders() -> list[State]:
    """The clients of this process that are live, and those that were built and not restored yet."""
    found: dict[State, None] = {}
    for roster in list(rosters.values()):
        built = [reference() for reference in list(roster.built.values())]
        for state in (*roster.live.copy().values(), *roster.pending.copy(), *built):
            if state is not None and state.phase is not ClientPhase.CLOSED:
                found[state] = None
    return list(found)


def notice(states: Iterable[State], failures: Failures) -> None:
    """Find what changed in place. A hook of the application that raises keeps nothing from being saved."""
    for state in states:
        try:
            state.notice_mutations()
        except Exception as error:
            failures.setdefault(state, []).append(error)


async def save_before_close(store: Store) -> None:
    """Save all that clients hold for ``store``, in one commit, while it can still be done.

    Those that were assigned to and never restored are restored for it, and are then as before. Raises
    ``ClientsFailedError``, which names client and fields, for what could not be saved and was not told yet.
    """
    states = [state for state in holders() if store in (state.plain.store, state.secret.store)]
    failures: Failures = {}
    notice(states, failures)
    restored: list[State] = []
    try:
        await restore_pending(states, failures, restored)
        for state, errors in (await save_together(state for state in states if state.is_live)).items():
            failures.setdefault(state, []).extend(errors)
    finally:
        leave_again(restored)
    error = note_unsaved(states, failures)
    for state in states:
        state.store_closed = True
        roster = roster_of(state.plain.store)
        roster.rest(state)
        if not state.dirty:
            roster.held.discard(state)  # there is nothing to lose: if nobody else holds it, it was leaked
    if error is not None:
        raise error from next(iter(error.failures.values()))


async def replace_live(state: State) -> None:
    """End the client that is live where ``state`` is to be, with nothing lost.

    The same cell was run again, or the module of the class was loaded again, and nobody closed the client
    that was there. What cannot be stored is pending in ``state`` from here on.
    """
    old = roster_of(state.plain.store).live.get(state.plain.prefix)
    if old is None or old is state:
        return
    await save_together([old])  # whatever keeps it from being stored is met again by the new client's save
    saver = old.saver
    with old.lock:
        old.notice_mutations()
        _hand_over(old, state)
        finish(old, "a newer client of the same name took its place")
    _log.warning(
        "%s: a newer client takes the place of one that was not closed", old.plain.prefix.rstrip("/")
    )
    if saver is not None:
        await saver.quiet()


def _hand_over(old: State, new: State) -> None:
    """Make pending in ``new`` what ``old`` could not store, unless something else was assigned there.

    Raises, before anything changes, where a field is not there any more or does not take the value.
    """
    there = {(new.place(field), field.segment): field for field in new.fields.values() if field.persisted}
    taken: list[tuple[Field, Any]] = []
    for name in old.dirty:
        before, value = old.fields[name], getattr(old.client, name)
        field = there.get((old.place(before), before.segment))
        if field is None:
            raise ConfigurationError(
                f"the client that is live here holds a value of {name!r} that is not stored, and {new.name} "
                "has no such field",
                key=old.key(before),
                hint="close that one first, or close(discard=True) it",
            )
        new.seal(field, value)
        field.check(value, f"{new.name}.{field.name}")
        if field.name not in new.dirty:
            taken.append((field, value))
    with new.lock:
        if taken and new.phase is ClientPhase.CLOSED:
            new.phase = ClientPhase.CREATED
        for field, value in taken:
            new.cells[field.name].stamp += 1
            new.put(field, value)
            new.dirty[field.name] = None
    if taken:
        roster_of(new.plain.store).hold(new)


def finish(state: State, reason: str = CLOSED) -> None:
    """Make it a closed client that holds nothing."""
    with state.lock:
        state.phase, state.closed_reason = ClientPhase.CLOSED, reason
        state.dirty.clear()
    roster = roster_of(state.plain.store)
    roster.leave(state)
    roster.pending.discard(state)
    state.watchers.end()


async def restore_pending(
    states: Iterable[State], failures: Failures, restored: list[State], *, patient: bool = True
) -> None:
    """Restore those of ``states`` that were not: what is stored and cannot be read is never overwritten.

    Not ``patient``: without waiting for a restore under way, whose event loop may never run again.
    """
    for state in states:
        if state.is_live or not state.dirty:
            continue
        async with state.plain.store.turn("client " + state.plain.prefix) if patient else nullcontext():
            if not state.is_live:
                await _restore(state, failures, restored)


async def _restore(state: State, failures: Failures, restored: list[State]) -> None:
    roster = roster_of(state.plain.store)
    try:
        roster.claim(state)
        await restore(state, save=False)
    except Exception as error:  # of the store, or of a hook of the application
        failures.setdefault(state, []).append(error)
        roster.leave(state)
    except BaseException:
        roster.leave(state)
        raise
    else:
        restored.append(state)


def leave_again(restored: Iterable[State]) -> None:
    """Make clients that were restored for a save what they were: built, and not entered."""
    for state in restored:
        with state.lock:
            state.phase = ClientPhase.CREATED
        roster = roster_of(state.plain.store)
        roster.leave(state)
        if not state.dirty:
            roster.pending.discard(state)


def note_unsaved(states: Iterable[State], failures: Failures) -> ClientsFailedError | None:
    """The error that tells what of ``states`` is not stored, by client and field; None if all was told."""
    told: dict[str, Exception] = {}
    for state in states:
        errors = failures.get(state, [])
        by_key = {error.key: error for error in errors if isinstance(error, PersistenceError)}
        with state.lock:
            unreported = state.unreported()
            state.note_reported()
        reasons: dict[Exception, list[str]] = {}
        for name in unreported:
            error = by_key.get(state.key(state.fields[name])) or next(iter(errors), _TOO_LATE)
            reasons.setdefault(error, []).append(name)
        if errors and not state.dirty:  # what was stored could not be made durable, or a hook raised
            reasons[errors[0]] = []
        for error, names in reasons.items():
            told[_named(state, names)] = error
    return ClientsFailedError(told) if told else None


def tell(state: State, error: PersistenceError) -> None:
    """Have ``error``, which ends a close, name what it keeps from being stored; no other end repeats it."""
    note = f"not stored, and still pending: {_named(state, state.dirty)}"
    if state.dirty and note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    state.note_reported()


def _named(state: State, names: Collection[str]) -> str:
    client = state.plain.prefix.rstrip("/")
    return ", ".join(f"{client}.{name}" for name in names) or client
