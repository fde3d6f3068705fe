"""``migrate``, ``rollback`` and ``finalize`` on both embedded stores."""

import json

import pytest

from axiom_persistence.cli import main
from axiom_persistence.cli._endings import ExitCode

APPLICATION = """
from axiom_persistence import Migrations

migrations = Migrations("2.0")

@migrations.value("1.0", "2.0", key="theme")
def named(value):
    return {"name": value}

@migrations.store("1.0", "2.0")
async def rename(tx):
    await tx.rename("window", "main window")

def broken():
    migrations = Migrations("2.0")
    @migrations.value("1.0", "2.0", key="*")
    def cannot(value):
        raise ValueError("no")
    return migrations
"""


@pytest.fixture(params=["notes.db", "./notes"])
def run(request, tmp_path, monkeypatch, capsys):
    """Run a command on a store with three values: exit code, what it wrote and what it said."""
    monkeypatch.chdir(tmp_path)
    name = f"application_{request.param[-2:]}_{id(tmp_path)}".replace(".", "")
    (tmp_path / f"{name}.py").write_text(APPLICATION)

    def _run(command, *arguments):
        wanted = [argument.replace("APP", name) for argument in arguments]
        code = main([command, request.param, *wanted])
        written = capsys.readouterr()
        return code, written.out, written.err

    for key, value in (("theme", '"dark"'), ("window", "[800, 600]"), ("zero", "0")):
        assert _run("set", key, value)[0] == 0
    return _run


def test_a_store_goes_there_and_back(run):
    """A dry run says what would change, migrate does it, rollback undoes it, finalize drops the originals."""
    code, out, err = run("migrate", "--app", "APP:migrations", "--dry-run")
    assert code == 0
    assert "named" in out
    assert "main window" in out
    assert "1 record would be rewritten" in err
    assert json.loads(run("get", "theme")[1]) == "dark"

    code, out, err = run("migrate", "--app", "APP:migrations", "--json")
    report = json.loads(out)
    assert (report["changed"], report["rewritten"], report["steps"]) == (True, 1, {"named": 1})
    assert json.loads(run("get", "theme")[1]) == {"name": "dark"}
    assert run("ls")[1].split("\n") == ["main window", "theme", "zero", ""]
    assert "nothing to do" in run("migrate", "--app", "APP:migrations")[2]

    code, out, err = run("rollback", "1.0", "--app", "APP:migrations")
    assert (code, out) == (0, "")
    assert "3 records restored" in err
    assert json.loads(run("get", "theme")[1]) == "dark"
    assert run("set", "zero", "1")[0] == 0

    assert run("migrate", "--app", "APP:migrations")[0] == 0
    assert json.loads(run("finalize", "--json")[1]) == {"dropped": 3}
    code, out, err = run("rollback", "1.0", "--app", "APP:migrations")
    assert code == ExitCode.FAILED
    assert "'rename'" in err
    assert run("set", "theme", '{"name": "light"}')[0] == 0
    assert run("verify")[0] == 0


def test_what_goes_wrong_is_said(run):
    """A failing step, an application that is not there, and a version nobody knows."""
    code, _, err = run("migrate", "--app", "APP:broken", "--json")
    error = json.loads(err)["error"]
    assert (code, error["key"]) == (ExitCode.FAILED, "theme")
    assert "cannot" in error["message"]
    for app in ("nowhere:migrations", "APP:nothing", "APP", "APP:APPLICATION", "json:loads"):
        code, _, err = run("migrate", "--app", app)
        assert code in (ExitCode.USAGE, ExitCode.FAILED), app
    assert json.loads(run("get", "theme")[1]) == "dark"
