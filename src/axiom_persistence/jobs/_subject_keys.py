"""The keys of subjects beside snapshots: in none of them, so that who destroys a key has erased all copies.

They are in one file for all snapshots of a directory, and what is erased from the store leaves that as well.
"""

from __future__ import annotations

import os
from typing import Final

from ..adapters.file import FileStorageAdapter
from ..adapters.sqlite import SQLiteAdapter
from ..keys import KEYSET
from ..layers.encrypted import Encrypted
from ..records._subject import SUBJECT_KEYS, erased_key
from ..storage.adapter import StorageAdapter
from ..store._header import HEADER
from ..store.store import Store
from .walk import pages

__all__ = ["bring_keys", "destroy_keys", "take_keys_out"]

_BEGIN: Final = "subject-keys-"
_END: Final = ".db"


def _file_of(encrypted: Encrypted, directory: str) -> str:
    return os.path.join(directory, f"{_BEGIN}{encrypted.keyset.id}{_END}")


async def take_keys_out(store: Store, copy: str, directory: str) -> None:
    """Have the snapshot at ``copy`` hold no key of a subject, and the file in ``directory`` all of them."""
    encrypted = store.adapter.find(Encrypted)
    if encrypted is None:
        return
    make = FileStorageAdapter if os.path.isdir(copy) else SQLiteAdapter
    async with make(copy) as adapter:
        async for page in pages(adapter.keys(SUBJECT_KEYS)):
            await adapter.purge(page)
    below = encrypted.inner
    living = [key async for key in below.keys(SUBJECT_KEYS)]
    if living:
        async with SQLiteAdapter(_file_of(encrypted, directory)) as file:
            found = await below.fetch([HEADER, KEYSET, *living])
            await file.commit({key: stored.data for key, stored in found.items()})
            await file.purge(())  # when it is closed, its log is removed
    await destroy_keys(store, directory)


async def destroy_keys(store: Store, directory: str) -> None:
    """Purge the keys of those who were erased from the files in ``directory``."""
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    for name in names:
        if name.startswith(_BEGIN) and name.endswith(_END):
            async with SQLiteAdapter(os.path.join(directory, name)) as file:
                async for page in pages(file.keys(SUBJECT_KEYS)):
                    erased = {_erased(key): key for key in page}
                    gone = [erased[mark] for mark in await store.adapter.fetch(list(erased))]
                    if gone:
                        await file.purge(gone)


def _erased(key: str) -> str:
    return erased_key(key.removeprefix(SUBJECT_KEYS))


async def bring_keys(store: Store, source: StorageAdapter, directory: str) -> None:
    """Give the store those keys from the file for ``source`` that it neither has nor has destroyed.

    It has all that it ever made, unless it is a new one in place of one that was lost.
    """
    encrypted = source.find(Encrypted)
    if encrypted is None or not os.path.exists(path := _file_of(encrypted, directory)):
        return
    place: StorageAdapter = SQLiteAdapter(path, inspect=True)
    async with Encrypted(place, encrypted.provider, inspect=True) as file:
        async for page in pages(file.keys(SUBJECT_KEYS)):
            there = await store.adapter.fetch([*page, *map(_erased, page)])
            missing = [key for key in page if key not in there and _erased(key) not in there]
            for key, stored in (await file.fetch(missing)).items():
                if stored.damage is None:
                    await store.commit({key: stored.data}, expect={key: None, _erased(key): None})
