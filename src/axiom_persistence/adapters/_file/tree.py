"""Values as files: how they are replaced without ever being half there.

The order of the operations in ``stage`` and ``apply`` is what survives a loss of power; the crash-state
explorer of ``axiom_persistence.testing`` is run over it.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Final

from ...platform.filesystem import FileKind, FileSystem
from ...storage.generations import Generations
from ...storage.journal import encode_journal
from .edits import NO_LINKS, NOT_THERE, Edit, Loose, Staged, folder_of
from .names import PREVIOUS, file_name
from .place import JOURNAL
from .shred import clean
from .values import FileValues

__all__ = ["FileTree"]

STAGED_AT_ONCE: Final = 64
"""Files written before the first of them is synced: the later syncs then find little left to do."""


class FileTree(FileValues):
    """Adds writing. ``stage``, ``apply`` and ``flush`` belong to one thread, inside ``writing()``."""

    def __init__(self, files: FileSystem, *, lock_timeout: float, label: str) -> None:
        super().__init__(files, lock_timeout=lock_timeout, label=label)
        self.failure: str | None = None
        self._loose = Loose()
        self._generations = Generations()
        self._random = os.urandom(4).hex()
        self._numbers = itertools.count()

    def open(self, *, inspect: bool) -> None:
        """Open the place, finish what a crash left half done, and remove its leftovers."""
        self.failure = None
        self._loose = Loose()
        self._generations = Generations()
        self.place.open(inspect=inspect)
        if inspect:
            return
        try:
            with self.writing(), self.failing("cleaning up after an interrupted save"):
                clean(self)
        except BaseException as error:
            self.place.close_after(error)
            raise

    def close(self) -> None:
        self.place.close()

    # Writing

    def writing(self) -> AbstractContextManager[None]:
        """Hold the exclusive lock; a commit that was interrupted is finished first."""
        return _Writing(self)

    @property
    def loose(self) -> bool:
        """Whether anything waits for a sync."""
        return bool(self._loose)

    def stage(self, edits: Mapping[str, Edit], *, durable: bool) -> Staged:
        """Write the new bytes beside the old. When this raises, nothing has changed."""
        self.refuse_blocked(edits)
        return self._stage(edits, durable, self._loose)

    def apply(self, staged: Staged, *, atomic: bool) -> None:
        """Make what is staged the current values; all of them or none, where ``atomic``.

        When this raises, the changes may have happened or not; those of an atomic commit happen when
        the lock is taken next, if they had been decided.
        """
        first = next(iter(staged.edits))
        if atomic:
            try:
                with self.failing("writing the journal", first):
                    self._write_journal(staged)
            except BaseException as error:
                self._drop(staged.fresh.values(), error)
                raise
        self._install(staged, atomic=atomic)
        if staged.durable:
            with self.failing("making the change durable", first):
                self._sync_older(staged.loose)
                self._sync_directories(staged.loose)
        if atomic:
            with self.failing("clearing the journal", first):
                self._clear_journal(durable=staged.durable)

    def refuse_blocked(self, keys: Collection[str]) -> None:
        """Raise where something else is in place of a value's file.

        A directory is replaced by nothing, so a commit decided all the same could never be finished, nor
        any after it. A symbolic link would be replaced, and what somebody keeps behind it lost from here.
        """
        for key in keys:
            name = file_name(key)
            for place in (name, name + PREVIOUS) if len(keys) > 1 else (name,):
                with self.failing("replacing the value", key):
                    try:
                        kind = self.files.status(place).kind
                    except FileNotFoundError:
                        continue
                    if kind is FileKind.DIRECTORY:
                        raise IsADirectoryError(errno.EISDIR, f"a directory is in place of {place}")
                    if kind is FileKind.OTHER:
                        raise OSError(
                            errno.ELOOP,
                            f"{place} is not a regular file; it is neither followed nor replaced",
                        )

    def rely_on(self, keys: Iterable[str]) -> None:
        """Have the next sync bring what is stored under ``keys``, or that nothing is, to the disk as well."""
        self._loose.rely_on(map(file_name, keys))

    def flush(self) -> None:
        """Make everything written so far durable."""
        with self.failing("syncing earlier changes"), self.files.steady():
            self._sync_older(self._loose)
            self._sync_directories(self._loose)

    def _stage(self, edits: Mapping[str, Edit], durable: bool, loose: Loose) -> Staged:
        staged = Staged(edits, durable, loose)
        writes = [(key, edit.data) for key, edit in edits.items() if edit.data is not None]
        try:
            for at in range(0, len(writes), STAGED_AT_ONCE):
                self._write_temporaries(writes[at : at + STAGED_AT_ONCE], staged)
        except BaseException as error:
            self._drop(staged.fresh.values(), error)
            raise
        return staged

    def _write_temporaries(self, writes: list[tuple[str, bytes]], staged: Staged) -> None:
        handles: dict[str, int] = {}
        with self.failing("writing the value") as attempt:
            try:
                for attempt.key, data in writes:
                    folder = folder_of(file_name(attempt.key))
                    staged.fresh[attempt.key], handle = self._create_temporary(folder, staged.loose)
                    handles[attempt.key] = handle
                    self.files.write(handle, data)
                if staged.durable:
                    attempt.doing = "syncing the value"
                    for attempt.key, handle in handles.items():
                        self.sync(handle)
                attempt.doing = "closing the value's file"
                while handles:
                    attempt.key, handle = handles.popitem()
                    self.files.close(handle)
            except BaseException as error:
                for handle in handles.values():
                    try:
                        self.files.close(handle)
                    except OSError as second:
                        error.add_note(f"and closing the temporary file failed too: {second}")
                raise

    def _create_temporary(self, folder: str, loose: Loose) -> tuple[str, int]:
        name = self.beside(folder)
        try:
            return name, self.files.create(name)
        except FileNotFoundError:
            self._make_directories(folder, loose)
            return name, self.files.create(name)

    def beside(self, folder: str) -> str:
        """A new name in ``folder``, which nobody can have foreseen."""
        name = f".{self._random}{next(self._numbers):08x}.tmp"
        return f"{folder}/{name}" if folder else name

    def _make_directories(self, folder: str, loose: Loose) -> None:
        at = 0
        while at >= 0:
            at = folder.find("/", at + 1)
            made = folder if at < 0 else folder[:at]
            try:
                self.files.mkdir(made)
            except FileExistsError:
                continue
            loose.directories.add(folder_of(made))

    def _drop(self, temporaries: Collection[str], error: BaseException) -> None:
        """Remove temporary files after ``error``; one that stays is removed at the next opening."""
        for name in temporaries:
            try:
                self.files.unlink(name)
            except FileNotFoundError:
                continue
            except OSError as second:
                error.add_note(f"and {name} could not be removed: {second}")

    def _install(self, staged: Staged, *, atomic: bool) -> None:
        mark = self.place.open_mark
        left = dict(staged.fresh)
        with self.failing("replacing the value", next(iter(staged.edits), None)) as attempt:
            try:
                mark.begin()
                for attempt.key, edit in staged.edits.items():
                    self._install_one(attempt.key, edit, staged)
                    left.pop(attempt.key, None)
            except BaseException as error:
                self._drop(left.values(), error)
                # A journalled commit stays "busy" until somebody has finished it.
                if not atomic:
                    self._end_after(error)
                raise
            mark.end()

    def _end_after(self, error: BaseException) -> None:
        try:
            self.place.open_mark.end()
        except OSError as second:  # whoever takes the lock next finds it busy, and ends it
            error.add_note(f"and marking the end of the change failed too: {second}")

    def _install_one(self, key: str, edit: Edit, staged: Staged) -> None:
        name, loose = file_name(key), staged.loose
        folder = folder_of(name)
        if edit.data is None:
            # The previous generation goes first: a deletion cut short leaves the key, or nothing.
            if self._remove(name + PREVIOUS) | self._remove(name):
                loose.touch(folder, durable=staged.durable)
            loose.removed(name)
            self._generations.forget(name)
            return
        if edit.revived:
            self._forget_previous(name)
        elif name not in loose.files and (not staged.durable or self._generations.is_due(name)):
            # The bytes that an unsynced save left here are not worth the synced ones before them, and
            # those are kept from one that may be lost, however young they are.
            self._keep_previous(name, staged)
        self.files.replace(staged.fresh[key], name)
        loose.touch(folder, durable=staged.durable)
        loose.replaced(name, durable=staged.durable)

    def _keep_previous(self, name: str, staged: Staged) -> None:
        try:
            links = self.files.status(name).links
        except FileNotFoundError:
            self._forget_previous(name)
            return
        if name not in staged.loose.synced:  # what another left here may be worth less than what it kept
            self._sync_file(name, staged.loose)
        spare = self.beside(folder_of(name))
        try:
            try:
                self.files.link(name, spare)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                self._copy(name, spare, durable=staged.durable)
            self.files.replace(spare, name + PREVIOUS)
        except BaseException as error:
            self._drop([spare], error)
            raise
        if links > 1:
            # Renaming one name of a file over another name of the same file does nothing.
            self._remove(spare)
        self._generations.remember(name)

    def _copy(self, name: str, target: str, *, durable: bool) -> None:
        data = self.files.read(name)
        handle = self.files.create(target)
        try:
            self.files.write(handle, data)
            if durable:
                self.sync(handle)
        finally:
            self.files.close(handle)

    def _forget_previous(self, name: str) -> None:
        """Of a key that is absent: a value deleted earlier must not become the new one's previous."""
        self._generations.forget(name)
        if self._remove(name + PREVIOUS):
            self.sync_directory(folder_of(name))

    def forget(self, name: str) -> None:
        """The value in this file, or the generation before it, was removed."""
        self._loose.removed(name)
        self._generations.forget(name)

    def _remove(self, name: str) -> bool:
        try:
            self.files.unlink(name)
        except FileNotFoundError:
            return False
        return True

    # Durability

    def sync(self, handle: int) -> None:
        """Sync a file. A failure is for good: the kernel forgets which pages it could not write."""
        self.counts["syncs"] += 1
        try:
            self.files.sync(handle)
        except OSError as error:
            self.failure = str(error)
            raise

    def sync_directory(self, folder: str) -> None:
        """Sync a directory; the same holds for a failure."""
        if not self.place.syncs_directories:
            return
        self.counts["syncs"] += 1
        try:
            self.files.sync_directory(folder)
        except FileNotFoundError:
            return  # somebody removed it, and with it whatever was to be durable
        except OSError as error:
            self.failure = str(error)
            raise

    def _sync_older(self, loose: Loose) -> None:
        for name in sorted(loose.files):
            self._sync_file(name, loose)

    def _sync_file(self, name: str, loose: Loose) -> None:
        try:
            handle = self.files.open(name, write=True)
        except NOT_THERE:
            loose.removed(name)
            return
        try:
            self.sync(handle)
        finally:
            self.files.close(handle)
        loose.replaced(name, durable=True)

    def _sync_directories(self, loose: Loose) -> None:
        mark = self.place.mark
        if mark is not None and mark.loose:
            # Taken back before the sync, not after: another process may set it meanwhile.
            mark.loose = False
            loose.directories.add("")
        for folder in sorted(loose.directories):
            try:
                self.sync_directory(folder)
            except OSError:
                if mark is not None:
                    mark.loose = True
                raise
            loose.directories.discard(folder)

    # The journal

    def _write_journal(self, staged: Staged) -> None:
        """From the moment this returns, the commit is decided."""
        data = encode_journal({key: edit.data for key, edit in staged.edits.items()})
        self.place.open_mark.journal(written=True)
        handle = self.files.create(JOURNAL)
        try:
            try:
                self.files.write(handle, data)
                if staged.durable:
                    self.sync(handle)
            finally:
                self.files.close(handle)
            if staged.durable:
                self.sync_directory("")
        except BaseException as error:
            self._drop([JOURNAL], error)
            raise

    def _clear_journal(self, *, durable: bool) -> None:
        mark = self.place.open_mark
        self.files.unlink(JOURNAL)
        mark.journal(written=False)
        if durable:
            # Were it to come back, it would undo the commits that follow.
            self.sync_directory("")
        else:
            mark.loose = True

    def recover(self) -> None:
        """Finish a commit that was decided, forget one that was not. Only under the exclusive lock."""
        mark = self.place.mark
        if mark is None:
            return
        with self.failing("finishing an interrupted commit"):
            mark.heal()
            try:
                data = self._journal()
                if data is not None:
                    changes = self.decode_journal(data)
                    if changes is not None:
                        self._replay(changes)
                        self.counts["recovered"] += 1
                    self._clear_journal(durable=True)
                if mark.busy:
                    mark.end()
                mark.journal(written=False)
            finally:
                mark.disown()

    def _replay(self, changes: Mapping[str, bytes | None]) -> None:
        loose = Loose()
        edits = {}
        for key, data in changes.items():
            name = file_name(key)
            if data is not None and self._load(key, name) == data:
                # Already in place; it must not be made its own previous generation.
                loose.files.add(name)
                loose.touch(folder_of(name), durable=True)
            else:
                edits[key] = Edit(data)
        with self.files.steady():
            self._install(self._stage(edits, True, loose), atomic=True)
            self._sync_older(loose)
            self._sync_directories(loose)


class _Writing:
    __slots__ = ("_lock", "_tree")

    def __init__(self, tree: FileTree) -> None:
        self._tree = tree

    def __enter__(self) -> None:
        tree = self._tree
        with tree.failing("taking the store's lock"):
            self._lock = tree.place.take()
            mark = tree.place.mark
            if mark is None or not mark.finished:
                try:
                    tree.recover()
                except BaseException:
                    self._lock.release()
                    raise
            if mark is not None:
                tree._loose.look(mark.foreign())

    def __exit__(self, *_: object) -> None:
        with self._tree.failing("releasing the store's lock"):
            self._lock.release()
