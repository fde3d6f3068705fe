"""Ten thousand random listings of every embedded adapter, and under layers, against a sorted list.

The conformance suite asks two thousand or fewer; this is the long version.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from axiom_persistence import CachePolicy, FileStorageAdapter, MemoryAdapter, SQLiteAdapter
from axiom_persistence.layers.cached import Cached
from axiom_persistence.layers.journaled import Journaled
from axiom_persistence.layers.prefixed import Prefixed
from axiom_persistence.testing.suite.listing import questions, some_keys

STORES = {
    "memory": lambda place: MemoryAdapter(),
    "sqlite": lambda place: SQLiteAdapter(place / "a.db"),
    "files": lambda place: FileStorageAdapter(place / "a"),
    "sqlite, written back": lambda place: Cached(
        SQLiteAdapter(place / "b.db"), CachePolicy.write_back(interval=60)
    ),
    "sqlite, journaled, under a prefix": lambda place: Prefixed(
        Journaled(SQLiteAdapter(place / "c.db")), "p/"
    ),
}


async def ask(adapter, count):
    """Raises ``AssertionError`` with the question that was answered otherwise."""
    chance = random.Random(10)
    async with adapter:
        keys = {key for key in some_keys(chance) if len(key.encode()) <= 1000}
        await adapter.commit(dict.fromkeys(keys, b"1"))
        for question in questions(chance, keys, count):
            assert await question.put_to(adapter) == question.answer(keys), question


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=10_000, help="of each store (10,000)")
    count = parser.parse_args().questions
    for name, made in STORES.items():
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            asyncio.run(ask(made(Path(place)), count))
        print(f"{name}: {count:,} listings agree with a sorted list ({time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
