"""One commit for whatever is dirty, of any number of clients."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final

from ..errors import CapabilityUnavailableError, PersistenceError
from ..storage.adapter import Durability
from ..store.store import Store
from ._state import Entry, State, settle

__all__ = ["save_together"]

_SPLITS: Final = 16
"""Failures in one save after which the medium is at fault, and no longer some value."""


async def save_together(
    states: Iterable[State], *, names: Collection[str] | None = None, background: bool = False
) -> dict[State, list[PersistenceError]]:
    """Commit what is dirty in ``states``: one commit for each store. Returns why something stays dirty.

    In the background a commit need only outlive the process. Else all of it is as durable as the store's
    default says, and so is what is stored already, whoever did that and however little it promised.
    """
    failures: dict[State, list[PersistenceError]] = {}
    groups: dict[Store, list[Entry]] = {}
    relying: dict[Store, list[State]] = {}
    seen: dict[State, int] = {}
    for state in states:
        seen[state] = state.unsynced
        entries, errors = state.collect(names)
        if errors:
            failures[state] = errors
        for entry in entries:
            groups.setdefault(entry.store, []).append(entry)
        for store in () if background else state.stores(names):
            groups.setdefault(store, [])
            relying.setdefault(store, []).append(state)
    while groups:
        store, group = groups.popitem()
        try:
            for entry, error in await _commit(store, group, store.weakest if background else None):
                failures.setdefault(entry.state, []).append(error)
            if not group:
                with suppress(CapabilityUnavailableError):  # closed: that has made all of it durable
                    await store.commit({})
        except PersistenceError as error:  # of the commit without changes: a sync that failed
            for state in relying[store]:
                failures.setdefault(state, []).append(error)
        except BaseException:
            settle([entry for group in groups.values() for entry in group], None)
            raise
    for state, count in seen.items():
        if state not in failures and (background or names is None):
            with state.lock:
                state.unsynced += 1 if background else -count
    return failures


async def _commit(
    store: Store, entries: list[Entry], durability: Durability | None
) -> list[tuple[Entry, PersistenceError]]:
    """Commit ``entries``; where one of them makes that fail, the others all the same."""
    failed: list[tuple[Entry, PersistenceError]] = []
    todo = [entries] if entries else []
    splits = _SPLITS
    while todo:
        part = todo.pop()
        try:
            versions = await store.commit({e.key: e.data for e in part}, durability=durability)
        except PersistenceError as error:
            settle(part, None)
            splits -= 1
            if len(part) == 1 or splits <= 0:
                failed += [(entry, error) for entry in part]
                continue
            for entry in part:
                entry.cell.begin(entry)
            todo += [part[len(part) // 2 :], part[: len(part) // 2]]
        except BaseException:
            settle([entry for group in (part, *todo) for entry in group], None)
            raise
        else:
            settle(part, versions)
    return failed
