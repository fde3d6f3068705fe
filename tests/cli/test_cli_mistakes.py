"""A user's mistake gives one or two lines that help, an exit code that tells its kind, never a traceback."""

import io
import json
import os
import re
import sqlite3
import sys
from contextlib import closing

import click
import pytest

from axiom_persistence.cli import main
from axiom_persistence.cli._endings import ExitCode, ending_of
from axiom_persistence.errors import StorageLockedError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A directory with two stores, and with much that is none."""
    tmp_path = tmp_path_factory.mktemp("world")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.chdir(tmp_path)
    assert main(["set", "good.db", "theme", '"dark"']) == 0
    assert main(["set", "./good", "theme", '"dark"']) == 0
    (tmp_path / "text.db").write_text("this is no database, it only looks like one by its name")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.txt").write_text("dear reader")
    (tmp_path / "file").write_text("a plain file")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE customer(name)")
    connection.close()
    with sqlite3.connect(tmp_path / "good.db") as connection:
        rows = [("newer", '{"axiom":7,"all":"new"}', 1), ("broken", "rubbish", 2)]
        connection.executemany("INSERT INTO record(key, data, version) VALUES(?, ?, ?)", rows)
    connection.close()
    monkeypatch.undo()
    return tmp_path


@pytest.fixture
def world(made, monkeypatch):
    """The same, as the current directory: no mistake changes anything in it."""
    monkeypatch.chdir(made)
    return made


MISTAKES = [
    # what they type, the exit code, a word of the help they get
    (["gte", "good.db", "theme"], 2, "did you mean 'get'"),
    (["frobnicate"], 2, "no such command"),
    (["get", "good.db"], 2, "KEY"),
    (["get"], 2, "WHERE"),
    (["get", "good.db", "theme", "more"], 2, "unexpected extra argument"),
    (["ls", "good.db", "--lnog"], 2, "--lnog"),
    (["ls", "good.db", "--color", "red"], 2, "auto"),
    (["get", "good.db", "thme"], 4, "did you mean 'theme'"),
    (["get", "./good", "THEME"], 4, "did you mean 'theme'"),
    (["info", "good.db", "thme"], 4, "did you mean 'theme'"),
    (["rm", "good.db", "thme", "--yes"], 4, "did you mean 'theme'"),
    (["get", "good.db", "theme", "--raw", "--json"], 2, "exclude each other"),
    (["get", "good.db", ""], 2, "a key cannot be empty"),
    (["get", "good.db", "k" * 2000], 2, "1,024"),
    (["get", "good.db", "\x01store"], 2, "U+0001"),
    (["get", "good.db", "\udcff"], 2, "surrogate"),
    (["set", "good.db", "k" * 2000, "1"], 2, "1,024"),
    (["set", "good.db", "k", "hello"], 2, "a string needs quotes, as '\"text\"', or --raw"),
    (["set", "good.db", "k", "{x: 1}"], 2, "not JSON"),
    (["set", "good.db", "k", ""], 2, "empty string"),
    (["set", "good.db", "k", "NaN"], 2, "no NaN"),
    (["set", "good.db", "k", "[-Infinity]"], 2, "no -Infinity"),
    (["set", "good.db", "k", '"\\ud800"'], 2, ""),
    (["set", "good.db", "k", "9" * 5000], 2, "digits"),
    (["set", "good.db", "k", "[" * 100_000], 2, ""),
    (["set", "good.db", "k", "1", "2"], 2, "unexpected extra argument"),
    (["set", "good.db", "k", "--jsno"], 2, "not JSON"),
    (["set", "memory:", "k", "1"], 2, "ends with this command"),
    (["ls", "nothing.db"], 10, "was read as an SQLite file"),
    (["ls", "./nothing"], 10, "was read as a directory of JSON files"),
    (["ls", "no-such-application"], 10, "was read as the name of an application"),
    (["completion"], 2, "Choose from: bash, zsh, fish"),
    (["get", "nothing.db", "k"], 10, "nothing.db"),
    (["has", "nothing.db", "k"], 10, "no store at"),
    (["rm", "nothing.db", "k", "--yes"], 10, "no store at"),
    (["info", "./nothing"], 10, "no store at"),
    (["verify", "nothing.db"], 10, "no store at"),
    (["verify", "./nothing", "--repair"], 10, "no store at"),
    (["ls", "/no/such/directory/at/all.db"], 10, "no store at"),
    (["ls", ""], 2, "names no place"),
    (["ls", ".."], 2, "names no place"),
    (["ls", "settings.json"], 2, "looks like a file"),
    (["ls", "reddis://x"], 2, "known are"),
    (["ls", "localhost:6379"], 2, "no known kind"),
    (["path", "nonsense:x"], 2, "known are"),
    (["ls", "text.db"], 1, "left alone"),
    (["set", "text.db", "k", "1"], 1, "left alone"),
    (["set", "other.db", "k", "1"], 1, "another program"),
    (["ls", "./foreign"], 1, "somebody else"),
    (["set", "./foreign", "k", "1"], 1, "somebody else"),
    (["ls", "./file"], 1, ""),
    (["set", "./file", "k", "1"], 1, ""),
    (["set", "./file/below", "k", "1"], 1, ""),
    (["set", "file/below.db", "k", "1"], 1, ""),
    (["get", "good.db", "newer"], 13, "newer"),
    (["get", "good.db", "broken"], 3, "verify good.db --repair"),
    (["ls", "sqlite:a.db?mode=ro"], 2, "'./a?b.db' is a path"),
    (["ls", "file+documents:a/b"], 2, "file+documents:notes"),
    (["demo", "--kills", "0"], 2, "--kills"),
    (["demo", "--seconds", "soon"], 2, "--seconds"),
    (["completion", "tcsh"], 2, "bash"),
]


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(
    ("typed", "code", "word"), MISTAKES, ids=[" ".join(typed)[:40] for typed, _, _ in MISTAKES]
)
def test_a_mistake_is_explained(typed, code, word, as_json, world, capsys, monkeypatch):
    """Each ends with its code and a helpful line on standard error, as JSON if asked for; nothing is made."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b""), encoding="utf-8"))
    capsys.readouterr()
    if as_json:
        typed = [*typed[:1], "--json", *typed[1:]]
    before = sorted(path for path in world.rglob("*") if not path.name.startswith("good.db-"))
    assert main(typed) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    if as_json:
        error = json.loads(err)["error"]
        assert set(error) == {"code", "message", "key", "hint"}
        assert error["code"] == ExitCode(code).label
        err = error["message"] + error["hint"]
        hint = error["hint"]
    else:
        hint = err.partition("hint: ")[2]
    assert word in err
    assert not re.search(r"\w\(|\b[a-z_]+=\S", hint), "the hint is Python"
    assert sorted(path for path in world.rglob("*") if not path.name.startswith("good.db-")) == before


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("theme", "'Preferences of this application/theme'"),
        ("THEME", "'Preferences of this application/theme'"),
        ("it is", "'it'\\''s'"),
        ("a line", "$'a\\nline'"),
        ("k" * 300 + "2", f"'{'k' * 300}1'"),
    ],
)
def test_the_very_key_is_suggested(typed, meant, tmp_path, capsys):
    """Whole and as a shell takes it: also where a namespace is missing, or the case is another."""
    where = str(tmp_path / "notes.db")
    for key in ("Preferences of this application/theme", "it's", "a\nline", "k" * 300 + "1"):
        assert main(["set", where, key, "1"]) == 0
    capsys.readouterr()
    assert main(["get", where, typed]) == 4
    assert f"hint: did you mean {meant}?\n" in capsys.readouterr().err


def test_damage_ends_with_one_code(tmp_path, capsys):
    """Whatever finds a record, the header or the file damaged ends as ``verify`` does, and no traceback."""
    commands = (["verify"], ["info"], ["get"], ["ls"], ["info", "theme"], ["has", "theme"])
    found = {}
    for what in ("record", "header", "file", "marker"):
        where = str(tmp_path / (what if what == "marker" else f"{what}.db"))
        assert main(["set", where, "theme", '"dark"']) == 0
        if what == "marker":
            (tmp_path / what / ".axiom").unlink()
        elif what == "file":
            with open(where, "r+b") as file:
                file.seek(4096)
                file.write(os.urandom(3 * 4096))
        else:
            key = "theme" if what == "record" else "\x01store"
            with closing(sqlite3.connect(where)) as connection, connection:
                connection.execute(
                    "UPDATE record SET data = replace(data, '1.0', '1.1') WHERE key = ?", (key,)
                )
        for name, *more in commands:
            more = more or (["theme"] if name == "get" else [])
            found[what, name, *more] = main([name, where, *more])
    assert capsys.readouterr().err.count("Traceback") == 0
    untouched = {
        *(("record", "info"), ("record", "ls"), ("record", "has", "theme")),  # they do not look at the record
        *(
            ("header", "get", "theme"),
            ("header", "ls"),
            ("header", "info", "theme"),
            ("header", "has", "theme"),
        ),
    }
    assert {case: code for case, code in found.items() if case not in untouched and code != 3} == {}
    assert {found[case] for case in untouched} == {0}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_place_without_permission_is_explained(world, capsys):
    """A directory that may not be read is an error that says so."""
    (world / "good").chmod(0)
    try:
        assert main(["ls", "./good"]) == 1
    finally:
        (world / "good").chmod(0o700)
    assert "denied" in capsys.readouterr().err.lower()


def test_exit_codes_of_what_takes_long_to_stage():
    """A lock that is not let go ends with 11, Ctrl-C with 130; an error of Python's own stays a bug."""
    locked = ending_of(StorageLockedError("another process writes", hint="try again"))
    assert locked is not None
    assert locked.code == 11
    for stop in (KeyboardInterrupt(), click.Abort()):
        ended = ending_of(stop)
        assert ended is not None
        assert ended.code == 130
    assert ending_of(RuntimeError("a bug")) is None
