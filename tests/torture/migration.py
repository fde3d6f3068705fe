"""Kills a program that migrates a store, rolls it back and finalizes it, and looks each time.

``python -m tests.torture.migration --store sqlite --records 50000 --kills 200``. After each SIGKILL another
process goes on. At every look each record is exactly its old or its new one, and the header says which
version the store has; whenever a verb ends, everything is as it must be, each step applied once.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from axiom_persistence import AdapterBasedPersistence, FileStorageAdapter, SQLiteAdapter
from axiom_persistence.jobs import _undoing, migrate, rollback
from axiom_persistence.jobs._originals import ORIGINALS
from axiom_persistence.records.record import open_record

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.migrations import chain, expected, first_values

VERBS = ("migrate", "rollback", "migrate", "finalize", "downs")
"""One round: ``downs`` is a rollback without originals."""


def persistence(kind, place, migrations=None):
    adapter = FileStorageAdapter(place / "store") if kind == "file" else SQLiteAdapter(place / "store.db")
    made = AdapterBasedPersistence(adapter, migrations=migrations)
    made.activation_timeout = 600  # of a busy machine
    return made


async def do(kind, place, verb):
    async with persistence(kind, place, chain(downs=True)) as store:
        if verb == "migrate":
            await store.migrate("1.0", "4.0")
        elif verb == "finalize":
            await store.finalize()
        else:
            await store.rollback("1.0")


async def make(kind, place, count):
    """A store at 1.0; its records as they must come back."""
    async with persistence(kind, place) as store:
        await store.save_many(first_values(count))
    return (await look(kind, place))[1]


async def look(kind, place):
    """The version the header says, the records of users, and how many originals there are."""
    async with persistence(kind, place) as store:
        adapter = store.adapter
        keys = [key async for key in adapter.keys("")]
        found = await adapter.fetch([key for key in keys if key[0] != "\x01"])
        header = store.place("x")[0].header
        kept = sum(key.startswith(ORIGINALS) for key in keys)
        return header, {key: stored.data for key, stored in found.items()}, kept


def judge(header, found, old, new):
    """Raise unless every record is its old or its new one, and those there are fit the header."""
    layout = old if header.layout == "1.0" else new
    assert found.keys() == layout.keys(), f"{header}: {found.keys() ^ layout.keys()}"
    for key, data in found.items():
        assert data in (old.get(key), new.get(key)), f"{key}: {data!r}"
    if header.schema == "1.0" and header.running is None:
        assert found == old


def process(kind, place, verb, chunk):
    """A child that does ``verb``; its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for module in (migrate, _undoing, rollback):
                module.CHUNK = chunk
            asyncio.run(do(kind, place, verb))
            code = 0
        finally:
            os._exit(code)
    return child


def torture(kind, place, *, records, kills, seed, chunk):
    chance = random.Random(seed)
    old = asyncio.run(make(kind, place, records))
    started = time.monotonic()
    assert os.waitpid(process(kind, place, "migrate", chunk), 0)[1] == 0
    takes = time.monotonic() - started
    _, new, _ = asyncio.run(look(kind, place))
    assert {key: value_in(key, data) for key, data in new.items()} == expected(records)
    done, at, states = 0, 1, {}
    patience = takes
    while done < kills or at % len(VERBS):
        verb = VERBS[at % len(VERBS)]
        child = process(kind, place, verb, chunk)
        time.sleep(chance.uniform(0, patience) if done < kills else 0)
        if done < kills:
            os.kill(child, signal.SIGKILL)
            done += 1
            if done % 20 == 0:
                print(f"{done} kills, {time.monotonic() - started:.0f} s", flush=True)
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL), f"{verb} ended with {status}"
        header, found, kept = asyncio.run(look(kind, place))
        judge(header, found, old, new)
        state = header.running.state if header.running else "whole"
        states[f"{verb}: {state}"] = states.get(f"{verb}: {state}", 0) + 1
        # Longer after every kill, or a machine that got busy would only ever be killed at the beginning.
        patience *= 1.2
        if status == 0:
            patience = takes
            assert found == (old if verb in ("rollback", "downs") else new), verb
            assert header.running is None
            assert (kept == 0) == (verb != "migrate")
            at += 1
    return states


def value_in(key, data):
    return msgspec.json.decode(open_record(key, data).value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", choices=["sqlite", "file"], default="sqlite")
    parser.add_argument("--records", type=int, default=50_000, help="half of them of each kind")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--chunk", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.seed = asked.seed or random.randrange(1 << 30)
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        for state, count in torture(
            asked.store,
            Path(directory),
            records=asked.records // 2,
            kills=asked.kills,
            seed=asked.seed,
            chunk=asked.chunk,
        ).items():
            print(f"{count:>5}  {state}")
