"""Commits: taken on a caller's thread or queued for the writer thread, written in one order, then synced."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

from ...errors import (
    CapabilityUnavailableError,
    ConflictError,
    PersistenceError,
    StorageError,
    StorageLockedError,
    from_os_error,
)
from ...storage.adapter import Changes, Expect
from ...storage.delivery import Job, deliver
from ...storage.generations import Generations
from . import errors
from .batch import PUT_BLOB, PUT_TEXT, Batch, Clock, ClockBehindError, last_deleted
from .lock import WriteLock
from .queue import Queue
from .wal import Log

__all__ = ["Commits"]

_SMALL_BYTES: Final = 65_536
"""What is written on a caller's thread in some ten microseconds; more is the writer thread's."""

_PAGES_UNSEEN: Final = 256
"""Pages written by callers after which the writer thread looks at the size of the log."""


class Commits:
    """The writing connection of an open store and all that goes through it.

    One order holds over all paths: a commit on the caller's thread first writes what waits in the queue,
    up to the last job that touches one of its keys. Nothing waits for the disk under ``lock``: the log is
    synced outside it, and then all that was committed before is acknowledged together.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        log: Log,
        adapter: str,
        wake: Callable[[], None],
        mutex: AbstractContextManager[object],
    ) -> None:
        self.lock = WriteLock()
        self.connection = connection
        self.queue = Queue()
        self.unsynced_since: float | None = None
        self.own = 0
        """Commits of this adapter that wrote a page: exactly those that the log's own count rises by."""
        self.committing = False
        """SQLite's write lock is held: the next commit that the log counts, if any, is ours."""
        self.putting = False
        """A statement that is a transaction of its own is on its way."""
        self.locked: Callable[[], object] = lambda: None
        """Called when SQLite's write lock has just been taken: all that others committed is in the log."""
        self.pages = 0
        self.last_group = 0
        """How many commits the last sync acknowledged."""
        self.refusal: str | None = None
        self.unreported: PersistenceError | None = None
        self.counters = dict.fromkeys(("commits", "groups", "syncs", "deferred"), 0)
        self._adapter = adapter
        self._log = log
        self._wake = wake
        self._mutex = mutex
        self._cursor = connection.cursor()
        self._clock = Clock(last_deleted(connection))
        self._generations = Generations()
        self.unsynced: list[Job] = []
        self._pages_seen = 0
        self._failure: str | None = None

    def check(self, key: str | None) -> None:
        """Raise, naming ``key``, unless commits are taken."""
        if self.refusal is not None:
            raise CapabilityUnavailableError(
                self.refusal, key=key, adapter=self._adapter, hint="open the store again"
            )
        if self._failure is not None:
            self.unreported = None
            raise self._refused(key)

    def _is_broken(self) -> bool:
        return self.refusal is not None or self._failure is not None

    def submit(self, job: Job) -> None:
        """Queue a commit; it is written once the writer thread wakes."""
        with self._mutex:
            if self._is_broken():
                self.check(job.key)
            self.queue.put(job)

    def commit(self, changes: Changes, expect: Expect | None) -> Mapping[str, str] | None:
        """Commit on this thread, to outlive the process. None: it would have to wait; nothing was done."""
        if not self.lock.acquire_inline():
            self.counters["deferred"] += 1
            return None
        try:
            if self._is_broken():
                self.check(next(iter(changes), None))
            if self.queue.jobs:
                self._write_before(changes, expect)
            versions = self._commit(changes, expect)
        except errors.FAULTS as error:
            if errors.is_busy(error):
                self.counters["deferred"] += 1
                return None
            raise self._explained(error, next(iter(changes), None)) from error
        finally:
            self.lock.release()
        if changes:
            self._note_unsynced()
        return versions

    def commit_alone(self, job: Job) -> bool:
        """Commit a small job on this thread where nothing is before it, to be synced by the writer thread.

        It spares the job a thread's wake-up before its commit. False: it must be queued, nothing was done.
        """
        if not self._is_one_put(job) or not self.lock.acquire_now():
            return False
        try:
            if self.queue.jobs or self._is_broken():
                return False
            job.versions = self._commit(job.changes, None)
            # Before the lock is released: a close that waits for it syncs this one, too.
            with self._mutex:
                self.unsynced.append(job)
        except errors.FAULTS as error:
            if errors.is_busy(error):
                return False
            raise self._explained(error, job.key) from error
        finally:
            self.lock.release()
        return True

    def _is_one_put(self, job: Job) -> bool:
        """Whether one statement says it all: one small value, and no previous generation to be kept."""
        if len(job.changes) != 1 or job.expect is not None:
            return False
        ((key, data),) = job.changes.items()
        return (
            data is not None
            and len(data) <= _SMALL_BYTES
            and not (job.durable and self._generations.is_due(key))
        )

    def write_front(self, limit: int) -> None:
        """Write the first ``limit`` jobs of the queue in one transaction. Under the lock.

        Raises sqlite3.OperationalError while another process holds SQLite's lock; they stay queued then.
        If the transaction fails, each is tried in one of its own, so that one cannot take others with it.
        """
        with self._mutex:
            jobs = self.queue.front(limit)
        if not jobs:
            return
        try:
            self._write(jobs)
        except errors.FAULTS as error:
            if errors.is_busy(error):
                raise
            if len(jobs) > 1:
                for _ in jobs:
                    self.write_front(1)
                return
            jobs[0].error = self._explained(error, jobs[0].key)
        self._retire(jobs)

    def fail_waiting(self, explain: Callable[[Job], Exception]) -> None:
        """Give up on everything queued."""
        with self._mutex:
            jobs = self.queue.front(len(self.queue))
            for job in jobs:
                job.error = explain(job)
            self.queue.drop(jobs)
        deliver(jobs)

    def fail_unsynced(self, explain: Callable[[Job], Exception]) -> None:
        """Give up on bringing to the disk what was committed."""
        with self.lock.first(), self._mutex:  # nothing joins it any more
            jobs, self.unsynced = self.unsynced, []
        for job in jobs:
            job.error = explain(job)
        deliver(jobs)

    def sync(self) -> None:
        """Bring everything committed before to the disk, and acknowledge it. Not under the lock.

        If that fails, nothing is assumed: the kernel may have dropped the pages and call them clean, so
        a second sync that succeeds would mean nothing, and no commit is taken any more.
        """
        with self._mutex:
            jobs, self.unsynced = self.unsynced, []
        # Before the sync: a commit that lands while it runs asks for the next one.
        since, self.unsynced_since = self.unsynced_since, None
        if self._failure is None:
            try:
                self._log.sync()
                self.counters["syncs"] += 1
            except OSError as error:
                # Who awaits one of the jobs is told; otherwise the next commit or the close must tell it.
                explained = from_os_error(error, "cannot sync the log", adapter=self._adapter)
                self._fail(explained, None if jobs else since)
        if jobs:
            self.last_group = len(jobs)
        if self._failure is not None:
            for job in jobs:
                job.error = self._refused(job.key)
        deliver(jobs)

    def stamp(self) -> None:
        """The first commit of a new log, under the lock: it syncs the log's header (and the clock)."""
        # Always one more, or nothing would be written and the next caller would have to sync the header.
        self.putting = True
        try:
            self._cursor.execute("UPDATE clock SET last=max(last + 1, ?)", (self._clock.last,))
            self.own += 1
        finally:
            self.putting = False

    def lengthen_log(self, length: int) -> None:
        """Have the file of the log reach further than its frames. Raises sqlite3.Error, OSError."""
        with self.lock.first():
            self._cursor.execute("BEGIN IMMEDIATE")
            try:
                self._log.lengthen(length)
            finally:
                self._roll_back()

    def locked_out(self, job: Job) -> Exception:
        return StorageLockedError(
            "another process held the write lock all the time",
            key=job.key,
            adapter=self._adapter,
            hint="try again, or open with a longer lock_timeout",
        )

    def _note_unsynced(self) -> None:
        if self.unsynced_since is None:
            self.unsynced_since = time.monotonic()
            self._wake()
        elif self.pages - self._pages_seen >= _PAGES_UNSEEN:
            self._pages_seen = self.pages
            self._wake()

    def _write_before(self, changes: Changes, expect: Expect | None) -> None:
        with self._mutex:
            keys = (*changes, *(expect or ()))
            count = self.queue.count_up_to(keys) if keys else len(self.queue)
        if count:
            self.write_front(count)
            self.check(next(iter(keys), None))

    def _commit(self, changes: Changes, expect: Expect | None) -> Mapping[str, str]:
        if len(changes) == 1 and expect is None:
            ((key, data),) = changes.items()
            if data is not None:
                self.putting = True
                try:
                    put = self._put(key, data)
                    self.own += 1
                finally:
                    self.putting = False
                return put
        elif not changes and not expect:
            return {}
        versions: Mapping[str, str] = {}

        def fold(batch: Batch) -> None:
            nonlocal versions
            versions = batch.add(changes, expect, durable=False)

        self._transaction(fold)
        return versions

    def _put(self, key: str, data: bytes) -> Mapping[str, str]:
        """One value in one statement, which is a transaction of its own."""
        statement = PUT_TEXT if data[:1] == b"{" else PUT_BLOB
        while True:
            version = self._clock.next()
            if self._cursor.execute(statement, (key, data, version)).rowcount == 1:
                self.pages += 3 + len(data) // 4096
                self.counters["commits"] += 1
                return {key: str(version)}
            self._clock.catch_up(self._cursor, (key,))

    def _write(self, jobs: Sequence[Job]) -> None:
        if self._failure is not None:
            for job in jobs:
                job.error = self._refused(job.key)
            return
        if len(jobs) == 1 and self._is_one_put(jobs[0]):
            jobs[0].versions = self._commit(jobs[0].changes, None)
            return

        def fold(batch: Batch) -> None:
            for job in jobs:
                job.error = None
                try:
                    job.versions = batch.add(job.changes, job.expect, job.durable)
                except ConflictError as error:
                    job.error = error.naming(key=job.key, adapter=self._adapter)

        if any(job.changes or job.expect for job in jobs):
            self._transaction(fold)

    def _transaction(self, fold: Callable[[Batch], None]) -> None:
        cursor = self._cursor
        while True:
            cursor.execute("BEGIN IMMEDIATE")
            batch = Batch(cursor, self._clock, self._generations, self._adapter)
            try:
                self.locked()
                self.committing = True
                fold(batch)
                rows = batch.write()
                self.committing = batch.wrote
                cursor.execute("COMMIT")
                self.own += batch.wrote
            except ClockBehindError:
                try:
                    batch.catch_up()
                finally:
                    # Left open, it would swallow every later commit: acknowledged, and never committed.
                    self._roll_back()
            except BaseException:
                self._roll_back()
                raise
            else:
                break
            finally:
                self.committing = False
        batch.committed()
        self.pages += batch.pages
        self.counters["groups"] += 1
        self.counters["commits"] += rows

    def _roll_back(self) -> None:
        self.committing = False
        # SQLite has done it already after some errors, a full disk among them.
        if self.connection.in_transaction:
            self._cursor.execute("ROLLBACK")

    def _retire(self, jobs: Sequence[Job]) -> None:
        settled = [job for job in jobs if job.error is not None or not job.durable]
        with self._mutex:
            self.queue.drop(jobs)
            self.unsynced += [job for job in jobs if job.error is None and job.durable]
        if any(job.error is None and job.changes and not job.durable for job in settled):
            self._note_unsynced()
        deliver(settled)

    def _explained(self, error: errors.Fault, key: str | None) -> PersistenceError:
        explained = errors.translate(error, "cannot commit", key=key, adapter=self._adapter)
        if errors.is_failed_sync(error):
            self._fail(explained, None)
        return explained

    def report_failed_sync(self, error: PersistenceError) -> None:
        """A sync failed elsewhere (a checkpoint's): the same as if our own had."""
        self._fail(error, self.unsynced_since)

    def _fail(self, error: PersistenceError, unsynced_since: float | None) -> None:
        self._failure = str(error)
        if unsynced_since is not None:
            self.unreported = self._refused(None)  # commits that were acknowledged, by PROCESS_EXIT

    def _refused(self, key: str | None) -> StorageError:
        return StorageError(
            f"nothing is written any more, because what was written before may not be on the disk"
            f" ({self._failure})",
            key=key,
            adapter=self._adapter,
            hint="close the store, check the disk, open it again and read what is there",
        )
