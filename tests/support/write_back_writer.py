"""A program that saves numbers through a write-back cache until it is killed. Run by test_write_back."""

import asyncio
import sys

from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.layers.cached import Cached, CachePolicy
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.storage.layer import Layer

KEYS = 7


class OutOfOrder(Layer):
    """The planted bug: what is flushed together is stored key by key, the newest first."""

    async def commit(self, changes, *, expect=None, durability=None):
        versions = {}
        for key in reversed(changes):
            versions |= await self.inner.commit({key: changes[key]}, durability=durability)
            await asyncio.sleep(0.004)
        return versions


async def main(place, planted):
    inner = SQLiteAdapter(place)
    policy = CachePolicy.write_back(interval=0.002, max_pending_bytes=500)
    async with Cached(OutOfOrder(inner) if planted else inner, policy) as cache:
        found = await cache.fetch(("last",))
        n = int(found["last"].data) if found else 0
        print("saving", flush=True)
        while True:
            n += 1
            changes = {f"key {n % KEYS}": b"%d" % n, "last": b"%d" % n}
            if n % 11 == 0:
                changes[f"key {(n + 1) % KEYS}"] = None
            strong = Durability.PROCESS_EXIT if n % 101 == 0 else Durability.MEMORY
            await cache.commit(changes, durability=strong)
            if n % 50 == 0:
                await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] == "planted"))
