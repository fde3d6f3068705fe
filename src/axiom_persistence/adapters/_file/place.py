"""The directory of a file store: whose it is, who may write now, and when it last changed."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ...errors import (
    CapabilityUnavailableError,
    CorruptedDataError,
    ForeignStoreError,
    PersistenceError,
    SchemaTooNewError,
    StorageError,
    StorageLockedError,
    StoreNotFoundError,
    from_os_error,
    way_out_of_ruin,
)
from ...platform.filesystem import FileKind, FileSystem
from ...platform.making import REFUSED
from .mark import ChangeMark
from .names import PREVIOUS, SUFFIX

__all__ = ["JOURNAL", "MARKER", "MARKER_TEXT", "TEMPORARY", "FilePlace", "StoreLock"]

MARKER: Final = ".axiom"
MARK: Final = ".axiom.mark"
JOURNAL: Final = ".axiom.journal"
TEMPORARY: Final = re.compile(r"\.[0-9a-f]{16}\.tmp")

FORMAT: Final = 1
MARKER_TEXT: Final = (
    b"axiom-persistence file store, format 1\n"
    b"\n"
    b'Each .json file here is one value; a name that ends in "~" is the value before it.\n'
    b"This file marks the directory and is what programs lock: do not remove it while one runs.\n"
)
# An editor or a checkout may have put a mark of its encoding before it and carriage returns into it.
_FIRST_LINE: Final = re.compile(rb"(?:\xef\xbb\xbf)?axiom-persistence file store, format ([0-9]{1,9})\r?\n")
_RECORD: Final = b'{"axiom":'

# What desktops put into any directory somebody looked at; no reason to refuse an empty one.
_DROPPINGS: Final = frozenset({".DS_Store", ".directory", "Thumbs.db", "desktop.ini"})


class StoreLock:
    """The store's lock, taken through handles of its own.

    Whoever waits holds the gate, so that a process which commits without a pause cannot take the lock
    again and again before somebody who polls for it.
    """

    def __init__(self, files: FileSystem, main: int, gate: int | None) -> None:
        self._files = files
        self._main = main
        self.gate = gate

    def acquire(self, *, exclusive: bool, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        if self.gate is None:
            self._files.lock(self._main, exclusive=exclusive, deadline=deadline)
            return
        self._files.lock(self.gate, exclusive=exclusive, deadline=deadline)
        try:
            self._files.lock(self._main, exclusive=exclusive, deadline=deadline)
        finally:
            self._files.unlock(self.gate)

    def release(self) -> None:
        self._files.unlock(self._main)

    def close(self) -> None:
        for handle in (self._main, self.gate):
            if handle is not None:
                self._files.close(handle)


class FilePlace:
    """One opened directory. Raises errors of our tree; ``label`` is the adapter they name."""

    def __init__(self, files: FileSystem, *, lock_timeout: float, label: str) -> None:
        self.files = files
        self.label = label
        self.lock_timeout = lock_timeout
        self.inspecting: bool = False
        self.syncs_directories: bool = files.syncs_directories
        self.mark: ChangeMark | None = None
        self._writer: StoreLock | None = None
        self._identities: dict[str, tuple[int, int]] = {}

    def open(self, *, inspect: bool) -> None:
        """Find the store, or make it in an empty or missing directory unless inspecting."""
        self.inspecting = inspect
        try:
            self.files.attach(create=not inspect)
        except FileNotFoundError as error:
            raise StoreNotFoundError(
                "there is no such directory", adapter=self.label, hint="save something there first"
            ) from error
        except (NotADirectoryError, FileExistsError) as error:
            raise ForeignStoreError(
                "this is not a directory",
                adapter=self.label,
                hint="give the path of a directory; what a file of another program holds, such as JSON, "
                "`axiom-persistence import-legacy` takes over",
            ) from error
        except OSError as error:
            raise from_os_error(error, "the directory could not be opened", adapter=self.label) from error
        try:
            self._claim()
        except BaseException as error:
            self.close_after(error)
            if isinstance(error, PersistenceError) or not isinstance(error, OSError):
                raise
            raise from_os_error(error, "the store could not be opened", adapter=self.label) from error

    @property
    def open_mark(self) -> ChangeMark:
        if self.mark is None:
            raise CapabilityUnavailableError("the store is not open for writing", adapter=self.label)
        return self.mark

    def close(self) -> None:
        """Let go of everything; it is let go of even when this raises."""
        self._writer = None
        self.mark = None
        try:
            self.files.detach()
        except OSError as error:
            raise from_os_error(error, "closing the store", adapter=self.label) from error

    def close_after(self, error: BaseException) -> None:
        try:
            self.close()
        except StorageError as second:
            error.add_note(f"and then: {second}")

    def _claim(self) -> None:
        files = self.files
        main = self._open_own(MARKER)
        if main is None:
            main = self._new_marker()
        gate = self._open_gate()
        lock = StoreLock(files, main, gate)
        lock.acquire(exclusive=not self.inspecting, timeout=self.lock_timeout)
        try:
            self._check_marker(main)
            if not self.inspecting:
                self._find_promise(main)
                gate = self._open_mark(gate)
        finally:
            lock.release()
        if not self.inspecting:
            self._writer = StoreLock(files, main, gate)
            self._identities = {MARKER: files.identity(main)}
            if gate is not None:
                self._identities[MARK] = files.identity(gate)

    def _new_marker(self) -> int:
        try:
            self._refuse_others()
            self._refuse_to_make()
        except PersistenceError:
            main = self._open_own(MARKER)
            if main is None:
                raise
            return main  # another process has made the store meanwhile
        return self.files.open(MARKER, write=True, create=True)

    def _open_own(self, name: str) -> int | None:
        """A handle on a file of the store's own. None: it is not there."""
        try:
            return self.files.open(name, write=not self.inspecting)
        except FileNotFoundError:
            return None
        except OSError:
            if not self._is_blocked(name):
                raise
            raise ForeignStoreError(
                f"{name} is not a regular file; a symbolic link is not followed",
                adapter=self.label,
                hint=f"put the store's own {name} back in its place",
            ) from None

    def _is_blocked(self, name: str) -> bool:
        try:
            return self.files.status(name).kind is not FileKind.FILE
        except OSError:
            return False  # what kept it from being opened is the thing to tell

    def _find_promise(self, main: int) -> None:
        """Raise where files cannot be synced; find out whether directories can.

        Asked at every opening, so that a file system which refuses it does so at each of them alike.
        """
        self.files.sync(main)
        try:
            self.files.sync_directory("")
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            self.syncs_directories = False
        else:
            self.syncs_directories = self.files.syncs_directories

    def confirm(self) -> None:
        """Raise ``OSError`` unless the store's path still leads here.

        What is written into a directory that was moved away, or after somebody else made a store in its
        place, is lost for whoever opens the path next. And whoever opens it with another mark in the place
        of ours shares nothing with us: neither would see what the other commits.
        """
        try:
            for name, identity in self._identities.items():
                if self.files.identity(name) != identity:
                    break
            else:
                return
        except PermissionError:
            return  # of a program that gave up its rights: nobody can tell
        raise FileNotFoundError(errno.ENOENT, "it was moved or replaced while the store was open")

    def _open_gate(self) -> int | None:
        return self._open_own(MARK)  # None: not opened for writing since it was made or restored

    def _refuse_others(self) -> None:
        """Raise unless the directory is empty but for what a broken-off creation leaves."""
        names = {entry.name for entry in self.files.scan("")}
        others = sorted(names - {MARKER, MARK} - _DROPPINGS)
        if others:
            shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
            if MARK in names or JOURNAL in names or any(map(self._is_record, others)):
                raise CorruptedDataError(
                    f"values of a store are here ({shown}), but its file {MARKER} is gone or damaged",
                    adapter=self.label,
                    hint=f"nothing was changed; put {MARKER} back, the one of another file store will do; or "
                    f"{way_out_of_ruin(str(self.files.root))}",
                )
            raise ForeignStoreError(
                f"the directory holds files of somebody else ({shown}) and is not a store",
                adapter=self.label,
                hint="choose an empty or new directory; `axiom-persistence import-legacy` takes over what "
                f"others stored, such as JSON files; in a copy of a store, copy {MARKER} too",
            )

    def _refuse_to_make(self) -> None:
        if self.inspecting:
            raise StoreNotFoundError(
                "the directory is empty; there is no store in it",
                adapter=self.label,
                hint="save something there first",
            )

    def _check_marker(self, main: int) -> None:
        text = self.files.read(MARKER)
        line = _FIRST_LINE.match(text)
        if line is not None:
            if int(line[1]) > FORMAT:
                raise SchemaTooNewError(
                    f"the store has format {int(line[1])}; this version knows {FORMAT}",
                    adapter=self.label,
                    hint="update the application",
                )
            return
        # Cut short or zeroed in part: the very first opening was interrupted, for nothing else is
        # written before the marker is durable.
        self._refuse_others()
        torn = len(text) <= len(MARKER_TEXT) and all(
            byte in (0, meant) for byte, meant in zip(text, MARKER_TEXT, strict=False)
        )
        if not torn:
            raise ForeignStoreError(
                f"the file {MARKER} is not ours", adapter=self.label, hint="choose another directory"
            )
        self._refuse_to_make()
        self.files.write(main, MARKER_TEXT)

    def _is_record(self, name: str) -> bool:
        if not name.removesuffix(PREVIOUS).endswith(SUFFIX):
            return False
        try:
            return self.files.read(name).startswith(_RECORD)
        except OSError:
            return False  # not a file that is ours to read

    def _open_mark(self, gate: int | None) -> int:
        if gate is None:
            gate = self.files.open(MARK, write=True, create=True)
        self.mark = ChangeMark(self.files, gate)
        self.mark.journal(written=True)  # for all it knows: it may be older than a loss of power
        return gate

    def take(self) -> StoreLock:
        """The exclusive lock, for the one thread that writes and releases it."""
        lock = self._writer
        if lock is None:
            raise CapabilityUnavailableError("the store is not open for writing", adapter=self.label)
        self._acquire(lock, exclusive=True)
        return lock

    @contextmanager
    def reading(self, *, exclusive: bool = False) -> Iterator[None]:
        """The lock, for any other thread: through handles opened for the occasion.

        A handle that is already locked would only have its lock converted, not wait.
        """
        lock = StoreLock(self.files, self.files.open(MARKER, write=False), None)
        try:
            lock.gate = self._open_gate()
            self._acquire(lock, exclusive=exclusive)
            try:
                yield
            finally:
                lock.release()
        finally:
            lock.close()

    def _acquire(self, lock: StoreLock, *, exclusive: bool) -> None:
        try:
            lock.acquire(exclusive=exclusive, timeout=self.lock_timeout)
        except BlockingIOError as error:
            raise StorageLockedError(
                f"another process held the store's lock for {self.lock_timeout:g} seconds",
                adapter=self.label,
                hint="try again, or end that process",
                code=error.errno,
            ) from error
