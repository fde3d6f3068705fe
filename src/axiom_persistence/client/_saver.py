"""Saving in the background: one timer and at most one task for all clients of a store on an event loop."""

from __future__ import annotations

import asyncio
import math
from typing import Final
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from ..errors import ConfigurationError
from ..runtime.upkeep import UNATTENDED
from ..store.store import Store
from ._auto_save import Clock, Timer
from ._commit import save_together
from ._state import State
from ._watch import Watch

__all__ = ["Roster", "roster_of", "rosters"]

_SLICE: Final = 100
"""Clients looked at before other tasks get a turn."""
_SWEEP_SHARE: Final = 100
"""Looking for changes inside mutable values takes at most one part in this many of the time."""
_RETRY_MAX_S: Final = 30.0


class _Saver:
    """The timer of one store on one event loop. Costs nothing while nothing is due and nothing mutable."""

    def __init__(self, roster: Roster, loop: asyncio.AbstractEventLoop, clock: Clock | None) -> None:
        self.roster = roster
        self.loop = loop
        self.clock: Clock = loop if clock is None else clock
        self.states: set[State] = set()
        self.due: dict[State, None] = {}
        self.sweeping: set[State] = set()
        self.sweep_at = math.inf
        self._watches: dict[Store, Watch] = {}
        self._handle: Timer | None = None
        self._fires_at = math.inf
        self._task: asyncio.Task[None] | None = None

    def add(self, state: State) -> None:
        self.states.add(state)
        state.saver, state.home = self, self.loop
        for store in (state.plain.store, state.secret.store):
            if store not in self._watches:
                self._watches[store] = Watch(store, self.states)
            self._watches[store].start(self.loop)
        if state.mutable:
            self.watch_mutations(state)
        if state.dirty and state.is_live:  # the end of a restore saves what was assigned before
            self.changed(state, 0.0)

    def discard(self, state: State) -> None:
        self.states.discard(state)
        self.sweeping.discard(state)
        self.due.pop(state, None)
        state.saver = None
        if not self.sweeping:
            self.sweep_at = math.inf
        if not self.states:
            for watch in self._watches.values():
                watch.stop()
            if self._handle is not None:
                self._handle.cancel()
                self._handle, self._fires_at = None, math.inf

    def changed(self, state: State, delay: float) -> None:
        """Something of ``state`` is dirty: save it once it has been quiet for ``delay`` seconds."""
        if self._is_over(state):
            return
        now = self.clock.time()
        if state not in self.due:
            self.due[state] = None
            state.due_by = now + state.auto_save.max_delay
        state.due_at = now + delay
        if state.failures:
            pause = min(_RETRY_MAX_S, 0.5 * 2.0 ** min(state.failures - 1, 8))
            state.not_before = now + max(pause, delay)
        else:
            state.not_before = now
        self._wake(_ripe_at(state))

    def watch_mutations(self, state: State) -> None:
        """Look at the mutable values of ``state`` from time to time."""
        if math.isinf(state.auto_save.interval) or self._is_over(state):
            return
        self.sweeping.add(state)
        self.sweep_at = min(self.sweep_at, self.clock.time() + state.auto_save.interval)
        self._wake(self.sweep_at)

    def _is_over(self, state: State) -> bool:
        """Whether the loop is gone. The running one has taken ``state`` over then, if there is one."""
        if self.loop.is_closed():
            self.roster.follow(state)
            return True  # without a loop, the next explicit save or the end of the process does it
        return False

    def _wake(self, when: float) -> None:
        if when >= self._fires_at or math.isinf(when) or self._task is not None:
            return
        if asyncio._get_running_loop() is self.loop:
            self._arm(when)
        else:
            try:
                self.loop.call_soon_threadsafe(self._rearm)
            except RuntimeError:
                return  # closed this moment: as if there were no loop

    def _arm(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._fires_at = when
        self._handle = self.clock.call_later(max(0.0, when - self.clock.time()), self._fire)

    def _rearm(self) -> None:
        if self._task is None:
            when = min((_ripe_at(state) for state in list(self.due)), default=math.inf)
            if self.sweeping:
                when = min(when, self.sweep_at)
            if when < self._fires_at:
                self._arm(when)

    def _fire(self) -> None:
        self._handle, self._fires_at = None, math.inf
        now = self.clock.time()
        sweeps = bool(self.sweeping) and self.sweep_at <= now
        if sweeps or any(_ripe_at(state) <= now for state in list(self.due)):
            self._task = self.loop.create_task(self._work(sweeps))
            self._task.add_done_callback(self._done)
        else:
            self._rearm()  # there were later assignments: they have their interval, too

    def _done(self, _: asyncio.Task[None]) -> None:
        self._task = None
        if not self.loop.is_closed():
            self._rearm()

    async def _work(self, sweeps: bool) -> None:
        UNATTENDED.set("client")  # in this task's own context
        if sweeps:
            await self._sweep()
        now = self.clock.time()
        if not any(_ripe_at(state) <= now for state in list(self.due)):
            return
        # Whatever else is dirty goes along, but for what has just failed.
        states = [state for state in list(self.due) if state.not_before <= now]
        for state in states:
            self.due.pop(state, None)
        failures = await save_together(states, background=True)
        for state, errors in failures.items():
            if any(error not in state.unreadable.values() for error in errors):
                state.failed(errors[0])

    async def _sweep(self) -> None:
        began = self.clock.time()
        spent = 0.0
        for count, state in enumerate(list(self.sweeping), 1):
            if not state.mutable:
                self.sweeping.discard(state)
            elif state.notice_mutations():
                self.changed(state, 0.0)
            if count % _SLICE == 0:
                spent += self.clock.time() - began
                await asyncio.sleep(0)
                began = self.clock.time()
        spent += self.clock.time() - began
        interval = min((state.auto_save.interval for state in self.sweeping), default=math.inf)
        self.sweep_at = self.clock.time() + max(interval, _SWEEP_SHARE * spent)

    async def quiet(self) -> None:
        """Wait until no save of this saver is under way."""
        task = self._task
        if (
            task is not None
            and asyncio.get_running_loop() is self.loop
            and task is not asyncio.current_task()
        ):
            await asyncio.wait([task])


def _ripe_at(state: State) -> float:
    return max(min(state.due_at, state.due_by), state.not_before)


class Roster:
    """The clients of one store in this process: which class has which name, and which are live."""

    def __init__(self) -> None:
        self.classes: dict[str, tuple[str, str]] = {}
        self.live: WeakValueDictionary[str, State] = WeakValueDictionary()
        self.held: set[State] = set()  # live over an open store: what they hold must not be lost with them
        self.built: dict[int, ref[State]] = {}
        self.pending: set[State] = set()  # assigned to and not restored yet: held, so that it is not lost
        self._savers: dict[tuple[asyncio.AbstractEventLoop, int], _Saver] = {}

    def name(self, name: str, cls: type) -> None:
        """Note that ``name`` is ``cls`` in this store."""
        identity = (cls.__module__, cls.__qualname__)
        known = self.classes.setdefault(name, identity)
        if known != identity:
            raise ConfigurationError(
                f"two client classes are called {name!r} in one store: {'.'.join(known)} and "
                f"{'.'.join(identity)} would read and overwrite each other's state",
                hint=f"pin another name: class {cls.__name__}(Client, name='...')",
            )

    def add(self, state: State) -> None:
        """Know ``state`` from now on, without keeping it."""
        number = id(state)
        self.built[number] = ref(state, lambda _: self.built.pop(number, None))

    def claim(self, state: State) -> None:
        """Make ``state`` the one live client of its path."""
        other = self.live.setdefault(state.plain.prefix, state)
        if other is not state:
            raise ConfigurationError(
                f"a client of {state.plain.prefix.rstrip('/')!r} is live in this process already",
                hint="use that one, close it first, or give this one another instance=",
            )
        self.held.add(state)

    def enter(self, state: State, clock: Clock | None) -> None:
        """Claim the path, and save in the background from here on."""
        self.claim(state)
        if state.saver is None:
            self._saver(asyncio.get_running_loop(), clock).add(state)
        else:
            self.follow(state)

    def follow(self, state: State) -> None:
        """Save and watch a live ``state`` on the loop it was used on before; if that is over, on this one."""
        with state.lock:
            if state.is_live:
                self.held.add(state)
            home = state.home
            loop = home if home is not None and home.is_running() else asyncio._get_running_loop()
            if loop is None or not state.is_live or (state.saver is not None and loop is home):
                return
            self.rest(state)
            self._saver(loop, state.auto_save.clock).add(state)

    def rest(self, state: State) -> None:
        """Save and watch no more, until the next use of ``state``."""
        for place, saver in list(self._savers.items()):
            saver.discard(state)
            if not saver.states:
                self._savers.pop(place, None)

    def leave(self, state: State) -> None:
        if self.live.get(state.plain.prefix) is state:
            del self.live[state.plain.prefix]
        self.held.discard(state)
        self.rest(state)

    def hold(self, state: State) -> None:
        """Keep a client that was assigned to before its restore until that is stored."""
        self.pending.add(state)

    def _saver(self, loop: asyncio.AbstractEventLoop, clock: Clock | None) -> _Saver:
        place = (loop, id(clock))
        saver = self._savers.get(place)
        if saver is None:
            saver = self._savers[place] = _Saver(self, loop, clock)
        return saver


rosters: WeakKeyDictionary[Store, Roster] = WeakKeyDictionary()
"""A live client is held here until it or its store is closed: what it has not stored must not be lost."""


def roster_of(store: Store) -> Roster:
    roster = rosters.get(store)
    if roster is None:
        roster = rosters[store] = Roster()
    return roster
