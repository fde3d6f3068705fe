"""Copies of a whole store, each of one moment; how they are made, kept, and put back."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from ..adapters.file import FileStorageAdapter
from ..adapters.sqlite import SQLiteAdapter
from ..errors import (
    ConfigurationError,
    ConflictError,
    CorruptedDataError,
    InsecureStorageError,
    StoreNotFoundError,
    from_os_error,
)
from ..keys import AUDIT, INTERNAL
from ..platform.making import make_directories, sync_directory
from ..records._subject import DIRECTORY
from ..records.corruption import QUARANTINE, Corruption
from ..records.record import look_at, whole_body
from ..runtime.acting import because
from ..runtime.threads import in_thread
from ..runtime.turn import backoff
from ..storage.adapter import StorageAdapter, Stored
from ..store._expiring import EXPIRING
from ..store._header import HEADER
from ..store.store import Store
from ._erasures import STAYS, Erasures, Returning
from ._schedule import Keep, checked_keep
from ._scrub import scrub_copy
from ._snapshots import (
    DATABASE,
    NAME,
    Snapshot,
    directory_of,
    header_in,
    is_in_files,
    made_in,
    snapshot_at,
    source_in,
    time_of,
)
from .walk import OnProgress, Progress, pages

__all__ = ["RestoreReport", "Snapshot", "restore", "snapshots", "take"]

_LEFT_OVER_SECONDS: Final = 86_400
"""How old what an interrupted snapshot left must be to be removed: another process may be making it."""
_ATTEMPTS: Final = 16
_NEVER_REMOVED: Final = (QUARANTINE, EXPIRING, DIRECTORY, *STAYS)


# -- making ----------------------------------------------------------------------------------------


async def take(
    store: Store,
    where: str | os.PathLike[str] | None = None,
    keep: Keep | None = None,
    *,
    dry_run: bool = False,
    progress: OnProgress | None = None,
) -> Snapshot:
    """Copy all that is stored, as it is at one moment, while the store is in use; then forget old copies."""
    checked_keep(keep)
    directory = directory_of(store, where)
    if dry_run:
        end = DATABASE if store.adapter.find(FileStorageAdapter) is None else ""
        planned = snapshot_at(os.path.join(directory, datetime.now(UTC).strftime(NAME) + end))
        old = await in_thread(lambda: _outlived(directory, planned, keep))
        return replace(planned, removed=tuple(one.path for one in old))
    await store.adapter.commit({}, durability=store.weakest)  # what a write-back cache has not stored yet
    name = datetime.now(UTC).strftime(NAME)
    part = os.path.join(directory, f".{name}.part")
    try:
        await in_thread(lambda: make_directories(directory))
        try:
            if not await _copied(store, part, progress):
                await _walk_into(store, part, progress)
            if store.confidential:
                from ._subject_keys import take_keys_out

                await take_keys_out(store, part, directory)
        except Exception:
            await in_thread(lambda: _remove(part))  # of a disk that is full, above all
            raise
        final = await in_thread(lambda: _settle(part, os.path.join(directory, name)))
        made = snapshot_at(final)
        await scrub_copy(store, made)
        old = await in_thread(lambda: _forget(directory, made, keep))
    except OSError as error:
        raise from_os_error(error, f"cannot make a snapshot in {directory}", adapter=store.adapter) from error
    return replace(made, removed=tuple(one.path for one in old))


async def _copied(store: Store, part: str, progress: OnProgress | None) -> bool:
    """Have the adapter make the copy. It tells of its progress on another thread than ``progress`` is for."""
    if progress is None:
        return await store.adapter.copy_to(part)
    loop, failed = asyncio.get_running_loop(), list[BaseException]()

    def tell(done: int, total: int) -> None:
        try:
            progress(Progress(done, total))
        except BaseException as error:
            failed.append(error)

    def told(done: int, total: int) -> None:
        if failed:
            raise failed[0]  # which ends the copy
        loop.call_soon_threadsafe(tell, done, total)

    try:
        made = await store.adapter.copy_to(part, told)
    except Exception:
        if failed:
            raise failed[0] from None
        raise
    if failed:
        raise failed[0]
    return made


def _settle(part: str, final: str) -> str:
    """Give a copy that is on the disk its name."""
    final += "" if os.path.isdir(part) else DATABASE
    os.rename(part, final)
    sync_directory(os.path.dirname(final))
    return final


async def _walk_into(store: Store, place: str, progress: OnProgress | None) -> None:
    """A copy as a database, of an adapter that makes none: read twice, and the same both times.

    Versions are never used again, so what has the same one before and after had it in between, too.
    """
    adapter = store.adapter
    if not adapter.traits.atomic:
        raise ConfigurationError(
            "what this adapter stores cannot be read as it is at one moment",
            adapter=adapter,
            hint="put Journaled around it; or export_to, which takes record after record",
        )
    if adapter.traits.confidential:
        raise InsecureStorageError(
            "a snapshot would be plain text, and this store is confidential",
            adapter=adapter,
            hint="export_to(secure=True) writes its records, in plain text, to a place that you keep safe",
        )
    for attempt in range(_ATTEMPTS):
        async with SQLiteAdapter(place) as copy:
            versions: dict[str, str] = {}
            async for page in pages(adapter.keys(), progress=progress):
                found = await adapter.fetch(page)
                await copy.commit({key: stored.data for key, stored in found.items()})
                versions.update((key, stored.version) for key, stored in found.items())
        if await _versions(adapter) == versions:
            return
        await in_thread(lambda: _remove(place))
        await backoff(attempt)
    raise ConflictError(
        f"the store was changed all the time; {_ATTEMPTS} attempts to copy it were in vain",
        adapter=adapter,
        hint="make the snapshot when less is written",
    )


async def _versions(adapter: StorageAdapter) -> dict[str, str]:
    versions: dict[str, str] = {}
    async for page in pages(adapter.keys()):
        versions.update((key, stored.version) for key, stored in (await adapter.fetch(page)).items())
    return versions


# -- keeping ---------------------------------------------------------------------------------------


async def snapshots(store: Store, where: str | os.PathLike[str] | None = None) -> list[Snapshot]:
    """The snapshots in ``where``, the oldest first."""
    directory = directory_of(store, where)
    return await in_thread(lambda: made_in(directory))


def _outlived(directory: str, made: Snapshot, keep: Keep | None) -> list[Snapshot]:
    """The snapshots that ``keep`` has no room for beside ``made``."""
    others = [snapshot for snapshot in made_in(directory) if snapshot != made]
    if isinstance(keep, int):
        return others[: max(0, len(others) + 1 - keep)]
    return [s for s in others if keep is not None and time.time() - s.at > keep.total_seconds()]


def _forget(directory: str, made: Snapshot, keep: Keep | None) -> list[Snapshot]:
    """Remove old snapshots, never the one just made, and what interrupted ones left behind."""
    for name in os.listdir(directory):
        if name[0] == "." and name.endswith((".part", ".old", ".part-journal", ".part-wal", ".part-shm")):
            path = os.path.join(directory, name)
            with suppress(FileNotFoundError):  # another snapshot was finished meanwhile, or removed it too
                if time.time() - os.stat(path).st_mtime > _LEFT_OVER_SECONDS:
                    _remove(path)
    old = _outlived(directory, made, keep)
    for snapshot in old:
        gone = os.path.join(directory, f".{os.path.basename(snapshot.path)}.old")
        try:
            os.rename(snapshot.path, gone)  # what is removed in part must not be taken for a snapshot
        except FileNotFoundError:
            continue  # another process was faster
        for end in ("-wal", "-shm"):  # of one that was opened, and its program killed
            if os.path.exists(snapshot.path + end):
                os.unlink(snapshot.path + end)
        _remove(gone)
    return old


def _remove(path: str) -> None:
    """Remove a copy, or as much of it as another process leaves to us."""
    if os.path.isdir(path):
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
        return
    for end in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path + end)


# -- putting back ----------------------------------------------------------------------------------


@dataclass(slots=True)
class RestoreReport:
    """What ``restore`` did."""

    changed: int = 0
    """Records that are as in the snapshot again, and were not."""
    removed: int = 0
    """Records that were not in the snapshot."""
    before: Snapshot | None = None
    """The store as it was: ``restore(report.before)`` takes the restore back. None after a dry run."""
    keys: list[str] = field(default_factory=list)
    """The first hundred keys that were changed or removed."""

    def count(self, changes: Mapping[str, bytes | None]) -> None:
        """Say what a commit of ``changes`` does."""
        self.changed = sum(data is not None for data in changes.values())
        self.removed = len(changes) - self.changed
        self.keys = [key for key in changes if key[0] != INTERNAL][:100]


async def restore(
    store: Store,
    snapshot: Snapshot | str | os.PathLike[str],
    *,
    dry_run: bool = False,
    progress: OnProgress | None = None,
) -> RestoreReport:
    """Make the store what ``snapshot`` is, in one commit: all of it, or nothing.

    First the store as it is becomes a snapshot beside that one, or beside the store, where nobody may write
    there.
    """
    adapter = store.adapter
    if not adapter.traits.atomic:
        raise ConfigurationError(
            "a restore is all or nothing, which this adapter cannot promise",
            adapter=adapter,
            hint="put Journaled around it",
        )
    path = await _path_of(store, snapshot)
    report = RestoreReport()
    async with source_in(store, path) as source:
        await _refuse_another(store, source, path)
        if not dry_run:
            report.before = await take(store, _place_for_before(store, path))
        await _bring_keys(store, source, path)
        for attempt in range(_ATTEMPTS):
            returning = Returning(await Erasures.of(store), time_of(path))
            changes, expect = await _difference(store, source, returning, progress)
            report.count(changes)
            with because(f"restore of the snapshot {os.path.basename(path)}"):
                if dry_run or await _commit(store, changes, expect):
                    return report
            await backoff(attempt)
    raise ConflictError(
        f"the store was changed all the time; {_ATTEMPTS} attempts to restore it were in vain",
        adapter=adapter,
        hint="close the programs that write to it",
    )


async def _commit(
    store: Store, changes: Mapping[str, bytes | None], expect: Mapping[str, str | None]
) -> bool:
    """Whether the store is as in the snapshot now. False: somebody changed it; nothing was done."""
    try:
        await store.adapter.commit(changes, expect=expect)
    except ConflictError:
        return False
    for key in changes:
        store.forget_refusal(key)
    await store.aopen()  # the header may be another one
    return True


def _place_for_before(store: Store, path: str) -> str | None:
    """Where the store as it is becomes a snapshot: beside the one to restore, if one may write there."""
    directory = os.path.dirname(path)
    beside = os.access(directory, os.W_OK) or not is_in_files(store)
    return directory if beside else None


async def _bring_keys(store: Store, source: StorageAdapter, path: str) -> None:
    if store.confidential:
        from ._subject_keys import bring_keys  # few stores are encrypted

        await bring_keys(store, source, os.path.dirname(path))


async def _path_of(store: Store, snapshot: Snapshot | str | os.PathLike[str]) -> str:
    if isinstance(snapshot, Snapshot):
        return snapshot.path
    path = os.path.abspath(os.path.expanduser(snapshot))
    if os.path.exists(path):
        return path
    named = os.fspath(snapshot)
    known = await snapshots(store) if is_in_files(store) else []
    for one in known:
        if one.name == named:
            return one.path
    raise StoreNotFoundError(
        f"there is no snapshot {named!r}",
        adapter=store.adapter,
        hint=f"the last one is {known[-1].name!r}" if known else "snapshots() lists those that are there",
    )


async def _refuse_another(store: Store, source: StorageAdapter, path: str) -> None:
    theirs = await header_in(Store(source, on_corruption=Corruption.RAISE))
    ours = await header_in(store)
    if ours is not None and (theirs is None or theirs.id != ours.id):
        of = "a store in which nothing was saved yet" if theirs is None else "another store"
        raise ConfigurationError(
            f"{path} is a snapshot of {of}",
            adapter=store.adapter,
            hint="delete_prefix('') empties a store"
            if theirs is None
            else "import_from, or `axiom-persistence copy`, brings records of one store into another",
        )


async def _difference(
    store: Store, source: StorageAdapter, returning: Returning, progress: OnProgress | None
) -> tuple[dict[str, bytes | None], dict[str, str | None]]:
    """What has to change, and the version that every record must still have then."""
    changes: dict[str, bytes | None] = {}
    expect: dict[str, str | None] = {}
    adapter, total = store.adapter, 0
    async for page in pages(source.keys()):
        wanted = [key for key in page if not key.startswith((QUARANTINE, AUDIT, *STAYS))]
        theirs, ours = await source.fetch(wanted), await adapter.fetch(wanted)
        for key, stored in theirs.items():
            _refuse_damaged(store, source, key, stored)
            own = ours.get(key)
            if returning.is_erased(key, stored.data):
                continue
            expect[key] = None if own is None else own.version
            if own is not None and key.startswith(DIRECTORY):
                continue  # a subject that is known stays so: no record is to be about it and not found
            if own is None or own.data != stored.data or own.damage is not None:
                changes[key] = stored.data
        total += len(page)
        if progress is not None:
            progress(Progress(total, None, page[-1]))
    async for page in pages(adapter.keys()):
        gone = [key for key in page if key not in expect and not key.startswith(_NEVER_REMOVED)]
        for key, stored in (await adapter.fetch(gone)).items():
            changes[key] = None
            expect[key] = stored.version
    if progress is not None:
        progress(Progress(total, total))
    return changes, expect


def _refuse_damaged(store: Store, source: StorageAdapter, key: str, stored: Stored) -> None:
    """Raise ``CorruptedDataError`` for what is no whole record. What a newer program wrote is one."""
    damage = stored.damage
    if damage is None and (key[0] != INTERNAL or key == HEADER) and whole_body(key, stored.data) is None:
        _, damage, too_new = look_at(key, stored.data, store.schema_of(key))
        damage = None if too_new else damage
    if damage is not None:
        raise CorruptedDataError(
            f"the snapshot is damaged: {damage}; nothing was changed",
            key=key,
            adapter=source,
            hint="choose another snapshot, or repair this one, which is a store itself: "
            "`axiom-persistence verify --repair`",
        )
