"""The lifecycle every capability of an application has: unknown, available, unavailable, restricted."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import suppress
from enum import StrEnum
from typing import Final, Self

from ..errors import CapabilityUnavailableError, PersistenceError
from ..runtime.faces import AsyncOnly, walk
from ..runtime.threads import Outcome
from ..runtime.turn import LOOK_S, Holder

__all__ = ["Capability", "CapabilityState"]

ACTIVATION_TIMEOUT: Final = 30.0
"""Seconds an activation may take, unless the capability says otherwise."""


class CapabilityState(StrEnum):
    """Whether a capability can be used now."""

    UNKNOWN = "unknown"  # not determined yet: never activated
    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"  # deactivated, or what it needs is missing
    RESTRICTED = "restricted"  # forbidden by policy or by the user


class _Observers:
    """Wakes every state stream, on whatever event loop it waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def wake(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
        for loop, event in waiting:
            with suppress(RuntimeError):  # that loop is closed, and its observer gone with it
                loop.call_soon_threadsafe(event.set)

    def add(self, event: asyncio.Event) -> tuple[asyncio.AbstractEventLoop, asyncio.Event]:
        entry = (asyncio.get_running_loop(), event)
        with self._lock:
            self._waiting.add(entry)
        return entry

    def remove(self, entry: tuple[asyncio.AbstractEventLoop, asyncio.Event]) -> None:
        with self._lock:
            self._waiting.discard(entry)


class _Change:
    """An activation or deactivation under way. Others may wait for it, on any event loop."""

    def __init__(self, target: CapabilityState) -> None:
        self.target = target
        self.holder = Holder()
        self._ended = Outcome()

    def end(self, error: BaseException | None = None) -> None:
        if error is None or isinstance(error, Exception):
            self._ended.set(error)
        else:  # a cancellation of that task is none of those who wait
            self._ended.set(CapabilityUnavailableError("the task that was activating it was cancelled"))

    async def outcome(self) -> None:
        """Wait for the end, and raise what it raised."""
        while not self._ended.is_known:
            if self.holder.has_left():
                self.end(asyncio.CancelledError())
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._ended.wait()
        self._ended.check()

    async def over(self) -> None:
        """Wait for the end, whatever it was."""
        with suppress(Exception):  # it is raised where the change was asked for
            await self.outcome()


class Capability(AsyncOnly, ABC):
    """Something an application can do once it is activated, and not after it is deactivated.

    Subclasses write ``_activate`` and ``_deactivate``. ``activate`` may be called by several tasks and
    threads at once: one does the work, all see its outcome; a deactivation begun meanwhile follows it, and
    an activation begun during a deactivation, too. A failed activation leaves the capability
    unavailable (restricted, after a ``PermissionError``) and can be tried again.
    """

    activation_timeout: float = ACTIVATION_TIMEOUT

    def __init__(self) -> None:
        self._state = CapabilityState.UNKNOWN
        self._observers = _Observers()
        self._switch = threading.Lock()
        self._changing: _Change | None = None
        self._in_doubt = False  # whether a deactivation was broken off

    @abstractmethod
    async def _activate(self) -> None:
        """Make ready. Raise to stay unavailable."""

    @abstractmethod
    async def _deactivate(self) -> None:
        """Let go of everything, after all that was promised is done."""

    @property
    def state(self) -> CapabilityState:
        """Whether it can be used now; ``state_stream`` tells of changes."""
        return self._state

    @property
    def is_available(self) -> bool:
        """Whether it is active."""
        return self._state is CapabilityState.AVAILABLE

    async def is_supported(self) -> bool:
        """Whether this machine has what the capability needs at all."""
        return True

    async def request_permission(self) -> None:
        """Ask for whatever permission is needed; ``AccessDeniedError`` when it is not granted."""

    async def activate(self) -> None:
        """Make the capability usable. Fine when it already is.

        Raises what activation raised, or ``CapabilityUnavailableError`` after ``activation_timeout`` seconds.
        """
        while True:
            with self._switch:
                running = self._under_way()
                if running is None:
                    if self._state is CapabilityState.AVAILABLE:
                        return
                    mine = self._changing = _Change(CapabilityState.AVAILABLE)
                    break
            if running.target is CapabilityState.AVAILABLE:
                await running.outcome()
                return
            await running.over()
        try:
            await self._activate_in_time()
        except BaseException as error:
            self._settle(_state_after(error))
            mine.end(error)
            raise
        self._settle(CapabilityState.AVAILABLE)
        mine.end()

    async def _activate_in_time(self) -> None:
        limit = asyncio.timeout(self.activation_timeout)
        try:
            async with limit:
                if self._in_doubt:
                    await self._deactivate()
                await self._activate()
        except TimeoutError as error:
            await self._deactivate()
            if not limit.expired():
                raise
            raise CapabilityUnavailableError(
                f"activation took longer than {self.activation_timeout:g} s",
                hint="raise activation_timeout, or find what holds the store",
            ) from error
        except BaseException:
            await self._deactivate()
            raise

    def _under_way(self) -> _Change | None:
        """What others wait for. Of a change that Ctrl-C broke off it is not known how far it came."""
        if self._changing is not None and self._changing.holder.has_left():
            self._changing, self._state, self._in_doubt = None, CapabilityState.UNAVAILABLE, True
        return self._changing

    def _settle(self, state: CapabilityState, *, in_doubt: bool = False) -> None:
        with self._switch:
            self._changing, self._in_doubt = None, in_doubt
        self._move(state)

    def _move(self, state: CapabilityState) -> None:
        with self._switch:
            if self._state is state:
                return
            self._state = state
        self._observers.wake()

    async def deactivate(self) -> None:
        """Stop using the capability. Fine when it is not active; it can be activated again."""
        while True:
            with self._switch:
                running = self._under_way()
                if running is None:
                    if self._state is not CapabilityState.AVAILABLE and not self._in_doubt:
                        return
                    mine = self._changing = _Change(CapabilityState.UNAVAILABLE)
                    break
            await running.over()
        unfinished = True
        try:
            await self._deactivate()
            unfinished = False
        except Exception:
            unfinished = False
            raise
        finally:
            self._settle(CapabilityState.UNAVAILABLE, in_doubt=unfinished)
            mine.end()

    async def aclose(self) -> None:
        """The same as ``deactivate``, under the name that ``contextlib.aclosing`` knows."""
        await self.deactivate()

    @walk
    async def state_stream(self) -> AsyncIterator[CapabilityState]:
        """The current state, then every later one. Any number of observers; a slow one sees the latest."""
        changed = asyncio.Event()
        entry = self._observers.add(changed)
        try:
            last: CapabilityState | None = None
            while True:
                changed.clear()
                state = self._state
                if state is not last:
                    last = state
                    yield state
                    continue
                await changed.wait()
        finally:
            self._observers.remove(entry)

    async def __aenter__(self) -> Self:
        await self.activate()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.deactivate()


def _state_after(error: BaseException) -> CapabilityState:
    denied = isinstance(error, PermissionError) and isinstance(error, PersistenceError)
    return CapabilityState.RESTRICTED if denied else CapabilityState.UNAVAILABLE
