"""Devices over every kind of stack: ``python -m tests.torture.stacks --runs 500``.

Two or three devices, each with another store, cache, encryption, audit trail or retention, meet at one place.
Values, transactions, clients, subjects and erasures come in any order; stores are closed and opened; meetings
are given up at random moments. At the end all devices have the same values, wherever they are asked for:
in loads, in clients, and after the stores were opened anew.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from axiom_persistence import (
    Client,
    FileStorageAdapter,
    MemoryAdapter,
    SQLiteAdapter,
    Sync,
    client_state,
    open_persistence,
)
from axiom_persistence.layers.cached import CachePolicy
from axiom_persistence.security import AuditLog, StaticKey

KEYS = ["a", "b", "r/1", "x/y", "o"]
FIELDS = ["Settings/volume", "Settings/names"]
SHARED_KEY = StaticKey(bytes(range(32)))
CACHES = [
    CachePolicy(),
    None,
    CachePolicy.write_back(interval=0.02),
    CachePolicy(max_bytes=3000),
]
CALLS = 80
TIMEOUT = 10  # seconds until a client has what its store has


class Settings(Client):
    volume: int = client_state(0)
    names: list[str] = client_state(default_factory=list)


class Device:
    """One store, opened again and again with the same options."""

    def __init__(self, name, directory, sync, chance, *, encrypted):
        self.name = name
        self.sync = sync
        self.kind = chance.choice(["sqlite", "exclusive", "files", "memory"])
        self._path = directory / name
        self._memory = MemoryAdapter()
        cache = chance.choice(CACHES)
        self.options = {"cache": cache}
        if encrypted:
            self.options["keys"] = StaticKey(name.encode() * 32)
        if chance.random() < 0.3 and not (cache and cache.interval):
            self.options["audit"] = AuditLog(actor=name)
        if chance.random() < 0.3:
            self.options["retention"] = {"r/*": timedelta(days=1)}
        self._stack = contextlib.AsyncExitStack()

    def _adapter(self):
        match self.kind:
            case "memory":
                return self._memory
            case "files":
                return FileStorageAdapter(self._path)
            case kind:
                return SQLiteAdapter(self._path, exclusive=kind == "exclusive")

    async def open(self):
        self.store = await self._stack.enter_async_context(
            open_persistence(self._adapter(), sync=self.sync, **self.options)
        )
        self.client = await self._stack.enter_async_context(Settings(self.store))

    async def close(self):
        await self._stack.aclose()

    async def values(self):
        return {key: await self.store.load(key, Any, default="absent") for key in [*KEYS, "t", *FIELDS]}

    def __repr__(self):
        return f"<{self.name}: {self.kind}, {self.options}>"


class Run:
    """Random calls on some devices, the same for the same seed."""

    def __init__(self, seed, directory):
        self.chance = chance = random.Random(seed)
        encrypted = chance.random() < 0.4
        secret = {"remote_keys": SHARED_KEY, "hide_keys": chance.random() < 0.5} if encrypted else {}
        place = chance.choice([f"sqlite:{directory}/place.db", f"file:{directory}/place"])
        # Only now() meets, so that meetings and changes come in the order of the calls.
        sync = Sync(place, metered=lambda: True, **secret)
        self.devices = [
            Device(name, directory, sync, chance, encrypted=encrypted)
            for name in "abc"[: chance.choice([2, 2, 3])]
        ]
        self.value = 0

    async def call(self):
        """One call on one device."""
        chance, device = self.chance, self.chance.choice(self.devices)
        store, key = device.store, chance.choice(KEYS)
        self.value += 1
        value = self.value

        async def transaction():
            async with store.transaction() as tx:
                await tx.save(key, value)
                await tx.save("t", value)

        async def one_field():
            part = {chance.choice("xyz"): value}
            await store.update("o", Any, lambda o: {**(o if isinstance(o, dict) else {}), **part}, default={})

        async def assign():
            if chance.random() < 0.5:
                device.client.volume = value
            else:
                device.client.names = [*device.client.names, str(value)][-4:]

        async def open_again():
            await device.close()
            await device.open()

        calls = {
            "save": (3, lambda: store.save(key, value)),
            "load": (1, lambda: store.load(key, Any)),
            "delete": (1, lambda: store.delete(key)),
            "update": (1, lambda: store.update(key, Any, lambda _: value, default=None)),
            "expires": (1, lambda: store.save(key, value, ttl=timedelta(hours=1))),
            "subject": (1, lambda: store.save(key, value, subject="anna")),
            "erase": (0.3, lambda: store.erase(subject="anna")),
            "transaction": (1, transaction),
            "field": (1, one_field),
            "assign": (2, assign),
            "now": (2, store.sync.now),
            "given up": (1, lambda: self.give_up(store)),
            "open again": (1, open_again),
        }
        (name,) = chance.choices(list(calls), [often for often, _ in calls.values()])
        await calls[name][1]()

    async def give_up(self, store):
        """A meeting that is cancelled somewhere."""
        meeting = asyncio.ensure_future(store.sync.now())
        for _ in range(self.chance.randrange(40)):
            await asyncio.sleep(0)
        if self.chance.random() < 0.5:
            await asyncio.sleep(self.chance.random() * 0.01)
        meeting.cancel()
        await asyncio.wait([meeting])
        if not meeting.cancelled():
            meeting.result()

    async def differences(self):
        """Have all meet until nobody has news; what differs then."""
        for device in self.devices:
            await device.client.persist_state()
            await device.store.flush()
        for _ in range(4):
            for device in self.devices:
                await device.store.sync.now()
        seen = [await device.values() for device in self.devices]
        wrong = [f"{device}: {values}" for device, values in zip(self.devices, seen, strict=True)]
        if all(values == seen[0] for values in seen):
            wrong = []
        for device, values in zip(self.devices, seen, strict=True):
            status = device.store.sync.status
            if status.pending or status.faults:
                wrong.append(f"{device}: {status}")
            wrong += await self.unlike_client(device, values)
            await device.close()
            await device.open()
            anew = await device.values()
            if anew != values:
                wrong.append(f"{device}: {values}, and opened again {anew}")
        return wrong

    async def unlike_client(self, device, values):
        """Whether the client of ``device`` has not got what the store has."""
        volume, names = (values[field] for field in FIELDS)
        expected = (0 if volume == "absent" else volume, [] if names == "absent" else names)
        end = asyncio.get_running_loop().time() + TIMEOUT
        while (found := (device.client.volume, device.client.names)) != expected:
            if asyncio.get_running_loop().time() > end:
                return [f"{device}: the client has {found}, the store {expected}"]
            await asyncio.sleep(0.01)
        return []


async def run(seed, directory):
    """What the devices of one run do not agree on; nothing: they do."""
    one = Run(seed, directory)
    try:
        for device in one.devices:
            await device.open()
        for _ in range(CALLS):
            await one.call()
        return await one.differences()
    finally:
        for device in one.devices:
            await device.close()


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.torture.stacks", description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    asked = parser.parse_args()
    failed = 0
    for seed in range(asked.first, asked.first + asked.runs):
        with tempfile.TemporaryDirectory() as directory:
            wrong = asyncio.run(run(seed, Path(directory)))
        failed += bool(wrong)
        for each in wrong:
            print(f"  VIOLATED in run {seed}: {each}", flush=True)
        if seed % 50 == 49:
            print(f"devices over any stack: {seed + 1 - asked.first} runs, {failed} failed", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
