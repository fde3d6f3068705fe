"""What other programs, people and broken disks do to an open database file."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.errors import CorruptedDataError, PersistenceError, StorageError
from axiom_persistence.record import seal_record
from axiom_persistence.store import HEADER


def execute(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
async def test_no_save_is_acknowledged_in_a_file_that_nobody_will_find(
    tmp_path: Path, suffix: str, how: str
) -> None:
    """Once the database or its log was deleted, moved or replaced, a save raises instead of vanishing."""
    path = tmp_path / "store.db"
    persistence = await open_persistence(path)
    await persistence.save("before", 1)
    file = Path(f"{path}{suffix}")
    if how == "deleted":
        file.unlink()
    else:
        os.rename(file, tmp_path / "elsewhere")
        if how == "replaced":
            file.write_bytes((tmp_path / "elsewhere").read_bytes())
    with pytest.raises(StorageError, match="nothing is written any more"):
        await persistence.save("after", 2)
    with pytest.raises(StorageError):
        await persistence.save("later", 3, durability="process_exit")
    await persistence.aclose()


async def test_a_commit_that_fails_on_damage_does_not_swallow_the_next(tmp_path: Path) -> None:
    """After a commit met a version that cannot be, every acknowledged save of another key is stored."""
    path = tmp_path / "store.db"
    async with open_persistence(path) as persistence:
        await persistence.save("damaged", 1)
    execute(path, "UPDATE record SET version=1e300 WHERE key='damaged'")
    async with open_persistence(path) as persistence:
        with pytest.raises(PersistenceError):
            await persistence.save("damaged", 2)
        await persistence.save("quick", 3, durability="process_exit")
        await persistence.save("durable", 4)
    async with open_persistence(path) as persistence:
        assert await persistence.load_many(["quick", "durable"], int) == {"quick": 3, "durable": 4}


async def test_a_header_that_is_whole_but_none_is_an_error_of_ours(tmp_path: Path) -> None:
    """A header record with a right sum and a wrong content raises a PersistenceError at opening."""
    path = tmp_path / "store.db"
    async with open_persistence(path) as persistence:
        await persistence.save("a", 1)
    wrong = seal_record(HEADER, b'{"x":1}', "1.0").decode()
    execute(path, "UPDATE record SET data=? WHERE key=?", wrong, HEADER)
    with pytest.raises(PersistenceError):
        await open_persistence(path)


@pytest.mark.parametrize("number", ["00500", "00999"])  # the latter is the last of a page of the listing
async def test_an_index_out_of_order_ends_a_listing_with_an_error(tmp_path: Path, number: str) -> None:
    """One flipped byte in an index page neither hangs keys() nor makes it tell keys twice."""
    path = tmp_path / "store.db"
    async with open_persistence(path) as persistence:
        await persistence.save_many({f"zz{count:05}": count for count in range(2500)})
    data = bytearray(path.read_bytes())
    places = [at for at in range(len(data)) if data.startswith(b"zz" + number.encode(), at)]
    (place,) = [at for at in places if data[at // 4096 * 4096] == 10]  # a leaf of the index
    data[place + 1] = ord("a")
    path.write_bytes(data)
    async with open_persistence(path) as persistence:

        async def list_all() -> None:
            listed = 0
            async for _ in persistence.keys("zz"):
                listed += 1
                assert listed < 10_000, "it goes round in circles"

        with pytest.raises(CorruptedDataError, match="out of order"):
            await list_all()
        report = await persistence.verify()
        assert not report
        assert report.medium
        assert number != "00500" or any("out of order" in fault for fault in report.medium)


async def test_a_prefix_that_is_in_no_key_lists_nothing(tmp_path: Path) -> None:
    """A lone surrogate in a prefix is no error: there is no such key."""
    async with open_persistence(tmp_path / "store.db") as persistence:
        await persistence.save("a", 1)
        assert [key async for key in persistence.keys("\ud800")] == []


async def test_verify_tells_of_a_trigger_that_undoes_saves(tmp_path: Path) -> None:
    """A trigger that another program put on our tables is a fault of the medium."""
    path = tmp_path / "store.db"
    async with open_persistence(path) as persistence:
        await persistence.save("a", 1)
        assert await persistence.verify()
    execute(
        path,
        "CREATE TRIGGER undo AFTER INSERT ON record BEGIN DELETE FROM record WHERE key=new.key; END",
    )
    async with open_persistence(path) as persistence:
        (fault,) = (await persistence.verify()).medium
        assert "undo" in fault
