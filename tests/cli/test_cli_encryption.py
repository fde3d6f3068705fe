"""``encrypt``, ``decrypt``, ``keys``, and what of a confidential store a command shows."""

import json

import pytest

from axiom_persistence.cli import main

KEY = ("--keys", "file:store.key")


@pytest.fixture
def run(capfdbinary, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AXIOM_PERSISTENCE_KEYS", raising=False)

    def _run(*arguments):
        code = main(list(arguments))
        written = capfdbinary.readouterr()
        return code, written.out.decode(), written.err.decode()

    return _run


@pytest.fixture
def store(run):
    """A store with two values, encrypted."""
    for key in ("a", "b"):
        assert run("set", "notes.db", key, '"hunter2"')[0] == 0
    assert run("encrypt", "notes.db", *KEY)[0] == 0
    return "notes.db"


def test_encrypted_and_decrypted(run, tmp_path):
    """Counted, encrypted, closed to whoever has no key, and decrypted."""
    run("set", "notes.db", "a", '"hunter2"')
    assert run("encrypt", "notes.db")[0] == 2
    assert run("encrypt", "notes.db", *KEY, "--dry-run")[2] == "1 record would be encrypted\n"
    assert not (tmp_path / "store.key").exists()
    assert run("encrypt", "notes.db", *KEY)[::2] == (0, "1 record encrypted\n")
    code, out, err = run("get", "notes.db", "a")
    assert (code, out) == (12, "")
    assert "--keys says who has the key" in err
    assert run("get", "notes.db", "a", *KEY, "--reveal")[1] == '"hunter2"\n'
    assert json.loads(run("decrypt", "notes.db", *KEY, "--json")[1])["rewritten"] == 1
    assert run("get", "notes.db", "a")[1] == '"hunter2"\n'


def test_confidential_values_are_masked(run, store, tmp_path, monkeypatch):
    """By every command that would show one, unless it is asked to."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_KEYS", KEY[1])
    for arguments in (
        ("get", store, "a"),
        ("get", store, "a", "--raw"),
        ("get", store, "a", "--json"),
        ("ls", store, "--long", "--json"),
        ("info", store, "a"),
        ("schema", store),
        ("verify", store),
        ("keys", "status", store),
        ("keys", "status", store, "--json"),
    ):
        code, out, err = run(*arguments)
        assert code == 0, (arguments, err)
        assert "hunter2" not in out + err, arguments
    for arguments in (
        ("export", store, "-"),
        ("copy", store, "plain.db"),
        ("quarantine", "show", store, "x"),
    ):
        code, out, err = run(*arguments)
        assert code == 2, arguments
        assert "--reveal" in err
        assert "hunter2" not in out + err, arguments
    assert not (tmp_path / "plain.db").exists() or run("ls", "plain.db")[1] == ""
    assert "hunter2" in run("export", store, "-", "--reveal")[1]
    assert "hunter2" in run("get", store, "a", "--json", "--reveal")[1]


def test_browse_masks_confidential_values(run, store):
    code, out, err = run("browse", store, *KEY)
    assert (code, out.count("•")) == (0, 16)
    assert "--reveal" in err
    assert [each["masked"] for each in json.loads(run("browse", store, *KEY, "--json")[1])] == [True, True]
    assert run("browse", store, *KEY, "--reveal")[1].count("hunter2") == 2


def test_no_command_takes_sealed_records_for_damage(run, store):
    """Without the key nothing is repaired, and nothing moves."""
    for arguments in (("verify", store), ("verify", store, "--repair"), ("rm", store, "a", "--yes")):
        assert run(*arguments)[0] == 12, arguments
    assert run("verify", store, *KEY)[0] == 0
    assert run("set", store, "c", "1", *KEY)[0] == 0
    assert run("get", store, "c", "--reveal", *KEY)[1] == "1\n"


def test_keys_are_told_and_rotated(run, store):
    """Who has the key, which seals, since when; and another key cannot be given."""
    status = json.loads(run("keys", "status", store, "--json", *KEY)[1])
    assert (status["encrypted"], status["provider"], len(status["keys"])) == (True, "file", 1)
    assert run("keys", "rotate", store, *KEY)[::2] == (0, "2 records encrypted with the new key\n")
    status = json.loads(run("keys", "status", store, "--json", *KEY)[1])
    assert [key["seals"] for key in status["keys"]] == [False, True]
    run("set", "plain.db", "a", "1")
    assert json.loads(run("keys", "status", "plain.db", "--json")[1])["encrypted"] is False


@pytest.mark.parametrize(
    ("spelt", "said"),
    [
        ("nonsense", "names no key"),
        ("passphrase", "at a terminal"),
        ("env:NOT_SET", "of the kind 'file'"),
        ("keychain", "--keys keychain:NAME"),
        ("file:elsewhere.key", "cannot be read"),
    ],
)
def test_keys_that_are_none(run, store, spelt, said):
    """What is wrong with each spelling, in the words of the command line."""
    code, _, err = run("ls", store, "--keys", spelt)
    assert code in (2, 12)
    assert said in err
