"""The embedded default: one SQLite file, fast, durable, shared by threads and processes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from ..errors import (
    AccessDeniedError,
    CapabilityUnavailableError,
    ConfigurationError,
    CorruptedDataError,
    PersistenceError,
    StorageLockedError,
    from_os_error,
)
from ..keys import check_stored_key, check_stored_keys
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
from ..storage.delivery import Job
from ..storage.listing import Listing
from ._sqlite import errors
from ._sqlite import reader as reading
from ._sqlite.medium import Medium, refuses_reading
from ._sqlite.reader import BUSY
from ._sqlite.schema import patiently
from ._sqlite.wal import HEADER
from ._sqlite.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

    from ..storage._salvage import SalvageReport
    from ._sqlite.inspect import Inspector

__all__ = ["SQLiteAdapter"]

_MAX_VALUE_BYTES: Final = 999_000_000  # SQLite's own limit of a row is 10**9; key and header need some
_PURGE_PAUSE_S: Final = 0.02
_TIDIED_WITHIN_S: Final = 0.3
"""So long others are waited for, and keep commits waiting: what is tidied up can be done another time."""
_SYNCED: Final = (None, Durability.POWER_LOSS)

T = TypeVar("T")


class SQLiteAdapter(StorageAdapter):
    """Keeps every record as one row of the SQLite file at ``path``, made 0600 if it is not there.

    A POWER_LOSS commit is written by one thread together with all others that wait, and acknowledged
    once the write-ahead log is synced. A PROCESS_EXIT commit (MEMORY counts as one) is written before the
    call returns, on the caller's thread, and synced within a second; it waits at most 5 ms for another
    process, then takes the queue, too. Commits take effect in the order of the calls. Reads run on the
    caller's thread, some microseconds from the page cache; ``offload_reads`` is for slow media.

    ``exclusive``: no other process; works where memory cannot be shared (network file systems).
    ``inspect``: reads only, creates nothing, and works beside a writer and on a read-only medium.
    ``lock_timeout``: seconds that a queued commit or an open waits for another process.

    Raises ``ForeignStoreError`` for a file that is not ours, which is left as it is; ``SchemaTooNewError``;
    ``StorageLockedError``; ``CorruptedDataError`` for pages SQLite cannot read. After a failed sync every
    commit raises until the store is opened again. In a forked child it must be opened again.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        exclusive: bool = False,
        inspect: bool = False,
        offload_reads: bool = False,
        lock_timeout: float = 5.0,
    ) -> None:
        name = os.fspath(path)
        if not name or "\0" in name or name == ":memory:":
            raise ConfigurationError(
                f"not the path of a file: {name!r}",
                adapter="SQLiteAdapter",
                hint="use MemoryAdapter for memory",
            )
        self._path = os.path.abspath(os.path.expanduser(name))
        self._exclusive = exclusive
        self._inspect = inspect
        self._offload_reads = offload_reads
        self._lock_timeout = lock_timeout
        self._traits = Traits(
            atomic=True,
            durability=Durability.POWER_LOSS,
            shared=not exclusive,
            immediate=True,
            ordered=True,
            max_value_bytes=_MAX_VALUE_BYTES,
        )
        self._opening = threading.Lock()
        self._writer: Writer | None = None  # set once it can be used
        self._started: Writer | None = None
        self._inspector: Inspector | None = None

    @property
    def traits(self) -> Traits:
        return self._traits

    @property
    def location(self) -> str:
        return self._path

    def __repr__(self) -> str:
        return f"SQLiteAdapter({self._path!r})"

    async def aopen(self) -> None:
        if self._inspect:
            inspector = self._make_inspector()
            await in_thread(lambda: self._translated(lambda: inspector.run(lambda _: None), "cannot open"))
            self._inspector = inspector
            return
        with self._opening:
            writer = self._started
            if writer is None or writer.is_over:
                writer = self._started = Writer(
                    os.path.realpath(self._path),
                    str(self),
                    exclusive=self._exclusive,
                    lock_timeout=self._lock_timeout,
                )
                # If this adapter is just dropped, what it accepted is written all the same.
                abandon = writer.abandon
                writer.owner = weakref.ref(self, lambda _: abandon())
            writer.start()
        try:
            await writer.opened.wait()
        except PersistenceError:
            writer.join()
            raise
        with self._opening:
            if self._writer is not writer and self._started is writer:
                self._writer = writer

    async def aclose(self) -> None:
        """Write and sync all that was accepted. Raises what failed in the background and nobody was told."""
        self._inspector = None
        with self._opening:
            writer, is_first = self._started, self._writer is not None
            self._writer = None
        if writer is None or writer.forked or (writer.is_gone and not is_first):
            return
        writer.owner = None
        writer.request_close()
        try:
            await writer.closed.wait()
        finally:
            writer.join()

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        if len(keys) == 1 and not self._offload_reads and not self._inspect:
            (key,) = keys
            check_stored_key(key, MAX_STORED_KEY_BYTES)
            try:
                stored = self._open_writer().reader.one(key)
            except errors.FAULTS as error:
                if not errors.is_busy(error):
                    raise self._explained(error, "cannot read", key) from error
            else:
                return {} if stored is None else {key: stored}
        wanted = check_stored_keys(keys, MAX_STORED_KEY_BYTES)
        return await self._read(
            lambda connection: reading.fetch(connection, wanted), next(iter(wanted), None)
        )

    def fetch_now(self, key: str) -> Stored | None | NotNow:
        check_stored_key(key, MAX_STORED_KEY_BYTES)
        if self._offload_reads or self._inspect:
            return NOT_NOW
        try:
            stored = self._open_writer().reader.one_now(key)
        except errors.FAULTS as error:
            if errors.is_busy(error):
                return NOT_NOW
            raise self._explained(error, "cannot read", key) from error
        return NOT_NOW if stored is BUSY else stored  # type: ignore[return-value]

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        writer = self._writer
        if writer is None or writer.commits.refusal is not None:
            writer = self._open_writer(writing=True)
        check_changes(changes, self._traits, self)
        if expect is not None:
            for key in expect:
                if key not in changes:
                    check_stored_key(key, MAX_STORED_KEY_BYTES)
        durable = durability in _SYNCED
        if not durable:
            versions = writer.commits.commit(changes, expect)
            if versions is not None:
                return versions
        job = Job(changes, expect, durable=durable)
        writer.submit(job, here=durable and not self._offload_reads)
        return await job.future

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        writer = self._writer
        if writer is None or writer.commits.refusal is not None:
            writer = self._open_writer(writing=True)
        check_changes(changes, self._traits, self)
        return writer.commits.commit(changes, None)

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        rest = Listing(prefix, after, limit, reverse)
        while not rest.is_empty:
            page = await self._read(partial(reading.page, listing=rest), None)
            if not rest.is_in_order(page):
                # A damaged index may lead back to where the page before began, again and again.
                raise CorruptedDataError(
                    "the keys in the database file are out of order",
                    adapter=self,
                    hint="the file itself is damaged: keep a copy, then run verify or restore a backup",
                )
            for key in page:
                yield key
            if not page:
                return
            rest = rest.behind(page)

    async def exists(self, key: str) -> bool:
        check_stored_key(key, MAX_STORED_KEY_BYTES)
        return await self._read(partial(reading.exists, key=key), key)

    async def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        wanted = check_stored_keys(keys, MAX_STORED_KEY_BYTES)
        read = partial(reading.fetch_range, keys=wanted, start=start, length=length)
        return await self._read(read, next(iter(wanted), None))

    async def delete_prefix(
        self, prefix: str, *, after: str | None = None, durability: Durability | None = None
    ) -> int:
        """All in one step, as one commit in the order of the calls, on the writer thread."""
        listing = Listing(prefix, after)
        if listing.is_empty:
            return 0
        job = Job({prefix: None}, None, durable=durability in _SYNCED, sweep=listing)
        self._open_writer(writing=True).submit(job, here=False)
        await job.future
        return job.deleted

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        """In one commit. The log is then copied, started again, and overwritten behind its end."""
        changes = dict.fromkeys(keys)
        check_changes(dict.fromkeys((*keys, *previous_of)), self._traits, self)
        deadline = time.monotonic() + self._lock_timeout
        while True:
            job = Job(changes, None, durable=True, purges=list(previous_of))
            self._open_writer(writing=True).submit(job, here=False)
            try:
                await job.future
                return
            except StorageLockedError:  # somebody reads what the log held before
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_PURGE_PAUSE_S)

    async def previous(self, key: str) -> Stored | None:
        check_stored_key(key, MAX_STORED_KEY_BYTES)
        return await self._read(lambda connection: reading.previous(connection, key), key)

    async def previous_many(self, keys: Collection[str]) -> dict[str, Stored]:
        wanted = check_stored_keys(keys, MAX_STORED_KEY_BYTES)
        return await self._read(
            lambda connection: reading.previous_many(connection, wanted), next(iter(wanted), None)
        )

    async def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        check_changes(generations, self._traits, self)
        job = Job({}, None, durable=True, generations=dict(generations))
        self._open_writer(writing=True).submit(job, here=False)
        await job.future

    async def saved_at(self, key: str) -> float | None:
        check_stored_key(key, MAX_STORED_KEY_BYTES)
        version = await self._read(lambda connection: reading.version_of(connection, key), key)
        return None if version is None else version / 1_000_000

    async def check(self) -> list[str]:
        """What SQLite's integrity check and a look at every row find. Reads everything, in a thread."""
        path = os.path.realpath(self._path)

        def look(connection: sqlite3.Connection) -> list[str]:
            found = reading.faults(connection)
            refused = refuses_reading(path) if found else None
            return found if refused is None else [reading.REFUSED.format(refused)]

        return await self._at_length(look, "cannot check")

    async def copy_to(self, place: str, told: Told | None = None) -> bool:
        from ._sqlite.copy import copy  # few programs make one

        told = None if self._exclusive else told  # it is copied over the connection that writes, in one step
        await self._at_length(lambda connection: copy(connection, place, told), "cannot copy")
        return True

    async def tidy(self, kept_before: float) -> Tidied:
        from ._sqlite.scrub import tidy  # few programs do

        writer, timeout = self._open_writer(writing=True), min(self._lock_timeout, _TIDIED_WITHIN_S)
        made = await in_thread(
            lambda: self._translated(lambda: tidy(writer, kept_before, timeout=timeout), "cannot tidy up")
        )
        return Tidied(*made)

    async def scrub(self) -> bool:
        from ._sqlite.scrub import scrub  # few programs do

        writer, timeout = self._open_writer(writing=True), self._lock_timeout
        await in_thread(
            lambda: self._translated(lambda: scrub(writer, timeout=timeout), "cannot overwrite old records")
        )
        return True

    async def salvage(self) -> SalvageReport | None:
        from ._sqlite.salvage import repair  # no program needs it, but for once

        def work() -> SalvageReport | None:
            path = os.path.realpath(self._path)
            if self._is_sound():
                return None
            try:
                return self._translated(lambda: repair(path, str(self)), "cannot repair")
            except OSError as error:
                raise from_os_error(error, "cannot repair the store", adapter=self) from error

        await self.aclose()
        return await in_thread(work)

    def _is_sound(self) -> bool:
        """Whether there is nothing that a new file would mend. Raises what the disk refuses."""
        inspector = self._make_inspector()
        try:
            found = self._translated(lambda: inspector.run(reading.faults), "cannot check")
        except CorruptedDataError:
            return False
        refused = refuses_reading(os.path.realpath(self._path)) if found else None
        if refused is not None:
            raise errors.refusal("cannot check", refused, code=refused.errno, adapter=self)
        return not found

    async def _at_length(self, run: Callable[[sqlite3.Connection], T], doing: str) -> T:
        """What takes long: in a thread, over a connection of its own where there may be another."""
        if self._inspect or self._exclusive:
            return await self._read(run, None, offload=True)
        self._open_writer()
        inspector = self._make_inspector()
        return await in_thread(lambda: self._translated(lambda: inspector.run(run), doing))

    def _make_inspector(self) -> Inspector:
        from ._sqlite.inspect import Inspector  # few programs look into a store without using it

        return Inspector(os.path.realpath(self._path), str(self), self._lock_timeout)

    def change_mark(self) -> Hashable | None:
        writer = self._writer
        if writer is not None and (mark := writer.mark) is not None and writer.commits.refusal is None:
            seen, _, foreign = mark.seen  # the short way for what every cached load asks
            return foreign if mark.memory[:HEADER] == seen else mark.look()
        if self._inspect:
            return None
        writer = self._open_writer()
        if self._exclusive:
            return 0  # nobody else can commit
        return self._translated(lambda: writer.reader.run(reading.data_version), "cannot read")

    def stats(self) -> dict[str, int]:
        return {} if self._inspect else self._open_writer().stats()

    def _open_writer(self, *, writing: bool = False) -> Writer:
        writer = self._writer
        if writer is not None and (writer.commits.refusal is None):
            return writer
        if self._inspect and writing:
            raise AccessDeniedError(
                "the store is open for inspection only",
                adapter=self,
                hint="open it without mode='inspect' to write",
            )
        raise CapabilityUnavailableError(
            "the store is not open" if writer is None else writer.commits.refusal or "",
            adapter=self,
            hint="open it first, in `async with`" if writer is None else "open it again",
        )

    async def _read(
        self, run: Callable[[sqlite3.Connection], T], key: str | None, *, offload: bool = False
    ) -> T:
        source = self._inspector or self._open_writer().reader
        if not (offload or self._offload_reads or self._inspect):
            try:
                return source.run(run)
            except errors.FAULTS as error:
                if not errors.is_busy(error):
                    raise self._explained(error, "cannot read", key) from error
        # Another process recovers or is the last to close: wait for it, but not on the loop's thread.
        deadline = asyncio.get_running_loop().time() + self._lock_timeout
        return await in_thread(
            lambda: self._translated(lambda: patiently(lambda: source.run(run), deadline), "cannot read", key)
        )

    def _translated(self, run: Callable[[], T], doing: str, key: str | None = None) -> T:
        try:
            return run()
        except errors.FAULTS as error:
            raise self._explained(error, doing, key) from error

    def _explained(self, error: errors.Fault, doing: str, key: str | None) -> PersistenceError:
        writer = self._writer
        if self._inspect or writer is None:
            inspector = self._make_inspector()
            medium = Medium(os.path.realpath(self._path), str(self), inspector.is_whole)
            return medium.explained(error, doing, key)
        return writer.commits.explained(error, doing, key)
