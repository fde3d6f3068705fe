"""Adapters with a bug that only the end of the process shows; the torture must find each."""

import asyncio
import os

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import PersistenceError
from axiom_persistence.platform._posix_files import PosixFileSystem
from axiom_persistence.storage.layer import Layer


class AcknowledgesEarly(SQLiteAdapter):
    """Says yes before the commit is done, as a queue without a receipt does."""

    async def commit(self, changes, *, expect=None, durability=None):
        if expect or len(changes) != 1:
            return await super().commit(changes, expect=expect, durability=durability)

        async def later():
            try:
                await SQLiteAdapter.commit(self, changes, durability=durability)
            except PersistenceError:
                pass  # closed meanwhile: exactly what this bug does not tell

        self.later = asyncio.get_running_loop().create_task(later())
        await asyncio.sleep(0.0005)  # a program does more than save
        return {key: "early" for key, data in changes.items() if data is not None}


class InPlace(PosixFileSystem):
    """Overwrites the file itself instead of renaming a finished one over it."""

    def replace(self, source, target):
        data = self.read(source)
        descriptor = os.open(self.root / target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for start in range(0, len(data), 512):
            os.write(descriptor, data[start : start + 512])
        os.close(descriptor)
        self.unlink(source)


def writes_in_place(place):
    return FileStorageAdapter(place, filesystem=InPlace(place))


class CommitsKeyByKey(Layer):
    """Commits several keys one after the other: all or nothing in name only."""

    async def commit(self, changes, *, expect=None, durability=None):
        await self.inner.commit({}, expect=expect)
        versions = {}
        for key, data in changes.items():
            versions |= await self.inner.commit({key: data}, durability=durability)
        return versions


def commits_key_by_key(place):
    return CommitsKeyByKey(SQLiteAdapter(place))


class ForgetsDeletions(Layer):
    """Acknowledges a deletion and does nothing."""

    async def commit(self, changes, *, expect=None, durability=None):
        kept = {key: data for key, data in changes.items() if data is not None}
        return await self.inner.commit(kept, expect=expect, durability=durability)


def forgets_deletions(place):
    return ForgetsDeletions(SQLiteAdapter(place))


def refuses_to_open(place):
    return _RefusesToOpen(SQLiteAdapter(place))


class _RefusesToOpen(Layer):
    """Cannot open what a crash left behind."""

    async def aopen(self):
        left = os.path.exists(self.location + "-wal")
        await self.inner.aopen()
        if left:
            raise PersistenceError("a log is in the way")
