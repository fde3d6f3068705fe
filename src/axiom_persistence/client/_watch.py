"""Noticing what others store in the records of live clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Hashable
from itertools import islice
from typing import Final

from ..errors import AuthenticationError, CapabilityUnavailableError, PersistenceError
from ..layers.observed import Origin
from ..runtime.upkeep import UNATTENDED
from ..store.store import Store
from ._place import change_mark, is_remote, versions_of
from ._restore import refresh
from ._state import State

__all__ = ["Watch"]

_log = logging.getLogger("axiom_persistence")

_POLL_S: Final = 0.025
"""How often the change mark is looked at: a fraction of a microsecond each time."""
_POLL_WITHOUT_MARK_S: Final = 1.0
_SHARE: Final = 50
"""Comparing versions takes at most one part in this many of the time."""
_CLIENTS_AT_ONCE: Final = 100


class Watch:
    """Compares the versions of the live clients' records whenever the store's change mark has moved.

    No change stream of the store: that one would tell each of our own commits as well, in the middle of
    the assignment that made it. There is no task while the mark stays, only a timer.
    """

    def __init__(self, store: Store, states: Collection[State]) -> None:
        self._store = store
        self._states = states
        self._mark: Hashable | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch from here on, on ``loop``. Fine when it watches already."""
        if asyncio._get_running_loop() is not loop:
            loop.call_soon_threadsafe(self.start, loop)
        elif (
            self._states
            and self._handle is None
            and self._task is None
            and self._store.adapter.traits.changed_elsewhere
        ):
            # The mark of now may be of a commit the first restore has not seen: the first look compares.
            self._mark = None
            self._handle = loop.call_later(_POLL_S, self._look, loop)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        task, self._task = self._task, None
        if task is not None and not task.get_loop().is_closed():
            task.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = None
        try:
            mark = change_mark(self._store)
        except CapabilityUnavailableError:
            return  # the store is closed; the next use of a client starts the watch again
        except PersistenceError as error:
            _log.warning("cannot look for changes in %s: %s", self._store.adapter, error)
            self._handle = loop.call_later(_POLL_WITHOUT_MARK_S, self._look, loop)
            return
        if mark is not None and mark == self._mark:
            self._handle = loop.call_later(_POLL_S, self._look, loop)
            return
        # Before the first read: a commit during the comparison moves the mark, and all is compared again.
        self._mark = mark
        self._task = loop.create_task(self._compare(loop))

    async def _compare(self, loop: asyncio.AbstractEventLoop) -> None:
        UNATTENDED.set("client")  # in this task's own context
        spent, rest = 0.0, _POLL_S if self._mark is not None else _POLL_WITHOUT_MARK_S
        try:
            states = iter(list(self._states))
            while chunk := list(islice(states, _CLIENTS_AT_ONCE)):
                began = loop.time()
                await self._compare_some(chunk)
                spent += loop.time() - began
                await asyncio.sleep(0)
        except CapabilityUnavailableError:
            self._task = None
            return
        except AuthenticationError:
            self._mark, rest = None, _POLL_WITHOUT_MARK_S  # until somebody opens the gate
        except PersistenceError as error:
            _log.warning("cannot read what others changed in %s: %s", self._store.adapter, error)
            self._mark, rest = None, _POLL_WITHOUT_MARK_S
        except Exception as error:
            # A hook of the application's. It is told as of any callback; the watch must outlive it, or every
            # later change of others would be missed, and overwritten.
            loop.call_exception_handler(
                {"message": "a client's hook failed on a change from elsewhere", "exception": error}
            )
            self._mark, rest = None, _POLL_WITHOUT_MARK_S
        self._task = None
        self._handle = loop.call_later(max(rest, _SHARE * spent), self._look, loop)

    async def _compare_some(self, states: Collection[State]) -> None:
        keys: dict[str, tuple[State, str]] = {}
        for state in states:
            if state.is_live:
                for name, field in state.fields.items():
                    if field.persisted and state.place(field).store is self._store:
                        keys[state.key(field)] = state, name
        found = await versions_of(self._store, keys)
        changed: dict[tuple[State, Origin], list[str]] = {}
        for key, (state, name) in keys.items():
            version = found.get(key)
            if version != state.cells[name].version:
                origin = Origin.REMOTE if is_remote(self._store, key, version) else Origin.PROCESS
                changed.setdefault((state, origin), []).append(name)
        for (state, origin), names in changed.items():
            await refresh(state, names, origin)
