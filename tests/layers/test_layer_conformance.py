"""Cached and Observed keep every promise of the adapter they wrap."""

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import InvalidKeyError
from axiom_persistence.layers.cached import Cached, CachePolicy
from axiom_persistence.layers.encrypted import Encrypted
from axiom_persistence.layers.erasable import Erasable
from axiom_persistence.layers.guarded import Guarded
from axiom_persistence.layers.observed import Observed
from axiom_persistence.layers.tracked import Tracked
from axiom_persistence.records.stamp import Clock, new_device, new_who
from axiom_persistence.security import Authenticator, Gate
from axiom_persistence.security.keys import StaticKey
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.testing.conformance import AdapterSuite
from axiom_persistence.testing.machine import check_against_dict
from axiom_persistence.testing.suite._base import content, run


class TestCachedMemory(AdapterSuite):
    def adapter(self, place):
        return Cached(MemoryAdapter())


class TestCachedSQLite(AdapterSuite):
    def adapter(self, place):
        return Cached(SQLiteAdapter(place / "store.db"))


class TestCachedFiles(AdapterSuite):
    questions = 500

    def adapter(self, place):
        return Cached(FileStorageAdapter(place / "store"))


def test_a_cache_that_always_evicts_agrees_with_a_dict():
    """A cache with room for two or three entries answers as the store does."""

    def tiny(place):
        return Cached(SQLiteAdapter(place / "store.db"), CachePolicy(max_bytes=4000))

    check_against_dict(tiny)


class TestWriteBackMemory(AdapterSuite):
    def adapter(self, place):
        return Cached(MemoryAdapter(), CachePolicy.write_back(interval=0.005))


class TestWriteBackSQLite(AdapterSuite):
    def adapter(self, place):
        return Cached(SQLiteAdapter(place / "store.db"), CachePolicy.write_back(interval=60))

    def test_a_new_opening_finds_everything(self, tmp_path):
        """What was accepted is there after a close; its version was this object's own, so it may differ."""

        async def body():
            async with self.adapter(tmp_path) as adapter:
                await adapter.commit({"a": b"1", "deleted": b"1"})
                await adapter.commit({"lazy": b"1"}, durability=Durability.MEMORY)
                await adapter.commit({"a": b"2", "deleted": None}, durability=Durability.MEMORY)
                adapter.commit_now({"now": b"1"})
                await adapter.commit({"lazy": b"2", "é/../CON": b"odd"}, durability=Durability.MEMORY)
                before = await content(adapter)
            async with self.adapter(tmp_path) as adapter:
                assert await content(adapter) == before
                assert before == {"a": b"2", "lazy": b"2", "now": b"1", "é/../CON": b"odd"}

        run(body())


class TestObservedMemory(AdapterSuite):
    def adapter(self, place):
        return Observed(MemoryAdapter())


class TestObservedSQLite(AdapterSuite):
    """With a stream that nobody reads, so that every commit is told."""

    def adapter(self, place):
        return StreamedFromOpening(Cached(SQLiteAdapter(place / "store.db")))


class StreamedFromOpening(Observed):
    async def aopen(self):
        await super().aopen()
        self.unread = self.changes()

    def __repr__(self):
        return f"StreamedFromOpening({self.inner!r})"


KEYS = StaticKey(bytes(range(32)))


class TestEncryptedMemory(AdapterSuite):
    def adapter(self, place):
        return Encrypted(MemoryAdapter(), KEYS)


class TestEncryptedSQLite(AdapterSuite):
    def adapter(self, place):
        return Cached(Encrypted(SQLiteAdapter(place / "store.db"), KEYS))


class TestEncryptedFiles(AdapterSuite):
    questions = 500

    def adapter(self, place):
        return Erasable(Encrypted(FileStorageAdapter(place / "store"), KEYS))


class TrackedSuite(AdapterSuite):
    """Each change leaves a mark, which nothing above shows."""

    def test_what_is_no_key_is_refused(self, tmp_path):
        """A key without room for its mark is not saved. What was there before can still be read."""

        async def body():
            async with self.adapter(tmp_path) as adapter:
                for key in ("", "\0", "\ud800", "x" * (adapter.traits.max_key_bytes + 1)):
                    with pytest.raises(InvalidKeyError):
                        await adapter.commit({key: b"1"})
                assert await adapter.fetch(("x" * (adapter.traits.max_key_bytes + 1),)) == {}
                assert await content(adapter) == {}

        run(body())


class TestTrackedSQLite(TrackedSuite):
    def adapter(self, place):
        return Cached(tracked(SQLiteAdapter(place / "store.db")))


class TestTrackedMemory(TrackedSuite):
    def adapter(self, place):
        return tracked(MemoryAdapter())


def tracked(inner):
    made = Tracked(inner, bool)
    made.clock = Clock(new_who(new_device()))
    return made


class Anybody(Authenticator):
    name = "anybody"

    async def authenticate(self, reason):
        pass


class TestGuardedSQLite(AdapterSuite):
    """Whose gate is asked at each step, and opens."""

    questions = 500

    def adapter(self, place):
        return Guarded(Cached(SQLiteAdapter(place / "store.db")), Gate(Anybody(), grace=0))
