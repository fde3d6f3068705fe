"""Commits: taken on a caller's thread or queued for the writer thread, written in one order, then synced."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Final

from ...errors import (
    CapabilityUnavailableError,
    PersistenceError,
    StorageError,
    StorageFullError,
    StorageLockedError,
    from_os_error,
)
from ...storage.adapter import Changes, Expect
from ...storage.delivery import Job, deliver
from . import errors
from .lock import WriteLock
from .medium import Medium
from .transactions import Transactions
from .wal import Log

__all__ = ["Commits"]

_GROUP: Final = 256
"""Commits in one transaction: bounds how long a caller's commit waits behind it."""
_PAGES_UNSEEN: Final = 256
"""Pages written by callers after which the writer thread looks at the size of the log."""
_SYNCING: Final = "cannot sync the log"


class Commits:
    """All that is committed to an open store, by whichever thread.

    One order holds over all paths: a commit on the caller's thread first writes all that waits in the queue,
    or, where that is more than one transaction takes, queues up itself. Nothing waits for the disk under
    ``lock``: the log is synced outside it, and then all that was committed before is acknowledged together.
    """

    def __init__(
        self,
        transactions: Transactions,
        log: Log,
        medium: Medium,
        adapter: str,
        wake: Callable[[], None],
        make_room: Callable[[], None],
        mutex: AbstractContextManager[object],
        lock_timeout: float,
    ) -> None:
        self.lock = WriteLock()
        self.transactions = transactions
        self.queue: deque[Job] = deque()
        self.unsynced_since: float | None = None
        self.last_group = 0
        """How many commits the last sync acknowledged."""
        self.refusal: str | None = None
        self.unreported: PersistenceError | None = None
        self.counters = dict.fromkeys(("syncs", "deferred"), 0)
        self._adapter = adapter
        self._log = log
        self._medium = medium
        self._wake = wake
        self._make_room = make_room
        self._mutex = mutex
        self.unsynced: list[Job] = []
        self._pages_seen = 0
        self._failure: PersistenceError | None = None
        self._lock_timeout = lock_timeout
        self._busy_since: float | None = None
        self._is_full = False

    def check(self, key: str | None) -> None:
        """Raise, naming ``key``, unless commits are taken."""
        if self.refusal is not None:
            raise CapabilityUnavailableError(
                self.refusal, key=key, adapter=self._adapter, hint="open the store again"
            )
        if self._failure is not None:
            self.unreported = None
            raise self._refused(key)

    def refuse(self, reason: str) -> None:
        """Take no commit from now on. Where threads may be submitting, under the mutex."""
        self.refusal = reason

    def stats(self) -> dict[str, int]:
        return {**self.transactions.counters, **self.counters, "waiting": len(self.queue)}

    def submit(self, job: Job) -> None:
        """Queue a commit; it is written once the writer thread wakes."""
        with self._mutex:
            if self.refusal is not None or self._failure is not None:
                self.check(job.key)
            self.queue.append(job)

    def commit(self, changes: Changes, expect: Expect | None) -> Mapping[str, str] | None:
        """Commit on this thread, to outlive the process. None: it would have to wait; nothing was done.

        It waits for the transaction that the writer thread is in the middle of, and some milliseconds for
        another process; once that was in vain, no other commit does so until the writer thread got through.
        """
        versions = None
        try:
            if self._busy_since is None and self.lock.is_free():
                with self.lock.inner:
                    if self.refusal is not None or self._failure is not None:
                        self.check(next(iter(changes), None))
                    if self._busy_since is None and (not self.queue or self._write_before(changes)):
                        versions = self.transactions.commit(changes, expect)
        except errors.FAULTS as error:
            if errors.is_busy(error):
                self._note_busy()
            elif not errors.is_full(error):  # else the writer thread makes room first
                raise self.explained(error, "cannot commit", next(iter(changes), None)) from error
        if versions is None:
            self.counters["deferred"] += 1
        elif changes:
            self._note_unsynced()
        return versions

    def commit_alone(self, job: Job) -> bool:
        """Commit a small job on this thread where nothing is before it, to be synced by the writer thread.

        It spares the job a thread's wake-up before its commit. False: it must be queued, nothing was done.
        """
        if self._busy_since is not None or not self.transactions.is_quick(job):
            return False
        if not self.lock.is_free_now():
            return False
        try:
            with self.lock.inner:
                if self.queue or self.refusal is not None or self._failure is not None:
                    return False
                job.versions = self.transactions.commit(job.changes, None)
                # Before the lock is released: a close that waits for it syncs this one, too.
                with self._mutex:
                    self.unsynced.append(job)
        except errors.FAULTS as error:
            if errors.is_busy(error):
                self._note_busy()
                return False
            if errors.is_full(error):
                return False
            raise self.explained(error, "cannot commit", job.key) from error
        return True

    def is_locked_out(self) -> bool:
        """Whether somebody waited in vain for another process, and nobody got through since."""
        return self._busy_since is not None

    def advance(self) -> None:
        """One group of queued commits, if another process lets us; after ``lock_timeout`` give up."""
        try:
            with self.lock.first():
                if self._busy_since is not None and not self.queue:
                    self.transactions.try_lock()
                made = self.write_front(_GROUP)
            if not made:
                self._make_room()
                with self.lock.first():
                    self.write_front(_GROUP, last=True)
            self._note_full()
            self._busy_since = None
        except sqlite3.OperationalError as error:
            if not errors.is_busy(error):
                self._busy_since = None  # only trying the lock raises it: whoever commits next is told
                return
            self._note_busy()
            since = self._busy_since
            if since is not None and time.monotonic() - since > self._lock_timeout:
                self._busy_since = None
                self.fail_waiting(self.locked_out)

    def drain(self) -> None:
        """Write all that waits, to close; after ``lock_timeout`` give up."""
        deadline = time.monotonic() + self._lock_timeout
        made = True
        while True:
            try:
                if not made:
                    self._make_room()
                with self.lock.first():
                    made = self.write_front(_GROUP, last=not made)
                    if not self.queue:
                        if self.transactions.counters["commits"] and self._failure is None:
                            self.transactions.end_log(needed=True)
                        return
            except errors.FAULTS as error:
                if not self.queue:
                    return  # only the stamp failed, which nothing relies on
                if not errors.is_busy(error) or time.monotonic() > deadline:
                    self.fail_waiting(self.locked_out)
                    return

    def write_front(self, limit: int, *, last: bool = False) -> bool:
        """Write the first ``limit`` jobs of the queue in one transaction. Under the lock.

        False: there is too little room, and nothing was done; the ``last`` time, who finds none is told.

        Raises sqlite3.OperationalError while another process holds SQLite's lock; they stay queued then.
        If the transaction fails, each is tried in one of its own, so that one cannot take others with it.
        """
        with self._mutex:
            jobs = list(islice(self.queue, limit))
        if not jobs:
            return True
        try:
            try:
                self._write(jobs)
            except errors.FAULTS as error:
                if errors.is_busy(error):
                    raise
                if errors.is_full(error) and not last:
                    return False
                if len(jobs) > 1:
                    for _ in jobs:
                        self.write_front(1, last=True)
                    return True
                jobs[0].error = self.explained(error, "cannot commit", jobs[0].key)
            self._retire(jobs)
        except errors.FAULTS:
            raise
        except BaseException as error:
            self._give_up(jobs, error)
            raise
        return True

    def _give_up(self, jobs: Sequence[Job], error: BaseException) -> None:
        """A signal handler raised while these were written: in the queue, they might be written twice."""
        with self._mutex:
            for job in jobs:
                if self.queue and self.queue[0] is job:
                    self.queue.popleft()
            unknown = [job for job in jobs if job not in self.unsynced and not job.future.done()]
        for job in unknown:
            job.error = StorageError(
                f"interrupted by {error!r} while it was written: it is stored, or it is not",
                key=job.key,
                adapter=self._adapter,
                hint="load what is stored, and save again",
            )
        deliver(unknown)

    def fail_waiting(self, explain: Callable[[Job], Exception]) -> None:
        """Give up on everything queued."""
        with self.lock.first(), self._mutex:  # nobody is writing them
            jobs = list(self.queue)
            self.queue.clear()
        for job in jobs:
            job.error = explain(job)
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
        self.unsynced_since = None
        if self._failure is None:
            # Who awaits one of the jobs is told; otherwise the next commit or the close must tell it.
            try:
                self._log.sync()
                self.counters["syncs"] += 1
            except OSError as error:
                self._fail(from_os_error(error, _SYNCING, adapter=self._adapter), unreported=not jobs)
            except errors.ChangedError as error:
                self._fail(errors.translate(error, _SYNCING, adapter=self._adapter), unreported=not jobs)
        if self._failure is None and any(job.purges is not None for job in jobs):
            self._wipe([job for job in jobs if job.purges is not None])
        if jobs:
            self.last_group = len(jobs)
        if self._failure is not None:
            for job in jobs:
                job.error = self._refused(job.key)
        deliver(jobs)

    def _wipe(self, jobs: Sequence[Job]) -> None:
        """Have the log hold nothing of what ``jobs`` purged. Not under the lock."""
        doing = "cannot overwrite what the log held"
        try:
            begun = self._log.salts()
            self._make_room()
            if self._log.salts() != begun:  # else somebody is reading from it
                with self.lock.first():
                    self.transactions.wipe_log()
                return
        except OSError as error:
            for job in jobs:
                job.error = from_os_error(error, doing, key=job.key, adapter=self._adapter)
            return
        except errors.FAULTS as error:
            if not errors.is_busy(error):
                for job in jobs:
                    job.error = self.explained(error, doing, job.key)
                return
        for job in jobs:
            job.error = StorageLockedError(
                "it is deleted, and not yet overwritten: others read from the log all the time",
                key=job.key,
                adapter=self._adapter,
                hint="purge it again when nobody reads for long, such as a snapshot that is being made",
            )

    def locked_out(self, job: Job) -> Exception:
        return StorageLockedError(
            "another process held the write lock all the time",
            key=job.key,
            adapter=self._adapter,
            hint="try again, or open SQLiteAdapter(path, lock_timeout=...) with a longer one",
        )

    def _note_unsynced(self) -> None:
        if self.unsynced_since is None:
            self.unsynced_since = time.monotonic()
            self._wake()
        elif self.transactions.pages - self._pages_seen >= _PAGES_UNSEEN:
            self._pages_seen = self.transactions.pages
            self._wake()

    def _note_full(self) -> None:
        """After a commit found no room: have the writer thread make some before the next one."""
        if self._is_full:
            self._is_full = False
            self.transactions.room = 0

    def _note_busy(self) -> None:
        """Another process has the lock: have the writer thread try until it gets through."""
        if self._busy_since is None:
            self._busy_since = time.monotonic()
            self._wake()

    def _write_before(self, changes: Changes) -> bool:
        """Write all that was called before. False: that is more than one transaction takes."""
        if len(self.queue) > _GROUP:
            return False
        written = self.write_front(_GROUP)
        self.check(next(iter(changes), None))
        return written

    def _write(self, jobs: Sequence[Job]) -> None:
        if self._failure is None:
            self.transactions.write(jobs)
            return
        for job in jobs:
            job.error = self._refused(job.key)

    def _retire(self, jobs: Sequence[Job]) -> None:
        settled = [job for job in jobs if job.error is not None or not job.durable]
        with self._mutex:
            for _ in jobs:
                self.queue.popleft()  # they are its front: only who has the lock takes them out
            self.unsynced += [job for job in jobs if job.error is None and job.durable]
        if any(job.error is None and job.changes and not job.durable for job in settled):
            self._note_unsynced()
        deliver(settled)

    def explained(self, error: errors.Fault, doing: str, key: str | None) -> PersistenceError:
        """The error of our tree for what a commit, a reading or a checkpoint met.

        Nothing is committed any more if a sync failed, or somebody changed the files.
        """
        changed = error
        if errors.is_refusal(error) or errors.looks_damaged(error):
            try:
                self._log.check()
            except errors.ChangedError as found:
                changed = found
            except OSError:
                pass  # moved or replaced: the next sync tells it
        if isinstance(changed, errors.ChangedError):
            explained = errors.translate(changed, doing, key=key, adapter=self._adapter)
        else:
            explained = self._medium.explained(error, doing, key)
            if isinstance(explained, StorageFullError) and self._log.is_disk_full(explained.errno):
                self._is_full = True
        if errors.is_failed_sync(error) or isinstance(changed, errors.ChangedError):
            self._fail(explained, unreported=self.unsynced_since is not None)
        return explained

    def is_log_to_stay(self) -> bool:
        """Whether a close must leave the log as it is: to copy it into the database would lose more."""
        return self._failure is not None and not self._log.may_be_copied()

    def _fail(self, error: PersistenceError, *, unreported: bool) -> None:
        self._failure = error
        if unreported:
            self.unreported = self._refused(None)

    def _refused(self, key: str | None) -> StorageError:
        failure = self._failure
        said, hint = ("", "") if failure is None else (failure.message, failure.hint)
        return StorageError(
            f"nothing is written any more, because what was written before may not be on the disk ({said})",
            key=key,
            adapter=self._adapter,
            hint=hint
            if hint == errors.CHANGED
            else "close the store, check the disk, open it again and read what is there",
            code=getattr(failure, "errno", None),
        )
