"""Commands that walk a whole store: archives, snapshots, sweeping, quarantine, and watching."""

import asyncio
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.cli import main

COMMAND = (sys.executable, "-m", "axiom_persistence")


@pytest.fixture
def run(capfdbinary, tmp_path, monkeypatch):
    """Run a command line: its exit code, what it wrote, and what it said."""
    monkeypatch.chdir(tmp_path)

    def _run(*arguments):
        code = main(list(arguments))
        written = capfdbinary.readouterr()
        return code, written.out.decode(), written.err.decode()

    return _run


@pytest.fixture(params=["notes.db", "./notes"])
def store(request, run):
    """A store with three values."""
    for key, value in (("theme", '"dark"'), ("window", '{"width": 800}'), ("zero", "0")):
        assert run("set", request.param, key, value)[0] == 0
    return request.param


def facts(out):
    return json.loads(out)


def test_export_and_import(run, store, tmp_path):
    """What export writes, import brings into a store of another kind; - is a pipe."""
    code, out, err = run("export", store, "notes.jsonl.gz")
    assert (code, out, err) == (0, "", "3 records exported\n")
    assert gzip.decompress((tmp_path / "notes.jsonl.gz").read_bytes()).count(b'"key":') == 3
    code, out, err = run("import", "other.db", "notes.jsonl.gz", "--dry-run")
    assert (code, out, err) == (0, "", "would be imported: 3 added\n")
    assert not (tmp_path / "other.db").exists()
    assert run("import", "other.db", "notes.jsonl.gz")[2] == "imported: 3 added\n"
    assert facts(run("import", "other.db", "notes.jsonl.gz", "--json")[1]) == {
        "added": 0,
        "replaced": 0,
        "kept": 0,
        "same": 3,
        "erased": 0,
        "expired": 0,
        "dry_run": False,
        "faults": [],
    }
    assert run("get", "other.db", "window", "--json")[1] == '{"key": "window", "value": {"width": 800}}\n'
    code, out, err = run("export", store, "-", "--prefix", "w")
    assert [line.get("key") for line in map(json.loads, out.splitlines())] == [None, "window", None]
    assert run("export", store, "nothing.jsonl", "--dry-run")[2] == "3 records would be exported\n"
    assert not (tmp_path / "nothing.jsonl").exists()
    assert run("export", store, "-", "--json")[0] == 2


def test_a_damaged_archive(run, store, tmp_path):
    """Exit code 3; line, key and reason on standard output, or as JSON; the rest is imported."""
    assert run("export", store, "a.jsonl")[0] == 0
    archive = tmp_path / "a.jsonl"
    archive.write_bytes(archive.read_bytes().replace(b"dark", b"dork"))
    code, out, err = run("import", "other.db", "a.jsonl")
    assert code == 3
    assert out.startswith("line 2: theme: its sum")
    assert err == "imported: 2 added\n"
    code, out, _ = run("import", "other.db", "a.jsonl", "--jsonl")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["event"] for line in lines] == ["fault", "summary"]
    assert (code, lines[0]["key"], lines[1]["faults"]) == (3, "theme", 1)
    assert run("import", "other.db", "absent.jsonl")[0] == 2


def test_copy(run, store):
    """From one store to another, with a policy for what is there."""
    assert run("copy", store, "./copy")[2] == "copied: 3 added\n"
    assert run("set", "./copy", "theme", '"light"')[0] == 0
    assert run("copy", store, "./copy")[2] == "copied: 1 kept, 2 same\n"
    assert run("copy", store, "./copy", "--conflict", "fail")[0] == 1
    assert run("copy", store, "./copy", "--conflict", "newer")[2] == "copied: 1 kept, 2 same\n"
    assert run("copy", store, "./copy", "--conflict", "overwrite")[2] == "copied: 1 replaced, 2 same\n"
    assert run("copy", "absent.db", "./copy")[0] == 10


def test_snapshots(run, store):
    """Made, listed, thinned out, put back by name, and taken back."""
    code, out, err = run("snapshot", store)
    assert (code, err) == (0, "")
    assert ".snapshots" in out
    assert run("set", store, "theme", '"light"')[0] == 0
    (one,) = facts(run("snapshots", store, "--json")[1])
    assert one["path"] == out.strip()
    assert "1 record would be put back, 0 would be removed" in run("restore", store, one["name"], "-n")[2]
    code, _, err = run("restore", store, one["name"])
    assert code == 0
    assert run("get", store, "theme")[1] == '"dark"\n'
    before = re.search(r"is the snapshot (\S+)", err)[1]
    assert facts(run("restore", store, before, "--json")[1])["changed"] == 1
    assert run("get", store, "theme")[1] == '"light"\n'
    assert run("snapshot", store, "--keep", "1")[0] == 0
    assert len(run("snapshots", store)[1].splitlines()) == 1
    assert run("snapshot", store, "--keep", "30d", "--in", "elsewhere")[0] == 0
    assert len(run("snapshots", store, "--in", "elsewhere")[1].splitlines()) == 1
    assert run("snapshot", store, "--keep", "many")[0] == 2
    code, _, err = run("restore", store, "yesterday")
    assert code == 10
    assert "there is no snapshot 'yesterday'" in err


def test_sweep(run, store):
    """What has expired is counted, then removed."""

    async def expire():
        async with open_persistence(store) as persistence:
            await persistence.save("gone", 1, ttl=timedelta(microseconds=1))

    asyncio.run(expire())
    would = "1 expired record and 0 quarantined ones would be removed\n"
    assert run("sweep", store, "--dry-run")[2] == would
    swept = {"expired": 1, "quarantined": 0, "previous": 0, "freed": 0, "dry_run": False}
    assert facts(run("sweep", store, "--json")[1]) == swept
    assert run("sweep", store)[2] == "0 expired records and 0 quarantined ones removed\n"


def test_quarantine(run, store):
    """Listed, shown byte for byte, put back only where they can be read, dropped when asked."""

    async def damage():
        async with open_persistence(store) as persistence:
            await persistence.adapter.commit({"theme": b"damaged\xff"})
            await persistence.load("theme", str)
            await persistence.delete("theme")

    asyncio.run(damage())
    code, out, _ = run("quarantine", "list", store)
    assert code == 0
    assert "theme: it does not begin like a record" in out
    (item,) = facts(run("quarantine", "list", store, "--json")[1])
    assert (item["key"], item["size"]) == ("theme", 8)
    assert facts(run("quarantine", "show", store, item["id"], "--json")[1])["data"] == "ZGFtYWdlZP8="
    code, _, err = run("quarantine", "restore", store, item["id"])
    assert code == 3
    assert "still cannot be read" in err
    assert run("quarantine", "show", store, "absent")[0] == 4
    assert run("quarantine", "drop", store, item["id"])[0] == 2
    assert run("quarantine", "drop", store, item["id"], "--dry-run")[1].startswith("would drop")
    assert run("quarantine", "drop", store, item["id"], "--yes")[0] == 0
    assert facts(run("quarantine", "list", store, "--json")[1]) == []


def test_quarantined_bytes_that_can_be_read_are_put_back(run, store):
    """Unless the key has a value by now."""

    async def move():
        async with open_persistence(store) as persistence:
            inner = persistence.place("")[0]
            stored = (await persistence.adapter.fetch(("theme",)))["theme"]
            kept = inner.recovery.quarantined("theme", stored._replace(damage="a test"))
            await persistence.adapter.commit(kept)

    asyncio.run(move())
    (item,) = facts(run("quarantine", "list", store, "--json")[1])
    code, _, err = run("quarantine", "restore", store, item["id"])
    assert code == 1
    assert "another value" in err
    assert run("rm", store, "theme", "--yes")[0] == 0
    assert facts(run("quarantine", "restore", store, item["id"], "--json")[1])["restored"] is True
    assert run("get", store, "theme")[1] == '"dark"\n'
    assert facts(run("quarantine", "list", store, "--json")[1]) == []


def test_watch_prints_what_others_change(tmp_path):
    """A key a line, as it happens."""
    where = str(tmp_path / "notes.db")
    assert main(["set", where, "theme", '"dark"']) == 0
    watching = subprocess.Popen(
        [*COMMAND, "watch", where, "--limit", "2", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stderr.readline().startswith("watching")
    assert main(["set", where, "theme", '"light"']) == 0
    assert json.loads(watching.stdout.readline())["key"] == "theme"
    assert main(["rm", where, "theme", "--yes"]) == 0
    said = json.loads(watching.stdout.readline())
    assert (said["key"], said["deleted"]) == ("theme", True)
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, out, err) == (0, "", "")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_says_how_to_go_on(tmp_path):
    """And the same command does go on."""
    where, archive = str(tmp_path / "notes.db"), str(tmp_path / "notes.jsonl")

    async def fill():
        async with open_persistence(where) as persistence:
            for start in range(0, 60_000, 20_000):
                await persistence.save_many({f"k{n:05}": "x" * 100 for n in range(start, start + 20_000)})

    asyncio.run(fill())
    command = [*COMMAND, "export", where, archive, "--jsonl"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode != 0:  # else it was done already
        assert process.returncode == 130, err
        assert "goes on where it was" in json.loads(err)["error"]["hint"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["records"] == 60_000
