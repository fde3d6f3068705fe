"""A restore whose crash states are looked at; run by ``sqlite_replay`` as ``... DIRECTORY _ _ PLANT _``."""

import asyncio
import sys
from pathlib import Path

from axiom_persistence import SQLiteAdapter, open_persistence
from support.sqlite_replay import STORE, tell

OLD = {f"k{n:02}": {"n": n} for n in range(8)}
NEW = {f"k{n:02}": {"n": n * (1 + n % 2)} for n in range(4, 12)}


async def changed(persistence, copies):
    """Old values, a snapshot of them, which is returned, and new values."""
    await persistence.save_many(OLD)
    made = await persistence.snapshot(copies)
    await persistence.delete_many(OLD.keys() - NEW.keys())
    await persistence.save_many(NEW)
    return made


async def contents(persistence):
    found = {}
    async for key in persistence.keys():
        found[key] = await persistence.load(key, dict)
    assert persistence.reports == ()
    assert await persistence.verify()
    return found


async def fault_in(persistence, said):
    """What is wrong with what is there, after these words were said."""
    found = await contents(persistence)
    if said == ["new", "old"]:
        return None if found == OLD else "what was restored is not there"
    if said == ["new"]:
        return None if found in (NEW, OLD) else f"a mixture of {len(found)} records"
    return None


def in_two(commit):
    """A planted bug: what is large is committed in two steps."""

    async def halves(self, changes, *, expect=None, durability=None):
        if len(changes) < 10:
            return await commit(self, changes, expect=expect, durability=durability)
        first = dict(list(changes.items())[::2])
        made = await commit(self, first)
        return {**made, **await commit(self, {k: v for k, v in changes.items() if k not in first})}

    return halves


async def main(directory):
    async with open_persistence(SQLiteAdapter(directory / STORE, lock_timeout=60)) as persistence:
        made = await changed(persistence, directory.parent / "copies")
        tell("ack", 0, "new")
        await persistence.restore(made)
        tell("ack", 0, "old")


if __name__ == "__main__":
    _, where, _, _, planted, _ = sys.argv
    if planted == "in-two":
        SQLiteAdapter.commit = in_two(SQLiteAdapter.commit)
    asyncio.run(main(Path(where)))
