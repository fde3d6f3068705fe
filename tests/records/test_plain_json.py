"""Other people's tools show the records as plain JSON."""

import json
import shutil
import subprocess
from dataclasses import dataclass

import pytest

from axiom_persistence import open_persistence


@dataclass
class Window:
    width: int
    title: str


def tool(name):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def said(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


async def test_sqlite3_shows_and_searches_them(tmp_path):
    """The sqlite3 shell prints a record as text, and its JSON functions work on it."""
    path = tmp_path / "a.db"
    async with open_persistence(path) as persistence:
        await persistence.save("window", Window(800, "Grüße"))
    row = said(tool("sqlite3"), str(path), "SELECT data FROM record WHERE key = 'window'")
    assert json.loads(row)["value"] == {"width": 800, "title": "Grüße"}
    query = "SELECT json_extract(data, '$.value.width') FROM record WHERE key = 'window'"
    assert said("sqlite3", str(path), query) == "800\n"
    assert said("sqlite3", str(path), "SELECT typeof(data) FROM record WHERE key = 'window'") == "text\n"


async def test_jq_reads_the_files(tmp_path):
    """A value in the file store is a file that jq reads."""
    async with open_persistence(tmp_path / "store") as persistence:
        await persistence.save("window", Window(800, "Grüße"))
    assert said(tool("jq"), "-r", ".value.title", str(tmp_path / "store" / "window.json")) == "Grüße\n"
