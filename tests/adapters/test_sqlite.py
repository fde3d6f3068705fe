"""What SQLiteAdapter promises beyond the suite of every adapter."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager

import pytest

from axiom_persistence.adapters import _sqlite_batch, _sqlite_wal, _sqlite_writer
from axiom_persistence.adapters import sqlite as sqlite_adapter
from axiom_persistence.adapters._sqlite_commits import Commits
from axiom_persistence.adapters._sqlite_file import APPLICATION_ID
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import (
    AccessDeniedError,
    CapabilityUnavailableError,
    ConfigurationError,
    ConflictError,
    CorruptedDataError,
    ForeignStoreError,
    SchemaTooNewError,
    StorageError,
    StorageFullError,
    StorageLockedError,
    StorageUnavailableError,
    StoreNotFoundError,
)
from axiom_persistence.storage import Durability

EXIT, POWER = Durability.PROCESS_EXIT, Durability.POWER_LOSS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


def rows(path, statement, *parameters):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement, parameters).fetchall()
    finally:
        connection.close()


def snapshot(directory):
    """Every file below ``directory``, with its bytes and the time it was written."""
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in directory.iterdir()}


@asynccontextmanager
async def sleeping(adapter):
    """The writer thread sleeps on within the block, whatever is queued, and wakes at its end."""
    writer = adapter._writer
    while not writer._asleep:
        await asyncio.sleep(0.001)
    writer.ring, ring = (lambda: None), writer.ring
    yield
    writer.ring = ring
    ring()


async def started(*commits):
    """Tasks of ``commits``, each of which is queued."""
    tasks = [asyncio.ensure_future(commit) for commit in commits]
    await asyncio.sleep(0)
    return tasks


class TestFile:
    @pytest.mark.parametrize("umask", [0, 0o277])
    async def test_only_the_owner_may_read_it(self, tmp_path, umask):
        """Made directories are 0700, the file, its log and its index 0600, whatever the umask."""
        before = os.umask(umask)
        try:
            async with SQLiteAdapter(tmp_path / "a" / "b" / "store.db") as adapter:
                await adapter.commit({"k": b"1"})
                for made in (tmp_path / "a", tmp_path / "a" / "b"):
                    assert stat.S_IMODE(made.stat().st_mode) == 0o700
                names = {file.name: stat.S_IMODE(file.stat().st_mode) for file in made.iterdir()}
                assert names == dict.fromkeys(("store.db", "store.db-wal", "store.db-shm"), 0o600)
        finally:
            os.umask(before)

    async def test_json_is_text_and_anything_else_a_blob(self, path):
        """SQLite tools show JSON records as text; every byte string comes back as it was."""
        values = {
            "json": b'{"axiom":1}', "torn": b'{"a":\xff\x00\xc3', "empty": b"", "nul": b"\0a\0",
            "all": bytes(range(256)), "number": b"12", "surrogate": b"{\xed\xa0\x80}",
        }  # fmt: skip
        async with SQLiteAdapter(path) as adapter:
            await adapter.commit(values)
            assert {k: s.data for k, s in (await adapter.fetch(values)).items()} == values
            adapter.commit_now({k: v + b"}" for k, v in values.items()})
            assert {k: s.data for k, s in (await adapter.fetch(values)).items()} == {
                k: v + b"}" for k, v in values.items()
            }
        kinds = dict(rows(path, "SELECT key, typeof(data) FROM record"))
        assert kinds == {k: "text" if v[:1] == b"{" else "blob" for k, v in values.items()}
        assert rows(path, "SELECT data FROM record WHERE key='json'") == [('{"axiom":1}}',)]

    async def test_the_file_says_whose_it_is(self, path):
        """The application id and the format stand in the header, where `file` and SQLite find them."""
        async with SQLiteAdapter(path) as adapter:
            await adapter.commit({"k": b"1"})
        assert path.read_bytes()[68:72] == b"AxPs" == APPLICATION_ID.to_bytes(4, "big")
        assert rows(path, "PRAGMA user_version") == [(1,)]

    @pytest.mark.parametrize("kind", ["text", "small", "short", "other", "unmarked", "logged", "versioned"])
    @pytest.mark.parametrize("inspect", [False, True])
    async def test_what_is_not_ours_is_left_byte_for_byte(self, path, kind, inspect):
        """A file of somebody else is refused by name, not adopted, recovered or checkpointed."""
        live = None
        if kind == "text":
            path.write_bytes(b"theme = dark\n" * 1000)
        elif kind in ("small", "short"):
            path.write_bytes(b"x" * (600 if kind == "small" else 1))
        else:
            live = sqlite3.connect(path, isolation_level=None)
            if kind == "other":
                live.execute("PRAGMA application_id=42")
            if kind == "versioned":
                live.execute("PRAGMA user_version=3")
            if kind == "logged":  # a table that is in the log only
                live.execute("PRAGMA journal_mode=WAL")
            if kind in ("other", "unmarked", "logged"):
                live.execute("CREATE TABLE t(x)")
        before = snapshot(path.parent)
        with pytest.raises(
            (ForeignStoreError, StoreNotFoundError) if inspect else ForeignStoreError
        ) as raised:
            await SQLiteAdapter(path, inspect=inspect).aopen()
        assert str(path) in str(raised.value)
        assert snapshot(path.parent) == before
        if live is not None:
            live.close()

    async def test_a_directory_is_refused(self, tmp_path):
        """A directory at the path is somebody else's, too."""
        with pytest.raises(ForeignStoreError):
            await SQLiteAdapter(tmp_path).aopen()

    async def test_an_empty_file_is_adopted(self, path):
        """Nothing is lost by making a store of a file without a byte."""
        path.touch()
        async with SQLiteAdapter(path) as adapter:
            await adapter.commit({"k": b"1"})
        async with SQLiteAdapter(path) as adapter:
            assert await adapter.read("k") == b"1"

    async def test_a_newer_format_is_refused(self, path):
        """A file that a later version of the library made is not touched."""
        async with SQLiteAdapter(path):
            pass
        rows(path, "PRAGMA user_version=99")
        before = path.read_bytes()
        for inspect in (False, True):
            with pytest.raises(SchemaTooNewError):
                await SQLiteAdapter(path, inspect=inspect).aopen()
        assert path.read_bytes() == before

    async def test_damaged_pages_are_an_error_that_names_the_file(self, path):
        """Pages that SQLite cannot read raise CorruptedDataError with what to do; check lists them."""
        async with SQLiteAdapter(path) as adapter:
            await adapter.commit({f"k{i}": bytes(3000) for i in range(200)})
        data = bytearray(path.read_bytes())
        for start in range(8192, len(data), 4096):
            data[start : start + 16] = b"\xff" * 16
        path.write_bytes(data)

        async def read_all():
            async with SQLiteAdapter(path) as adapter:
                assert await adapter.check()
                for i in range(200):
                    await adapter.fetch((f"k{i}",))

        with pytest.raises(CorruptedDataError) as raised:
            await read_all()
        assert str(path) in str(raised.value)
        assert "copy" in str(raised.value)

    async def test_a_marked_file_without_tables_is_damage(self, path):
        """A store whose tables are gone is not filled anew."""
        rows(path, f"PRAGMA application_id={APPLICATION_ID}")
        with pytest.raises(CorruptedDataError):
            await SQLiteAdapter(path).aopen()

    @pytest.mark.parametrize("bad", ["", ":memory:", "a\0b"])
    def test_what_is_no_path_is_refused(self, bad):
        """At construction, before anything is touched."""
        with pytest.raises(ConfigurationError):
            SQLiteAdapter(bad)

    async def test_a_network_file_system_needs_exclusive(self, path, monkeypatch):
        """Without shared memory only a single process may use a store; nothing is created before."""
        monkeypatch.setattr(_sqlite_writer, "is_network", lambda path: True)
        with pytest.raises(StorageUnavailableError, match="exclusive=True"):
            await SQLiteAdapter(path).aopen()
        assert not path.exists()
        async with SQLiteAdapter(path, exclusive=True) as adapter:
            await adapter.commit({"k": b"1"})
            assert not path.with_name("store.db-shm").exists()
            with pytest.raises(StorageLockedError):
                await SQLiteAdapter(path, exclusive=True, lock_timeout=0.05).aopen()


class TestInspect:
    async def test_it_leaves_no_trace(self, path):
        """Reading creates, writes and repairs nothing: closed, beside a writer, and after a crash."""
        async with SQLiteAdapter(path) as writer:
            await writer.commit({"k": b"1"})
        before = snapshot(path.parent)
        async with SQLiteAdapter(path, inspect=True) as adapter:
            assert await adapter.read("k") == b"1"
            assert await adapter.check() == []
            assert [key async for key in adapter.keys("")] == ["k"]
            with pytest.raises(AccessDeniedError):
                await adapter.commit({"k": b"2"})
            with pytest.raises(AccessDeniedError):
                adapter.commit_now({"k": b"2"})
            assert snapshot(path.parent) == before
            async with SQLiteAdapter(path) as writer:
                await writer.commit({"k": b"2"})
                before = snapshot(path.parent)
                assert await adapter.read("k") == b"2"
                assert await adapter.check() == []
                after = snapshot(path.parent)
                assert after.keys() == before.keys()
                for name in ("store.db", "store.db-wal"):  # the -shm is memory, with a place for each reader
                    assert after[name] == before[name]
                await writer.commit({"k": b"3"})
                assert await adapter.read("k") == b"3"
            assert await adapter.read("k") == b"3"

    @pytest.mark.parametrize("index", [False, True])
    async def test_what_a_crash_left_is_read(self, path, tmp_path, index):
        """Commits that are in the log only are seen, with its index and without it."""
        place = tmp_path / "after"
        place.mkdir()
        async with SQLiteAdapter(path) as writer:
            await writer.commit({"k": b"1"})
            for suffix in ("", "-wal", "-shm") if index else ("", "-wal"):
                (place / f"store.db{suffix}").write_bytes(path.with_name(f"store.db{suffix}").read_bytes())
        before = snapshot(place)
        async with SQLiteAdapter(place / "store.db", inspect=True) as adapter:
            assert await adapter.read("k") == b"1"
        assert snapshot(place) == before

    async def test_nothing_there_is_said(self, path):
        """A missing or empty file is no store, and none is made."""
        with pytest.raises(StoreNotFoundError):
            await SQLiteAdapter(path, inspect=True).aopen()
        assert not path.exists()
        path.touch()
        with pytest.raises(StoreNotFoundError):
            await SQLiteAdapter(path, inspect=True).aopen()
        assert path.read_bytes() == b""


class TestVersions:
    @pytest.fixture
    def clock(self, monkeypatch):
        """A clock that goes where the test says."""

        class Time:
            now = 1_700_000_000_000_000

            def time_ns(self):
                return self.now * 1000

        monkeypatch.setattr(_sqlite_batch, "time", Time())
        return _sqlite_batch.time

    async def test_they_tell_when_it_was_saved(self, path, clock):
        """A version is the microsecond of the commit, and saved_at reads it."""
        async with SQLiteAdapter(path) as adapter:
            assert await adapter.commit({"k": b"1"}) == {"k": str(clock.now)}
            assert await adapter.saved_at("k") == clock.now / 1e6
            assert await adapter.saved_at("other") is None

    @pytest.mark.parametrize("durability", [EXIT, POWER])
    async def test_none_comes_twice(self, path, clock, durability):
        """A clock that stands still, steps back or differs between writers repeats no version."""
        seen = []
        async with SQLiteAdapter(path) as one, SQLiteAdapter(path) as two:
            for step in (0, 0, -5_000_000, 10, -60_000_000, 1):
                clock.now += step
                for writer in (one, two, one):
                    for changes in ({"k": b"1"}, {"k": b"2", "j": b"2"}):
                        seen.append(int((await writer.commit(changes, durability=durability))["k"]))
                    await writer.commit({"k": None}, durability=durability)
                    clock.now -= 100
                    seen.append(int((await writer.commit({"k": b"3"}, durability=durability))["k"]))
        assert seen == sorted(set(seen))
        async with SQLiteAdapter(path) as adapter:  # nor after a restart with the clock far behind
            clock.now -= 10**9
            await adapter.delete("k")
            assert int((await adapter.commit({"k": b"4"}, durability=durability))["k"]) > seen[-1]

    async def test_the_previous_generation_is_kept_once_a_minute(self, path, clock):
        """What is older than a minute is kept when it is overwritten; a deleted key leaves nothing."""
        async with SQLiteAdapter(path) as adapter:

            async def past():
                stored = await adapter.previous("k")
                return None if stored is None else stored.data

            await adapter.commit({"k": b"1"})
            assert await past() is None
            await adapter.commit({"k": b"2"})
            assert await past() == b"1"
            clock.now += 59_000_000
            await adapter.commit({"k": b"3", "other": b""})
            assert await past() == b"1"
            clock.now += 2_000_000
            await adapter.commit({"k": b"4"})
            assert await past() == b"3"
            clock.now += 61_000_000
            await adapter.commit({"k": b"5"}, durability=EXIT)
            assert await past() == b"3"
            await adapter.delete("k")
            assert await past() is None
            await adapter.commit({"k": b"6"})
            assert await past() is None
            await adapter.commit({"k": b"7"})
            assert await past() == b"6"
        assert rows(path, "SELECT count(*) FROM previous") == [(1,)]

    async def test_a_second_writer_keeps_the_rule(self, path, clock):
        """What another process kept within the minute is not replaced."""
        async with SQLiteAdapter(path) as one, SQLiteAdapter(path) as two:
            for number, writer in enumerate((one, one, two, one, two)):
                await writer.commit({"k": b"%d" % number, f"{number}": b""})
            assert (await two.previous("k")).data == b"0"


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
        assert await self.race(path) == (b"second", 2)

    async def test_a_planted_reordering_is_caught(self, path, monkeypatch):
        """The race is a real one: without the rule the first value wins."""
        monkeypatch.setattr(Commits, "_write_before", lambda *_: None)
        assert await self.race(path) == (b"first", 3)

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


class TestReading:
    async def test_many_keys_are_one_snapshot(self, path):
        """A fetch of more keys than one statement takes sees one committed state."""
        keys = [f"k{i}" for i in range(1300)]
        stop = threading.Event()

        def write():
            async def forever():
                async with SQLiteAdapter(path) as other:
                    number = 0
                    while not stop.is_set():
                        number += 1
                        other.commit_now(dict.fromkeys(keys, b"%d" % number))

            asyncio.run(forever())

        async with SQLiteAdapter(path) as adapter:
            await adapter.commit(dict.fromkeys(keys, b"0"))
            thread = threading.Thread(target=write)
            thread.start()
            try:
                states = set()
                while len(states) < 5:
                    found = await adapter.fetch(keys)
                    values = {stored.data for stored in found.values()}
                    assert len(found) == 1300
                    assert len(values) == 1
                    states |= values
                    await asyncio.sleep(0.01)
            finally:
                stop.set()
                thread.join()

    async def test_keys_come_in_pages(self, path):
        """All keys in code point order while others come and go; no transaction is open meanwhile."""
        names = sorted(f"{i:04}\U0001f600" if i % 2 else f"{i:04}\uffff" for i in range(2500))
        async with SQLiteAdapter(path) as adapter:
            await adapter.commit(dict.fromkeys(names, b""))
            seen = []
            async for key in adapter.keys(""):
                seen.append(key)
                if len(seen) == 500:
                    await adapter.commit({"0": b"", names[600]: None, names[-1]: None, "3": b""})
                    assert rows(path, "PRAGMA wal_checkpoint(TRUNCATE)") == [(0, 0, 0)]
            unsure = {"0", "3", names[600], names[-1]}  # these came or went meanwhile
            assert [key for key in seen if key not in unsure] == [
                name for name in names if name not in unsure
            ]

    async def test_the_mark_changes_with_every_commit(self, path):
        """By this adapter, by another and by another process; reading leaves it as it is."""
        async with SQLiteAdapter(path) as adapter, SQLiteAdapter(path) as other:
            marks = [adapter.change_mark()]
            for commit in (
                lambda: adapter.commit({"k": b"1"}),
                lambda: other.commit({"k": b"1"}),
                lambda: asyncio.to_thread(rows_committed, path),
            ):
                await commit()
                marks.append(adapter.change_mark())
                await adapter.fetch(("k",))
                await other.check()
                assert adapter.change_mark() == marks[-1]
            assert len(set(marks)) == 4

    async def test_the_mark_without_shared_memory(self, path):
        """Exclusive stores and platforms without the mapping have one, too."""
        async with SQLiteAdapter(path, exclusive=True) as adapter:
            before = adapter.change_mark()
            adapter.commit_now({"k": b"1"})
            assert adapter.change_mark() != before
        async with SQLiteAdapter(path) as adapter, SQLiteAdapter(path) as other:
            adapter._writer.index = None
            before = adapter.change_mark()
            assert adapter.change_mark() == before
            other.commit_now({"k": b"2"})
            assert adapter.change_mark() != before


def rows_committed(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE record SET version=version+1")
    connection.close()


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
                while adapter._writer._busy_since is None:
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
            adapter._writer.commits.connection.execute(f"PRAGMA max_page_count={pages + 20}")
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
            with pytest.raises(StorageFullError):
                adapter.commit_now({"big": bytes(1 << 20)})
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


class TestLifecycle:
    async def test_open_and_close_in_any_order(self, path):
        """Twice, at once, again, while it opens, cancelled: fine, or a clear error."""
        adapter = SQLiteAdapter(path)
        with pytest.raises(CapabilityUnavailableError):
            await adapter.commit({"k": b"1"})
        await adapter.aclose()
        await asyncio.gather(adapter.aopen(), adapter.aopen(), adapter.aopen())
        await adapter.commit({"k": b"1"})
        await asyncio.gather(adapter.aclose(), adapter.aclose())
        with pytest.raises(CapabilityUnavailableError):
            await adapter.fetch(("k",))
        opening = asyncio.create_task(adapter.aopen())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await adapter.aclose()
        await adapter.aopen()
        assert await adapter.read("k") == b"1"
        await adapter.aclose()

    async def test_many_at_once_make_one_store(self, path):
        """Adapters that find no file and open it at the same moment share the one that comes to be."""
        for attempt in range(5):
            place = path.with_name(f"{attempt}") / "store.db"
            adapters = [SQLiteAdapter(place) for _ in range(6)]
            await asyncio.gather(*(adapter.aopen() for adapter in adapters))
            await asyncio.gather(*(adapter.commit({f"k{n}": b"1"}) for n, adapter in enumerate(adapters)))
            assert len([key async for key in adapters[0].keys("")]) == 6
            await asyncio.gather(*(adapter.aclose() for adapter in adapters))
            assert [file.name for file in place.parent.iterdir()] == ["store.db"]

    async def test_commits_on_the_way_when_it_closes_are_kept(self, path):
        """Everything accepted before the close is on the disk after it."""
        adapter = SQLiteAdapter(path)
        await adapter.aopen()
        waiting = [asyncio.create_task(adapter.commit({f"k{i}": b"1"})) for i in range(300)]
        await asyncio.sleep(0)
        await adapter.aclose()
        await asyncio.gather(*waiting)
        assert rows(path, "SELECT count(*) FROM record") == [(300,)]

    async def test_cancelling_leaves_it_done_or_not_done(self, path):
        """At every await of a commit; the adapter works on."""
        async with SQLiteAdapter(path) as adapter:
            for turns in range(12):
                task = asyncio.create_task(adapter.commit({"a": b"%d" % turns, "b": b"%d" % turns}))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await adapter.commit({"after": b"%d" % turns})
                found = await adapter.fetch(("a", "b"))
                assert {stored.data for stored in found.values()} <= {b"%d" % n for n in range(turns + 1)}
                assert len({stored.data for stored in found.values()}) <= 1

    def test_a_loop_that_is_gone_hurts_nobody(self, path):
        """A loop closed in the middle of a commit: the commit is written, other loops go on."""
        adapter = SQLiteAdapter(path)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(adapter.aopen())
        task = loop.create_task(adapter.commit({"k": b"1"}))
        loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()
        asyncio.run(adapter.commit({"j": b"1"}))
        assert asyncio.run(adapter.fetch(("k", "j"))).keys() >= {"j"}
        asyncio.run(adapter.aclose())
