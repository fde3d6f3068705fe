"""Kills a program that encrypts a store, rotates its keys and decrypts it, and looks each time.

``python -m tests.torture.encryption --store sqlite --records 20000 --kills 50``: so many kills of each verb.
After each SIGKILL another process reads everything, then the verb goes on. Whenever it ends, no record is in
its old form, and after ``encrypt`` no byte of a value is in the store's files.
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

from axiom_persistence import FileStorageAdapter, SQLiteAdapter, open_persistence
from axiom_persistence.errors import KeyUnavailableError
from axiom_persistence.keys import KEYSET
from axiom_persistence.layers.encrypted import Encrypted
from axiom_persistence.security import StaticKey

KEYS = StaticKey(bytes(range(32)))
MARKER = "marker-d41d8cd98f00b204"
VERBS = ("encrypt", "rotate_keys", "decrypt")


def place_of(kind, directory):
    return directory / ("store.db" if kind == "sqlite" else "store")


def bare(place):
    return SQLiteAdapter(place) if place.suffix == ".db" else FileStorageAdapter(place)


def values(count):
    return {f"k{n // 100:03}/{n:05}": f"{MARKER} {n}" for n in range(count)}


async def make(place, count):
    async with open_persistence(place) as persistence:
        await persistence.save_many(dict.fromkeys(values(count), MARKER))  # the generation before
        await persistence.save_many(values(count))


async def do(place, verb):
    async with bare(place) as adapter:
        begun = await adapter.exists(KEYSET)
    if verb == "decrypt" and not begun:
        return  # killed behind the last commit
    mode = "encrypt" if verb == "encrypt" and not begun else "normal"
    async with open_persistence(place, keys=KEYS, mode=mode) as persistence:
        report = await getattr(persistence, verb)()
        assert not report.damaged, report


async def look(place):
    """What one program reads now, and with which keys the records are sealed."""
    async with bare(place) as adapter:
        sealed = await adapter.exists(KEYSET)
    async with open_persistence(place, keys=KEYS if sealed else None) as persistence:
        names = persistence.keys()
        found = await persistence.load_many([key async for key in names], str)
        assert persistence.reports == (), persistence.reports
        if not sealed:
            return found, {None}
        encrypted = persistence.adapter.find(Encrypted)
        numbers = {
            encrypted.number_of(key, stored)
            for key, stored in (await encrypted.inner.fetch(list(found))).items()
        }
        assert encrypted.passage or None not in numbers
        return found, numbers


def in_clear(place):
    files = [place] if place.is_dir() else [place, Path(f"{place}-wal"), Path(f"{place}-journal")]
    files = [each for file in files for each in (file.rglob("*") if file.is_dir() else [file])]
    return [each for each in files if each.is_file() and MARKER.encode() in each.read_bytes()]


def process(place, verb):
    """A child that does ``verb``; its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(do(place, verb))
            code = 0
        finally:
            os._exit(code)
    return child


def finish(place, verb):
    started = time.monotonic()
    assert os.waitpid(process(place, verb), 0)[1] == 0, verb
    return time.monotonic() - started


def torture(kind, directory, *, records, kills, seed):
    """How many kills found the store in between, for each verb."""
    chance = random.Random(seed)
    place = place_of(kind, directory)
    asyncio.run(make(place, records))
    takes = {verb: finish(place, verb) for verb in VERBS}
    between = dict.fromkeys(VERBS, 0)
    for verb in VERBS:
        for _ in range(kills):
            child = process(place, verb)
            time.sleep(chance.uniform(0, takes[verb]) * (0.2 + chance.random()))
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            assert status in (0, signal.SIGKILL), f"{verb} ended with {status}"
            found, numbers = asyncio.run(look(place))
            assert found == values(records), verb
            between[verb] += len(numbers) > 1
            if verb != "rotate_keys" and len(numbers) == 1 and chance.random() < 0.5:
                # It had ended: the other way, to have something to do again.
                finish(place, "decrypt" if verb == "encrypt" else "encrypt")
        finish(place, verb)
        found, numbers = asyncio.run(look(place))
        assert found == values(records)
        assert len(numbers) == 1, numbers
        assert (numbers == {None}) == (verb == "decrypt")
        assert (in_clear(place) == []) == (verb != "decrypt")
        if verb != "decrypt":
            try:
                asyncio.run(open_without(place))
            except KeyUnavailableError:
                continue
            raise AssertionError("it opens without its key")
    return between


async def open_without(place):
    async with open_persistence(place):
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", choices=["sqlite", "file"], default="sqlite")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=50, help="of each verb")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.seed = asked.seed or random.randrange(1 << 30)
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        done = torture(
            asked.store, Path(temporary), records=asked.records, kills=asked.kills, seed=asked.seed
        )
    for verb, count in done.items():
        print(f"{asked.kills:>5} kills of {verb:<12} {count:>5} of them in between")
    sys.exit(0)
