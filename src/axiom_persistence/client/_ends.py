"""The ends of a process: a last save on the exiting thread, signals on request, and what a fork inherits."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any, Final, ParamSpec, TypeVar

from ..errors import ClientsFailedError, PersistenceError
from ..runtime.ending import CLIENTS, after_fork, at_exit
from ..store.store import Store
from ._commit import save_together
from ._lifecycle import ClientPhase
from ._saver import rosters
from ._state import Entry, State, settle
from ._unsaved import Failures, holders, leave_again, note_unsaved, notice, restore_pending

__all__ = ["save_at_exit", "save_on_signals"]

P = ParamSpec("P")
T = TypeVar("T")

_SIGNAL_WAIT_S: Final = 10.0
_AGAIN_S: Final = 0.005
_WAITING: Final = ("blocking", "cli", "testing")
"""Parts of the library that hold no lock of a store while they wait for other code."""
_PATIENCE: Final = 400
"""How often a signal that came at a bad moment is put off before it acts without a save."""


class _InThisThread(ThreadPoolExecutor):
    """No pool: at the end of the interpreter no thread can be started any more."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


def _run(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.new_event_loop()
    try:
        loop.set_default_executor(_InThisThread())
        return loop.run_until_complete(work)
    finally:
        loop.close()


def _save_all(states: list[State]) -> ClientsFailedError | None:
    """Save what is dirty, without an event loop of anybody else's. What could not be saved, once."""
    by_store: dict[Store, list[Entry]] = {}
    failures: Failures = {}
    notice(states, failures)
    waiting = {state for state in states if state.dirty and not state.is_live}
    for state in states:
        if state.is_live:
            entries, errors = state.collect()
            if errors:
                failures.setdefault(state, []).extend(errors)
            for entry in entries:
                by_store.setdefault(entry.store, []).append(entry)
    for store, entries in by_store.items():
        try:
            versions = store.commit_now({entry.key: entry.data for entry in entries})
        except PersistenceError:
            versions = None  # one by one, below, which says which of them it was
        settle(entries, versions)
        if versions is None:
            waiting.update(entry.state for entry in entries)
    if waiting:
        _run(_save_waiting(waiting, failures))
    return note_unsaved(states, failures)


async def _save_waiting(waiting: set[State], failures: Failures) -> None:
    restored: list[State] = []
    try:
        await restore_pending(waiting, failures, restored, patient=False)
        live = [state for state in waiting if state.is_live]
        for state, errors in (await save_together(live, background=True)).items():
            known = failures.setdefault(state, [])
            known += [error for error in errors if error not in known]
    finally:
        leave_again(restored)  # after a signal the process may go on


def save_at_exit() -> None:
    """The last save, before the stores close themselves: clients that nobody closed are saved here.

    Raises ``ClientsFailedError`` for what cannot be saved and what no ``close`` has told yet.
    """
    states = holders()
    error = _save_all(states)
    if error is not None:
        raise error from next(iter(error.failures.values()))
    for state in states:
        if state.is_live and not state.store_closed:
            state.warn_unclosed()


def _forget_in_child() -> None:
    # What was pending is the parent's to save. A lock may have been held by a thread that is not here.
    for state in holders():
        state.lock = threading.RLock()
        if state.phase is ClientPhase.CREATED:
            continue
        state.phase = ClientPhase.CLOSED
        state.closed_reason = "this process was forked from the one that opened the client"
        state.saver = None
    rosters.clear()


at_exit(CLIENTS, save_at_exit)
after_fork(CLIENTS, _forget_in_child)


# -- signals ---------------------------------------------------------------------------------------


def save_on_signals(*signals: signal.Signals) -> None:
    """Save all live clients when one of ``signals`` arrives, then do what would have been done without.

    Without arguments: SIGTERM and, where there is one, SIGHUP. A handler that is there already is called
    after the save; without one the process ends by the signal, so its exit status stays what it was. An
    ignored signal stays ignored. Handlers that the application sets later replace this one.

    Needed only for what auto-save has not stored yet; what is assigned over SQLite is stored already.
    Call it from the main thread (``ValueError`` from elsewhere).
    """
    chosen = signals or tuple(
        getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
    )
    for number in chosen:
        before = signal.getsignal(number)
        if before is not signal.SIG_IGN and not isinstance(before, _Handler):
            signal.signal(number, _Handler(before))


class _Handler:
    """Saves, then hands the signal on."""

    def __init__(self, before: Any) -> None:
        self._before = before
        self._put_off = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _inside_the_library(frame) and self._put_off < _PATIENCE:
            # The interrupted code may hold a lock that the save needs: come back when it is through.
            self._put_off += 1
            again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        if self._put_off < _PATIENCE:
            self._save()
        self._put_off = 0
        if callable(self._before):
            self._before(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _save(self) -> None:
        states = [state for state in holders() if state.dirty or state.mutable]
        if not states:
            return
        # On a thread of its own: an event loop may be running on this one.
        failures: list[ClientsFailedError | None] = []
        saving = threading.Thread(target=lambda: failures.append(_save_all(states)), daemon=True)
        saving.start()
        saving.join(_SIGNAL_WAIT_S)
        for error in filter(None, failures):
            print(f"axiom_persistence: {error}", file=sys.stderr)  # noqa: T201 - nobody is left


def _inside_the_library(frame: FrameType | None) -> bool:
    """Whether the interrupted code is inside a call into a store or client, not merely below one."""
    package = __name__.rpartition(".client.")[0]
    while frame is not None:
        library, _, rest = frame.f_globals.get("__name__", "").partition(".")
        if library == package and rest.partition(".")[0] not in _WAITING:
            return True
        frame = frame.f_back
    return False
