"""Threads, begun and awaited so that an exception from a signal handler leaves nobody waiting for ever.

The standard library's events, conditions, futures and pools are Python code on the calling thread: Ctrl-C in
the middle of them may leave one of their locks taken.
"""

from __future__ import annotations

import _thread
import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

__all__ = ["Outcome", "in_thread", "start"]

T = TypeVar("T")


class Outcome:
    """How something ended, for tasks on any number of event loops. Set once, from any thread."""

    def __init__(self) -> None:
        self.is_known: bool = False
        self.error: BaseException | None = None
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def set(self, error: BaseException | None = None) -> None:
        if not self.is_known:
            self.error = error
            self.is_known = True
        for loop, waiter in list(self._waiting):
            try:
                loop.call_soon_threadsafe(_wake, waiter)
            except RuntimeError:
                pass  # that loop is closed, and nobody waits on it any more

    async def wait(self) -> None:
        """Wait for the end, and raise what it was."""
        if not self.is_known:
            loop = asyncio.get_running_loop()
            entry = loop, loop.create_future()
            self._waiting.append(entry)
            try:
                if not self.is_known:  # since, it is told to all that are in the list
                    await entry[1]
            finally:
                self._waiting.remove(entry)
        self.check()

    def check(self) -> None:
        """Raise what it was, if anything."""
        if self.error is not None:
            raise self.error


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def start(thread: threading.Thread) -> None:
    """Start ``thread``, on another one: it waits for a word of who starts it, and may wait in vain."""
    _thread.start_new_thread(thread.start, ())


async def in_thread(work: Callable[[], T]) -> T:
    """What ``work`` returns or raises, done in a thread of its own."""
    outcome = Outcome()
    values: list[T] = []
    context = copy_context()

    def run() -> None:
        try:
            values.append(context.run(work))
        except BaseException as error:
            outcome.set(error)
        else:
            outcome.set()

    def begin() -> None:
        try:
            threading.Thread(target=run, name="axiom-work", daemon=True).start()
        except RuntimeError:  # the interpreter is exiting, or there are too many
            run()

    try:
        _thread.start_new_thread(begin, ())
    except RuntimeError:
        run()
    await outcome.wait()
    return values[0]
