"""One event loop in a thread of its own, and the ways onto it for threads that have none."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from contextvars import ContextVar, copy_context
from queue import SimpleQueue
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast

from ..client._transaction import in_client_transaction_on
from ..errors import CapabilityUnavailableError
from ..persistence._turns import in_transaction_on
from ..runtime.ending import BACKGROUND, CLIENTS, after_fork, at_exit
from ._spelling import respelled

__all__ = ["entered", "in_caller", "post", "refuse_deadlock", "run"]

P = ParamSpec("P")
T = TypeVar("T")

_EXIT_WAIT_S: Final = 5.0
_UNSET: Final = object()


class _Call(Generic[T]):
    """Work on the loop for one thread that waits, and what the work has that thread do meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._errands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._daemon = threading.current_thread().daemon
        self._over = self._interrupted = False
        self._value: T | None = None
        self._error: BaseException | None = None

    def outcome(self) -> T:
        """Wait for the work, and return or raise what it did.

        After Ctrl-C the work is cancelled and waited for once more, as ``asyncio.run`` does it; a second
        one does not wait.
        """
        try:
            self._loop.call_soon_threadsafe(self._begin)
            self._wait()
        except BaseException:
            self._interrupted = True
            self._loop.call_soon_threadsafe(self._cancel)
            self._wait()
            raise
        if self._error is None:
            return cast(T, self._value)
        try:
            raise respelled(self._error)
        finally:
            del self._error, self  # its traceback has this frame

    def _wait(self) -> None:
        while not self._over:
            errand = self._errands.get()
            if errand is not None and not self._interrupted:
                errand()

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._end)

    async def _run(self) -> None:
        _caller.set(self)
        try:
            self._value = await self._work
        except BaseException as error:
            # SystemExit, too: it ends the thread that called, not the loop of all the others.
            self._error = error

    def _end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step
            self._close()
        else:
            self._finish()

    def _close(self) -> None:
        self._work.close()
        self._error = asyncio.CancelledError()
        self._finish()

    def _finish(self) -> None:
        self._over = True
        # A daemon thread that still waits at exit is not told that its store is closed, or why: the end of
        # the interpreter takes it where it is, as it does every other one.
        if not (self._daemon and _background.exiting):
            self._errands.put(None)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif not self._over:  # the interrupt came before the work was handed over
            self._close()

    async def in_caller(self, function: Callable[[], T]) -> T:
        """Have the waiting thread call ``function``."""
        answer: asyncio.Future[tuple[T | None, BaseException | None]] = self._loop.create_future()

        def answered(value: T | None, error: BaseException | None) -> None:
            if not answer.done():
                answer.set_result((value, error))

        def errand() -> None:
            value, error = None, None
            try:
                value = function()
            except BaseException as raised:
                error = raised
            self._loop.call_soon_threadsafe(answered, value, error)

        self._errands.put(errand)
        value, error = await answer
        if error is not None:
            raise error
        return cast(T, value)


_caller: Final[ContextVar[_Call[Any]]] = ContextVar("axiom_blocking_call")


class _Threads(ThreadPoolExecutor):
    """Threads for exit handlers and whoever outlives the main thread, too: the standard pool ends before."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError:
            done: Future[T] = Future()

        def work() -> None:
            try:
                done.set_result(fn(*args, **kwargs))
            except BaseException as error:
                done.set_exception(error)

        try:
            threading.Thread(target=work, daemon=True).start()
        except RuntimeError:  # nor are there threads any more
            work()
        return done


class _Background:
    """The loop and its daemon thread, started by the first call; anew in a forked child."""

    def __init__(self) -> None:
        self._inherited: list[asyncio.AbstractEventLoop] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._over = False
        self.exiting = False
        self._lock = threading.Lock()

    def begin_anew(self) -> None:
        """After a fork: the child has no thread that runs the loop, and perhaps a lock that nobody holds."""
        self._lock = threading.Lock()
        if self._loop is not None:
            # Never collected: closing it would take the parent's wake-up pipe out of the shared epoll.
            self._inherited.append(self._loop)
        self._loop = self._thread = None

    def loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop
        return self._start() if loop is None else loop

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._over:
                raise CapabilityUnavailableError(
                    "the interpreter is exiting", hint="close the persistence before, in a `with` block"
                )
            if self._loop is None:
                _refuse_green_threads()
                loop = asyncio.new_event_loop()
                loop.set_default_executor(_Threads(thread_name_prefix="axiom-blocking"))
                # A daemon: a program that never closes anything ends all the same.
                self._thread = threading.Thread(
                    target=_serve, args=(loop,), name="axiom-blocking", daemon=True
                )
                self._thread.start()
                self._loop = loop
            return self._loop

    def runs(self, loop: asyncio.AbstractEventLoop) -> bool:
        return loop is self._loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            refuse_deadlock()
            call = _Call(self.loop(), work)
        except BaseException:
            work.close()
            raise
        return call.outcome()

    def post(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Have something done some time, from a finaliser on whatever thread: nobody waits, or could."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop was closed this moment, and everything ended with it
                loop.call_soon_threadsafe(lambda: loop.create_task(work()))

    def note_exit(self) -> None:
        """At exit, before the stores close themselves."""
        self.exiting = True

    def stop(self) -> None:
        """At exit, after the stores have finished: let what still waits end in good order."""
        with self._lock:
            self._over = self.exiting = True
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(_EXIT_WAIT_S)


def _refuse_green_threads() -> None:
    """Raise where gevent has replaced what an event loop in a thread of its own is made of."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and any(map(monkey.is_module_patched, ("threading", "select", "queue"))):
        raise CapabilityUnavailableError(
            "gevent has replaced this program's threads, and an event loop in one of them would block all",
            hint="patch the rest only: monkey.patch_all(thread=False, select=False, queue=False)",
        )


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            loop.run_forever()
            break
        except (KeyboardInterrupt, SystemExit) as error:
            # From a hook or callback of the application, which asyncio lets through: the others still wait.
            loop.call_exception_handler({"message": "a callback asked to exit", "exception": error})
    loop.run_until_complete(_wind_up())
    loop.close()


async def _wind_up() -> None:
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


_background: Final = _Background()
at_exit(CLIENTS, _background.note_exit)
at_exit(BACKGROUND, _background.stop)
after_fork(BACKGROUND, _background.begin_anew)


def refuse_deadlock() -> None:
    """Raise ``CapabilityUnavailableError`` where the call would wait for what its own thread holds up.

    A thread with an event loop of its own, as in a notebook, may wait: the work is done on another one.
    """
    running: asyncio.AbstractEventLoop | None = asyncio._get_running_loop()
    if running is None:
        return
    if _background.runs(running):
        raise CapabilityUnavailableError(
            "a blocking call from a hook or callback on the background thread would wait for itself",
            hint="hand the work to another thread: `threading.Thread(target=work).start()`",
        )
    if in_transaction_on(running) or in_client_transaction_on(running):
        raise CapabilityUnavailableError(
            "a blocking call inside an asynchronous transaction of this event loop would hold up its end",
            hint="use the verbs of the transaction itself, or call after it",
        )


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and return what it returns. From any thread but its own.

    The coroutine sees the caller's context variables. Ctrl-C cancels it. An event loop that runs on the
    calling thread stands still meanwhile. Raises ``CapabilityUnavailableError`` where that would never end:
    on the background thread itself, and inside an asynchronous transaction of the thread's event loop.
    """
    return _background.run(work)


def post(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Have ``work()`` done on the background loop if there is one, without waiting for it."""
    _background.post(work)


async def in_caller(function: Callable[[], T]) -> T:
    """Call ``function`` in the thread that waits in ``run`` for the running coroutine."""
    call: _Call[T] = _caller.get()
    return await call.in_caller(function)


class _Visit(Generic[T]):
    """The two halves of an ``async with``. All of it happens on the loop, so each half does once at most."""

    def __init__(self, manager: AbstractAsyncContextManager[T]) -> None:
        self._manager = manager
        self._inside = False
        self._left = False
        self.variables: dict[ContextVar[Any], Any] = {}

    async def enter(self) -> T:
        before = copy_context()
        value = await self._manager.__aenter__()
        self._inside = True
        if self._left:  # the caller was interrupted meanwhile, and is gone
            await self.leave(None)
        self.variables = {
            variable: value
            for variable, value in copy_context().items()
            if before.get(variable, _UNSET) is not value
        }
        return value

    async def leave(self, error: BaseException | None) -> bool:
        inside, self._inside, self._left = self._inside, False, True
        if not inside:
            return False
        kind, trace = (None, None) if error is None else (type(error), error.__traceback__)
        return bool(await self._manager.__aexit__(kind, error, trace))


@contextmanager
def entered(manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """``async with manager`` around a body in this thread. What it sets of context variables counts here."""
    refuse_deadlock()
    visit = _Visit(manager)
    tokens = []
    try:
        try:
            value = run(visit.enter())
            for variable, its in visit.variables.items():
                tokens.append((variable, variable.set(its)))
            yield value
        except BaseException as error:
            if not run(visit.leave(error)):
                raise
        else:
            run(visit.leave(None))
    except BaseException as error:
        run(visit.leave(error))  # unless it was left: Ctrl-C may have kept one of the above from beginning
        raise
    finally:
        for variable, token in tokens:
            variable.reset(token)
