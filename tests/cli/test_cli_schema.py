"""``schema`` and ``import-legacy``: what is stored, what differs from the code, what others have stored."""

import json
import pickle
import sqlite3
import sys

import pytest

from axiom_persistence import blocking
from axiom_persistence.cli import main

APP = """
from dataclasses import dataclass
from axiom_persistence import Client, Key, client_state

@dataclass
class Size:
    width: int
    height: int = 0

class Window(Client):
    title: str = client_state("", was="name")
    size: Size = client_state(default_factory=lambda: Size(1))
    volume: int = client_state(5)
    fresh: int = client_state(1)

COUNT = Key("count", int, default=0)
"""


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def _run(*arguments):
        code = main(list(arguments))
        written = capsys.readouterr()
        return code, written.out, written.err

    return _run


@pytest.fixture(params=["notes.db", "./notes"])
def store(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with blocking.open_persistence(request.param) as persistence:
        persistence.save("count", "many")
        for number in range(40):
            persistence.save(f"note/{number}", {"title": "secret", **({"done": True} if number % 2 else {})})
        for number in range(2):
            persistence.save(f"tag/{number}", {"name": "secret", "parts": [1, "a"]})
        persistence.save("Window/size", {"width": 1, "height": 2, "depth": 3})
        persistence.save("Window/name", "secret")
        persistence.save("Window/loud", 3)
        persistence.save("Window/volume", "loud")
    return request.param


def test_what_is_stored(run, store):
    code, out, _ = run("schema", store)
    assert code == 0
    assert "secret" not in out
    assert out.splitlines() == [
        "Window/loud: int  schema 1.0",
        "Window/name: str  schema 1.0",
        "Window/size  schema 1.0",
        "    width: int",
        "    height: int",
        "    depth: int",
        "Window/volume: str  schema 1.0",
        "count: str  schema 1.0",
        "note/*  (40 records)  schema 1.0",
        "    title: str",
        "    done: bool  (in 20)",
        "tag/*  (2 records)  schema 1.0",
        "    name: str",
        "    parts: list[int | str]",
    ]
    as_json = json.loads(run("schema", store, "tag/", "--json")[1])["stored"]
    assert [shape["pattern"] for shape in as_json] == ["tag/*"]
    assert as_json[0]["fields"]["name"] == {"str": 2}


def test_what_differs_from_the_code(run, store, tmp_path):
    (tmp_path / "app_of_a_test.py").write_text(APP)
    code, out, _ = run("schema", store, "--app", "app_of_a_test", "--json")
    assert code == 3
    differences = {each["key"]: each for each in json.loads(out)["differences"]}
    assert set(differences) == {
        *(
            "Window/size",
            "Window/name",
            "Window/loud",
            "Window/volume",
            "Window/fresh",
            "Window/title",
            "count",
        ),
    }
    assert differences["Window/size"]["difference"] == "$.depth is not known to the code, and kept"
    assert "moves it to 'title'" in differences["Window/name"]["difference"]
    assert "was='loud'" in differences["Window/loud"]["difference"]
    assert differences["Window/volume"]["unreadable"]
    assert differences["count"]["unreadable"]
    assert differences["Window/fresh"]["difference"] == "nothing is stored yet"
    assert "secret" not in out
    sys.modules.pop("app_of_a_test")
    assert run("schema", store, "--app", "no_such_module")[0] == 2


def test_what_migrations_of_the_program_read_does_not_differ(run, store, tmp_path):
    steps = ("count", "lambda value: 1"), ("Window/volume", "len")
    lines = [f'migrations.value("1.0", "2.0", key={key!r}, name="step")({step})' for key, step in steps]
    declared = "from axiom_persistence import Migrations\nmigrations = Migrations('2.0')\n"
    (tmp_path / "app_with_steps.py").write_text(APP + declared + "\n".join(lines))
    code, out, _ = run("schema", store, "--app", "app_with_steps", "--json")
    result = json.loads(out)
    assert code == 0
    assert not any(each["unreadable"] for each in result["differences"])
    shown = {shape["pattern"]: shape["types"] for shape in result["stored"]}
    assert (shown["count"], shown["Window/volume"]) == ({"str": 1}, {"str": 1})  # as it is stored
    sys.modules.pop("app_with_steps")


@pytest.mark.parametrize("where", ["new.db", "./new"])
def test_import(run, tmp_path, where):
    (tmp_path / "settings.json").write_text('{"theme": "dark", "volume": "5", "bad": "x"}')
    arguments = ("import-legacy", where, "settings.json", "--into", "Old/", "--type", "volume=int")
    code, out, err = run(*arguments, "--dry-run")
    assert (code, out.count("✔")) == (0, 3)
    assert "3 would be imported" in err
    assert run("ls", where)[0] == 10  # nothing was made
    code, out, err = run(*arguments)
    assert code == 0
    assert "3 imported" in err
    assert json.loads(run("get", where, "Old/volume")[1]) == 5
    result = json.loads(run(*arguments, "--json")[1])
    assert result["ok"] is True
    assert {entry["outcome"] for entry in result["entries"]} == {"skipped"}
    code, out, _ = run("import-legacy", where, "settings.json", "--type", "bad=int")
    assert code == 3
    assert "skipped: bad: it is not of type int" in out


def test_import_of_pickles(run, tmp_path):
    (tmp_path / "classes_of_a_test.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Size:\n    width: int\n"
    )
    sys.path.insert(0, str(tmp_path))
    import classes_of_a_test

    (tmp_path / "state.pkl").write_bytes(pickle.dumps({"size": classes_of_a_test.Size(3)}))
    assert run("import-legacy", "a.db", "state.pkl")[0] == 2
    code, out, _ = run("import-legacy", "a.db", "state.pkl", "--format", "pickle")
    assert code == 3
    assert "classes_of_a_test.Size, which is not allowed" in out
    allowed = ("--format", "pickle", "--allow", "classes_of_a_test:Size")
    assert run("import-legacy", "a.db", "state.pkl", *allowed)[0] == 0
    assert json.loads(run("get", "a.db", "size")[1]) == {"width": 3}
    sys.modules.pop("classes_of_a_test")


@pytest.mark.parametrize("place", ["data", "settings.json", "other.db"])
def test_opening_what_others_stored_names_the_import(run, tmp_path, place):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "theme.json").write_text('"dark"')
    (tmp_path / "settings.json").write_text('{"theme": "dark"}')
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE kv (key, value)")
    database.close()
    code, _, err = run("set", f"./{place}", "theme", '"light"')
    assert code == 1
    assert "import-legacy" in err
