"""``python -m tests.torture.erasure --subjects 10000``: what it costs to erase one of so many.

Counted are the calls of the adapter, the keys in them, and, in SQLite, what the commit writes.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from axiom_persistence import SQLiteAdapter, open_persistence

RECORDS = 20


class Counting(SQLiteAdapter):
    """Notes every call by name, and of how many keys it was."""

    def __init__(self, path):
        super().__init__(path)
        self.calls = []

    async def fetch(self, keys):
        self.calls.append(("fetch", len(keys)))
        return await super().fetch(keys)

    async def commit(self, changes, **options):
        self.calls.append(("commit", len(changes)))
        return await super().commit(changes, **options)

    async def purge(self, keys, **options):
        self.calls.append(("purge", len(keys)))
        return await super().purge(keys, **options)

    async def keys(self, prefix="", **options):
        count = 0
        async for key in super().keys(prefix, **options):
            count += 1
            yield key
        self.calls.append(("keys", count))


async def cost(path, subjects):
    adapter = Counting(path)
    async with open_persistence(adapter) as persistence:
        for n in range(subjects):
            values = {f"user/{n}/{i}": f"value {i} of {n}" for i in range(RECORDS)}
            await persistence.save_many(values, subject=f"user {n}", durability="process_exit")
        await persistence.flush()
        adapter.calls.clear()
        begun = time.perf_counter()
        report = await persistence.erase(f"user {subjects // 2}")
        took = time.perf_counter() - begun
        assert report.records == RECORDS
        calls = list(adapter.calls)
        assert await persistence.count() == (subjects - 1) * RECORDS
    return calls, took


async def main(subjects):
    with tempfile.TemporaryDirectory() as directory:
        few, _ = await cost(Path(directory) / "few.db", 3)
        many, took = await cost(Path(directory) / "many.db", subjects)
    print(
        f"one of {subjects:,} subjects with {RECORDS} records each: {len(many)} calls of the adapter with "
        f"{sum(count for _, count in many)} keys, {took * 1000:.0f} ms; one of 3: {len(few)} calls"
    )
    assert few == many


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--subjects", type=int, default=10_000)
    asyncio.run(main(options.parse_args().subjects))
