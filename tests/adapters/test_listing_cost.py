"""A page costs the page: neither the keys before it nor the directories beside it are walked."""

import sqlite3

import pytest

from axiom_persistence.adapters._sqlite import reader
from axiom_persistence.adapters._sqlite.schema import open_writer
from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.platform.local import local_filesystem
from axiom_persistence.storage import Durability, Listing
from axiom_persistence.testing._interception import InterceptedFileSystem

KEYS = [f"item/{n:05}" for n in range(5000)]


@pytest.fixture
def connection(tmp_path):
    connection = open_writer(str(tmp_path / "s.db"), "test", exclusive=False, deadline=0)
    with connection:
        rows = [(key, b"x" * 50, n + 1) for n, key in enumerate([*KEYS, "other"])]
        connection.executemany("INSERT INTO record(key, data, version) VALUES(?, ?, ?)", rows)
        connection.execute("INSERT INTO record VALUES('large', zeroblob(5000000), 1)")
    yield connection
    connection.close()


def steps(connection: sqlite3.Connection, work):
    """How many instructions of SQLite's machine it takes, in tens."""
    count = 0

    def counted():
        nonlocal count
        count += 1

    connection.set_progress_handler(counted, 10)
    try:
        work()
    finally:
        connection.set_progress_handler(None, 0)
    return count


@pytest.mark.parametrize(
    ("after", "reverse", "page"),
    [
        (None, False, KEYS[:20]),
        (KEYS[2500], False, KEYS[2501:2521]),
        (KEYS[-21], False, KEYS[-20:]),
        ("a", False, KEYS[:20]),
        (None, True, KEYS[:-21:-1]),
        (KEYS[2500], True, KEYS[2499:2479:-1]),
        ("zz", True, KEYS[:-21:-1]),
    ],
)
def test_sqlite_finds_a_page_by_its_index(connection, after, reverse, page):
    """Wherever it begins, and in both directions, it takes as many steps as there are keys on it."""
    found = []
    listing = Listing("item/", after, 20, reverse)
    assert steps(connection, lambda: found.extend(reader.page(connection, listing))) < 60
    assert found == page


def test_sqlite_reads_the_part_and_not_the_value(connection, tmp_path):
    """Of a value of 5 MB its first bytes are read, and not the pages behind: these are damaged here."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(tmp_path / "s.db", "r+b") as file:
        file.seek(-2_500_000, 2)
        file.write(bytes(100_000))
    other = sqlite3.connect(tmp_path / "s.db")
    assert reader.fetch_range(other, ["large"], 0, 160) == {"large": bytes(160)}
    assert reader.exists(other, "large")
    with pytest.raises(sqlite3.DatabaseError):
        reader.fetch(other, ["large"])
    other.close()


class Scanning(InterceptedFileSystem):
    """Notes which directories are listed, and which files are read whole."""

    def __init__(self, inner):
        super().__init__(inner)
        self.scanned, self.read_whole = [], []

    def around(self, operation, arguments, perform):
        if operation == "scan":
            self.scanned.append(arguments[0])
        if operation == "read":
            self.read_whole.append(arguments[0])
        return perform()


async def test_files_enter_only_directories_that_can_hold_the_page(tmp_path):
    """Those of the prefix, from the one where the page begins to the one where it ends."""
    files = Scanning(local_filesystem(tmp_path / "store"))
    async with FileStorageAdapter(tmp_path / "store", filesystem=files) as adapter:
        keys = [f"d{part}/{n}" for part in range(8) for n in range(4)]
        await adapter.commit(dict.fromkeys([*keys, "top"], b"1"), durability=Durability.PROCESS_EXIT)

        async def scanned(prefix="", **asked):
            files.scanned.clear()
            found = [key async for key in adapter.keys(prefix, **asked)]
            return found, files.scanned

        assert await scanned(limit=5) == ([*keys[:4], "d1/0"], ["", "d0", "d1"])
        assert await scanned(after="d6/1", limit=3) == (["d6/2", "d6/3", "d7/0"], ["", "d6", "d7"])
        assert await scanned(limit=2, reverse=True) == (["top", "d7/3"], ["", "d7"])
        assert await scanned("d3/", after="d3/2") == (["d3/3"], ["d3"])
        assert await scanned("d3/2") == (["d3/2"], ["d3"])


async def test_files_are_not_read_to_tell_that_they_exist(tmp_path):
    """exists opens the file, fetch_range reads its beginning."""
    files = Scanning(local_filesystem(tmp_path / "store"))
    async with FileStorageAdapter(tmp_path / "store", filesystem=files) as adapter:
        await adapter.commit({"a": b"x" * 1000})
        files.read_whole.clear()
        assert await adapter.exists("a")
        assert not await adapter.exists("b")
        assert await adapter.fetch_range(("a",), 0, 3) == {"a": b"xxx"}
        assert files.read_whole == []
