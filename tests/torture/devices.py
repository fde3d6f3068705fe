"""Devices that synchronise over a real remote, their processes killed by SIGKILL all the time.

Three devices with two processes each (one synchronises, the other takes over) meet at a SQLite file, a
directory or a server. Each process saves values of its own, adds to values that all share, and moves money
between two accounts in transactions; it writes down what was acknowledged. At the end all devices are equal,
no account ever held another sum than the first, and each acknowledged change is there, was replaced by one
that had seen it, or is listed as a conflict.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from axiom_persistence import Sync, open_persistence
from axiom_persistence.errors import ConflictError, PersistenceError
from axiom_persistence.sync import _lease, synchroniser

ACCOUNTS = ("account/1", "account/2")
SUM = 1000
SHARED = [f"shared/{number}" for number in range(5)]


def settings():
    _lease.WAIT_S = 1.0
    synchroniser.KEPT = 1 << 30  # every conflict is to be found at the end
    synchroniser._LONGEST_DELAY_S = 1.0


def opened(place, remote):
    return open_persistence(place, sync=Sync(remote, every=0.3))


# -- a process that is killed ------------------------------------------------------------------------


async def work(place, remote, name, log):
    """Change something again and again; a line once it is acknowledged."""
    chance = random.Random(name)
    with open(log, "a", buffering=1) as acknowledged:
        async with opened(place, remote) as store:
            number = 0
            while True:
                number += 1
                # Another process of the device was faster: an application would try again, too.
                with contextlib.suppress(ConflictError):
                    await step(store, chance, f"{name}.{number}", acknowledged)
                await asyncio.sleep(chance.uniform(0, 0.02))


async def step(store, chance, name, acknowledged):
    roll = chance.random()
    if roll < 0.3:
        await store.save(f"own/{name}", name)
        tell(acknowledged, key=f"own/{name}", name=name, seen=None)
    elif roll < 0.8:
        key, seen = chance.choice(SHARED), None

        def change(value):
            nonlocal seen
            seen = value.get("by")
            tell(acknowledged, tried=name, seen=seen)  # killed now, it may be there and nobody told
            return {**value, "by": name}

        await store.update(key, dict, change, default={})
        tell(acknowledged, key=key, name=name, seen=seen)
    else:
        async with store.transaction() as tx:
            first, second = [await tx.load(key, int, default=None) for key in ACCOUNTS]
            if first is None or second is None:
                return
            if first + second != SUM:
                tell(acknowledged, violation=f"{name} saw {first} and {second}")
            moved = chance.randint(1, 50)
            await tx.save(ACCOUNTS[0], first - moved)
            await tx.save(ACCOUNTS[1], second + moved)


def tell(log, **what):
    log.write(json.dumps(what) + "\n")


# -- who kills ---------------------------------------------------------------------------------------


class Process:
    def __init__(self, directory, remote, device, number):
        self.arguments = [str(directory / f"{device}.db"), remote]
        self.name, self.life = f"{device}-{number}", 0
        self.log = directory / f"{self.name}.log"
        self.start()

    def start(self):
        self.life += 1
        name = f"{self.name}-{self.life}"
        command = [
            sys.executable,
            "-m",
            "tests.torture.devices",
            "--work",
            *self.arguments,
            name,
            str(self.log),
        ]
        self.before = self.length()
        self.process = subprocess.Popen(command)

    def length(self):
        return self.log.stat().st_size if self.log.exists() else 0

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


async def prepared(places, remote):
    """The accounts are on all devices before anybody uses them."""
    for place in places:
        async with opened(place, remote) as store:
            await store.sync.now()
            if not await store.exists(ACCOUNTS[0]):
                await store.save_many(dict.fromkeys(ACCOUNTS, SUM // 2))
                await store.sync.now()


async def torture(directory, remote, *, seconds, least=5, devices=3, processes=2, seed=0, say=print):
    """Raises ``AssertionError`` where something promised does not hold; returns what happened."""
    settings()
    chance = random.Random(seed)
    places = [directory / f"{device}.db" for device in range(devices)]
    await prepared(places, remote)
    running = [Process(directory, remote, d, n) for d in range(devices) for n in range(processes)]
    kills, ends = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < ends or kills < least:
            await asyncio.sleep(chance.uniform(0.3, 1.5))
            working = [one for one in running if one.length() > one.before]
            assert all(one.process.poll() is None for one in running), "a process ended by itself"
            if not working:
                continue
            victim = chance.choice(working)
            victim.kill()
            victim.start()
            kills += 1
            if kills % 50 == 0:
                say(f"  {kills} kills")
    finally:
        for one in running:
            one.kill()
    lines = [json.loads(line) for one in running for line in whole_lines(one.log)]
    violations = [line["violation"] for line in lines if "violation" in line]
    assert not violations, violations[:3]
    return {"kills": kills, **await checked(places, remote, lines)}


def whole_lines(log):
    # Killed in the middle of a line, it has acknowledged nothing by it.
    return [line for line in log.read_text().splitlines(True) if line.endswith("}\n")] if log.exists() else []


async def checked(places, remote, lines):
    stores, listed = [], set()
    async with contextlib.AsyncExitStack() as stack:
        for place in places:
            stores.append(await stack.enter_async_context(opened(place, remote)))
        await meet(stores)
        views = [{key: await store.load(key, Any) async for key in store.keys("")} for store in stores]
        for store in stores:
            for conflict in await store.sync.conflicts():
                listed |= {str(conflict.ours), str(conflict.theirs)}
    assert all(view == views[0] for view in views), "the devices differ at the end"
    assert sum(views[0][key] for key in ACCOUNTS) == SUM
    there = {value["by"] if isinstance(value, dict) else value for value in views[0].values()}
    replaced = {line["seen"] for line in lines}
    known = there | listed | replaced
    told = [line for line in lines if "name" in line]
    lost = [line for line in told if line["name"] not in known]
    assert not lost, lost[:5]
    return {"acknowledged": len(told), "keys": len(views[0]), "conflicts": len(listed)}


async def meet(stores):
    for _ in range(20):
        before = [(store.sync.status.sent, store.sync.status.received) for store in stores]
        for store in stores:
            try:
                await store.sync.now()
            except PersistenceError as error:
                print(f"  {error}")
        if before == [(store.sync.status.sent, store.sync.status.received) for store in stores]:
            return
    raise AssertionError("the devices do not come to an end")


SHARED_DISK = {"sqlite": "sqlite:{}/remote.db", "file": "file:{}/remote"}
SERVERS = {
    "postgres": "support.postgres",
    "redis": "support.redis_server",
    "objects": "support.objects",
    "moto": "support.moto_server",
}
REMOTES = (*SHARED_DISK, *SERVERS)


def place_for(kind, directory):
    """Where devices meet: in ``directory``, or at a server that is started at its first use."""
    if kind in SHARED_DISK:
        return SHARED_DISK[kind].format(directory)
    return import_module(SERVERS[kind]).address_at(directory)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=120, help="for each remote (120)")
    parser.add_argument("--remotes", nargs="+", choices=REMOTES, default=REMOTES)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.work:
        settings()
        asyncio.run(work(*asked.work))
    for kind in asked.remotes:
        with tempfile.TemporaryDirectory() as directory:
            remote = place_for(kind, directory)
            done = asyncio.run(torture(Path(directory), remote, seconds=asked.seconds, seed=asked.seed))
            print(f"synchronisation over {kind}: {done}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
