"""Several processes have a store open: one synchronises, and another takes over."""

import asyncio
import signal
import subprocess
import sys

import pytest

from axiom_persistence import Sync, open_persistence
from axiom_persistence.sync import _lease

HOLDER = """
import asyncio, sys
from axiom_persistence import Sync, open_persistence

async def main(place, remote):
    async with open_persistence(place, sync=Sync(remote, every=0.1)) as store:
        while not store.sync.status.leading:
            await asyncio.sleep(0.02)
        print("leading", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(_lease, "WAIT_S", 0.3)


@pytest.fixture
def places(tmp_path):
    return str(tmp_path / "store.db"), f"sqlite:{tmp_path}/remote.db"


@pytest.fixture
async def holder(places):
    """Another process that has the store open, and synchronises it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *places], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert await asyncio.to_thread(process.stdout.readline) == b"leading\n"
    yield process
    process.kill()
    process.communicate()


async def arrived(remote, key):
    """Wait until the remote has ``key``."""
    async with open_persistence("memory:", sync=Sync(remote, every=3600)) as other:
        while not await other.exists(key):
            await other.sync.now()
            await asyncio.sleep(0.05)


async def test_one_synchronises_what_another_saves(places, holder):
    """The process that does not lead sends nothing itself, and what it saves arrives."""
    async with open_persistence(places[0], sync=Sync(places[1], every=0.1)) as store:
        await store.save("k", 1)
        await arrived(places[1], "k")
        assert not store.sync.status.leading
        assert store.sync.status.sent == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, None])
async def test_another_takes_over(places, holder, how):
    """From one that ended, was killed, or stands still and does not answer."""
    async with open_persistence(places[0], sync=Sync(places[1], every=0.1)) as store:
        await asyncio.sleep(0.5)
        assert not store.sync.status.leading
        if how is None:
            holder.stdin.write(b"\n")
            holder.stdin.flush()
        else:
            holder.send_signal(how)
        await store.save("k", 1)
        await arrived(places[1], "k")
        assert store.sync.status.leading


async def test_one_alone_writes_once(places):
    """There is nothing to renew where nobody asks."""
    async with open_persistence(places[0], sync=Sync(places[1], every=3600)) as store:
        while store.sync.status.last_success is None or store.sync.status.state != "idle":
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        commits = store.stats()["commits"]
        await asyncio.sleep(1)
        assert store.stats()["commits"] == commits
