"""Buckets of Azure's and Google's kind: their addresses, what they refuse, and replies that are lost."""

import asyncio

import pytest

from axiom_persistence import (
    AccessDeniedError,
    ConfigurationError,
    StorageUnavailableError,
    StoreNotFoundError,
    open_persistence,
)
from axiom_persistence.adapters._objects.bucket import Bucket
from axiom_persistence.adapters._objects.entry import MARKER
from axiom_persistence.adapters._objects.place import Place
from axiom_persistence.adapters.objects import ObjectStoreAdapter
from axiom_persistence.errors import ForeignStoreError, SchemaTooNewError
from support import azurite, google
from support.objects import boto
from support.servers import name_of
from torture.objects import lost_replies

WITHIN_S = 5.0
WRONG = "aHVudGVyMg=="  # hunter2
VARIABLES = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def at(port, prefix, **options):
    return ObjectStoreAdapter(azurite.address(port, prefix, **options))


# -- opened by their addresses -------------------------------------------------------------------------


async def used(address):
    """A store there keeps what is saved."""
    async with open_persistence(address) as mine, open_persistence(address) as theirs:
        assert await theirs.update("n", int, lambda n: n + 1, default=0) == 1
        assert await mine.load("n", int) == 1
    async with open_persistence(address, mode="inspect") as again:
        assert await again.load("n", int) == 1


async def test_open_persistence_on_azurite(tmp_path):
    await used(azurite.address_at(tmp_path))


async def test_open_persistence_on_a_stand_in_for_google(tmp_path, monkeypatch):
    monkeypatch.setenv(google.TOKEN, "any")
    await used(google.address_at(tmp_path))


def test_what_an_address_promises():
    """The vendor's own keep what they acknowledge; of others the address says it."""
    azure, theirs = "az://:a2V5@account/container/notes/mine", "&endpoint=https://objects.example.org"
    adapter = ObjectStoreAdapter(f"{azure}?timeout=5")
    assert (adapter.location, adapter.traits.durability) == (
        "az://account/container/notes/mine",
        "power_loss",
    )
    assert ObjectStoreAdapter("gs://bucket").traits.durability == "power_loss"
    for address in (f"{azure}?timeout=5{theirs}", f"gs://bucket/notes?timeout=5{theirs}"):
        assert ObjectStoreAdapter(address).traits.durability == "process_exit"
        assert ObjectStoreAdapter(f"{address}&durability=power_loss").traits.durability == "power_loss"


def test_where_the_account_stands():
    """In the path of a server of many accounts, and in the name of a host of its own."""
    for host, shown in (("127.0.0.1:1", "127.0.0.1:1/account"), ("account.example.org",) * 2):
        place = Place.parse(f"az://account/container/x?endpoint=https://{host}")
        assert place.login["endpoint"] == f"https://{shown}"


# -- what is lost on the way, and what is gone -----------------------------------------------------------


async def test_lost_replies_of_azurite_are_settled(tmp_path):
    """10 commits whose reply is lost: no false conflict, no double effect."""
    report = await lost_replies(azurite.shared(), 10, name_of(tmp_path), at=at)
    assert report == {"lost": 10, "false conflicts": 0, "double effects": 0}


async def test_deleting_goes_on_where_an_object_is_gone(tmp_path):
    """Azurite says that it is gone, and others do not."""
    async with ObjectStoreAdapter(azurite.address_at(tmp_path)) as adapter:
        bucket = adapter._workers.bucket
        for name in ("data/a", "data/b"):
            bucket.put(name, b"x")
        bucket.delete(["data/none", "data/a", "data/none", "data/b"])
        assert bucket.names("data/") == []


# -- what is refused -------------------------------------------------------------------------------------

REFUSED = {
    "wrong key": ({"prefix": "x", "key": WRONG}, AccessDeniedError),
    "no key": ({"prefix": "x", "key": "", "timeout": 2}, AccessDeniedError),
    "wrong account": ({"prefix": "x", "account": "elsewhere"}, StoreNotFoundError),
    "no such container": ({"prefix": "x", "container": "elsewhere"}, StoreNotFoundError),
    "nothing there": ({"port": 1, "prefix": "x", "key": WRONG, "timeout": 1}, StorageUnavailableError),
    "their objects": ({"prefix": "theirs"}, ForeignStoreError),
    "newer store": ({"prefix": "newer"}, SchemaTooNewError),
}


def secrets_in(error, adapter, *others):
    """Of what the error and everything behind it show, and what a debugger would."""
    chain, shown = error, [repr(adapter), str(adapter), adapter.location, repr(vars(adapter)), *others]
    while chain is not None:
        shown += [str(chain), repr(chain)]
        chain = chain.__cause__ or chain.__context__
    return [each for each in ("hunter2", WRONG, azurite.KEY, azurite.KEY[:8]) if each in "".join(shown)]


async def refused(address, kind, caplog):
    adapter = ObjectStoreAdapter(address)
    async with asyncio.timeout(6 * WITHIN_S):  # a busy machine is given time, an endless wait is found
        with pytest.raises(kind) as refusal:
            await adapter.aopen()
    assert type(refusal.value) is kind
    assert refusal.value.hint
    assert f"[in ObjectStoreAdapter({address[:4]}" in str(refusal.value)
    assert secrets_in(refusal.value, adapter, caplog.text) == []
    return refusal.value


@pytest.mark.parametrize("name", REFUSED)
async def test_what_azurite_refuses(name, caplog):
    """A clear error, soon, that says what to do and shows no credential."""
    server = azurite.shared()
    container = azurite.vendors(server.port)
    container.upload_blob("theirs/photo.jpg", b"x", overwrite=True)
    container.upload_blob(f"newer/{MARKER}", b'{"format":2}', overwrite=True)
    parts, kind = REFUSED[name]
    await refused(azurite.address(**{"port": server.port, **parts}), kind, caplog)


@pytest.mark.parametrize("bucket", [f"az://:{WRONG}@account/container", "gs://bucket"])
async def test_a_host_that_is_not_there(bucket, caplog, monkeypatch):
    """The error says so, and not only that nothing answers."""
    monkeypatch.setenv(google.TOKEN, "hunter2")
    address = f"{bucket}/x?endpoint=http://no-such-host.invalid&plaintext=true&timeout=1"
    error = await refused(address, StorageUnavailableError, caplog)
    assert "no host of that name is known" in str(error)


async def test_what_google_refuses(tmp_path, caplog, monkeypatch):
    """No key, a file of keys that is none, and a bucket that is not there."""
    port = google.shared().port
    error = await refused(google.address(port, "x", timeout=2), AccessDeniedError, caplog)
    assert "GOOGLE_APPLICATION_CREDENTIALS" in error.hint
    (tmp_path / "keys.json").write_text('{"private_key": "hunter2"}')
    with monkeypatch.context() as patch:
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "keys.json"))
        error = await refused(google.address(port, "x"), ConfigurationError, caplog)
        assert "variables that begin with GOOGLE_" in error.hint
    monkeypatch.setenv(google.TOKEN, "hunter2")
    await refused(google.address(port, "x", bucket="elsewhere"), StoreNotFoundError, caplog)
    boto(port).put_object(Bucket=google.BUCKET, Key="theirs/photo.jpg", Body=b"x")
    error = await refused(google.address(port, "theirs"), ForeignStoreError, caplog)
    assert "gs://bucket/prefix" in error.hint


def test_an_account_that_nobody_has_is_named():
    """It is a part of the host's name, which is then unknown."""
    bucket = Bucket(Place.parse("az://:a2V5@acount/container/x"), "it")
    assert "is 'acount' the account?" in str(bucket._explained(OSError(), 'ConnectError("dns error")'))
