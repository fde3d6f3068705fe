"""Somebody shortens or overwrites the files of an open store: it is said, and nothing more is lost."""

import asyncio
import contextlib
import os
import sqlite3

import pytest

from axiom_persistence import Client, SQLiteAdapter, client_state, open_persistence
from axiom_persistence.errors import PersistenceError, StorageError

OLD = {f"old{n}": "y" * 1000 for n in range(200)}
NEW = {f"new{n}": "x" * 1000 for n in range(50)}


def zeros(path):
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.write(bytes(size))


def nothing(path):
    os.truncate(path, 0)


def below_a_page(path):
    os.truncate(path, 300)


def half(path):
    os.truncate(path, os.path.getsize(path) // 2)


CHANGES = pytest.mark.parametrize(
    ("suffix", "change"),
    [("", nothing), ("", below_a_page), ("", half), ("-wal", nothing), ("-wal", half), ("-wal", zeros)],
    ids=lambda value: getattr(value, "__name__", value or "database"),
)
MODES = pytest.mark.parametrize("exclusive", [False, True], ids=["shared", "exclusive"])


class Settings(Client):
    volume: int = client_state(0)


async def opened(path, exclusive, **options):
    """A store with values in its database, and others in its log."""
    async with open_persistence(path) as persistence:
        await persistence.save_many(OLD)
    persistence = await open_persistence(SQLiteAdapter(path, exclusive=exclusive), cache=None, **options)
    await persistence.save_many(NEW)
    return persistence


def sizes(path):
    return {suffix: os.path.getsize(f"{path}{suffix}") for suffix in ("", "-wal")}


def assert_told(error, path, suffix):
    assert f"{path}{suffix}" in str(error)
    assert "while the store was open" in str(error)
    assert "keep a copy" in error.hint


async def assert_nothing_more_is_written(persistence):
    for durability in ("power_loss", "process_exit"):
        with pytest.raises(StorageError, match="nothing is written any more"):
            await persistence.save("later", 1, durability=durability)


async def save(persistence, path, suffix):
    with pytest.raises(StorageError) as raised:
        await persistence.save("late", 1)
    assert_told(raised.value, path, suffix)
    await assert_nothing_more_is_written(persistence)
    await persistence.aclose()


async def save_for_exit(persistence, path, suffix):
    """Acknowledged until the next sync at the latest."""

    async def save_again_and_again():
        async with asyncio.timeout(30):
            while True:
                await persistence.save("late", 1, durability="process_exit")
                await asyncio.sleep(0.01)

    with pytest.raises(StorageError) as raised:
        await save_again_and_again()
    assert_told(raised.value, path, suffix)
    await assert_nothing_more_is_written(persistence)
    await persistence.aclose()


async def save_for_exit_and_close(persistence, path, suffix):
    """Whichever comes first tells it."""

    async def save_and_close():
        await persistence.save("late", 1, durability="process_exit")
        await persistence.aclose()

    with pytest.raises(StorageError) as raised:
        await save_and_close()
    assert_told(raised.value, path, suffix)
    await persistence.aclose()


async def load(persistence, path, suffix):
    """Right, from memory, or the error says what happened. The close says it if no load did."""
    errors = []
    for key, value in (OLD | NEW).items():
        try:
            assert await persistence.load(key, str) == value
        except PersistenceError as error:
            errors.append(str(error))  # of a value whose end is gone, "damaged" as well
    assert all(f"{path}{suffix}" in error and "while the store was open" in error for error in errors)
    if errors:
        await assert_nothing_more_is_written(persistence)
        await persistence.aclose()
    else:
        await close(persistence, path, suffix)


async def close(persistence, path, suffix):
    with pytest.raises(StorageError) as raised:
        await persistence.aclose()
    assert_told(raised.value, path, suffix)


@CHANGES
@MODES
@pytest.mark.parametrize(
    "use",
    [save, save_for_exit, save_for_exit_and_close, load, close],
    ids=lambda use: use.__name__,
)
async def test_it_is_told_and_nothing_is_deleted(tmp_path, suffix, change, exclusive, use):
    """Nothing is acknowledged that is not there later, and the close keeps both files as they were left."""
    path = tmp_path / "store.db"
    persistence = await opened(path, exclusive)
    change(f"{path}{suffix}")
    left = sizes(path)
    await use(persistence, path, suffix)
    kept = sizes(path)
    assert kept[""] == left[""]
    assert kept["-wal"] >= left["-wal"] if use in (save, save_for_exit, save_for_exit_and_close) else left
    if suffix == "-wal":
        async with open_persistence(path, on_corruption="repair") as again:  # the hint: open what is left
            assert await again.load_many(OLD, str) == OLD


@CHANGES
@MODES
async def test_an_assignment_to_a_client(tmp_path, suffix, change, exclusive):
    """An assignment raises, or the next sync tells: on_error, pending and the close."""
    path = tmp_path / "store.db"
    persistence = await opened(path, exclusive)
    told = []
    settings = Settings(persistence, on_error=lambda _, error: told.append(error))
    await settings.__aenter__()
    change(f"{path}{suffix}")
    async with asyncio.timeout(30):
        while not told:
            with contextlib.suppress(PersistenceError):
                settings.volume += 1
            await asyncio.sleep(0.01)
    assert_told(told[0], path, suffix)
    with pytest.raises(PersistenceError):
        await settings.__aexit__(None, None, None)
    await persistence.aclose()


@MODES
async def test_a_cut_that_takes_nothing_away(tmp_path, exclusive):
    """The last pages of the database are in the log, too: saves go on, and the close brings them back."""
    path = tmp_path / "store.db"
    adapter = SQLiteAdapter(path, exclusive=exclusive)
    await adapter.aopen()
    await adapter.commit({key: value.encode() for key, value in OLD.items()})
    adapter._writer.transactions.bear_witness(lambda: None)  # which writes to the last page
    await adapter.commit({"old0": None})
    page, found, *_ = adapter._writer._log._walk()
    pages = os.path.getsize(path) // page
    assert pages in found
    os.truncate(path, (pages - 1) * page)
    await adapter.commit({"late": b"1"})
    await adapter.aclose()
    async with SQLiteAdapter(path) as again:
        assert await again.check() == []
        assert len(await again.fetch(list(OLD))) == len(OLD) - 1
        assert await again.read("late") == b"1"


async def test_what_other_programs_may_do(tmp_path):
    """A VACUUM makes the database smaller, a checkpoint empties the log: no reason to refuse anything."""
    path = tmp_path / "store.db"
    async with SQLiteAdapter(path) as adapter:
        await adapter.commit({key: value.encode() for key, value in OLD.items()})
        for round in range(3):
            await adapter.commit(dict.fromkeys(list(OLD)[round * 60 : round * 60 + 60]))
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("VACUUM")
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
            assert sizes(path)["-wal"] == 0
            adapter._writer._log.check()
            await adapter.commit({f"late{round}": bytes(20_000)}, durability="process_exit")
            await adapter.commit({f"later{round}": bytes(20_000)})
            other.execute("VACUUM")
            other.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            await adapter.commit({f"last{round}": bytes(20_000)})
            other.close()
        assert await adapter.check() == []


@CHANGES
async def test_everybody_who_has_it_open_refuses(tmp_path, suffix, change):
    """Two adapters: neither hides the change from the other, and neither copies and deletes at its close."""
    path = tmp_path / "store.db"
    one = await opened(path, exclusive=False)
    other = await open_persistence(path)
    await one.save("one", 1)
    await other.save("other", 1)
    change(f"{path}{suffix}")
    left = sizes(path)
    for persistence in (one, other):
        with pytest.raises(StorageError) as raised:
            await persistence.save("late", 1)
        assert_told(raised.value, path, suffix)
    for persistence in (one, other):
        await persistence.aclose()
    assert sizes(path)[""] == left[""]
    assert sizes(path)["-wal"] >= left["-wal"]
