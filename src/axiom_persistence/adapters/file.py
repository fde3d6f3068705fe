"""``FileStorageAdapter``: one readable file a key."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Self, TypeVar
from weakref import WeakSet, finalize

from ..errors import AccessDeniedError, CapabilityUnavailableError, ConfigurationError, CorruptedDataError
from ..platform.filesystem import FileSystem
from ..platform.local import local_filesystem
from ..runtime.ending import ADAPTERS, after_fork, at_exit
from ..runtime.threads import in_thread
from ..storage.adapter import (
    MAX_STORED_KEY_BYTES,
    NOT_NOW,
    Changes,
    Durability,
    Expect,
    NotNow,
    StorageAdapter,
    Stored,
    Tidied,
    Told,
    Traits,
    check_changes,
)
from ..storage.basic import content_version
from ..storage.delivery import Job
from ..storage.listing import Listing
from ._file.names import file_name
from ._file.tree import FileTree
from ._file.values import WHOLE
from ._file.writer import RUNNING, FileWriter

if TYPE_CHECKING:
    from ..storage._salvage import SalvageReport

__all__ = ["FileStorageAdapter"]

T = TypeVar("T")

INLINE_KEYS_MAX: Final = 64
"""Files read on the caller's thread: some 10 microseconds each from the page cache."""

PEEKS_MAX: Final = 3
"""Reads tried without the lock while somebody commits, before one waits for it."""

EXIT_SECONDS_MAX: Final = 10.0
"""How long the end of the interpreter waits for commits still queued."""


class _Uses:
    """Which threads are inside, so that closing pulls no descriptor from under one.

    Each holds a lock of its own by ``with``: there is no count that Ctrl-C could leave too high.
    """

    def __init__(self) -> None:
        self._locks: dict[int, threading.RLock] = {}

    def mine(self) -> threading.RLock:
        thread = threading.get_ident()
        return self._locks.get(thread) or self._locks.setdefault(thread, threading.RLock())

    def wait_for_none(self) -> None:
        for lock in list(self._locks.values()):
            with lock:
                pass


class FileStorageAdapter(StorageAdapter):
    """A directory with one ``.json`` file a key and a sub-directory per namespace.

    A commit is all or nothing and isolated, between processes too. ``POWER_LOSS`` syncs files and
    directories before it returns. ``PROCESS_EXIT`` only renames and syncs within a second: what is lost
    to a loss of power in between may leave an empty or older file (which the check of the record
    finds, and ``previous`` has the last synced value) and part of a commit of several keys. A stronger
    commit first syncs everything this adapter wrote. Where directories cannot be synced (Windows, some
    network and removable file systems) the adapter promises no more than ``PROCESS_EXIT``; it knows that
    once it is open.

    The generation before a value is kept at most once a minute a key: bytes that were there for a minute are
    kept when they are overwritten, and so are synced ones by a save that is not.

    The files are for reading by people and programs; to change them, close the store first. While the
    directory is not at its path, commits raise ``StorageError``. Directories stay when their last key is
    deleted. Only the owner has access to what is made here; a directory that was there keeps its mode.
    Not for network file systems whose ``flock`` does not reach other hosts. Every opening walks the whole
    directory for leftovers.

    ``inspect`` opens without creating, finishing or removing anything, and refuses commits.
    ``lock_timeout``: seconds to wait for other processes before ``StorageLockedError``. Raises
    ``ForeignStoreError`` for a directory with other files in it, ``StoreNotFoundError`` when inspecting
    what is no store, ``SchemaTooNewError`` for a later format. After a failed sync every commit raises
    ``StorageError`` until the adapter is closed and opened again. A forked child must open its own.
    """

    tree_class: ClassVar[type[FileTree]] = FileTree

    def __init__(
        self,
        directory: str | Path,
        *,
        inspect: bool = False,
        filesystem: FileSystem | None = None,
        lock_timeout: float = 10.0,
    ) -> None:
        self.directory: Path = Path(directory).expanduser().absolute()
        self.inspect = inspect
        self._lock_timeout = lock_timeout
        self._files = local_filesystem(self.directory) if filesystem is None else filesystem
        self._tree = self.tree_class(self._files, lock_timeout=lock_timeout, label=str(self))
        self._writer: FileWriter | None = None
        self._is_open = False
        self._forked = False
        self._uses = _Uses()
        self._lifecycle = threading.Lock()
        self._queueing = threading.Lock()
        self._traits = Traits(
            atomic=True,
            durability=self._promise(),
            shared=True,
            max_key_bytes=MAX_STORED_KEY_BYTES,
        )

    @classmethod
    def in_documents(cls, name: str, *, inspect: bool = False) -> Self:
        """The store ``name`` in the user's documents directory, where people find and back up files."""
        from ..platform.places import documents_directory  # few stores are there

        return cls(documents_directory(name), inspect=inspect)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.directory)!r})"

    def _promise(self) -> Durability:
        return Durability.POWER_LOSS if self._tree.place.syncs_directories else Durability.PROCESS_EXIT

    @property
    def traits(self) -> Traits:
        return self._traits

    @property
    def location(self) -> str:
        return str(self.directory)

    # Opening and closing

    async def aopen(self) -> None:
        self._refuse_forked()
        await in_thread(self._open)

    async def aclose(self) -> None:
        if not self._forked:
            await in_thread(self._close)

    def _open(self) -> None:
        with self._lifecycle:
            if self._is_open:
                return
            self._tree.open(inspect=self.inspect)
            self._traits = replace(self._traits, durability=self._promise())
            if not self.inspect:
                self._writer = FileWriter(self._tree)
                self._writer.start()
                self._dropped = finalize(self, self._writer.abandon)
                self._dropped.atexit = False  # type: ignore[misc]  # a property that typeshed gives no slot
            self._is_open = True
            _OPEN.add(self)

    def _close(self, timeout: float | None = None) -> None:
        with self._lifecycle:
            if not self._is_open:
                return
            with self._queueing:
                self._is_open = False  # nothing is queued after the last of these lines
                writer, self._writer = self._writer, None
            ended = True
            try:
                if writer is not None:
                    self._dropped.detach()
                    ended = writer.stop(timeout)
            finally:
                if ended:
                    self._uses.wait_for_none()
                    _OPEN.discard(self)
                    self._tree.close()

    def _refuse_forked(self) -> None:
        if self._forked:
            raise CapabilityUnavailableError(
                "this process was forked from the one that opened the store",
                adapter=self,
                hint="build and open an adapter of its own in the child",
            )

    def _check_open(self) -> None:
        """Within ``with self._uses.mine()``: it stays open until the end of the block."""
        self._refuse_forked()
        if not self._is_open:
            raise self._not_open()

    def _not_open(self) -> CapabilityUnavailableError:
        return CapabilityUnavailableError(
            "the store is not open", adapter=self, hint="open it first, in `async with`"
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def opened() -> T:
            with self._uses.mine():
                self._check_open()
                return work()

        self._refuse_forked()
        return await in_thread(opened)

    # Reading

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        found = await self._fetch(keys, WHOLE)
        return {key: Stored(data, content_version(data)) for key, data in found.items()}

    async def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        return await self._fetch(keys, slice(start, start + length))

    async def exists(self, key: str) -> bool:
        return bool(await self._fetch((key,), slice(0, 0)))

    async def _fetch(self, keys: Collection[str], part: slice) -> dict[str, bytes]:
        for key in keys:
            file_name(key)
        if len(keys) <= INLINE_KEYS_MAX and not self.inspect:
            for attempt in range(PEEKS_MAX):
                with self._uses.mine():
                    self._check_open()
                    found = self._tree.peek(keys, part)
                if found is not None:
                    return found
                if attempt + 1 < PEEKS_MAX:
                    await asyncio.sleep(0)
        return await self._in_thread(lambda: self._read(keys, part))

    def _read(self, keys: Collection[str], part: slice) -> dict[str, bytes]:
        found = self._tree.peek(keys, part)
        return self._tree.read(keys, part) if found is None else found

    def fetch_now(self, key: str) -> Stored | None | NotNow:
        file_name(key)
        if self.inspect:
            return NOT_NOW
        with self._uses.mine():
            self._check_open()
            found = self._tree.peek((key,))
        if found is None:
            return NOT_NOW
        data = found.get(key)
        return None if data is None else Stored(data, content_version(data))

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        """Of the directories that can hold a key of the page, each costs all of its names."""
        listing = Listing(prefix, after, limit, reverse)
        for key in await self._in_thread(lambda: self._tree.keys(listing)):
            yield key

    async def previous(self, key: str) -> Stored | None:
        def look() -> Stored | None:
            with self._tree.settled() as interrupted:
                if interrupted.get(key, b"") is None:
                    return None
                return self._tree.previous(key)

        file_name(key)
        return await self._in_thread(look)

    async def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        check_changes(generations, self._traits, self)
        await self._queued(Job({}, None, durable=True, generations=dict(generations)))

    async def saved_at(self, key: str) -> float | None:
        file_name(key)
        return await self._in_thread(lambda: self._tree.saved_at(key))

    async def check(self) -> list[str]:
        return await self._in_thread(self._tree.faults)

    async def copy_to(self, place: str, told: Told | None = None) -> bool:
        from ._file.copy import copy  # few programs make one

        await self._in_thread(lambda: copy(self._tree, place, told))
        return True

    async def tidy(self, kept_before: float) -> Tidied:
        from ._file.tidy import tidy  # few programs do

        await self.commit({})  # what an interrupted commit has left is finished
        return Tidied(await self._in_thread(lambda: tidy(self._tree, kept_before)), 0)

    async def scrub(self) -> bool:
        from ._file.scrub import scrub  # few programs do

        await self.commit({})  # what an interrupted commit has left is finished, and its journal gone
        await self._in_thread(lambda: scrub(self._tree))
        return True

    async def salvage(self) -> SalvageReport | None:
        from ._file.salvage import repair  # no program needs it, but for once

        def work() -> SalvageReport | None:
            tree = self.tree_class(self._files, lock_timeout=self._lock_timeout, label=str(self))
            try:
                tree.open(inspect=True)
            except CorruptedDataError:
                return repair(tree, self._lock_timeout)
            tree.close()
            return None

        await self.aclose()
        return await in_thread(work)

    def change_mark(self) -> Hashable | None:
        self._refuse_forked()
        mark = self._tree.place.mark
        return None if mark is None else mark.foreign()

    def stats(self) -> dict[str, int]:
        writer = self._writer
        return dict(self._tree.counts) | ({} if writer is None else writer.counts)

    # Writing

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        self._refuse_forked()
        if self.inspect:
            key = next(iter(changes), None)
            raise AccessDeniedError(
                "the store is open for inspection only",
                key=key,
                adapter=self,
                hint="open it without mode='inspect' to write",
            )
        check_changes(changes, self._traits, self)
        for key in expect or ():
            file_name(key)
        wanted = self._traits.durability if durability is None else Durability(durability)
        if wanted > self._traits.durability:
            raise ConfigurationError(
                f"durability {wanted.value!r} was asked for; this file system syncs no directories",
                key=next(iter(changes), None),
                adapter=self,
                hint="leave durability out, or choose a place on another file system",
            )
        return await self._queued(Job(changes, expect, durable=wanted is Durability.POWER_LOSS))

    async def _queued(self, job: Job) -> Mapping[str, str]:
        with self._queueing:
            if self._writer is None:
                raise self._not_open()
            self._writer.put(job)
        return await job.future

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        """One file after the other: overwritten, synced, removed. A crash leaves the later ones."""
        await self.commit({}, durability=Durability.PROCESS_EXIT)  # refuses where nothing may be written
        check_changes(dict.fromkeys((*keys, *previous_of)), self._traits, self)
        await self._queued(Job(dict.fromkeys(keys), None, durable=True, purges=list(previous_of)))

    async def delete_prefix(
        self, prefix: str, *, after: str | None = None, durability: Durability | None = None
    ) -> int:
        """In one commit, all or nothing, of the keys that are there once it was called."""
        await self.commit({}, durability=Durability.PROCESS_EXIT)  # what was called before has taken effect
        found = [key async for key in self.keys(prefix, after=after)]
        await self.commit(dict.fromkeys(found), durability=durability)
        return len(found)


_OPEN: WeakSet[FileStorageAdapter] = WeakSet()


def _after_fork_in_child() -> None:
    for adapter in list(_OPEN):
        # An inherited descriptor would keep the parent's lock held after the parent's end.
        adapter._forked = True
        adapter._files.detach()
    for writer in list(RUNNING):
        writer.tree.files.detach()
    _OPEN.clear()
    RUNNING.clear()


def _at_exit() -> None:
    # Daemon threads still run now; what is queued is written by the one that always writes.
    for adapter in list(_OPEN):
        adapter._close(EXIT_SECONDS_MAX)
    for writer in list(RUNNING):
        writer.join(EXIT_SECONDS_MAX)


after_fork(ADAPTERS, _after_fork_in_child)
at_exit(ADAPTERS, _at_exit)
