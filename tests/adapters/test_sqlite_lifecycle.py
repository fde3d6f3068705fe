"""SQLiteAdapter read, opened, closed and cancelled."""

import asyncio
import sqlite3
import threading

import pytest

from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import CapabilityUnavailableError
from axiom_persistence.storage.adapter import Durability
from support.sqlite_support import rows

EXIT, POWER = Durability.PROCESS_EXIT, Durability.POWER_LOSS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


def rows_committed(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE record SET version=version+1")
    connection.close()


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

    async def test_the_mark_changes_with_every_foreign_commit(self, path):
        """By another adapter and by another process; reading leaves it as it is."""
        async with SQLiteAdapter(path) as adapter, SQLiteAdapter(path) as other:
            marks = [adapter.change_mark()]
            for commit in (
                lambda: other.commit({"k": b"0"}),
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
            assert adapter.change_mark() == before  # nobody else can commit
        async with SQLiteAdapter(path) as adapter, SQLiteAdapter(path) as other:
            adapter._writer.mark = None
            before = adapter.change_mark()
            assert adapter.change_mark() == before
            other.commit_now({"k": b"2"})
            assert adapter.change_mark() != before


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
