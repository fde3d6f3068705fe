"""``doctor``: what it finds, and that it says what to do."""

import json
import os
import subprocess
import sys

import pytest

from axiom_persistence import blocking
from axiom_persistence.cli import _probes, main
from support import azurite, objects, postgres, redis_server
from support.keyring import MISSING, REASON, Keyring
from support.system_bus import REASON as NO_SYSTEM_BUS
from support.system_bus import UNUSABLE, SystemBus


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


@pytest.mark.skipif(UNUSABLE, reason=NO_SYSTEM_BUS)
def test_gates_on_the_real_services(capsys, tmp_path, monkeypatch):
    """fprintd with and without a known finger, and polkit; without their bus, what to install."""
    bus = SystemBus(tmp_path)
    try:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.environment["DBUS_SYSTEM_BUS_ADDRESS"])
        only = ("--only", "gate fingerprint", "--only", "gate polkit")
        code, found = ask(capsys, *only)
        assert code == 3
        assert found["gate fingerprint"]["hint"].startswith("install and start fprintd")
        assert found["gate polkit"]["hint"] == "install and start polkit"
        bus.start_polkit()
        bus.start_fprintd()
        code, found = ask(capsys, *only)
        assert (code, found["gate polkit"]["ok"]) == (3, True)
        assert found["gate fingerprint"]["said"] == "no finger of this user is known"
        bus.enroll("finger-1")
        assert ask(capsys, *only)[0] == 0
    finally:
        bus.close()


@pytest.mark.parametrize(("system", "name"), [("darwin", "Touch ID"), ("win32", "Windows Hello")])
def test_gates_of_other_systems(system, name, monkeypatch):
    """They are asked whether they could ask."""
    monkeypatch.setattr(_probes.sys, "platform", system)
    with monkeypatch.context() as patch:
        for there in (True, False):

            async def can_authenticate(asking, there=there):
                return there

            patch.setattr(_probes._AUTHENTICATORS[system], "can_authenticate", can_authenticate)
            (found,) = _probes.gates("")
            assert (found.name, found.ok, bool(found.hint)) == (f"gate {name}", there, not there)


NOBODY = {
    "postgresql": "postgresql://ada:s3cr3t@127.0.0.1:1/notes",
    "redis": "redis://ada:s3cr3t@127.0.0.1:1/0",
    "s3": "s3://ada:s3cr3t@bucket/notes?endpoint=http://127.0.0.1:1&timeout=1",
    "az": "az://:czNjcjN0@account/container/notes?endpoint=http://127.0.0.1:1&timeout=1",
}


@pytest.mark.parametrize("scheme", NOBODY)
def test_a_server_that_does_not_answer(capsys, scheme):
    code, found = ask(capsys, NOBODY[scheme], "--only", "server")
    assert code == 3
    assert "the server " in found["server"]["said"]
    assert found["server"]["hint"]
    assert not any(secret in str(found) for secret in ("s3cr3t", "czNjcjN0", "ada"))


@pytest.mark.parametrize("kind", [postgres, redis_server, objects, azurite])
def test_a_server_that_answers(capsys, tmp_path, kind):
    """Before and after there is a store; nothing is made."""
    address = kind.address_at(tmp_path / "store")
    if kind is objects:  # whose helper makes the store
        address = objects.address(objects.shared().port, objects.prefix_of(tmp_path))
    for said in ("no store is there yet", "power_loss"):
        code, found = ask(capsys, address, "--only", "server")
        assert code == 0, found
        assert said in found["server"]["said"]
        with blocking.open_persistence(address) as persistence:
            persistence.save("a", 1)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"appendonly": "no"}, "appendonly"),
        ({"maxmemory": "1gb", "maxmemory-policy": "allkeys-lru"}, "policy"),
    ],
)
def test_a_server_that_keeps_less(capsys, settings, named):
    """What an address promises and its server does not keep is said before anything is saved."""
    server = redis_server.Redis(redis_server.directory(), **settings).start()
    try:
        code, found = ask(capsys, f"redis://127.0.0.1:{server.port}/0", "--only", "server")
    finally:
        server.stop()
    assert code == 3
    assert named in found["server"]["said"] + found["server"]["hint"]


def of_nothing(kind):
    """An address whose server answers, and has no such database or bucket."""
    port = kind.shared().port
    if kind is postgres:
        return f"postgresql://ax@127.0.0.1:{port}/nothing"
    if kind is azurite:
        return azurite.address(port, "x", container="nothing")
    return objects.address(port, "x").replace(objects.BUCKET, "nothing")


@pytest.mark.parametrize("kind", [postgres, objects, azurite])
def test_a_place_that_no_opening_makes(capsys, kind):
    """A database and a bucket have to be there."""
    code, found = ask(capsys, of_nothing(kind), "--only", "server")
    assert code == 3
    assert "there is no" in found["server"]["said"]
    assert found["server"]["hint"].startswith("create it")
