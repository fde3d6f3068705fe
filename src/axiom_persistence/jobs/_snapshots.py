"""The snapshots of a store: which there are, and what is in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ..adapters.file import FileStorageAdapter
from ..adapters.sqlite import SQLiteAdapter
from ..errors import ConfigurationError, PersistenceError
from ..records.corruption import Corruption
from ..runtime.threads import in_thread
from ..storage.adapter import StorageAdapter, Stored
from ..store._header import HEADER, Header
from ..store._recovery import Older
from ..store.store import Store

__all__ = [
    "DATABASE",
    "NAME",
    "Snapshot",
    "directory_of",
    "header_in",
    "is_in_files",
    "last_good",
    "made_beside",
    "made_in",
    "snapshot_at",
    "source_in",
    "time_of",
]

NAME: Final = "%Y-%m-%dT%H-%M-%S.%fZ"
DATABASE: Final = ".db"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of a store. It is a store itself: open its path, to look into it or to work with it."""

    path: str
    at: float
    """When it was made, in seconds since 1970 UTC, by the clock of the machine."""
    removed: tuple[str, ...] = field(default=(), compare=False)
    """The paths of older snapshots that ``keep=`` had removed when it was made."""

    @property
    def name(self) -> str:
        return os.path.basename(self.path).removesuffix(DATABASE)


def is_in_files(store: Store) -> bool:
    """Whether the store is in a place of the file system, which snapshots can be beside."""
    return os.path.isabs(store.adapter.location)


def directory_of(store: Store, where: str | os.PathLike[str] | None) -> str:
    """Where the snapshots are. Raises ``ConfigurationError`` where somebody has to say that."""
    if where is not None:
        return os.path.abspath(os.path.expanduser(where))
    if not is_in_files(store):
        raise ConfigurationError(
            "this store is in no place of the file system that snapshots could be beside",
            adapter=store.adapter,
            hint="say where they go: snapshot(where='snapshots')",
        )
    return f"{store.adapter.location}.snapshots"


def made_in(directory: str) -> list[Snapshot]:
    """The snapshots in ``directory``, the oldest first."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found.append(Snapshot(os.path.join(directory, name), _time_in(name)))
        except ValueError:
            continue  # something else
    return sorted(found, key=lambda snapshot: (snapshot.at, snapshot.path))


def snapshot_at(path: str) -> Snapshot:
    return Snapshot(path, _time_in(os.path.basename(path)))


def _time_in(name: str) -> float:
    return datetime.strptime(name.removesuffix(DATABASE), NAME).replace(tzinfo=UTC).timestamp()


def time_of(path: str) -> float | None:
    """When the snapshot at ``path`` was made, by its name. None: somebody has given it another."""
    try:
        return _time_in(os.path.basename(path))
    except ValueError:
        return None


async def made_beside(store: Store) -> list[Snapshot]:
    """The snapshots beside the store, the oldest first; none where it is in no place of the file system."""
    if not is_in_files(store):
        return []
    directory = directory_of(store, None)
    return await in_thread(lambda: made_in(directory))


def source_in(store: Store, path: str, *, inspect: bool = True) -> StorageAdapter:
    """What is in the snapshot at ``path``, as the store shows what is in itself."""
    make = FileStorageAdapter if os.path.isdir(path) else SQLiteAdapter
    source: StorageAdapter = make(path, inspect=inspect)
    if not store.confidential:
        return source
    from ..layers.encrypted import Encrypted
    from ..layers.erasable import Erasable

    encrypted, erasable = store.adapter.find(Encrypted), store.adapter.find(Erasable)
    if encrypted is None:
        return source
    source = Encrypted(source, encrypted.provider, inspect=inspect)
    return source if erasable is None else Erasable(source, erasable.keys_of_subjects, inspect=True)


async def header_in(store: Store) -> Header | None:
    """What tells this store from others. None: nothing was ever saved in it."""
    record = (await store.read(HEADER)).record
    return None if record is None else store.decode(HEADER, record, Header)


# -- a rung of the recovery ladder -----------------------------------------------------------------


async def last_good(store: Store, key: str, whole: Callable[[str, Stored], bool]) -> Older | None:
    """What the last snapshot beside the store that has a whole record of ``key`` has there.

    None: no snapshot has one. The one that has no record of the key at all is the last one looked at:
    what was deleted before it does not come back. So are those that were made before a migration, when
    keys and values had another form.
    """
    if not is_in_files(store):
        return None
    directory = directory_of(store, None)
    known = await in_thread(lambda: made_in(directory))
    own = None if key == HEADER or not known else await header_in(store)
    for snapshot in reversed(known):
        try:
            async with source_in(store, snapshot.path) as source:
                theirs = await header_in(Store(source, on_corruption=Corruption.RAISE))
                stored = (await source.fetch((key,))).get(key)
        except PersistenceError:
            continue  # it is damaged itself, was made with another key, or was removed just now
        if key != HEADER and _form(theirs) != _form(own):
            continue
        if stored is None:
            return None
        if whole(key, stored):
            return Older(stored.data, snapshot.path, snapshot.at)
    return None


def _form(header: Header | None) -> tuple[str, str, str] | None:
    """Which store it is, and what form its keys and values have at least."""
    return None if header is None else (header.id, header.layout, header.migrated)
