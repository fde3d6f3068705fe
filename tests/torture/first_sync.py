"""A first meeting of many records: the memory that it takes, how fast it is, and killed again and again.

One device has all records and sends them to an empty place; another one takes them over. Both are measured in
a process of their own. Then two more do the same, killed by SIGKILL every few seconds, and go on where they
were. At the end all four have the same. A device with few records tells what the memory of such a process is
to begin with.
"""

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from axiom_persistence import Sync, open_persistence
from axiom_persistence.jobs.walk import pages

KILLS = 10


async def meet(place, remote):
    async with open_persistence(place, sync=Sync(remote, metered=lambda: True)) as store:
        await store.sync.now()


async def fill(place, records):
    async with open_persistence(place) as store:
        for first in range(0, records, 1000):
            numbers = range(first, min(first + 1000, records))
            await store.save_many({f"note/{n:07}": {"n": n, "text": f"{n} " * 30} for n in numbers})


async def content(place):
    async with open_persistence(place, mode="inspect") as store:
        found = {}
        async for page in pages(aiter(store.keys())):
            found.update(await store.load_many(page, dict))
        return found


def start(place, remote):
    return subprocess.Popen([sys.executable, "-m", "tests.torture.first_sync", "--meet", str(place), remote])


def measured(place, remote):
    """The seconds that it takes, and the largest memory in MB."""
    began = time.monotonic()
    process = start(place, remote)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0, "it did not come to its end"
    return time.monotonic() - began, usage.ru_maxrss / 1024


def killed(place, remote, seconds, chance):
    """Killed ten times, or until it is done before; how often."""
    kills = 0
    while True:
        process = start(place, remote)
        try:
            assert process.wait(chance.uniform(0.05, 0.2) * seconds + 0.5 if kills < KILLS else None) == 0
            return kills
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1


def torture(directory, records, seed=0):
    chance = random.Random(seed)
    first, second = (f"sqlite:{directory}/{name}.db" for name in ("remote", "other"))
    asyncio.run(fill(directory / "few.db", 10))
    _, usual = measured(directory / "few.db", f"sqlite:{directory}/few-remote.db")
    asyncio.run(fill(directory / "a.db", records))
    shutil.copy(directory / "a.db", directory / "c.db")
    report = {"records": records, "MB to begin with": round(usual)}
    for name, verb in (("a", "sent"), ("b", "taken over")):
        seconds, most = measured(directory / f"{name}.db", first)
        report[verb] = f"{records / seconds:,.0f} records/s, {most - usual:.0f} MB more"
        report["most MB"] = max(report.get("most MB", 0), round(most - usual))
        report[f"kills while {verb}"] = killed(
            directory / ("c.db" if name == "a" else "d.db"), second, seconds, chance
        )
    found = [asyncio.run(content(directory / f"{name}.db")) for name in "abcd"]
    assert all(one == found[0] for one in found), "they differ"
    assert len(found[0]) == records
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meet", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--most", type=int, default=100, help="megabytes more than with few records")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.meet:
        asyncio.run(meet(*asked.meet))
        return 0
    with tempfile.TemporaryDirectory() as directory:
        report = torture(Path(directory), asked.records, asked.seed)
    fine = report["most MB"] <= asked.most
    print(f"first synchronisation: {report}{'' if fine else '  VIOLATED'}", flush=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
