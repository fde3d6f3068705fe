"""Adapters that are wrong, each in one way, for the tests of the tests."""

import asyncio
import os
import unicodedata
from dataclasses import replace
from fnmatch import fnmatchcase

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.errors import ConflictError, PersistenceError
from axiom_persistence.layers.cached import Cached
from axiom_persistence.storage.adapter import Durability, Stored
from axiom_persistence.storage.basic import BasicAdapter


class FoldsCase(MemoryAdapter):
    """Takes keys that differ in case for one, as some file systems do."""

    async def fetch(self, keys):
        found = await super().fetch([key.lower() for key in keys])
        return {key: found[key.lower()] for key in keys if key.lower() in found}

    async def commit(self, changes, **options):
        versions = await super().commit({key.lower(): data for key, data in changes.items()}, **options)
        return {key: versions[key.lower()] for key, data in changes.items() if data is not None}


class ComposesLetters(FoldsCase):
    """Takes composed and decomposed letters for one, as others do."""

    async def fetch(self, keys):
        form = {key: unicodedata.normalize("NFC", key) for key in keys}
        found = await MemoryAdapter.fetch(self, list(form.values()))
        return {key: found[form[key]] for key in keys if form[key] in found}

    async def commit(self, changes, **options):
        composed = {unicodedata.normalize("NFC", key): data for key, data in changes.items()}
        return await MemoryAdapter.commit(self, composed, **options)


class CutsLongKeys(MemoryAdapter):
    """Keeps the first 255 characters of a key."""

    async def fetch(self, keys):
        found = await super().fetch([key[:255] for key in keys])
        return {key: found[key[:255]] for key in keys if key[:255] in found}

    async def commit(self, changes, **options):
        return await super().commit({key[:255]: data for key, data in changes.items()}, **options)


class LosesEmptyBytes(MemoryAdapter):
    """Takes what is falsy for missing."""

    async def fetch(self, keys):
        return {key: stored for key, stored in (await super().fetch(keys)).items() if stored.data}


class KeepsText(MemoryAdapter):
    """Takes bytes for text."""

    async def commit(self, changes, **options):
        text = {key: data and data.decode(errors="replace").encode() for key, data in changes.items()}
        return await super().commit(text, **options)


class StripsNuls(MemoryAdapter):
    """Ends a value at its last NULs, as C does with strings."""

    async def commit(self, changes, **options):
        return await super().commit(
            {key: data and data.rstrip(b"\0") for key, data in changes.items()}, **options
        )


class KeepsTheCallersMapping(MemoryAdapter):
    """Answers the same mapping that it keeps."""

    def __init__(self):
        super().__init__()
        self.answers = {}

    async def fetch(self, keys):
        return self.answers.setdefault(tuple(keys), await super().fetch(keys))


class CommitsByHalves(MemoryAdapter):
    """Checks and writes one key after another."""

    async def commit(self, changes, *, expect=None, durability=None):
        versions = {}
        for key in {**changes, **(expect or {})}:
            one = {key: changes[key]} if key in changes else {}
            expected = {key: expect[key]} if expect and key in expect else None
            versions |= await super().commit(one, expect=expected)
        return versions


class FetchesByHalves(MemoryAdapter):
    """Says it is atomic and reads one key after another."""

    async def fetch(self, keys):
        found = {}
        for key in keys:
            found |= await super().fetch((key,))
            await asyncio.sleep(0)
        return found


class IgnoresExpect(MemoryAdapter):
    """Writes, whatever is expected."""

    async def commit(self, changes, *, expect=None, durability=None):
        return await super().commit(changes)


class ExpectsOnlyWhatItChanges(MemoryAdapter):
    """Checks no expectation of a key that is not among the changes."""

    async def commit(self, changes, *, expect=None, durability=None):
        known = {key: version for key, version in (expect or {}).items() if key in changes}
        return await super().commit(changes, expect=known)


class TakesEmptyForAbsent(MemoryAdapter):
    """Takes empty bytes for absence when it compares."""

    async def commit(self, changes, *, expect=None, durability=None):
        found = await self.fetch(list(expect or ()))
        absent = {key for key, stored in found.items() if not stored.data}
        kept = {key: version for key, version in (expect or {}).items() if key not in absent}
        return await super().commit(changes, expect=kept)


class ChecksThenWrites(MemoryAdapter):
    """Lets others in between the check and the write."""

    async def commit(self, changes, *, expect=None, durability=None):
        if expect:
            await super().commit({}, expect=expect)
            await asyncio.sleep(0)
        return await super().commit(changes)


class RepeatsVersions(MemoryAdapter):
    """Gives versions that say too little: the length of the bytes."""

    async def fetch(self, keys):
        found = await super().fetch(keys)
        return {key: Stored(stored.data, str(len(stored.data))) for key, stored in found.items()}

    async def commit(self, changes, *, expect=None, durability=None):
        found = await self.fetch(list(expect or ()))
        for key, version in (expect or {}).items():
            if (found[key].version if key in found else None) != version:
                raise ConflictError("another version", key=key, adapter=self)
        await super().commit(changes)
        return {key: str(len(data)) for key, data in changes.items() if data is not None}


class ReturnsOldVersions(MemoryAdapter):
    """Returns from a commit the versions from before it."""

    async def commit(self, changes, **options):
        before = await self.fetch(list(changes))
        after = await super().commit(changes, **options)
        return {key: before[key].version if key in before else version for key, version in after.items()}


class ListsUnordered(MemoryAdapter):
    """Lists keys as they were written."""

    async def keys(self, prefix=""):
        for key in [key for key in self._records if key.startswith(prefix)]:
            yield key


class ListsByUTF16(MemoryAdapter):
    """Lists keys in the order of their UTF-16 units, as several systems do."""

    async def keys(self, prefix=""):
        found = [key async for key in MemoryAdapter.keys(self, prefix)]
        for key in sorted(found, key=lambda key: key.encode("utf-16-be")):
            yield key


class ListsByPattern(MemoryAdapter):
    """Takes a prefix for a pattern."""

    async def keys(self, prefix=""):
        for key in sorted(self._records):
            if fnmatchcase(key, prefix + "*"):
                yield key


class ListsByOffset(MemoryAdapter):
    """Pages through the keys by counting, so that a deletion shifts one out of sight."""

    async def keys(self, prefix=""):
        at = 0
        while page := [key async for key in MemoryAdapter.keys(self, prefix)][at : at + 5]:
            for key in page:
                yield key
            at += 5


class PagesFromTheKeyItself(MemoryAdapter):
    """Lists the key that a page is to begin behind."""

    async def keys(self, prefix="", *, after=None, limit=None, reverse=False):
        keys = sorted(self._records, reverse=reverse)
        keys = [key for key in keys if key.startswith(prefix)]
        if after is not None:
            keys = [key for key in keys if (key <= after if reverse else key >= after)]
        for key in keys[:limit]:
            yield key


class ReversesThePage(MemoryAdapter):
    """Turns round the first keys instead of beginning with the last."""

    async def keys(self, prefix="", *, after=None, limit=None, reverse=False):
        keys = [key async for key in super().keys(prefix, after=None if reverse else after, limit=limit)]
        for key in reversed(keys) if reverse else keys:
            yield key


class PagesByUTF16(MemoryAdapter):
    """Compares where a page begins by UTF-16 units, as several systems do, and sorts rightly."""

    async def keys(self, prefix="", *, after=None, limit=None, reverse=False):
        def units(key):
            return key.encode("utf-16-be")

        keys = [key async for key in super().keys(prefix, reverse=reverse)]
        if after is not None:
            keys = [k for k in keys if (units(k) < units(after) if reverse else units(k) > units(after))]
        for key in keys[:limit]:
            yield key


class LimitsBeforeThePrefix(MemoryAdapter):
    """Counts keys that it does not list."""

    async def keys(self, prefix="", *, after=None, limit=None, reverse=False):
        keys = [key async for key in super().keys("", after=after, limit=limit, reverse=reverse)]
        for key in keys:
            if key.startswith(prefix):
                yield key


class MissesEmptyBytes(MemoryAdapter):
    """Says that what is empty does not exist."""

    async def exists(self, key):
        return bool(await self.read(key))


class ReadsFromTheStart(MemoryAdapter):
    """Gives the first bytes of a value, whichever are asked for."""

    async def fetch_range(self, keys, start, length):
        return await super().fetch_range(keys, 0, length)


class GivesAbsentParts(MemoryAdapter):
    """Gives a part of what is not there."""

    async def fetch_range(self, keys, start, length):
        return dict.fromkeys(keys, b"") | await super().fetch_range(keys, start, length)


class DeletesByPattern(MemoryAdapter):
    """Takes the prefix of a deletion for a pattern."""

    async def delete_prefix(self, prefix, *, after=None, durability=None):
        keys = [key for key in self._records if fnmatchcase(key, prefix.replace("%", "*") + "*")]
        await self.commit(dict.fromkeys(key for key in keys if after is None or key > after))
        return len(keys)


class DeletesOnePage(MemoryAdapter):
    """Deletes as many keys by prefix as fit on a page."""

    async def delete_prefix(self, prefix, *, after=None, durability=None):
        keys = [key async for key in self.keys(prefix, after=after, limit=1000)]
        await self.commit(dict.fromkeys(keys[:-1]))
        return len(keys)


class Markless(MemoryAdapter):
    """Says nothing about commits."""

    def change_mark(self):
        return None


class CachesSwept(Cached):
    """A cache that does not notice a deletion by prefix."""

    def __init__(self):
        super().__init__(Markless())

    async def delete_prefix(self, prefix, **options):
        return await self.inner.delete_prefix(prefix, **options)


class KeepsPurgedGenerations(MemoryAdapter):
    """Purges values, and not what came before the values that stay."""

    async def purge(self, keys, *, previous_of=()):
        await self.commit(dict.fromkeys(keys))


class SwallowsDeletes(MemoryAdapter):
    """Forgets to delete when something is written as well."""

    async def commit(self, changes, **options):
        if any(data is not None for data in changes.values()):
            changes = {key: data for key, data in changes.items() if data is not None}
        return await super().commit(changes, **options)


class ResurrectsThePast(MemoryAdapter):
    """Keeps the previous generation of what was deleted."""

    def __init__(self):
        super().__init__()
        self.old = {}

    async def commit(self, changes, **options):
        before = await self.fetch(list(changes))
        versions = await super().commit(changes, **options)
        self.old |= before
        return versions

    async def previous(self, key):
        return self.old.get(key)


class PresentIsThePast(MemoryAdapter):
    """Answers the current bytes for the previous ones."""

    async def previous(self, key):
        return (await self.fetch((key,))).get(key)


class LeavesThePast(MemoryAdapter):
    """Does not put a previous generation back."""

    async def set_previous(self, generations):
        pass


class TakesAnyKey(MemoryAdapter):
    """Checks no key."""

    def _check(self, keys):
        super()._check(())


class TakesAnySize(MemoryAdapter):
    """Names a limit that it does not keep."""

    keeps = False

    @property
    def traits(self):
        return super().traits if self.keeps else replace(super().traits, max_value_bytes=1000)

    def _commit(self, changes, expect):
        self.keeps = True
        try:
            return super()._commit(changes, expect)
        finally:
            self.keeps = False


class WorksClosed(MemoryAdapter):
    """Writes into nothing after it was closed."""

    async def aclose(self):
        pass


class ForgetsWhenClosed(MemoryAdapter):
    """Promises what memory cannot."""

    @property
    def traits(self):
        return replace(super().traits, durability=Durability.PROCESS_EXIT)


class HangsAfterCancellation(MemoryAdapter):
    """Keeps its lock when a task that waits for the write is cancelled."""

    def __init__(self):
        super().__init__()
        self.busy = asyncio.Event()
        self.busy.set()

    async def commit(self, changes, **options):
        async with asyncio.timeout(0.2):
            await self.busy.wait()
        self.busy.clear()
        await asyncio.sleep(0)
        versions = await super().commit(changes, **options)
        self.busy.set()
        return versions


class HalfWhenCancelled(MemoryAdapter):
    """Writes one key, waits, writes the next."""

    async def commit(self, changes, **options):
        versions = {}
        for key, data in changes.items():
            versions |= await super().commit({key: data}, **options)
            await asyncio.sleep(0)
        return versions


class LastCallFirst(MemoryAdapter):
    """Lets every other commit be overtaken by the one after it."""

    calls = 0

    async def commit(self, changes, **options):
        self.calls += 1
        if self.calls % 2:
            await asyncio.sleep(0.001)
        return await super().commit(changes, **options)


class StandingMark(MemoryAdapter):
    """Forgets to move its change mark when something is deleted."""

    def change_mark(self):
        return len(self._records)


class StaleReadNow(MemoryAdapter):
    """Answers a synchronous read from what was read before."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def fetch_now(self, key):
        return self.seen.setdefault(key, super().fetch_now(key))


class OnlyOneLoop(MemoryAdapter):
    """Has a client that belongs to the event loop in which it was opened."""

    async def aopen(self):
        await super().aopen()
        self.loop = asyncio.get_running_loop()

    async def commit(self, changes, **options):
        if asyncio.get_running_loop() is not self.loop:
            raise PersistenceError("attached to a different loop")
        return await super().commit(changes, **options)


class Nameless(MemoryAdapter):
    """Has no name a person could use."""

    def __repr__(self):
        return object.__repr__(self)


class OneFile(BasicAdapter):
    """Says that processes may share it, and guards nothing between them."""

    def __init__(self, directory):
        self.directory = directory

    def __repr__(self):
        return f"OneFile({str(self.directory)!r})"

    @property
    def traits(self):
        return replace(super().traits, shared=True)

    async def read(self, key):
        path = self.directory / key
        return path.read_bytes() if path.exists() else None

    async def write(self, key, data):
        await asyncio.sleep(0.001)
        mine = self.directory / f"{key}.{os.getpid()}.new"
        mine.write_bytes(data)
        mine.replace(self.directory / key)

    async def delete(self, key):
        (self.directory / key).unlink(missing_ok=True)

    async def keys(self, prefix=""):
        for path in sorted(self.directory.glob("*")):
            yield path.name
