"""A page of keys wherever it begins, existence, and deleting all keys with a prefix."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import perf_counter

from axiom_persistence import SQLiteAdapter, open_persistence
from axiom_persistence.storage import Durability

from .scenarios import Figures, Parameters, scenario, settled
from .timing import calls, summary
from .values import Documents

__all__ = ["PAGE"]

PAGE = 20

_FILLED_TOGETHER = 5000


async def _filled(directory: Path, keys: int) -> tuple[Path, list[str]]:
    """A closed store of so many documents, and as many keys in it, a tenth of them beside ``item/``."""
    path = directory / "listing.db"
    values = Documents(_FILLED_TOGETHER)
    names = [f"{'other' if n % 10 == 0 else 'item'}/{n:07}" for n in range(keys * 10 // 9)]
    async with open_persistence(path) as persistence:
        for first in range(0, len(names), _FILLED_TOGETHER):
            some = names[first : first + _FILLED_TOGETHER]
            await persistence.save_many({name: values.take() for name in some})
    return path, [name for name in names if name.startswith("item/")]


@scenario("page")
async def page(directory: Path, parameters: Parameters) -> Figures:
    """Pages of keys at the start or at the end, one after the other, and whether a key exists."""
    path, names = await _filled(directory, parameters["keys"])
    after = None if parameters["part"] == "start" else names[-PAGE - 1]
    async with open_persistence(path) as persistence:
        adapter = persistence.adapter

        async def listed() -> None:
            found = [key async for key in adapter.keys("item/", after=after, limit=PAGE)]
            assert len(found) == PAGE

        settled()
        await calls(listed, [()] * 200, awaits=True)
        times = await calls(listed, [()] * parameters["count"], awaits=True)
        there = await calls(adapter.exists, [(name,) for name in names[:: len(names) // 500]], awaits=True)
    return {"page_us": summary(times)["p50_us"], "exists_us": summary(there)["p50_us"]}


@scenario("delete-prefix")
async def delete_prefix(directory: Path, parameters: Parameters) -> Figures:
    """Deleting nine of ten keys, durably: by the store, or by SQLite itself from the same file."""
    path, names = await _filled(directory, parameters["keys"])
    settled()
    if parameters["by"] == "sqlite3":
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA synchronous=FULL")
        begin = perf_counter()
        rows = connection.execute("DELETE FROM record WHERE key>='item/' AND key<'item0'").rowcount
        seconds = perf_counter() - begin
        connection.close()
    else:
        async with SQLiteAdapter(path) if parameters["by"] == "adapter" else open_persistence(path) as store:
            adapter = getattr(store, "adapter", store)
            begin = perf_counter()
            rows = await adapter.delete_prefix("item/", durability=Durability.POWER_LOSS)
            seconds = perf_counter() - begin
    assert rows == len(names)
    return {"delete_ms": seconds * 1000, "key_us": seconds * 1e6 / rows}
