"""The one thread that writes a file store: commits in the order of the calls, many with one sync."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Final
from weakref import WeakSet

from ...errors import PersistenceError, StorageError
from ...records._subject import SUBJECT_KEYS
from ...storage.adapter import Expect, Stored, verify_expected
from ...storage.basic import content_version
from ...storage.delivery import Job, deliver
from .edits import Edit
from .purge import purge
from .tree import FileTree

__all__ = ["RUNNING", "FileWriter"]

GROUP_MAX: Final = 128
"""Commits written together: bounds how long the first of them waits and how much a crash can leave."""

SYNC_DELAY: Final = 0.5
"""Seconds an unsynced commit may wait for its sync; the promise is one second."""


class FileWriter:
    """A daemon thread over a ``FileTree`` and the queue in front of it."""

    def __init__(self, tree: FileTree) -> None:
        self.tree = tree
        self.counts = {"commits": 0, "groups": 0, "conflicts": 0}
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._unreported: BaseException | None = None
        self._stopping = False
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="axiom-file-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()
        RUNNING.add(self)

    def put(self, job: Job) -> None:
        """Queue a commit. Commits take effect in the order of these calls."""
        self._queue.put(job)

    def stop(self, timeout: float | None = None) -> bool:
        """Write and sync everything queued, and end the thread. False: it did not end in time.

        Raises the error of an earlier background sync, or of the last one, that nobody was told of.
        """
        self._queue.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        error, self._unreported = self._unreported, None
        if error is not None:
            raise error
        return True

    def abandon(self) -> None:
        """End the thread, and close the tree when all is written: the adapter was dropped unclosed."""
        self._abandoned = True
        self._queue.put(None)

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread of an abandoned writer."""
        if self._abandoned:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping:
            jobs = self._next_group(wait=True)
            if jobs:
                self._process(jobs)
            if self._stopping or not jobs:
                self._flush()
        if self._abandoned:
            self.tree.close()

    def _flush(self) -> None:
        if self.tree.failure is None and self.tree.loose:
            try:
                self.tree.flush()
            except PersistenceError as error:
                self._unreported = error

    def _next_group(self, *, wait: bool) -> list[Job]:
        """What is queued now; when waiting, at least one commit, or none where a sync is due."""
        jobs: list[Job] = []
        timeout = SYNC_DELAY if self.tree.loose and self.tree.failure is None else None
        while len(jobs) < GROUP_MAX and not self._stopping:
            if jobs and self._queue.empty():
                break
            try:
                job = self._queue.get(block=wait and not jobs, timeout=timeout)
            except queue.Empty:
                break
            if job is None:
                self._stopping = True
            else:
                jobs.append(job)
        return jobs

    def _process(self, jobs: list[Job]) -> None:
        with self.tree.files.steady():
            try:
                with self.tree.writing():
                    # Whoever queued up while the lock was awaited comes along.
                    if len(jobs) < GROUP_MAX and not self._queue.empty():
                        jobs += self._next_group(wait=False)
                    for _, some in groupby(jobs, _company):
                        self._do(list(some))
                    with self.tree.failing("looking at the store's path"):
                        self.tree.place.confirm()
            except BaseException as error:
                for job in jobs:
                    if job.error is None:
                        _blame(job, error, self.tree.label)
                if not isinstance(error, Exception):
                    raise
            finally:
                deliver(jobs)

    def _refuse_failed(self) -> None:
        if self.tree.failure is not None:
            raise StorageError(
                f"an earlier sync failed ({self.tree.failure}); the store must be reopened first",
                adapter=self.tree.label,
                hint="close it, open it again and look at what is there",
            )

    def _commit(self, jobs: list[Job]) -> None:
        self._refuse_failed()
        accepted, edits = self._judge(jobs)
        for job in jobs:
            if job.generations is not None:
                self._set_previous(job, job.generations)
        if not accepted:
            return
        durable = any(job.durable for job in accepted)
        self.tree.rely_on(
            key for job in accepted if job.durable for key in _found_done(job) if key not in edits
        )
        if not edits:
            if durable:
                self.tree.flush()
            return
        # A commit of several keys is whole or not at all; single ones may stand for themselves.
        atomic = len(edits) > 1 and any(len(job.changes) > 1 for job in accepted)
        try:
            staged = self.tree.stage(edits, durable=durable)
        except StorageError as error:
            if len(accepted) == 1 or self.tree.failure is not None:
                for job in accepted:
                    _blame(job, error, self.tree.label)
                return
            # Nothing has changed yet: let each succeed, or fail by its own key.
            for job in accepted:
                self._commit_alone(job)
            return
        self.tree.apply(staged, atomic=atomic)
        self.counts["groups"] += 1
        self.counts["commits"] += len(accepted)

    def _set_previous(self, job: Job, generations: Mapping[str, bytes | None]) -> None:
        from .generations import set_previous  # few programs take anything back

        try:
            set_previous(self.tree, generations)
        except StorageError as error:
            _blame(job, error, self.tree.label)

    def _do(self, jobs: list[Job]) -> None:
        (self._commit if jobs[0].purges is None else self._purge)(jobs)

    def _purge(self, jobs: list[Job]) -> None:
        self._refuse_failed()
        for job in jobs:
            purge(self.tree, job.changes, job.purges or ())
        self.tree.flush()  # whatever was called before is as durable

    def _commit_alone(self, job: Job) -> None:
        try:
            self._commit([job])
        except StorageError as error:
            _blame(job, error, self.tree.label)

    def _judge(self, jobs: list[Job]) -> tuple[list[Job], dict[str, Edit]]:
        """The commits whose expectations hold, one after the other, and what they come to together."""
        accepted = []
        edits: dict[str, Edit] = {}
        for job in jobs:
            if job.generations is not None:
                continue
            try:
                if job.expect is not None:
                    verify_expected(self._found(job.expect, edits), job.expect, self.tree.label)
            except PersistenceError as error:
                job.error = error
                self.counts["conflicts"] += 1
                continue
            for key, data in job.changes.items():
                earlier = edits.get(key)
                edits[key] = Edit(data, earlier is not None and (earlier.revived or earlier.data is None))
            job.versions = {
                key: content_version(data) for key, data in job.changes.items() if data is not None
            }
            accepted.append(job)
        return accepted, edits

    def _found(self, expect: Expect, edits: Mapping[str, Edit]) -> dict[str, Stored]:
        found = {}
        for key in expect:
            if key not in edits:
                stored = self.tree.current(key)
            else:
                data = edits[key].data
                stored = None if data is None else Stored(data, content_version(data))
            if stored is not None:
                found[key] = stored
        return found


RUNNING: Final[WeakSet[FileWriter]] = WeakSet()
"""Kept alive by their threads, those of dropped adapters too."""


def _company(job: Job) -> object:
    """Those with the same are written together: the others, and keys that no journal may have, alone."""
    return job if job.purges is not None or any(key.startswith(SUBJECT_KEYS) for key in job.changes) else None


def _blame(job: Job, error: BaseException, label: str) -> None:
    """Fail ``job`` with an error of its own, so that each caller sees a key of his."""
    if not isinstance(error, PersistenceError):
        job.error = error
        return
    named = error.key if error.key in job.changes else job.key
    own = type(error)(error.message, key=named, adapter=error.adapter or label, hint=error.hint)
    if isinstance(error, StorageError):
        own.errno = error.errno  # type: ignore[attr-defined]
    own.__cause__ = error.__cause__ or error
    job.error = own


def _found_done(job: Job) -> Iterable[str]:
    """The keys that a job found as it wants them, perhaps by somebody who has not synced that."""
    return [key for key, version in (job.expect or {}).items() if version is None or not job.changes]
