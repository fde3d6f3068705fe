"""Commits of SQLiteAdapter: their order, the locks of others, faults, and the log."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from axiom_persistence.adapters import sqlite as sqlite_adapter
from axiom_persistence.adapters._sqlite import wal as _sqlite_wal
from axiom_persistence.adapters._sqlite.commits import Commits
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import ConflictError, StorageError, StorageFullError, StorageLockedError
from axiom_persistence.storage.adapter import Durability
from support.sqlite_support import rows, sleeping, started

EXIT, POWER = Durability.PROCESS_EXIT, Durability.POWER_LOSS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


class TestOrder:
    async def race(self, path):
        """A queued commit, then one on this thread of the same key before the writer thread has woken."""
        async with SQLiteAdapter(path) as adapter:
            async with sleeping(adapter):
                tasks = await started(
                    adapter.commit({"k": b"first", "a": b"1"}),
                    adapter.commit({"b": b"1"}),
                    adapter.commit({"c": b"1"}),
                )
                assert adapter.stats()["waiting"] == 3
                assert adapter.commit_now({"k": b"second"}) is not None
                waiting = adapter.stats()["waiting"]
                assert not tasks[0].done()  # written, but not synced
            await asyncio.gather(*tasks)
            return await adapter.read("k"), waiting

    async def test_a_commit_on_this_thread_comes_after_what_was_queued(self, path):
        """Commits of a key take effect in the order of the calls over all paths."""
        assert await self.race(path) == (b"second", 0)

    async def test_a_planted_reordering_is_caught(self, path, monkeypatch):
        """The race is a real one: without the rule the first value wins."""
        monkeypatch.setattr(Commits, "_write_before", lambda *_: True)
        assert await self.race(path) == (b"first", 3)

    async def test_it_comes_after_what_was_queued_of_other_keys(self, path):
        """What was called before is with the operating system once it returns, whichever keys it has."""
        async with SQLiteAdapter(path) as adapter:
            async with sleeping(adapter):
                tasks = await started(adapter.commit({"a": b"1"}), adapter.commit({"b": b"1"}))
                assert adapter.commit_now({"c": b"1"}) is not None
                assert rows(path, "SELECT key FROM record ORDER BY version") == [("a",), ("b",), ("c",)]
                assert not any(task.done() for task in tasks)  # written, but not synced
            await asyncio.gather(*tasks)

    @pytest.mark.parametrize("count", [256, 257])
    async def test_it_queues_up_behind_more_than_one_transaction_takes(self, path, count):
        """It writes at most one group; where more waits commit_now says None, and PROCESS_EXIT queues."""
        async with SQLiteAdapter(path) as adapter:
            async with sleeping(adapter):
                tasks = await started(*(adapter.commit({f"k{i}": b"1"}) for i in range(count)))
                assert (adapter.commit_now({"now": b"1"}) is None) == (count > 256)
                tasks += await started(adapter.commit({"exit": b"1"}, durability=EXIT))
                assert adapter.stats()["waiting"] == (258 if count > 256 else 0)
            await asyncio.gather(*tasks)
            order = [key for (key,) in rows(path, "SELECT key FROM record ORDER BY version")]
            assert order == [f"k{i}" for i in range(count)] + (["now"] if count == 256 else []) + ["exit"]

    async def test_an_expectation_counts_as_a_touch(self, path):
        """A queued compare-and-set is decided before a later write to the key it expects."""
        async with SQLiteAdapter(path) as adapter:
            version = (await adapter.commit({"k": b"1"}))["k"]
            async with sleeping(adapter):
                (queued,) = await started(adapter.commit({"other": b"1"}, expect={"k": version}))
                assert adapter.commit_now({"k": b"2"})
            assert (await queued).keys() == {"other"}

    async def test_an_empty_commit_waits_for_all(self, path):
        """Without changes everything before is written, and synced where POWER_LOSS is asked for."""
        async with SQLiteAdapter(path) as adapter:
            async with sleeping(adapter):
                waiting = await started(*(adapter.commit({f"k{i}": b"1"}) for i in range(5)))
                assert adapter.stats()["waiting"] == 5
                assert adapter.commit_now({}) == {}
                assert adapter.stats()["waiting"] == 0
            await asyncio.gather(*waiting)
            adapter.commit_now({"k": b"1"})
            syncs = adapter.stats()["syncs"]
            await adapter.commit({})
            assert adapter.stats()["syncs"] == syncs + 1

    async def test_a_group_is_decided_job_by_job(self, path):
        """Commits written together see each other, and one that fails takes no other with it."""
        async with SQLiteAdapter(path) as adapter:
            async with sleeping(adapter):
                tasks = await started(
                    adapter.commit({"a": b"1"}, expect={"a": None}),
                    adapter.commit({"a": b"2", "x": b"2"}, expect={"a": None}),
                    adapter.commit({"a": None}),
                    adapter.commit({"a": b"3"}, expect={"a": None}),
                    adapter.commit({"b": b"1"}, expect={"missing": "7"}),
                    adapter.commit({"c": b"1"}),
                )
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [isinstance(result, ConflictError) for result in results] == [0, 1, 0, 0, 1, 0]
            assert adapter.stats()["groups"] == 1
            found = await adapter.fetch(("a", "b", "c", "x"))
            assert {key: stored.data for key, stored in found.items()} == {"a": b"3", "c": b"1"}


class TestForeignLocks:
    @pytest.fixture
    def locked(self, path):
        """Another connection in the middle of a write, as another process would be."""

        class Lock:
            def __enter__(self):
                self.connection = sqlite3.connect(path, isolation_level=None)
                self.connection.execute("BEGIN IMMEDIATE")

            def __exit__(self, *_):
                self.connection.execute("ROLLBACK")
                self.connection.close()

        return Lock()

    async def test_a_commit_on_this_thread_gives_up_or_queues(self, path, locked):
        """commit_now says None and did nothing; PROCESS_EXIT takes the queue; both are counted."""
        async with SQLiteAdapter(path) as adapter:
            with locked:
                assert adapter.commit_now({"a": b"1"}) is None
                waiting = asyncio.create_task(adapter.commit({"b": b"1"}, durability=EXIT))
                await asyncio.sleep(0.05)
                assert not waiting.done()
            assert (await waiting).keys() == {"b"}
            assert adapter.stats()["deferred"] == 2
            assert (await adapter.fetch(("a", "b"))).keys() == {"b"}

    async def test_only_the_first_waits(self, path, locked):
        """Once one waited in vain, the others are put off at once, until the lock was seen free."""
        async with SQLiteAdapter(path) as adapter:
            await adapter.commit({"a": b"0"})
            with locked:
                assert adapter.commit_now({"a": b"1"}) is None
                began = time.perf_counter()
                for _ in range(300):
                    assert adapter.commit_now({"a": b"1"}) is None
                waiting = await started(
                    *(adapter.commit({f"k{i}": b"1"}, durability=EXIT) for i in range(300))
                )
                assert time.perf_counter() - began < 0.25
                assert adapter.stats()["deferred"] == 601
            await asyncio.gather(*waiting)
            assert adapter.commit_now({"a": b"2"}) is not None

    async def test_a_free_lock_is_seen_with_nothing_queued(self, path, locked):
        """The writer thread tries the lock for those who were put off, and then rests."""
        async with SQLiteAdapter(path) as adapter:
            with locked:
                assert adapter.commit_now({"a": b"1"}) is None
            async with asyncio.timeout(5):
                while adapter.commit_now({"a": b"2"}) is None:
                    await asyncio.sleep(0.001)
                while not adapter._writer._asleep:
                    await asyncio.sleep(0.001)

    async def test_it_waits_for_a_transaction_of_its_own_store(self, path):
        """However long the writer thread is at it: commit_now returns once its commit is there."""
        async with SQLiteAdapter(path) as adapter:
            large = asyncio.create_task(adapter.commit({f"k{i}": b"x" * 1000 for i in range(30_000)}))
            while not adapter._writer.commits.lock.inner.locked():
                await asyncio.sleep(0)
            assert adapter.commit_now({"now": b"1"}) is not None
            assert rows(path, "SELECT count(*) FROM record") == [(30_001,)]
            assert adapter.stats()["deferred"] == 0
            await large

    async def test_a_lock_held_for_ever_is_an_error(self, path, locked):
        """After lock_timeout a queued commit raises StorageLockedError with its key; later ones work."""
        async with SQLiteAdapter(path, lock_timeout=0.05) as adapter:
            with locked:
                for durability in (EXIT, POWER):
                    with pytest.raises(StorageLockedError) as raised:
                        await adapter.commit({"a": b"1"}, durability=durability)
                    assert raised.value.key == "a"
                    assert str(path) in str(raised.value)
            await adapter.commit({"a": b"2"})
            assert await adapter.read("a") == b"2"

    async def test_the_thread_rests_once_a_caller_has_written_the_queue(self, path, locked):
        """What waited for a lock may be written by a commit on another thread; then nothing spins."""
        async with SQLiteAdapter(path) as adapter:
            with locked:
                waiting = asyncio.create_task(adapter.commit({"a": b"1"}))
                while adapter._writer.commits._busy_since is None:
                    await asyncio.sleep(0.001)
            while adapter.commit_now({"a": b"2"}) is None:
                await asyncio.sleep(0.001)
            await waiting
            while not adapter._writer._asleep:
                await asyncio.sleep(0.001)
            assert await adapter.read("a") == b"2"


class TestFaults:
    @pytest.fixture
    def failing(self, monkeypatch):
        """The next syncs of a log fail as a broken disk makes them."""

        def fail(descriptor):
            raise OSError(5, "Input/output error")

        return lambda: monkeypatch.setattr(_sqlite_wal, "_sync", fail)

    async def test_after_a_failed_sync_nothing_is_written(self, path, failing, monkeypatch):
        """The commit raises, every later one is refused until the store is opened again, reads go on."""
        adapter = SQLiteAdapter(path)
        await adapter.aopen()
        await adapter.commit({"k": b"1"})
        with monkeypatch.context() as context:
            context.setattr(_sqlite_wal, "_sync", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
            with pytest.raises(StorageError) as raised:
                await adapter.commit({"k": b"2"})
            assert raised.value.key == "k"
        for durability in (EXIT, POWER):
            with pytest.raises(StorageError, match="nothing is written any more"):
                await adapter.commit({"k": b"3"}, durability=durability)
        with pytest.raises(StorageError):
            adapter.commit_now({"k": b"3"})
        assert await adapter.read("k") in (b"1", b"2")
        await adapter.aclose()
        await adapter.aopen()
        await adapter.commit({"k": b"4"})
        assert await adapter.read("k") == b"4"
        await adapter.aclose()

    async def test_a_failed_background_sync_is_told_once(self, path, failing):
        """By the next commit, or by close if there is none."""
        for tell in ("commit", "close"):
            adapter = SQLiteAdapter(path)
            await adapter.aopen()
            adapter.commit_now({"k": b"1"})
            failing()
            if tell == "commit":
                with pytest.raises(StorageError):
                    await adapter.commit({})
                await adapter.aclose()
            else:
                with pytest.raises(StorageError, match="nothing is written any more"):
                    await adapter.aclose()
                await adapter.aclose()

    async def test_a_full_disk_fails_only_what_does_not_fit(self, path):
        """StorageFullError names the key; smaller commits of the same group and later ones are kept."""
        async with SQLiteAdapter(path) as adapter:
            await adapter.commit({"k": b"1"})
            pages = rows(path, "PRAGMA page_count")[0][0]
            adapter._writer._connection.execute(f"PRAGMA max_page_count={pages + 20}")
            async with sleeping(adapter):
                tasks = await started(
                    adapter.commit({"a": b"1"}),
                    adapter.commit({"big": bytes(1 << 20)}),
                    adapter.commit({"b": b"1"}),
                )
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(results[1], StorageFullError)
            assert results[1].key == "big"
            assert (results[0].keys(), results[2].keys()) == ({"a"}, {"b"})
            assert adapter.commit_now({"big": bytes(1 << 20)}) is None  # the long way makes room first
            with pytest.raises(StorageFullError):
                await adapter.commit({"big": bytes(1 << 20)}, durability=EXIT)
            assert adapter.commit_now({"c": b"1"})
            assert [key async for key in adapter.keys("")] == ["a", "b", "c", "k"]

    async def test_a_value_beyond_the_limit_is_refused(self, path, monkeypatch):
        """Before it reaches SQLite, whichever way it goes, with its key."""
        monkeypatch.setattr(sqlite_adapter, "_MAX_VALUE_BYTES", 1000)
        async with SQLiteAdapter(path) as adapter:
            for commit in (adapter.commit, lambda changes: adapter.commit(changes, durability=EXIT)):
                for more in ({}, {"other": b""}):
                    with pytest.raises(StorageFullError) as raised:
                        await commit({**more, "k": bytes(1001)})
                    assert raised.value.key == "k"
            assert [key async for key in adapter.keys("")] == []


class TestLog:
    async def test_it_stays_small_beside_a_busy_writer(self, path):
        """A caller that commits in a tight loop writes many times what the log ever holds."""
        largest = 0
        async with SQLiteAdapter(path) as adapter:
            data = os.urandom(3000)
            for number in range(20_000):
                while adapter.commit_now({f"k{number % 50}": data + b"%d" % number}) is None:
                    time.sleep(0.001)
                if number % 100 == 0:
                    largest = max(largest, adapter.stats()["wal_bytes"])
            stats = adapter.stats()
        print(
            f"\nwritten {20_000 * 8200 >> 20} MiB or more, the log had {largest >> 20} MiB at most, {stats}"
        )
        assert largest < 48 << 20
        assert stats["checkpoints"] > 2

    async def test_it_is_gone_after_a_close(self, path):
        """Who closes last leaves one file."""
        async with SQLiteAdapter(path) as one:
            async with SQLiteAdapter(path) as two:
                await two.commit({"k": b"1"})
            await one.commit({"k": b"2"})
        assert [file.name for file in path.parent.iterdir()] == ["store.db"]

    async def test_closing_one_adapter_leaves_the_locks_of_another(self, path):
        """Another process that comes and goes must not take this one for gone and delete its log."""
        script = (
            "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM record').fetchall()"
        )
        async with SQLiteAdapter(path) as one:
            async with SQLiteAdapter(path) as two:
                await two.commit({"k": b"1"})
            async with SQLiteAdapter(path, inspect=True) as three:
                assert await three.read("k") == b"1"
            subprocess.run([sys.executable, "-c", script, path], check=True, capture_output=True)
            assert path.with_name("store.db-wal").exists()
            await one.commit({"k": b"2"})
            assert rows(path, "SELECT CAST(data AS TEXT) FROM record") == [("2",)]
