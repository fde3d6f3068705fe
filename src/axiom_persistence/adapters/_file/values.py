"""Values as files: how one state of them is read without a lock."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Final, Self

from ...errors import StorageError, from_os_error
from ...platform.filesystem import Entry, FileKind, FileSystem
from ...storage.adapter import Stored
from ...storage.basic import content_version
from ...storage.journal import decode_journal
from ...storage.listing import Listing
from .listing import in_order
from .names import PREVIOUS, SUFFIX, file_name, key_of
from .place import JOURNAL, TEMPORARY, FilePlace

__all__ = ["WHOLE", "FileValues"]

WHOLE: Final = slice(None)
"""All of a value."""


class _Failing:
    """What is being done, to which key: both may be changed as it goes on."""

    __slots__ = ("_label", "doing", "key")

    def __init__(self, label: str, doing: str, key: str | None) -> None:
        self._label = label
        self.doing: str = doing
        self.key: str | None = key

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        if isinstance(error, StorageError):
            error.naming(key=self.key, adapter=self._label)
        elif isinstance(error, OSError):
            raise from_os_error(error, self.doing, key=self.key, adapter=self._label) from error


class FileValues:
    """All values of one store, to be read by any thread. Raises errors of our tree that name the key."""

    def __init__(self, files: FileSystem, *, lock_timeout: float, label: str) -> None:
        self.files = files
        self.label = label
        self.place: FilePlace = FilePlace(files, lock_timeout=lock_timeout, label=label)
        self.counts: dict[str, int] = {"syncs": 0, "recovered": 0, "locked_reads": 0}

    def recover(self) -> None:
        """Finish a commit that was decided, forget one that was not. Only under the exclusive lock."""
        raise NotImplementedError

    def failing(self, doing: str, key: str | None = None) -> _Failing:
        """Inside, an ``OSError`` becomes one of ours, which says what was being done to which key."""
        return _Failing(self.label, doing, key)

    # Reading

    def peek(self, keys: Collection[str], part: slice = WHOLE) -> dict[str, bytes] | None:
        """One state of ``keys``, or of a part of each, read with no lock. None: it is just being changed."""
        mark = self.place.mark
        if mark is None:
            return None
        generation = mark.generation
        if generation & 1:
            return None
        found = self._load_all(keys, part)
        return found if mark.generation == generation else None

    def read(self, keys: Collection[str], part: slice = WHOLE) -> dict[str, bytes]:
        """The same under the lock; an interrupted commit is finished first."""
        self.counts["locked_reads"] += 1
        with self.settled() as interrupted:
            found = self._load_all([key for key in keys if key not in interrupted], part)
            for key in keys:
                data = interrupted.get(key)
                if data is not None:
                    found[key] = data[part]
            return found

    @contextmanager
    def settled(self) -> Iterator[Mapping[str, bytes | None]]:
        """Hold the lock while no commit is half done.

        Yields the changes of an interrupted one that an inspection may look at but not finish.
        """
        with self.failing("taking the store's lock"):
            with self.place.reading():
                mark = self.place.mark
                unfinished = self._journal()
                if self.place.inspecting:
                    yield (None if unfinished is None else self.decode_journal(unfinished)) or {}
                    return
                if unfinished is None and (mark is None or not mark.busy):
                    yield {}
                    return
            with self.place.reading(exclusive=True):
                self.recover()
                yield {}

    def current(self, key: str) -> Stored | None:
        """What is stored under ``key`` now."""
        data = self._load(key, file_name(key))
        return None if data is None else Stored(data, content_version(data))

    def previous(self, key: str) -> Stored | None:
        """The generation before; of an absent key there is none, whatever a crash left behind."""
        name = file_name(key)
        if self._load(key, name) is None:
            return None
        data = self._load(key, name + PREVIOUS)
        return None if data is None else Stored(data, content_version(data))

    def saved_at(self, key: str) -> float | None:
        """When the file of ``key`` was written."""
        with self.failing("looking at the value", key):
            try:
                return self.files.status(file_name(key)).modified
            except FileNotFoundError:
                return None

    def _load_all(self, keys: Collection[str], part: slice) -> dict[str, bytes]:
        found = {}
        for key in keys:
            data = self._load(key, file_name(key), part)
            if data is not None:
                found[key] = data
        return found

    def _load(self, key: str, name: str, part: slice = WHOLE) -> bytes | None:
        try:
            if part is WHOLE:
                return self.files.read(name)
            handle = self.files.open(name, write=False)
            try:
                return self.files.read_at(handle, part.stop)[part]
            finally:
                self.files.close(handle)
        except FileNotFoundError:
            return None
        except OSError as error:
            hint = " (a symbolic link is not followed)" if error.errno in (errno.ELOOP, errno.ENOTDIR) else ""
            raise from_os_error(error, f"reading {name}{hint}", key=key, adapter=self.label) from error

    def keys(self, listing: Listing) -> list[str]:
        """The keys that ``listing`` asks for, in its order."""
        with self.failing("listing the keys"):
            mark = self.place.mark
            interrupted: Mapping[str, bytes | None] = {}
            if mark is None or mark.busy:
                with self.settled() as interrupted:
                    pass
            with self.files.steady():
                if not interrupted:
                    return list(islice(in_order(self.scan, listing), listing.limit))
                found = set(in_order(self.scan, Listing(listing.prefix)))
            for key, data in interrupted.items():
                (found.discard if data is None else found.add)(key)
            return listing.of(sorted(found))

    def scan(self, folder: str) -> list[Entry]:
        """The entries of a directory; none where it was removed meanwhile, or is no directory of ours."""
        try:
            return self.files.scan(folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return []

    def walk(self, top: str) -> Iterator[tuple[str, Entry]]:
        """Every entry below ``top`` but directories, which are entered. No recursion: keys nest deep."""
        folders = [top]
        with self.files.steady():
            while folders:
                folder = folders.pop()
                for entry in self.scan(folder):
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.kind is FileKind.DIRECTORY and entry.name[0] != ".":
                        folders.append(name)
                    else:
                        yield name, entry

    decode_journal: Final = staticmethod(decode_journal)

    def _journal(self) -> bytes | None:
        try:
            return self.files.read(JOURNAL)
        except FileNotFoundError:
            return None

    # Checking

    def faults(self) -> list[str]:
        """What is wrong in the directory, each a sentence. Reads every value."""
        found = []
        with self.settled() as interrupted:
            if interrupted:
                found.append(f"An interrupted commit of {len(interrupted)} keys waits for the next opening.")
            with self.failing("checking the store"):
                for name, entry in self.walk(""):
                    if name != JOURNAL and (fault := self._fault(name, entry)) is not None:
                        found.append(fault)
        return sorted(found)

    def _fault(self, name: str, entry: Entry) -> str | None:
        if entry.name[0] == ".":
            left = TEMPORARY.fullmatch(entry.name) is not None
            return f"{name} was left over by an interrupted save." if left else None
        if entry.kind is not FileKind.FILE:
            return f"{name} is no regular file; it is ignored and not followed."
        try:
            mode = self.files.status(name).mode
            self.files.read(name)
            if name.endswith(SUFFIX + PREVIOUS):
                current = name.removesuffix(PREVIOUS)
                if key_of(current) is None:
                    return f"{name} belongs to no key; it is ignored."
                self.files.status(current)
                return None
            if key_of(name) is None:
                return f"{name} is the file of no key; it is ignored."
        except FileNotFoundError:
            if name.endswith(PREVIOUS):
                return f"{name} was left over by an interrupted deletion; it is never used."
            return None  # deleted meanwhile
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}."
        if os.name == "posix" and mode & 0o077:
            return f"{name} can be read by others (mode {mode:04o})."
        return None
