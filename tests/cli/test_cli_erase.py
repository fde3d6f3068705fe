"""``erase``: its three commands, what they print, and how they end."""

import asyncio
import json

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.cli import main
from axiom_persistence.cli._output import counted


@pytest.fixture
def run(capfdbinary, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def _run(*arguments):
        code = main(list(arguments))
        written = capfdbinary.readouterr()
        return code, written.out.decode(), written.err.decode()

    async def fill():
        async with open_persistence("notes.db") as persistence:
            await persistence.save_many({"a/1": 1, "a/2": 2}, subject="alice")
            await persistence.save("b", 3)

    asyncio.run(fill())
    return _run


def test_the_three_commands_of_the_page(run, tmp_path):
    """Export what is about somebody, erase it, prove it."""
    assert run("export", "notes.db", "alice.jsonl", "--subject", "alice")[0] == 0
    assert (tmp_path / "alice.jsonl").read_text().count('"key":') == 2
    code, out, err = run("erase", "subject", "notes.db", "alice", "--dry-run")
    assert (code, out, err) == (0, "a/1\na/2\n", "2 records would be erased\n")
    code, out, err = run("erase", "subject", "notes.db", "alice", "--yes", "--receipt", "receipt.json")
    assert (code, err) == (0, "2 records erased\n")
    assert json.loads(out) == json.loads((tmp_path / "receipt.json").read_bytes())
    code, out, _ = run("erase", "verify", "notes.db", "receipt.json", "--subject", "alice")
    assert code == 0
    assert out.startswith("2 records erased, ")
    assert json.loads(run("erase", "verify", "notes.db", "receipt.json", "--json")[1])["valid"]
    assert run("ls", "notes.db")[1] == "b\n"
    assert json.loads(run("import", "notes.db", "alice.jsonl", "--json")[1])["erased"] == 2


def test_again_it_gives_the_same_receipt(run):
    one = json.loads(run("erase", "prefix", "notes.db", "a/", "-y", "--json")[1])
    assert (one["records"], one["keys"]) == (2, ["a/1", "a/2"])
    two = json.loads(run("erase", "prefix", "notes.db", "a/", "-y", "--json")[1])
    assert two["receipt"] == one["receipt"]


def test_how_it_ends(run, tmp_path):
    """4 where nothing was ever there, 2 without --yes and for a wrong receipt, 3 for an altered one."""
    assert run("erase", "subject", "notes.db", "carol", "--yes")[0] == 4
    assert "needs --yes" in run("erase", "subject", "notes.db", "alice")[2]
    assert run("ls", "notes.db")[1] == "a/1\na/2\nb\n"
    run("erase", "subject", "notes.db", "alice", "--yes", "--receipt", "receipt.json")
    assert run("erase", "verify", "notes.db", "receipt.json", "--subject", "bob")[0] == 2
    receipt = tmp_path / "receipt.json"
    receipt.write_text(receipt.read_text().replace('"records": 2', '"records": 3'))
    assert run("erase", "verify", "notes.db", "receipt.json")[0] == 3
    receipt.write_text("{}")
    assert run("erase", "verify", "notes.db", "receipt.json")[0] == 2


def test_one_record_is_one(run):
    """Counts say record for one and records for more, and entries, not entrys."""
    assert run("erase", "prefix", "notes.db", "b", "-y")[2] == "1 record erased\n"
    assert [counted(2_000, "record"), counted(0, "entry")] == ["2,000 records", "0 entries"]
