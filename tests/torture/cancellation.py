"""Random cancellation: ``python -m tests.torture.cancellation --seconds 60``.

Several tasks save, delete, update and load few keys at once, and most of their calls are cancelled at
random moments. After each round nothing runs any more, and one commit comes last: then what the cache
answers, what the consumers of streams were told to load, and what is stored must agree on every key.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from axiom_persistence import (
    AdapterBasedPersistence,
    FileStorageAdapter,
    MemoryAdapter,
    SQLiteAdapter,
    Sync,
)
from axiom_persistence.errors import ConflictError
from axiom_persistence.layers.audited import Audited
from axiom_persistence.layers.cached import Cached, CachePolicy
from axiom_persistence.layers.journaled import Journaled
from axiom_persistence.layers.observed import Observed
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.security import AuditLog, StaticKey
from axiom_persistence.storage.adapter import Durability

KEYS = [f"{name}/{number}" for name in "ab" for number in range(3)]
TASKS = 4
AGREED_S = 10.0
WRITE_BACK = CachePolicy.write_back(interval=0.01, max_pending_bytes=2000)


def journaled(place):
    return AdapterBasedPersistence(Observed(Cached(Journaled(SQLiteAdapter(place)))))


def written_back(place):
    return open_persistence(SQLiteAdapter(place), cache=WRITE_BACK)


def proven(place, adapter=SQLiteAdapter):
    """Encrypted, with an audit trail whose end is noted elsewhere."""
    log = AuditLog(actor="somebody", anchor=FileStorageAdapter(place.with_name("anchor")))
    return open_persistence(adapter(place), keys=StaticKey(bytes(range(32))), audit=log)


def synchronised(place):
    return open_persistence(
        SQLiteAdapter(place), sync=Sync(SQLiteAdapter(place.with_name("remote")), every=0.05)
    )


STACKS = {
    "sqlite": lambda place: open_persistence(SQLiteAdapter(place)),
    "sqlite, exclusive": lambda place: open_persistence(SQLiteAdapter(place, exclusive=True)),
    "sqlite, written back": written_back,
    "sqlite, journaled": journaled,
    "files": lambda place: open_persistence(FileStorageAdapter(place)),
    "files, written back": lambda place: open_persistence(FileStorageAdapter(place), cache=WRITE_BACK),
    "sqlite, encrypted and audited": proven,
    "files, encrypted and audited": lambda place: proven(place, FileStorageAdapter),
    "sqlite, synchronised": synchronised,
    "memory, written back": lambda _: AdapterBasedPersistence(Observed(Cached(MemoryAdapter(), WRITE_BACK))),
}


class Rounds:
    """One store, worked on until ``disagreements`` says what did not agree."""

    def __init__(self, persistence, seed):
        self.persistence = persistence
        self.chance = random.Random(seed)
        self.calls = Counter()
        self.value = 0
        adapter = persistence.adapter
        self.durabilities = [None, "power_loss", "process_exit", "process_exit", "memory"]
        if adapter.find(Cached).policy.interval is None:
            self.durabilities.remove("memory")
        if adapter.traits.durability is Durability.MEMORY:
            self.durabilities = [None]
        self.audited = adapter.find(Audited)
        self.told = []  # what each consumer of changes has

    def next_value(self):
        self.value += 1
        return self.value

    def call(self):
        """One verb on random keys, and its name."""
        store, chance = self.persistence, self.chance
        key, other = chance.sample(KEYS, 2)
        how = {"durability": chance.choice(self.durabilities)}

        async def transaction():
            async with store.transaction() as tx:
                await tx.load(key, int)
                await tx.save(key, self.next_value())
                await asyncio.sleep(0)
                await tx.delete(other)

        verbs = {
            "save": lambda: store.save(key, self.next_value(), **how),
            "save_many": lambda: store.save_many({key: self.next_value(), other: self.next_value()}, **how),
            "update": lambda: store.update(key, int, lambda _: self.next_value(), default=0, **how),
            "delete": lambda: store.delete(key, **how),
            "delete_many": lambda: store.delete_many([key, other], **how),
            "transaction": transaction,
            "load": lambda: store.load(key, int),
            "load_many": lambda: store.load_many([key, other], int),
            "flush": store.flush,
        }
        often = [8, 4, 3, 2, 1, 2, 8, 3, 1]
        if self.audited is not None:
            verbs["seal"] = self.audited.seal
            often.append(2)
        verb = chance.choices(list(verbs), often)[0]
        return verb, verbs[verb]()

    async def work(self, count):
        for _ in range(count):
            verb, call = self.call()
            task = asyncio.ensure_future(call)
            if self.chance.random() < 0.6:
                for _ in range(self.chance.randrange(4)):
                    await asyncio.sleep(0)
                if self.chance.random() < 0.2:
                    await asyncio.sleep(self.chance.random() * 0.002)
                task.cancel()
            await asyncio.wait({task})
            if task.cancelled():
                verb += ", cancelled"
            elif task.exception() is not None and not isinstance(task.exception(), ConflictError):
                raise task.exception()
            self.calls[verb] += 1
            if self.chance.random() < 0.3:
                await asyncio.sleep(0)

    async def follow(self, prefix):
        """Load what a stream tells, and nothing else."""
        mirror = {}
        self.told.append((prefix, mirror))
        stream = self.persistence.adapter.find(Observed).changes(prefix)
        async with stream:
            for key in KEYS:
                mirror[key] = await self.persistence.load(key, int)
            async for change in stream:
                mirror[change.key] = await self.persistence.load(change.key, int)

    async def disagreements(self, patience):
        """Wait for what is still on its way, then compare all with what is stored."""
        store = self.persistence
        await store.save("a/last", self.next_value())
        await store.flush()
        adapter = store.adapter.find(Cached).inner
        keys = [*KEYS, "a/last"]
        found = await adapter.fetch(keys)
        stored = {key: json.loads(found[key].data)["value"] if key in found else None for key in keys}
        wrong = []
        for _ in range(2):
            loaded = {key: await store.load(key, int) for key in keys}
            many = await store.load_many(keys, int)
            wrong += [
                f"load of {key}: {loaded[key]}, not {stored[key]}"
                for key in keys
                if loaded[key] != stored[key]
            ]
            wrong += [f"load_many of {key}: {many.get(key)}" for key in keys if many.get(key) != stored[key]]
        if self.audited is not None:
            wrong += await self.unproven()
        deadline = time.monotonic() + patience
        for prefix, mirror in self.told:
            watched = [key for key in keys if key.startswith(prefix)]
            while any(mirror.get(key) != stored[key] for key in watched) and time.monotonic() < deadline:
                await asyncio.sleep(0.002)
            wrong += [
                f"changes({prefix!r}) of {key}: {mirror.get(key)}, not {stored[key]}"
                for key in watched
                if mirror.get(key) != stored[key]
            ]
        return wrong

    async def unproven(self):
        """What the audit trail does not say of the store as it is, or its anchor of the trail."""
        await self.audited.seal()
        report = await self.persistence.verify_audit()
        said = await self.audited.anchor()
        wrong = [f"audit: {fault.reason}" for fault in report.faults]
        if report.unsealed or said != report.checkpoint:
            wrong.append(f"audit: {report.unsealed} not sealed, {report.checkpoint}, and the anchor: {said}")
        return wrong


async def cancel_at_random(make, place, *, seconds, seed, patience=AGREED_S):
    """What did not agree (nothing: it all did), and how often each verb was called and cancelled."""
    end = time.monotonic() + seconds
    async with make(place) as persistence:
        rounds = Rounds(persistence, seed)
        await persistence.save_many(dict.fromkeys(KEYS, 0))
        consumers = [asyncio.create_task(rounds.follow(prefix)) for prefix in ("", "a/", "b/1")]
        wrong = []
        while time.monotonic() < end and not wrong:
            await asyncio.gather(*(rounds.work(rounds.chance.randrange(1, 12)) for _ in range(TASKS)))
            wrong = await rounds.disagreements(patience)
        for consumer in consumers:
            if consumer.done():
                consumer.result()
            consumer.cancel()
        await asyncio.wait(consumers)
    return wrong, rounds.calls


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.torture.cancellation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="of a run to repeat")
    parser.add_argument("--stacks", nargs="+", choices=STACKS, default=list(STACKS))
    return parser.parse_args(arguments)


async def main(asked):
    agreed = True
    for name in asked.stacks:
        with tempfile.TemporaryDirectory() as directory:
            wrong, calls = await cancel_at_random(
                STACKS[name],
                Path(directory) / "store",
                seconds=asked.seconds / len(asked.stacks),
                seed=asked.seed,
            )
        cancelled = sum(count for verb, count in calls.items() if verb.endswith("cancelled"))
        print(f"{name}: {calls.total():,} calls, {cancelled:,} cancelled, seed {asked.seed}", flush=True)
        for each in wrong:
            print(f"  VIOLATED {each}", flush=True)
        agreed = agreed and not wrong
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse(sys.argv[1:]))))
