"""How cost grows with the number of keys: one store made once, measured from fresh processes."""

from __future__ import annotations

import os
import random
import statistics
from pathlib import Path
from time import perf_counter

from axiom_persistence import open_persistence

from .scenarios import Figures, Parameters, filled, saves_of, scenario, settled, start
from .timing import blocks, calls, summary
from .values import Document, Documents, key_names

__all__ = ["resident_bytes"]


def resident_bytes() -> int:
    """What this process has in memory now (Linux), or had at most (elsewhere)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        import resource
        import sys

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


@scenario("fill")
async def fill(directory: Path, parameters: Parameters) -> Figures:
    """Make a store of so many keys."""
    values = Documents(1000)
    contender = await start({"contender": "ours"}, directory)
    names = key_names(parameters["keys"])
    begin = perf_counter()
    await filled(contender, values, names)
    seconds = perf_counter() - begin
    await contender.close()
    return {"item_us": seconds / len(names) * 1e6}


@scenario("keys")
async def keys(directory: Path, parameters: Parameters) -> Figures:
    """Opening, loads, saves, 100 savers and memory, over all the keys of a store that is there."""
    names = key_names(parameters["keys"])
    count = parameters["count"]
    source = random.Random(parameters["round"])
    opening = []
    for _ in range(5):
        begin = perf_counter()
        async with open_persistence(directory / "ours.db"):
            opening.append(perf_counter() - begin)
    grown, resident = await _memory(directory, source.choices(names, k=10 * count))
    values = Documents(1000)
    contender = await start({"contender": "ours-uncached"}, directory)
    settled()
    await blocks(contender.load, source.choices(names, k=count), Document, awaits=True)
    loads = await blocks(contender.load, source.choices(names, k=count), Document, awaits=True)
    await contender.close()
    contender = await start({"contender": "ours"}, directory)
    drawn = source.choices(names, k=count)
    saves = await calls(contender.save, ((name, values.take()) for name in drawn), awaits=True)
    drawn = source.choices(names, k=4 * count)
    seconds = await saves_of(contender, 100, 4 * count, values, drawn)
    await contender.close()
    return {
        "open_ms": statistics.median(opening) * 1000,
        "load_us": summary(loads)["p50_us"],
        "save_us": summary(saves)["p50_us"],
        "savers_us": seconds * 1e6,
        "grown_mib": grown,
        "resident_mib": resident,
    }


async def _memory(directory: Path, drawn: list[str]) -> tuple[float, float]:
    """MiB that loading very many different keys adds, with the default cache, and all there is then.

    Before anything else was measured: memory that was freed meanwhile would hide what this takes.
    """
    async with open_persistence(directory / "ours.db") as persistence:
        await persistence.load(drawn[0], Document)
        settled()
        before = resident_bytes()
        for name in drawn:
            await persistence.load(name, Document)
        after = resident_bytes()
    return (after - before) / 2**20, after / 2**20
