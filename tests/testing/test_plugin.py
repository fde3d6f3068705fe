"""The pytest plugin gives each test a world of its own."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from axiom_persistence import (
    MISSING,
    Client,
    ConfigurationError,
    CorruptedDataError,
    StorageFullError,
    client_state,
    open_persistence,
)
from axiom_persistence.blocking import Persistence

SEEN = []


@pytest.mark.parametrize("turn", [1, 2])
async def test_nothing_of_another_test_is_found(turn, tmp_path_factory):
    """An application's store is empty in each test, and lies below the directory of the test run."""
    async with open_persistence("notes") as persistence:
        assert await persistence.load("turn", int) is None
        await persistence.save("turn", turn)
    home = Path(os.environ["AXIOM_PERSISTENCE_HOME"])
    assert home.is_relative_to(tmp_path_factory.getbasetemp())
    assert any(home.rglob("*.db"))
    SEEN.append(home)
    assert len(set(SEEN)) == len(SEEN)


async def test_persistence_is_open_and_in_memory(persistence):
    """The fixture is ready for use and touches no disk."""
    await persistence.save("a", [1, "two"])
    assert await persistence.load("a", list[int | str]) == [1, "two"]
    assert not Path(os.environ["AXIOM_PERSISTENCE_HOME"]).exists()


@pytest.mark.parametrize("turn", [1, 2])
async def test_persistence_on_disk_is_open_and_empty(persistence_on_disk, turn, tmp_path):
    """The fixture keeps what is saved in a database below tmp_path, and begins empty in each test."""
    assert await persistence_on_disk.load("turn", int) is None
    await persistence_on_disk.save("turn", turn)
    assert await persistence_on_disk.load("turn", int) == turn
    assert (tmp_path / "persistence.db").stat().st_size > 0


class Notes(Client):
    text: str = client_state("")


def test_the_blocking_fixtures_are_open(blocking_persistence, blocking_persistence_on_disk, tmp_path):
    """One in memory and one on the disk, both of the blocking face."""
    for persistence in (blocking_persistence, blocking_persistence_on_disk):
        assert isinstance(persistence, Persistence)
        persistence.save("a", 1)
        assert persistence.load("a", int) == 1
    assert (tmp_path / "persistence.db").exists()


@pytest.mark.parametrize("where", ["memory:", "s.db", "./files"])
async def test_a_disk_is_full_and_then_is_not(where, tmp_path, monkeypatch, full_disk):
    """Saves raise and change nothing, reads and deletions go on; clients keep what they could not store."""
    monkeypatch.chdir(tmp_path)
    async with open_persistence(where) as persistence, Notes(persistence, on_error=lambda *_: None) as notes:
        await persistence.save_many({"a": 1, "b": 1})
        with full_disk(persistence):
            with pytest.raises(StorageFullError):
                await persistence.save("a", 2)
            with pytest.raises(StorageFullError):
                await persistence.save_many({"a": 2, "c": 2}, durability="memory")
            notes.text = "kept"
            assert notes.pending == ("text",)
            assert await persistence.load("a", int) == 1
            assert await persistence.delete("b")
        await notes.persist_state()
        assert await persistence.load("Notes/text", str) == "kept"
        assert not await persistence.exists("c")


@pytest.mark.parametrize("where", ["memory:", "s.db", "./files"])
async def test_a_record_is_damaged(where, tmp_path, monkeypatch, damage):
    """It is noticed at the next load, also of what was cached, and told as the persistence was asked to."""
    monkeypatch.chdir(tmp_path)
    async with open_persistence(where) as persistence:
        await persistence.save_many({"a": 1, "b": 2})
        assert await persistence.load("a", int) == 1
        await damage(persistence, "a")
        assert await persistence.load("a", int, default=MISSING) is MISSING
        assert [report.key for report in persistence.reports] == ["a"]
        assert await persistence.load("b", int) == 2
        with pytest.raises(ConfigurationError, match="nothing is stored"):
            await damage(persistence, "never")
    async with open_persistence(where, on_corruption="raise") as persistence:
        await persistence.namespace("n").save("a", 1)
        await damage(persistence.namespace("n"), "a")
        with pytest.raises(CorruptedDataError):
            await persistence.load("n/a", int)


def test_damage_and_time_in_the_blocking_face(blocking_persistence, damage, full_disk, pass_time):
    """The same fixtures, without ``await``."""
    blocking_persistence.save("a", 1)
    damage(blocking_persistence, "a")
    assert blocking_persistence.load("a", int) is None
    blocking_persistence.save("b", 1, ttl=60)
    with full_disk(blocking_persistence), pytest.raises(StorageFullError):
        blocking_persistence.save("c", 1)
    pass_time(59)
    assert blocking_persistence.load("b", int) == 1
    pass_time(timedelta(seconds=2))
    assert blocking_persistence.load("b", int) is None


async def test_time_passes_for_stores_that_were_open_before(persistence, persistence_on_disk, pass_time):
    """And only as far as it was told to."""
    for store in (persistence, persistence_on_disk):
        await store.save("a", 1, ttl=60)
        assert await store.exists("a")
    pass_time(61)
    for store in (persistence, persistence_on_disk):
        assert not await store.exists("a")
        await store.save("a", 2, ttl=60)
        assert await store.load("a", int) == 2


def test_wider_fixtures_have_a_world_too(tmp_path):
    """A session's own fixture, and a run without pytest-asyncio, keep out of the home directory as well."""
    (tmp_path / "test_inner.py").write_text(
        "import os, pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def home(): return os.environ['AXIOM_PERSISTENCE_HOME']\n"
        "def test_home(home, tmp_path_factory):\n"
        "    assert home.startswith(str(tmp_path_factory.getbasetemp()))\n"
        "    assert os.environ['AXIOM_PERSISTENCE_HOME'] != home\n"
    )
    for options in ((), ("-p", "no:asyncio")):
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "AXIOM_PERSISTENCE_HOME": str(tmp_path / "real home")},
        )
        assert result.returncode == 0, result.stdout + result.stderr
    assert not (tmp_path / "real home").exists()


def test_the_plugin_loads_nothing_heavy():
    """Test runs that never open a persistence do not pay for one, nor for Hypothesis."""
    heavy = "{'hypothesis', 'msgspec', 'sqlite3', 'axiom_persistence.store', 'axiom_persistence.storage'}"
    code = f"import sys, axiom_persistence.testing.plugin; print(sorted({heavy} & set(sys.modules)))"
    # The hypothesis plugin of pytest is imported by pytest itself only.
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
