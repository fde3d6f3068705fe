"""Remotes that tell when they change: nobody waits for the next look, and nothing depends on it."""

import asyncio
import time

import pytest

from axiom_persistence import SQLiteAdapter, Sync, adapter_for, open_persistence
from axiom_persistence.adapters.postgres import PostgresAdapter
from axiom_persistence.security import StaticKey
from axiom_persistence.storage.changelog import Changed, ChangeLog
from axiom_persistence.storage.layer import Layer
from axiom_persistence.sync import _feed, synchroniser
from axiom_persistence.testing import TCPProxy
from support import postgres, redis_server

NEVER = 1e6
"""Seconds between two looks, in place of 5: what arrives was told."""


def on_a_server(kind):
    return lambda place: kind.address_at(place)


PLACES = {
    "sqlite": lambda place: f"sqlite:{place}/remote.db",
    "file": lambda place: f"file:{place}/remote",
    "postgres": on_a_server(postgres),
    "redis": on_a_server(redis_server),
}


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """What is told is looked at sooner, for a shorter test."""
    monkeypatch.setattr(synchroniser, "_LOOK_S", 0.02)
    monkeypatch.setattr(_feed, "_LOOK_S", 0.02)


@pytest.fixture(params=PLACES)
def remote(request, tmp_path):
    return PLACES[request.param](tmp_path)


def opened(place, name, remote, **options):
    return open_persistence(place / f"{name}.db", sync=Sync(remote, **{"every": NEVER, **options}))


async def arrives(store, key, value):
    async with asyncio.timeout(60):
        while await store.load(key, int) != value:
            await asyncio.sleep(0.02)


def has_to_do(sync):
    begins = sync._feed._log is not None and not sync._feed.is_up
    return begins or sync._audited is not None or sync._next < time.monotonic() or sync._feed._has_news


async def until_idle(*stores):
    """Until each has met, has nothing more to do by itself, and listens where it can."""
    for store in stores:
        while has_to_do(store.sync):
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)  # for the look that a log is worth that was just opened


async def test_what_one_sends_wakes_the_other(remote, tmp_path):
    """In both directions, though neither would look for days."""
    async with opened(tmp_path, "a", remote) as a, opened(tmp_path, "b", remote) as b:
        await until_idle(a, b)
        for number in range(2):
            await a.save("k", number)
            await arrives(b, "k", number)
            await b.save("of b", number)
            await arrives(a, "of b", number)


async def test_names_of_keys_are_hidden(tmp_path):
    """A server tells as well where it knows other names."""
    options = {"remote_keys": StaticKey(b"k" * 32), "hide_keys": True}
    remote = redis_server.address_at(tmp_path)
    async with opened(tmp_path, "a", remote, **options) as a, opened(tmp_path, "b", remote, **options) as b:
        await until_idle(a, b)
        await a.save("k", 1)
        await arrives(b, "k", 1)


async def test_a_connection_that_was_cut(tmp_path):
    """What is sent meanwhile arrives when it is there again; then it is told once more."""
    server, store = postgres.shared(), postgres.address_at(tmp_path)
    async with TCPProxy("127.0.0.1", server.port) as proxy:
        through = PostgresAdapter(store.replace(f":{server.port}", f":{proxy.port}"))
        async with opened(tmp_path, "a", store) as a, opened(tmp_path, "b", through, every=0.3) as b:
            await until_idle(a)
            for number in range(2):
                proxy.cut()
                await a.save("k", number)
                await arrives(b, "k", number)


class Meanwhile(Layer):
    """Has something else happen while a request is on its way."""

    then = None

    async def happens(self):
        then, self.then = self.then, None
        if then is not None:
            await then()

    async def fetch(self, keys):
        found = await self.inner.fetch(keys)
        await self.happens()
        return found

    async def commit(self, changes, *, expect=None, durability=None):
        await self.happens()
        return await self.inner.commit(changes, expect=expect, durability=durability)


async def test_what_is_saved_while_it_meets(tmp_path):
    """It is on its way to the disk when a meeting looks what there is to send."""
    remote, disk = tmp_path / "remote.db", Meanwhile(SQLiteAdapter(tmp_path / "a.db"))
    with_sync = open_persistence(disk, sync=Sync(remote, every=NEVER))
    async with with_sync as a, opened(tmp_path, "b", remote) as b:
        await a.save("k", 0)
        await until_idle(a, b)
        disk.then = a.sync.now
        await a.save("k", 1)
        await arrives(b, "k", 1)


async def test_what_is_sent_while_another_meets(tmp_path):
    """It comes after the look, and before the end of the meeting."""
    place = Meanwhile(SQLiteAdapter(tmp_path / "remote.db"))
    async with opened(tmp_path, "a", tmp_path / "remote.db") as a, opened(tmp_path, "b", place) as b:
        await until_idle(a, b)

        async def sends():
            await a.save("k", 1)
            await a.sync.now()

        place.then = sends
        b.sync._next = 0.0
        await arrives(b, "k", 1)


class Log(Layer, ChangeLog):
    """A log beside a file, that does what a test says."""

    def __init__(self, inner):
        super().__init__(inner)
        self.read = 0

    def change_mark(self):
        return None

    async def changed(self, since):
        self.read += 1
        return Changed("mark", frozenset())

    async def wait_for_change(self, timeout):
        await asyncio.sleep(timeout)


class Broken(Log):
    async def changed(self, since):
        self.read += 1
        raise ZeroDivisionError("the log is broken")


class Deaf(Log):
    async def wait_for_change(self, timeout):
        await asyncio.Event().wait()


@pytest.mark.parametrize("kind", [Log, Broken, Deaf])
async def test_a_log_that_tells_nothing_stops_nobody(tmp_path, kind):
    """It is empty, raises, or never answers: looking every now and then goes on."""
    log = kind(SQLiteAdapter(tmp_path / "remote.db"))
    async with (
        opened(tmp_path, "a", log, every=0.05) as a,
        opened(tmp_path, "b", adapter_for(tmp_path / "remote.db")) as b,
    ):
        await until_idle(b)
        while not log.read:
            await asyncio.sleep(0.02)
        await b.save("k", 1)
        await arrives(a, "k", 1)
        assert a.sync.status.state in ("idle", "syncing")


async def test_nobody_listens_who_must_not(tmp_path):
    """While the network is metered, or after a pause, nothing is asked for."""
    is_metered = False
    log = Log(SQLiteAdapter(tmp_path / "remote.db"))
    async with opened(tmp_path, "a", log, every=0.05, metered=lambda: is_metered) as a:
        while not log.read:
            await asyncio.sleep(0.02)
        is_metered = True
        while a.sync.status.state != "paused" or a.sync._feed.is_up:
            await asyncio.sleep(0.02)
        count = log.read
        await asyncio.sleep(0.3)
        assert log.read == count
        is_metered = False
        while log.read == count:
            await asyncio.sleep(0.02)
