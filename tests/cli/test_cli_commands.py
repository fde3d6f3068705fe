"""What each command does, on both embedded stores."""

import io
import json
import sqlite3
import sys

import pytest

from axiom_persistence.cli import main


@pytest.fixture(params=["notes.db", "notes"])
def where(request, tmp_path, monkeypatch):
    """The address of a store that does not exist yet."""
    monkeypatch.chdir(tmp_path)
    return request.param if request.param.endswith(".db") else f"./{request.param}"


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command line: its exit code, what it wrote, and what it said."""

    def _run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        code = main(list(arguments))
        written = capsys.readouterr()
        return code, written.out, written.err

    return _run


@pytest.fixture
def store(run, where):
    """A store with three values."""
    for key, value in (("theme", '"dark"'), ("window", '{"width": 800, "title": "Füße ☃"}'), ("zero", "0")):
        assert run("set", where, key, value)[0] == 0
    return where


def damage(where, tmp_path):
    """Change a letter of the stored theme."""
    if where.endswith(".db"):
        with sqlite3.connect(tmp_path / where) as connection:
            connection.execute("UPDATE record SET data = replace(data, 'dark', 'dork') WHERE key = 'theme'")
        connection.close()
    else:
        record = tmp_path / where / "theme.json"
        record.write_bytes(record.read_bytes().replace(b"dark", b"dork"))


def test_a_value_comes_back_as_it_was_set(run, where):
    """What set stores, get prints: as JSON, as one JSON object, or a string as it is."""
    code, out, err = run("set", where, "a/b", '{"x": [1, null, true, "é"]}')
    assert (code, out) == (0, "")
    assert "made a new store at /" in err
    assert run("set", where, "text", '"two\\nlines"') == (0, "", "")
    assert json.loads(run("get", where, "a/b")[1]) == {"x": [1, None, True, "é"]}
    assert json.loads(run("get", where, "a/b", "--json")[1]) == {
        "key": "a/b",
        "value": {"x": [1, None, True, "é"]},
    }
    assert run("get", where, "text")[1] == '"two\\nlines"\n'
    assert run("get", where, "text", "--raw")[1] == "two\nlines\n"


@pytest.mark.parametrize("value", ["null", '""', "0", "{}", "[]", "false", "-5", "1e300", "-0.5"])
def test_empty_values_are_values(run, where, value):
    """Nothing that is empty or looks like an option is taken for missing."""
    assert run("set", where, "k", value)[0] == 0
    code, out, _ = run("get", where, "k")
    assert code == 0
    assert json.loads(out) == json.loads(value)
    assert run("has", where, "k")[0] == 0


def test_set_reads_standard_input(run, where):
    """Without a value, or with -, the value is what comes in; --raw takes it as text."""
    assert run("set", where, "a", stdin=b'{"big": true}')[0] == 0
    assert run("set", where, "b", "-", stdin='["ü"]'.encode())[0] == 0
    assert run("set", where, "c", "--raw", stdin=b"plain\n")[0] == 0
    assert json.loads(run("get", where, "a")[1]) == {"big": True}
    assert json.loads(run("get", where, "b")[1]) == ["ü"]
    assert json.loads(run("get", where, "c")[1]) == "plain\n"


def test_raw_stores_the_text_itself(run, where):
    """--raw takes for text what is not JSON, and what is."""
    run("set", where, "word", "hello", "--raw")
    run("set", where, "digits", "12", "--raw")
    assert run("get", where, "word")[1] == '"hello"\n'
    assert run("get", where, "digits")[1] == '"12"\n'


def test_ls_lists_keys_with_a_prefix(run, store):
    """Keys come in order, one a line; --json and --long tell more."""
    assert run("ls", store)[1] == "theme\nwindow\nzero\n"
    assert run("ls", store, "w")[1] == "window\n"
    assert run("ls", store, "nothing") == (0, "", "")
    assert json.loads(run("ls", store, "nothing", "--json")[1]) == []
    assert json.loads(run("ls", store, "--json")[1]) == [
        {"key": "theme"},
        {"key": "window"},
        {"key": "zero"},
    ]
    (entry,) = json.loads(run("ls", store, "theme", "--long", "--json")[1])
    assert entry["size"] > 10
    assert entry["saved_at"].endswith("Z")
    assert entry["damage"] is None
    assert "theme" in run("ls", store, "-l")[1]


def test_a_key_cannot_steer_the_terminal(run, where):
    """Control characters of a key are shown as escapes; JSON has them exactly."""
    run("set", where, "a\x1b[2Jb\nc", "1")
    assert run("ls", where)[1] == "a\\x1b[2Jb\\nc\n"
    assert json.loads(run("ls", where, "--json")[1]) == [{"key": "a\x1b[2Jb\nc"}]


def test_has_answers_by_its_exit_code(run, store):
    """0 when the key is there, 4 when it is not, and not a word."""
    assert run("has", store, "theme") == (0, "", "")
    assert run("has", store, "nothing") == (4, "", "")
    assert json.loads(run("has", store, "theme", "--json")[1]) == {"key": "theme", "exists": True}
    code, out, _ = run("has", store, "nothing", "--json")
    assert (code, json.loads(out)) == (4, {"key": "nothing", "exists": False})


def test_rm_removes_all_or_none(run, store):
    """One missing key leaves the others where they are."""
    code, _, err = run("rm", store, "theme", "windwo", "--yes")
    assert code == 4
    assert "did you mean 'window'?" in err
    assert run("ls", store)[1] == "theme\nwindow\nzero\n"
    assert run("rm", store, "theme", "window", "--yes") == (0, "", "")
    assert run("ls", store)[1] == "zero\n"


def test_rm_needs_a_yes(run, store):
    """Where nobody can be asked it needs --yes, and removes nothing without."""
    code, out, err = run("rm", store, "theme")
    assert (code, out) == (2, "")
    assert "--yes" in err
    assert run("has", store, "theme")[0] == 0


def test_rm_can_be_rehearsed(run, store):
    """--dry-run says what would go and changes nothing."""
    assert run("rm", store, "theme", "zero", "--dry-run")[:2] == (
        0,
        "would remove theme\nwould remove zero\n",
    )
    assert json.loads(run("rm", store, "theme", "-n", "--json")[1]) == {"removed": ["theme"], "dry_run": True}
    assert run("has", store, "theme")[0] == 0


def test_info_describes_a_store_and_a_key(run, store, where, tmp_path):
    """A store tells its kind, place, records, size, promise and header; a key what is known of its record."""
    facts = json.loads(run("info", store, "--json")[1])
    assert facts["adapter"] == ("SQLiteAdapter" if where.endswith(".db") else "FileStorageAdapter")
    assert facts["location"] == str(tmp_path / where)
    assert facts["records"] == 3
    assert facts["quarantined"] == 0
    assert facts["size"] > 100
    assert facts["durability"] == "power_loss"
    assert len(facts["id"]) == 32
    assert facts["format"] == 1
    assert facts["created"].endswith("Z")
    assert str(tmp_path / where) in run("info", store)[1]
    record = json.loads(run("info", store, "window", "--json")[1])
    assert record["key"] == "window"
    assert record["schema"] == "1.0"
    assert record["damage"] is None
    assert run("info", store, "nothing")[0] == 4


def test_path_tells_where_a_store_would_be(run, where, tmp_path, monkeypatch):
    """The place is printed in full for a store that is not there, and nothing is made."""
    assert run("path", where) == (0, f"{tmp_path / where}\n", "")
    assert json.loads(run("path", where, "--json")[1])["location"] == str(tmp_path / where)
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path / "home"))
    assert run("path", "my app")[1] == f"{tmp_path / 'home' / 'my app' / 'state.db'}\n"
    assert list(tmp_path.iterdir()) == []


def test_verify_finds_nothing_in_a_whole_store(run, store):
    """A whole store ends with 0 and a count."""
    code, out, err = run("verify", store)
    assert (code, out) == (0, "")
    assert "4 records checked, no fault found" in err
    assert json.loads(run("verify", store, "--json")[1]) == {
        "ok": True,
        "records": 4,
        "quarantined": 0,
        "medium": [],
        "salvage": None,
        "findings": [],
    }


def test_verify_finds_and_repairs_damage(run, store, tmp_path):
    """A changed letter is found with 3; --repair brings the earlier value back, the bytes are kept."""
    run("set", store, "theme", '"light"')
    run("set", store, "theme", '"dark"')
    damage(store, tmp_path)
    code, _, err = run("get", store, "theme")
    assert code == 3
    assert "--repair" in err
    code, out, _ = run("verify", store)
    assert code == 3
    assert "damaged: theme" in out
    events = [json.loads(line) for line in run("verify", store, "--jsonl")[1].splitlines()]
    events = [event for event in events if event["event"] != "progress"]  # of a machine that is slow today
    assert [event["event"] for event in events] == ["finding", "summary"]
    assert events[0]["key"] == "theme"
    assert events[-1]["ok"] is False
    code, out, _ = run("verify", store, "--repair", "--json")
    assert code == 3
    assert json.loads(out)["findings"][0]["outcome"] == "recovered"
    assert run("verify", store)[0] == 0
    assert run("get", store, "theme")[1] in ('"light"\n', '"dark"\n')
    assert json.loads(run("info", store, "--json")[1])["quarantined"] == 1


def test_verify_reads_a_store_with_a_damaged_header(run, store, tmp_path):
    """The store's own record can be what is damaged: verify says so, repairs it, and the values are there."""
    if store.endswith(".db"):
        with sqlite3.connect(tmp_path / store) as connection:
            connection.execute(
                "UPDATE record SET data = replace(data, 'id', 'ix') WHERE key = char(1) || 'store'"
            )
        connection.close()
    else:
        record = tmp_path / store / "%01store.json"
        record.write_bytes(record.read_bytes().replace(b'"id"', b'"ix"'))
    code, out, _ = run("verify", store)
    assert code == 3
    assert "\\x01store" in out
    assert run("verify", store, "--repair")[0] == 3
    assert run("verify", store)[0] == 0
    assert run("get", store, "theme") == (0, '"dark"\n', "")


def test_reading_changes_nothing(run, store, tmp_path):
    """No reading command changes a byte of a store."""

    def everything():
        return {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and not p.name.endswith("-shm")}

    before = everything()
    for arguments in (("ls",), ("info",), ("verify",), ("path",)):
        run(arguments[0], store)
    for command in ("get", "has", "info"):
        run(command, store, "theme")
        run(command, store, "nothing")
    run("rm", store, "theme", "--dry-run")
    assert everything() == before


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_each_shell(run, shell):
    """Each shell gets a script that asks this program."""
    code, out, _ = run("completion", shell)
    assert code == 0
    assert "_AXIOM_PERSISTENCE_COMPLETE" in out
    assert json.loads(run("completion", shell, "--json")[1])["shell"] == shell


def test_browse_shows_keys_with_the_beginning_of_their_values(run, store, where, tmp_path):
    """In order, a line each; what is damaged is named in its line, and the others are shown."""
    assert run("set", where, "long", json.dumps("x" * 500))[0] == 0
    assert run("browse", store, "th")[1] == 'theme  "dark"\n'
    lines = run("browse", store)[1].splitlines()
    assert [line.split()[0] for line in lines] == ["long", "theme", "window", "zero"]
    assert len(lines[0]) < 120
    assert "Füße" in lines[2]
    found = json.loads(run("browse", store, "--json")[1])
    assert found[0] == {"key": "long", "value": "x" * 500}
    assert json.loads(run("browse", store, "--limit", "1", "--json")[1]) == found[:1]
    assert json.loads(run("browse", store, "nothing", "--json")[1]) == []
    damage(where, tmp_path)
    code, out, _ = run("browse", store)
    assert (code, len(out.splitlines())) == (0, 4)
    assert "dork" not in out
    assert "error" in json.loads(run("browse", store, "theme", "--json")[1])[0]
