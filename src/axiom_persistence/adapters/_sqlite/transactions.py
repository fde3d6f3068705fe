"""Transactions: what one commit, or a group of them, writes. Knows SQLite and no thread."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ...errors import ConflictError
from ...storage.adapter import Changes, Expect
from ...storage.delivery import Job
from ...storage.generations import Generations
from .batch import PUT, Batch, Clock, ClockBehindError, last_deleted
from .errors import BusyError, NoRoomError, is_busy, is_full
from .mark import Own
from .schema import patiently
from .wal import LOG_TICKS, Log
from .witness import ADVANCE

__all__ = ["Transactions"]

_SMALL_BYTES: Final = 65_536
"""What is written on a caller's thread in some ten microseconds; more is the writer thread's."""
_FEW: Final = 2
"""A value, and its entry in an audit trail or its mark for other devices."""

FREED_BYTES_LEAST: Final = 1 << 20
"""Less room, or less than a quarter of the file, is not worth moving the rest: what comes next takes it."""
MOVED_BYTES_MOST: Final = 1 << 25
"""Writers wait meanwhile: some tenths of a second, a whole one on a busy disk."""


class Transactions:
    """The writing connection, used by one thread at a time: whoever calls a method holds the write lock.

    All raise sqlite3.Error, ``sqlite3.OperationalError`` while another process holds SQLite's lock among
    them; nothing was done then.
    """

    def __init__(self, connection: sqlite3.Connection, log: Log, adapter: str) -> None:
        self.own: Own = (0, False, False)
        self.pages = 0
        self.room = 1 << 62
        """``pages`` up to which there is room on the disk, as far as it was looked at."""
        self.counters = dict.fromkeys(("commits", "groups"), 0)
        self.restarts = 0
        """How often the log was started again."""
        self.is_unwitnessed = False
        """Whether the database file alone does not say that a log goes with it."""
        self._connection = connection
        self._cursor = connection.cursor()
        self._clock = Clock(last_deleted(connection))
        self._generations = Generations()
        self._log = log
        self._adapter = adapter
        self._tight = False
        self._is_fresh = log.longest == 0
        self._locked: Callable[[], object] = lambda: None

    def when_locked(self, tell: Callable[[], object]) -> None:
        """Call ``tell`` whenever SQLite's write lock was taken: what others committed is in the log then."""
        self._locked = tell

    def is_quick(self, job: Job) -> bool:
        """Whether there are one or two small values to write, and no previous generation to be kept."""
        changes = job.changes
        if job.expect is not None or not 0 < len(changes) <= _FEW:
            return False
        for key, data in changes.items():
            if data is None or len(data) > _SMALL_BYTES or (job.durable and self._generations.is_due(key)):
                return False
        return True

    def commit(self, changes: Changes, expect: Expect | None) -> Mapping[str, str]:
        """One commit that is not synced; the new versions.

        One value or two are put by one statement, which is a transaction of its own.
        """
        if self._is_fresh and changes:
            self.begin_log()
        if expect is not None or not 0 < len(changes) <= _FEW:
            return self._commit_folded(changes, expect)
        pages = 1
        given: tuple[object, ...] = ()
        kind: tuple[bool, ...] = ()
        for key, data in changes.items():
            if data is None:
                return self._commit_folded(changes, expect)
            pages += 2 + len(data) // 4096
            given += (key, data)
            kind += (data[:1] == b"{",)
        statement = PUT[kind]
        if self.pages + pages > self.room:
            raise NoRoomError("too little room would be left on the disk to copy the log back")
        if self._connection.in_transaction:
            self._roll_back()
        # What is written behind the end of a log that somebody cut would make it as long as before.
        log = self._log
        size = os.lseek(log.descriptor, 0, os.SEEK_END)
        if size < log.longest:
            log.check_not_cut()
        log.longest = size
        count = self.own[0]
        self.own = (count, False, True)
        try:
            while True:
                version = self._clock.next()
                try:
                    done = self._cursor.execute(statement, (*given, version)).rowcount == len(changes)
                except sqlite3.IntegrityError as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_NOTNULL:
                        raise  # another program's trigger
                    done = False  # the version is NULL
                if done:
                    count += 1
                    break
                self._clock.catch_up(self._cursor, changes, version)
        finally:
            self.own = (count, False, False)
        self.pages += pages
        self.counters["commits"] += len(changes)
        return dict.fromkeys(changes, str(version))

    def _commit_folded(self, changes: Changes, expect: Expect | None) -> Mapping[str, str]:
        """One commit of many values, of deletions, or with what is expected."""
        if not changes and not expect:
            return {}
        versions: Mapping[str, str] = {}

        def fold(batch: Batch) -> None:
            nonlocal versions
            versions = batch.add(changes, expect, durable=False)

        self._transaction(fold)
        return versions

    def write(self, jobs: Sequence[Job]) -> None:
        """Several commits in one transaction; sets their versions, or the error of a failed expectation."""
        if len(jobs) == 1 and self.is_quick(jobs[0]):
            jobs[0].versions = self.commit(jobs[0].changes, None)
            return

        def fold(batch: Batch) -> None:
            for job in jobs:
                job.error = None
                if job.sweep is not None:
                    job.deleted = batch.sweep(job.sweep)
                    continue
                if job.generations is not None:
                    batch.set_previous(job.generations)
                    continue
                if job.purges:
                    batch.forget_previous(job.purges)
                try:
                    job.versions = batch.add(job.changes, job.expect, job.durable)
                except ConflictError as error:
                    job.error = error.naming(key=job.key, adapter=self._adapter)

        if any(job.purges is not None for job in jobs):
            self._cursor.execute("PRAGMA secure_delete=ON").fetchone()  # it may have been set to save room
            self._tight = False
        if any(job.changes or job.expect or job.purges or job.generations for job in jobs):
            self._transaction(fold)

    def _transaction(self, fold: Callable[[Batch], None]) -> None:
        if self._is_fresh:
            self.begin_log()
        cursor, count = self._cursor, self.own[0]
        while True:
            room = self.room - self.pages
            batch = Batch(cursor, self._clock, self._generations, self._adapter, room)
            try:
                self._begin()
                self._log.check_not_cut()
                self._locked()
                self.own = (count, True, False)
                fold(batch)
                batch.write()
                self.own = (count, batch.wrote, False)
                cursor.execute("COMMIT")
                count += batch.wrote
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
                self.own = (count, False, False)
        batch.committed()
        self.pages += batch.pages
        self.counters["groups"] += 1
        self.counters["commits"] += batch.rows

    def _begin(self) -> None:
        if self._connection.in_transaction:
            self._roll_back()  # Ctrl-C came twice, and once where the first was cleaned up
        self._cursor.execute("BEGIN IMMEDIATE")

    def _roll_back(self) -> None:
        # While the lock is held: what the log counts next may be somebody else's.
        self.own = (self.own[0], False, False)
        # SQLite has done it already after some errors, a full disk among them.
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")

    def end_log(self, *, needed: bool) -> None:
        """The last commit of a log that is to be copied whole: no earlier copy of the file says this time.

        It passes every version given, so that the next process begins behind them. Not ``needed``: on a full
        disk it does without, and nobody can tell to which file the next log belongs.
        """
        self.is_unwitnessed = True
        try:
            self._tick("UPDATE clock SET last=(max(last, ?1)/?2+1)*?2", given=(self._clock.last, LOG_TICKS))
        except sqlite3.OperationalError as error:
            if needed or not is_full(error):
                raise

    def begin_log(self) -> None:
        """The first commit of a new log: it syncs the log's header, and says to which file it belongs."""
        self._tick("UPDATE clock SET last=last+1")
        self._is_fresh, self.is_unwitnessed = False, True

    def restart_log(self, connection: sqlite3.Connection) -> bool:
        """Copy what is left over ``connection``, start the log again and write its first commit.

        False: another process is reading or writing.
        """
        try:
            self.end_log(needed=False)
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            if busy:
                return False
            self.begin_log()
        except sqlite3.OperationalError as error:
            if is_busy(error):
                return False
            raise
        self._log.longest = 0  # it may just have been cut
        self.restarts += 1
        return True

    def bear_witness(self, hold: Callable[[], object]) -> None:
        """Have the pages that are copied next say, in the database file alone, that a log goes with it.

        ``hold``: have a reader see what is committed now, until they are copied.
        """
        self._tick(*ADVANCE)
        hold()
        self._tick("UPDATE clock SET last=last+1")
        self.is_unwitnessed = False

    def _tick(self, *statements: str, given: Sequence[int] = ()) -> None:
        """One commit, of nothing that anybody saved."""
        if self._connection.in_transaction:
            self._roll_back()
        self._log.check_not_cut()
        count = self.own[0]
        self.own = (count, False, True)
        try:
            for statement in statements:
                self._cursor.execute(statement, given)
            count += 1
        except BaseException:
            self._roll_back()
            raise
        finally:
            self.own = (count, False, False)

    def scrub(self, deadline: float) -> None:
        """Forget the generations before, write the file anew, and cut the log to nothing.

        With all locks held. What is freed is overwritten anyway; this takes what is left between the rows of
        a page, too. Raises sqlite3.Error, also while another process reads or writes until ``deadline``.
        """
        for statement in ("DELETE FROM previous", "VACUUM"):
            patiently(partial(self._cursor.execute, statement), deadline)
        self.end_log(needed=False)
        patiently(self._cut_log, deadline)
        self.begin_log()

    def tidy(self, kept_before: int, deadline: float) -> tuple[int, int]:
        """Forget the generations kept before (microseconds), write the file anew if much of it is free.

        With all locks held. How many they were, and by how many bytes the file got shorter. The log is cut to
        nothing, as it may have what was deleted. Raises as ``scrub``.
        """
        forget = partial(self._cursor.execute, "DELETE FROM previous WHERE kept<?", (kept_before,))
        forgotten = patiently(forget, deadline).rowcount
        pages, free = self.extent()
        page = self._cursor.execute("PRAGMA page_size").fetchone()[0]
        used = (pages - free) * page
        is_worth_it = free * page >= max(FREED_BYTES_LEAST, pages * page // 4) and used <= MOVED_BYTES_MOST
        if is_worth_it:
            patiently(partial(self._cursor.execute, "VACUUM"), deadline)
        self.end_log(needed=False)
        patiently(self._cut_log, deadline)
        self.begin_log()
        return forgotten, (pages - self.extent()[0]) * page if is_worth_it else 0

    def _cut_log(self) -> None:
        busy, _, _ = self._cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise BusyError("the log is being read")
        self._log.longest = 0

    def extent(self) -> tuple[int, int]:
        """Of how many pages the database consists, and how many of them are free. Raises sqlite3.Error."""
        (pages,) = self._cursor.execute("PRAGMA page_count").fetchone()
        (free,) = self._cursor.execute("PRAGMA freelist_count").fetchone()
        return pages, free

    def save_room(self, tight: bool, log_size: int) -> None:
        """Cut a log that is started again to ``log_size`` bytes, and do without what costs room."""
        self._cursor.execute(f"PRAGMA journal_size_limit={log_size}").fetchone()
        if tight and not self._tight:
            # Where SQLite is built to overwrite what is deleted, that goes through the log, too.
            self._cursor.execute("PRAGMA secure_delete=FAST").fetchone()
            self._tight = True

    def try_lock(self) -> None:
        """Take SQLite's write lock and let it go. Raises sqlite3.Error while another process holds it."""
        try:
            self._begin()
        finally:
            self._roll_back()

    def close(self) -> None:
        """Let go of the statement, which would keep a closed connection's files open."""
        self._cursor.close()

    def wipe_log(self) -> None:
        """Overwrite what the log held before it was started again. Raises sqlite3.Error, OSError."""
        try:
            self._begin()
            self._log.check_not_cut()
            self._log.wipe()
        finally:
            self._roll_back()

    def lengthen_log(self, length: int) -> None:
        """Have the file of the log reach further than its frames. Raises sqlite3.Error, OSError."""
        try:
            self._begin()
            self._log.check_not_cut()
            self._log.lengthen(length)
        finally:
            self._roll_back()
