"""The thread behind an open store: it writes what is queued, syncs, copies the log back, opens and closes."""

from __future__ import annotations

import _thread
import asyncio
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final

from ...errors import PersistenceError, StorageUnavailableError, from_os_error
from ...platform.mounts import is_network
from ...runtime.ending import ADAPTERS, at_exit
from ...runtime.threads import Outcome
from ...storage.delivery import Job
from . import errors
from .checkpoint import COPY_FRAMES, Checkpointer
from .commits import Commits
from .file import create_file, creating, probe
from .fork import watch_forks
from .mark import ChangeMark
from .medium import Medium
from .reader import Reader, is_whole, opens_whole
from .room import FRAME_BYTES, Room
from .schema import open_reader, open_writer
from .sharing import opening
from .transactions import Transactions
from .wal import Index, Log, present

__all__ = ["Writer"]

_AHEAD_BYTES: Final = 1 << 20
"""How far the log is filled with zeros ahead of a saver who waits for each of its saves."""
_MARGIN_BYTES: Final = 1 << 19
_LOOK_PAGES: Final = 100
"""Pages written between two looks at the size of the log: what is done after each sync keeps the event
loop, which it has just woken, from going on."""
_SAVER_SYNCS: Final = 32
"""So many syncs make one."""
_SYNC_DELAY_S: Final = 0.5
"""How long after a PROCESS_EXIT commit its sync begins: half of what is promised."""
_IDLE_S: Final = 1.0
"""A pause after which the log is copied back although it is small."""
_IDLE_FRAMES: Final = 64
_JOIN_S: Final = 10.0


class Writer:
    """One daemon thread and what it keeps open. Everything that takes time happens on it."""

    def __init__(self, path: str, adapter: str, *, exclusive: bool, lock_timeout: float) -> None:
        self.path = path
        self.commits: Commits
        self.transactions: Transactions
        self.reader: Reader
        self.index: Index | None = None
        self.mark: ChangeMark | None = None
        self.opened = Outcome()
        self.closed = Outcome()
        self.lifecycle = threading.Lock()
        self.checkpointer: Checkpointer | None = None
        self.abandoned = False
        self.forked = False
        self.owner: weakref.ref[object] | None = None
        self.medium = Medium(path, adapter, self._is_whole)
        self._kept = ExitStack()
        self._adapter = adapter
        self._exclusive = exclusive
        self._lock_timeout = lock_timeout
        # Reentrant: a finalizer may run at any allocation, also inside one of our own blocks.
        self._mutex = threading.RLock()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._ringing: asyncio.AbstractEventLoop | None = None
        self._asleep = self._begun = self._stopped = self._finished = False
        self.is_closing = False
        self._pages_seen = self._pages_copied = 0
        self._restless = True  # whether there is something to copy once nobody commits
        self._copy_error: PersistenceError | None = None
        self._thread = threading.Thread(target=self._run, name=f"axiom-sqlite {path}", daemon=True)

    @property
    def is_over(self) -> bool:
        """Whether it cannot be used any more: not opened, closing, or left behind in another process."""
        return self.forked or self.is_closing or (self.opened.is_known and not self.is_open)

    @property
    def is_gone(self) -> bool:
        """Whether there is nothing to close."""
        return self.forked or not self._begun or (self.opened.is_known and not self.is_open)

    @property
    def is_open(self) -> bool:
        return self.opened.is_known and self.opened.error is None and not self._finished

    @property
    def is_exclusive(self) -> bool:
        """Whether no other connection may exist beside this one."""
        return self.index is None

    def refuse(self, reason: str) -> None:
        """Take no commit from now on."""
        self.commits.refuse(reason)

    def resting(self) -> list[threading.Lock]:
        """The locks that, held in this order, mean that nothing uses a connection."""
        locks = [self.commits.lock.inner]
        if self.checkpointer is not None:
            locks = [self.checkpointer.lock, *locks, self.reader.lock]
        return locks

    def start(self) -> None:
        """Idempotent."""
        if self._begun:
            return
        _live.add(self)
        # On another thread, which Ctrl-C does not reach: to start one is to wait for it, in Python code.
        self._begun = True
        _thread.start_new_thread(self._thread.start, ())

    def submit(self, job: Job, *, here: bool) -> None:
        """Take a commit, and wake the thread: at once for one that comes alone, else for all together.

        ``here``: it may be written on this thread.
        """
        commits = self.commits
        if not (here and commits.last_group <= 1 and commits.commit_alone(job)):
            commits.submit(job)
        if not self._asleep:
            return
        if self.commits.last_group <= 1:
            self.ring()
        elif self._ringing is not job.loop:
            # After all tasks that are ready now, so that there is one group, and one sync, for all of them.
            job.loop.call_soon(self._ring_for_all)
            self._ringing = job.loop

    def _ring_for_all(self) -> None:
        self._ringing = None
        self.ring()

    def ring(self) -> None:
        """Wake the thread."""
        if self.forked:
            return  # it is the parent's
        with self._mutex:
            if self._asleep:
                self._asleep = False
                try:
                    self._bell.release()
                except RuntimeError:
                    pass  # a finalizer rang in the middle of this

    def request_close(self) -> None:
        """Have the thread write, sync and close everything; ``closed`` says when."""
        self.is_closing = True
        self.ring()

    def join(self) -> None:
        """Once it is closed: wait for the last steps of the thread."""
        if self.closed.is_known:
            self._thread.join(_JOIN_S)

    def abandon(self) -> None:
        """Nobody holds the adapter any more: close, and let the thread report what fails."""
        self.abandoned = True
        self.request_close()

    def finish_at_exit(self) -> None:
        """Write what is queued on this, the exiting thread; the daemon threads will not run again."""
        self._stopped = True
        self.ring()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            raise StorageUnavailableError(
                "the disk did not answer; what was not yet acknowledged may not be stored",
                adapter=self._adapter,
            )
        if self.opened.is_known and self.opened.error is None:
            self._finish()
            self.closed.check()

    def stats(self) -> dict[str, int]:
        checkpointer = self.checkpointer
        return {
            **self.commits.stats(),
            "checkpoints": (0 if checkpointer is None else checkpointer.count) + self.transactions.restarts,
            "wal_bytes": 0 if self._finished else self._log.size(),
        }

    def _run(self) -> None:
        try:
            with self.lifecycle:
                self._open()
        except BaseException as error:
            _live.discard(self)
            self.closed.set()
            self.opened.set(error)
            return
        self.opened.set()
        try:
            while not self._stopped:
                self._work(idle=self._sleep())
                if self.is_closing and not self._stopped:
                    self._finish()
                    if self.abandoned:
                        self.closed.check()  # raises what nobody else will be told
                    return
        except BaseException as error:
            self._die(error)
            raise

    def _open(self) -> None:
        deadline = time.monotonic() + self._lock_timeout
        try:
            probe(self.path, self._adapter, create=True)
            if not self._exclusive and is_network(self.path):
                raise StorageUnavailableError(
                    "a write-ahead log does not work on a network file system: its index is shared memory",
                    adapter=self._adapter,
                    hint="choose a local disk, or exclusive=True if only one process uses the store",
                )
            create_file(self.path)
            try:
                database = self._kept.enter_context(present(self.path))
                with opening(database, self._adapter, self._lock_timeout):
                    connection = open_writer(
                        self.path, self._adapter, exclusive=self._exclusive, deadline=deadline
                    )
                self._kept.callback(connection.close)
                self._attach(connection, database)
            except BaseException:
                self._let_go()
                raise
        except OSError as error:
            raise from_os_error(error, "cannot open the store", adapter=self._adapter) from error
        except errors.FAULTS as error:
            raise self.medium.explained(error, "cannot open the store") from error

    def _attach(self, connection: sqlite3.Connection, database: tuple[int, int]) -> None:
        self._connection = connection
        self._log = Log(self.path)
        self._kept.callback(self._log.close)
        self.transactions = Transactions(connection, self._log, self._adapter)
        self.commits = Commits(
            self.transactions,
            self._log,
            self.medium,
            self._adapter,
            self.ring,
            self._make_room,
            self._mutex,
            self._lock_timeout,
        )
        if self._exclusive:
            # No other connection may exist then: one for all, under one lock.
            self.reader = Reader(connection, self.commits.lock.inner)
            self._kept.callback(self.reader.close)
        else:
            self.reader = Reader(open_reader(self.path), threading.Lock())
            self._kept.callback(self.reader.close)
            self.checkpointer = Checkpointer(self.path, self.transactions, self.commits.lock)
            self._kept.callback(self.checkpointer.close)
            with suppress(OSError, ValueError):  # no such file where SQLite shares memory in another way
                self.index = Index(self.path, database)
                self._log.share(self.index)
                self.mark = ChangeMark(self.index, self.transactions)
                self.transactions.when_locked(self.mark.look)
        self._room = Room(self.path, self.transactions, self._log, self.commits.lock)
        self._measure()
        self._kept.callback(self.transactions.close)  # the first to be closed: a cursor before its connection

    def _sleep(self) -> bool:
        """Wait for work. True: there was none for a while."""
        commits, pages = self.commits, self.transactions.pages
        since = commits.unsynced_since
        timeout = -1.0
        if since is not None:
            timeout = max(0.0, since + _SYNC_DELAY_S - time.monotonic())
        elif self._restless or pages != self._pages_seen:
            timeout = _IDLE_S
        if commits.is_locked_out():
            return False  # SQLite itself has slept
        with self._mutex:
            if commits.queue or commits.unsynced or self.is_closing or self._stopped:
                return False
            self._asleep = True
        if self._bell.acquire(timeout=timeout):
            return False
        with self._mutex:
            if self._asleep:
                self._asleep = False
            else:
                self._bell.acquire()  # rung in this very moment
        return since is None and pages == self.transactions.pages

    def _work(self, *, idle: bool) -> None:
        commits = self.commits
        if commits.queue or commits.is_locked_out():
            commits.advance()
        checkpointer = self.checkpointer
        if checkpointer is not None and self.transactions.is_unwitnessed and not self.is_closing:
            self._copy(checkpointer.bear_witness)  # before what is in the log alone is acknowledged
        since = commits.unsynced_since
        if commits.unsynced or (since is not None and time.monotonic() >= since + _SYNC_DELAY_S):
            commits.sync()
        pages = self.transactions.pages
        if idle or pages - self._pages_seen >= _LOOK_PAGES or pages > self.transactions.room:
            self._look_at_log(idle)

    def _look_at_log(self, idle: bool) -> None:
        """Copy it back where that is worth it, and keep it ahead of a saver who waits for each save."""
        commits = self.commits
        self._pages_seen = self.transactions.pages
        if commits.last_group <= 1 and commits.counters["syncs"] >= _SAVER_SYNCS:
            self._lengthen_log()
        left, most = self._left(), self._measure()
        if left >= COPY_FRAMES or (idle and left > _IDLE_FRAMES):
            self._checkpoint(idle)
        elif left >= most or self.transactions.pages > self.transactions.room:
            self._make_room()
        is_silent = self.checkpointer is not None and self.transactions.is_unwitnessed
        self._restless = is_silent or self._left() > _IDLE_FRAMES

    def _make_room(self) -> None:
        """Copy the log back, start it again and cut it."""
        self._checkpoint(idle=True)
        self._measure()

    def _measure(self) -> int:
        """How many pages the log may hold before it is copied."""
        return min(COPY_FRAMES, self._room.measure(self._log_end))

    def _log_end(self) -> int:
        """Where in the file of the log the frames end, or before."""
        if self.index is not None:
            return self.index.end()
        return (self.transactions.pages - self._pages_copied) * FRAME_BYTES

    def _lengthen_log(self) -> None:
        """A write that does not make the file longer is synced without a change of the file system's own."""
        if self.index is None or self.index.end() + _MARGIN_BYTES <= self._log.size():
            return
        # Nobody asked for it: whoever commits is told what is wrong.
        with suppress(*errors.FAULTS, OSError, MemoryError), self.commits.lock.first():
            self.transactions.lengthen_log(_AHEAD_BYTES)

    def _left(self) -> int:
        """Frames of the log that no checkpoint has seen."""
        if self.checkpointer is None or self.index is None:
            return self.transactions.pages - self._pages_copied
        return self.checkpointer.left(self.index.frames())

    def _checkpoint(self, idle: bool) -> None:
        self._pages_copied = self.transactions.pages
        checkpointer = self.checkpointer
        self._copy(self._restart if checkpointer is None else partial(checkpointer.run, whole=idle))

    def _copy(self, copy: Callable[[], object]) -> None:
        try:
            self._log.check()  # what is copied from a log that was cut takes the place of what is whole
            copy()
            self._copy_error = None
        except OSError:
            pass  # moved or replaced: the next sync tells it
        except errors.FAULTS as error:
            # Nothing is lost, the log stays; it is tried again with the next pages, and raised at close.
            self._copy_error = self.commits.explained(error, "cannot copy the log into the database", None)

    def _restart(self) -> None:
        with self.commits.lock.first():
            self.transactions.restart_log(self._connection)

    def _finish(self) -> None:
        """Write and sync all that was accepted, and let go of everything. Once."""
        with self.lifecycle:
            if self._finished:
                return
            commits = self.commits
            with self._mutex:
                commits.refuse("the store is closed")
            commits.drain()
            commits.sync()
            error = commits.unreported or self._copy_error
            if commits.is_log_to_stay():
                self._connection.interrupt()  # so that SQLite, too, copies nothing, and deletes nothing
            self._let_go()
        self.closed.set(error)

    def _is_whole(self) -> bool:
        """Whether SQLite finds nothing wrong in the file, or cannot look now."""
        if self.is_open and self._exclusive:
            # No other connection may exist. Whoever has the lock is the one who asks, or is at work.
            return self.reader.lock.locked() or self.reader.run(is_whole)
        return opens_whole(self.path, exclusive=self._exclusive)

    def _let_go(self) -> None:
        """Close every connection, cursor, descriptor and mapping, whoever still holds the objects."""
        # One after the other: of two that close at once, neither is the last, which copies the log and
        # deletes it.
        with creating:
            self._kept.close()
        self._finished = True
        _live.discard(self)

    def _die(self, error: BaseException) -> None:
        """An error that nothing here foresees: leave nobody waiting."""
        ended = f"the writer thread ended ({error!r})"

        def explain(job: Job) -> PersistenceError:
            return PersistenceError(ended, key=job.key, adapter=self._adapter)

        with self._mutex:
            self.commits.refuse(ended)
        self.commits.fail_waiting(explain)
        self.commits.fail_unsynced(explain)
        self._let_go()
        self.closed.set(PersistenceError(ended, adapter=self._adapter))


_live: set[Writer] = set()


def _live_here() -> list[Writer]:
    return [writer for writer in _live if not writer.forked]


def _finish_all() -> None:
    failed: BaseException | None = None
    for writer in _live_here():
        try:
            writer.finish_at_exit()
        except BaseException as error:
            failed = error
    if failed is not None:
        raise failed


at_exit(ADAPTERS, _finish_all)
watch_forks(_live_here)
