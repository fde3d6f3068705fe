"""The keychain adapter on a real Secret Service, and what it says where there is none."""

import ast
import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from axiom_persistence import Client, blocking, client_state, open_persistence
from axiom_persistence.adapters.keychain import KeychainAdapter
from axiom_persistence.errors import (
    AccessDeniedError,
    ConfigurationError,
    KeyUnavailableError,
    StorageFullError,
    StorageUnavailableError,
)
from axiom_persistence.security import KeychainKey
from axiom_persistence.testing.conformance import AdapterSuite
from support.embedded import listed
from support.keyring import MISSING, REASON, Keyring, start_bus, stop_bus
from torture import keychain as torture

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
secretstorage = pytest.importorskip("secretstorage")

VARIABLES = ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "HOME")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """One bus and keyring for the tests of this file."""
    keyring = Keyring(tmp_path_factory.mktemp("keyring"))
    yield keyring
    keyring.close()


@pytest.fixture(autouse=True)
def keyring(daemon, monkeypatch):
    """The keyring, unlocked, in the environment of this test."""
    if daemon.daemon is None or not daemon.is_ready():
        daemon.stop()
        daemon.start()
    for name in VARIABLES:
        monkeypatch.setenv(name, daemon.environment[name])
    yield daemon
    if daemon.daemon is not None:
        daemon.clear()


@pytest.fixture
def service(request):
    """A name of its own for each test."""
    return f"tests {request.node.name}"


class TestKeychain(AdapterSuite):
    many, questions = 60, 60

    def adapter(self, place):
        return KeychainAdapter(f"suite {place}")


async def test_round_trips_and_enumeration(service):
    """Any bytes under any key; the listing is of this service only."""
    async with KeychainAdapter(service) as adapter, KeychainAdapter(service + " other") as other:
        values = {"token": b"s3cr3t", "é/ü": bytes(range(256)), "A": b"", "a": b"x" * 60_000, "a b%2F": b"\0"}
        for key, value in values.items():
            await adapter.write(key, value)
        await other.write("token", b"another")
        assert await listed(adapter) == sorted(values)
        assert [key async for key in adapter.keys("a")] == ["a", "a b%2F"]
        assert {key: await adapter.read(key) for key in values} == values
        await adapter.write("token", b"again")
        await adapter.delete("a")
        await adapter.delete("a")
        assert (await adapter.read("token"), await adapter.read("a")) == (b"again", None)
        assert await other.read("token") == b"another"
    async with KeychainAdapter(service) as adapter:
        assert await adapter.read("token") == b"again"


async def test_what_is_too_large_is_refused(service):
    """Before it reaches the keychain, naming key, limit and way out."""
    async with KeychainAdapter(service) as adapter:
        with pytest.raises(StorageFullError, match="at most 65,536 bytes") as caught:
            await adapter.commit({"big": b"x" * 65_537})
        assert caught.value.key == "big"
        assert await adapter.read("big") is None


async def test_a_locked_keychain_is_never_a_missing_value(service, keyring):
    """Reading, writing, deleting, listing and opening: refused while it is locked, and there after."""
    async with KeychainAdapter(service) as adapter:
        await adapter.write("token", b"s3cr3t")
        keyring.lock()
        for attempt in (
            lambda: adapter.read("token"),
            lambda: adapter.write("token", b"other"),
            lambda: adapter.delete("token"),
            lambda: adapter.fetch(["token", "absent"]),
            lambda: listed(adapter),
        ):
            with pytest.raises(AccessDeniedError, match=r"the keychain is locked.*in KeychainAdapter"):
                await attempt()
        with pytest.raises(AccessDeniedError):
            await KeychainAdapter(service).aopen()
    keyring.stop()
    keyring.start()
    async with KeychainAdapter(service) as adapter:
        assert await adapter.read("token") == b"s3cr3t"


async def test_a_keyring_that_was_restarted_is_found_again(service, keyring):
    """The daemon ends and another starts: the next call connects anew."""
    async with KeychainAdapter(service) as adapter:
        await adapter.write("token", b"1")
        keyring.stop()
        with pytest.raises((StorageUnavailableError, AccessDeniedError)):
            await adapter.read("token")
        keyring.start()
        assert await adapter.read("token") == b"1"


NOWHERE = """
import asyncio
from axiom_persistence.adapters.keychain import KeychainAdapter
from axiom_persistence.errors import StorageUnavailableError

async def main():
    try:
        await KeychainAdapter("x").aopen()
    except StorageUnavailableError as error:
        print(error)

asyncio.run(main())
"""


@pytest.mark.parametrize("bus", ["none", "gone", "without the service"])
def test_where_there_is_no_keychain_it_says_so(bus, keyring, tmp_path):
    """No bus, a dead address, a bus without it; also where a plaintext back end is preferred."""
    environment = dict(keyring.environment)
    environment["PYTHON_KEYRING_BACKEND"] = "keyrings.alt.file.PlaintextKeyring"
    started = None
    if bus == "none":
        del environment["DBUS_SESSION_BUS_ADDRESS"], environment["XDG_RUNTIME_DIR"]
    elif bus == "gone":
        environment["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={tmp_path}/nothing"
    else:
        started, environment["DBUS_SESSION_BUS_ADDRESS"] = start_bus(tmp_path)
    try:
        done = subprocess.run(
            [sys.executable, "-c", NOWHERE], env=environment, capture_output=True, text=True, timeout=60
        )
    finally:
        if started is not None:
            stop_bus(started)
    said = {"none": "no session bus", "gone": "cannot be reached", "without the service": "no program"}[bus]
    assert said in done.stdout, done
    assert list(tmp_path.rglob("*.cfg")) == []


class Account(Client):
    token: str = client_state("", secure=True)
    name: str = client_state("")


async def test_the_secure_fields_of_an_application(keyring, monkeypatch, tmp_path):
    """``secure="keychain"`` in one word: the secret is in the keychain, and not in the store."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path))
    async with (
        open_persistence("notes app", secure="keychain") as persistence,
        Account(persistence) as account,
    ):
        account.token, account.name = "s3cr3t-marker", "Ada"
        await account.persist_state()
    with blocking.open_persistence("notes app", secure="keychain") as persistence:
        assert persistence.secure.load("Account/token", str) == "s3cr3t-marker"
    assert all(b"s3cr3t-marker" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_kill_right_after_persist_state_loses_no_secure_field(keyring, monkeypatch, tmp_path):
    """Five processes, each killed once it has saved; ``make torture`` kills fifty."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path))
    assert torture.torture(5) == 0


def test_the_example_of_the_page(keyring, monkeypatch, tmp_path):
    """The one with ``secure="keychain"``, word for word; a second start finds what it saved."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path))
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    (example,) = [
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if 'secure="keychain"' in block
    ]
    for _ in range(2):
        code = compile(example, "docs/security.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        asyncio.run(eval(code, {"__name__": "page"}))
    with blocking.open_persistence("notes", secure="keychain") as persistence:
        assert persistence.secure.load("Account/token", str) == "s3cr3t"


async def test_a_store_whose_key_is_in_the_keychain(keyring, monkeypatch, tmp_path):
    """Made, opened again, refused while the keychain is locked; two stores have keys of their own."""
    monkeypatch.setenv("AXIOM_PERSISTENCE_HOME", str(tmp_path))
    async with open_persistence("diary", keys="keychain") as persistence:
        await persistence.save("k", "v")
    async with open_persistence(tmp_path / "b.db", keys=KeychainKey("diary")) as persistence:
        await persistence.save("k", "v")
    async with open_persistence("diary", keys="keychain") as persistence:
        assert await persistence.load("k", str) == "v"
    keyring.lock()
    with pytest.raises(KeyUnavailableError, match="in the keychain: the keychain is locked"):
        await open_persistence("diary", keys="keychain")
    keyring.stop()
    keyring.start()
    async with KeychainAdapter("diary") as adapter:
        items = await listed(adapter)
        assert len(items) == 2
        for item in items:
            await adapter.delete(item)
    with pytest.raises(KeyUnavailableError, match="has no item"):
        await open_persistence("diary", keys="keychain")


def test_a_keychain_needs_a_name(tmp_path):
    """A path names no application; an empty service nothing."""
    for options in ({"secure": "keychain"}, {"keys": "keychain"}):
        with pytest.raises(ConfigurationError, match="needs the name of an application"):
            open_persistence(tmp_path / "a.db", **options)
    for service in ("", "a\nb"):
        with pytest.raises(ConfigurationError, match="a name that people can read"):
            KeychainAdapter(service)
