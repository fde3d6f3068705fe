"""A fleet of agents with one memory: each has a store of its own, and all meet in one place.

Run it:  python examples/shared_memory.py ada remember capital "Paris, says the user" [PLACE]
         python examples/shared_memory.py bob recall [PLACE]
         python examples/shared_memory.py bob listen [PLACE]       (in another terminal)

PLACE is what all agents reach: postgresql://host/database, or file:/mnt/shared/memory. An agent that
cannot reach it goes on alone, and what it learns is sent later.
"""

import asyncio
import os
import sys
import time
from dataclasses import dataclass

from axiom_persistence import Sync, open_persistence
from axiom_persistence.errors import StorageError

PLACE = "sqlite:" + os.path.join(os.environ.get("AXIOM_PERSISTENCE_HOME", "."), "shared-memory.db")


@dataclass
class Fact:
    text: str
    by: str
    at: float


async def main(agent, verb, *rest):
    given = rest[2:] if verb == "remember" else rest
    sync = Sync(given[0] if given else PLACE, keys=["facts/*"], every=0.5)
    async with open_persistence(f"agent-{agent}", sync=sync) as persistence:
        facts = persistence.collection("facts", Fact)
        if verb == "remember":
            await facts.put(rest[0], Fact(rest[1], by=agent, at=time.time()))
        if verb == "listen":
            print("listening", flush=True)
            async for change in persistence.changes("facts/"):
                if change.origin == "remote":
                    print(change.key.removeprefix("facts/"), flush=True)
        try:
            await persistence.sync.now()
        except StorageError as error:
            print(f"alone for now: {error}", file=sys.stderr)
        if verb == "recall":
            async for topic, fact in facts.items():
                print(f"{topic}: {fact.text} ({fact.by})")


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[2] not in ("remember", "recall", "listen"):
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
