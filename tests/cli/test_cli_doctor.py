"""``doctor``: what it finds, and that it says what to do."""

import json
import os
import subprocess
import sys

import pytest

from axiom_persistence.cli import _probes, main
from support.keyring import MISSING, REASON, Keyring


def ask(capsys, *arguments):
    code = main(["doctor", "--json", *arguments])
    return code, {each["name"]: each for each in json.loads(capsys.readouterr().out)}


def test_it_names_what_is_missing(capsys, tmp_path, monkeypatch):
    """No bus: no keychain. No package: the extra to install. Nothing is made."""
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path))
    packages = {"encryption": ["cryptography"], "sundries": ["a-package-that-nobody-has"]}
    monkeypatch.setattr(_probes, "_extras", lambda: packages)
    code, found = ask(capsys, str(tmp_path / "a.db"))
    assert code == 3
    assert (found["keychain"]["ok"], found["extra encryption"]["ok"]) == (False, True)
    assert "no session bus" in found["keychain"]["said"]
    assert found["extra sundries"]["hint"] == "pip install 'axiom-persistence[sundries]'"
    assert found["place"]["said"].startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert ask(capsys, "--only", "extra encryption")[0] == 0
    assert main(["doctor", "--only", "nonsense"]) == 2
    assert main(["doctor"]) == 3
    written = capsys.readouterr()
    assert "keychain" in written.out
    assert "hint: pip install" in written.err


@pytest.mark.parametrize(
    ("kind", "said"),
    [("nfs4", "network file system"), ("tmpfs", "in memory"), ("ext4", "ext4"), (None, "not told")],
)
def test_the_place(capsys, tmp_path, monkeypatch, kind, said):
    """Where a store would be lost, or could not be shared, is said; and an address that cannot be."""
    monkeypatch.setattr(_probes, "file_system_type", lambda _: kind)
    monkeypatch.setattr(_probes, "is_network", lambda _: kind == "nfs4")
    code, found = ask(capsys, str(tmp_path / "a.db"), "--only", "place")
    assert said in found["place"]["said"]
    assert (code == 0) == (kind in ("ext4", None))
    assert ask(capsys, "nonsense:x", "--only", "place")[0] == 3


def test_the_extras_are_those_of_the_distribution():
    """Read from what is installed, so that a new extra needs no line here."""
    found = _probes._extras()
    assert found["cli"] == ["click", "rich"]
    assert "all" not in found


@pytest.mark.skipif(bool(MISSING), reason=REASON)
def test_a_keychain_that_is_there(tmp_path):
    """On a real keyring it is named."""
    keyring = Keyring(tmp_path)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "axiom_persistence", "doctor", "--only", "keychain", "--json"],
            env={**keyring.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        keyring.close()
    assert json.loads(done.stdout)[0]["said"] == "Secret Service", done.stderr
    assert done.returncode == 0
