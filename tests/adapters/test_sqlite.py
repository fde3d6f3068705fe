"""The file of SQLiteAdapter: whose it is, what stands in it, how it is looked into."""

import contextlib
import os
import sqlite3
import stat

import pytest

from axiom_persistence.adapters._sqlite import batch as _sqlite_batch
from axiom_persistence.adapters._sqlite import writer as _sqlite_writer
from axiom_persistence.adapters._sqlite.file import APPLICATION_ID
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import (
    AccessDeniedError,
    ConfigurationError,
    CorruptedDataError,
    ForeignStoreError,
    SchemaTooNewError,
    StorageLockedError,
    StorageUnavailableError,
    StoreNotFoundError,
)
from axiom_persistence.storage import generations
from axiom_persistence.storage.adapter import Durability
from support.sqlite_support import rows, snapshot

EXIT, POWER = Durability.PROCESS_EXIT, Durability.POWER_LOSS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


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
        assert "--repair" in str(raised.value)

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

            def monotonic(self):
                return self.now / 1e6

        monkeypatch.setattr(_sqlite_batch, "time", Time())
        monkeypatch.setattr(generations, "time", _sqlite_batch.time)
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

    @pytest.mark.parametrize("ahead", ["a", "b"])
    async def test_two_values_have_one_version_where_one_is_ahead(self, path, clock, ahead):
        """Two values are one statement: no row is written at a version that the other one had refused."""
        async with SQLiteAdapter(path) as one, SQLiteAdapter(path) as two:
            await two.commit({"a": b"{}", "b": b"0"}, durability=EXIT)
            clock.now += 1000
            latest = await one.commit({ahead: b"1"}, durability=EXIT)
            clock.now -= 500
            versions = await two.commit({"a": b"2", "b": b"{}"}, durability=EXIT)
            assert int(versions["a"]) == int(versions["b"]) > int(latest[ahead])
            found = await one.fetch(["a", "b"])
            assert {key: (stored.data, stored.version) for key, stored in found.items()} == {
                "a": (b"2", versions["a"]),
                "b": (b"{}", versions["b"]),
            }

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


async def test_a_read_holds_nothing_back(tmp_path):
    """After any read, of a key that is there or not, the log can be started again: nobody reads it still."""
    async with SQLiteAdapter(tmp_path / "a.db") as adapter:
        await adapter.commit({"there": b"x" * 10_000})
        for key in ("there", "absent"):
            adapter.fetch_now(key)
            await adapter.read(key)
            await adapter.commit({"more": key.encode()})
            with contextlib.closing(sqlite3.connect(tmp_path / "a.db", timeout=0)) as other:
                busy, frames, copied = other.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            assert (busy, copied) == (0, frames)
