"""The pytest plugin gives each test a world of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from axiom_persistence import open_persistence

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
