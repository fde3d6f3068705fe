"""A store with an audit trail whose program is killed again and again.

Run as ``python tests/support/audit_kills.py --store sqlite --kills 200``. Tasks save new keys in every way
while batches are sealed all the time. After each kill every key that is there has its one entry, every entry
its key, what was acknowledged is there, and the trail is proved.
"""

import argparse
import asyncio
import itertools
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from axiom_persistence import FileStorageAdapter, SQLiteAdapter, open_persistence
from axiom_persistence.layers.audited import Audited
from axiom_persistence.security import AuditLog
from support.audited_saves import fault_in

PLACES = {"sqlite": (SQLiteAdapter, "store.db"), "file": (FileStorageAdapter, "store")}


async def work(store, path, run):
    make, _ = PLACES[store]
    numbers = itertools.count()
    async with open_persistence(make(Path(path)), audit=AuditLog(actor=f"run {run}")) as persistence:
        audited = persistence.adapter.find(Audited)

        async def save(durability):
            while True:
                key = f"{run}/{next(numbers)}"
                await persistence.save(key, 1, durability=durability)
                print(key, flush=True)
                await asyncio.sleep(0)

        async def seal():
            while True:
                await audited.seal()
                await asyncio.sleep(0.002)

        await asyncio.gather(save("power_loss"), save("power_loss"), save("process_exit"), seal())


async def check(store, path, acknowledged):
    make, _ = PLACES[store]
    async with make(Path(path)) as adapter:
        keys = [key async for key in adapter.keys("")]
        records = {key: stored.data for key, stored in (await adapter.fetch(keys)).items()}
    assert acknowledged <= records.keys(), f"lost: {acknowledged - records.keys()}"
    assert (fault := fault_in(records)) is None, fault
    async with open_persistence(make(Path(path)), audit=AuditLog()) as persistence:
        report = await persistence.verify_audit()
        assert report, report.faults
        return report.entries


def kill(store, directory, kills):
    """How many entries there were at the end."""
    path, acknowledged, entries = Path(directory) / PLACES[store][1], set(), 0
    for run in range(kills):
        worker = subprocess.Popen(
            [sys.executable, "-m", "support.audit_kills", "--work", store, str(path), str(run)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        acknowledged.add(worker.stdout.readline().strip())  # it is at work
        time.sleep(random.uniform(0, 0.15))
        worker.kill()
        rest = worker.communicate()[0].splitlines(keepends=True)
        acknowledged.update(line.strip() for line in rest if line.endswith("\n"))
        entries = asyncio.run(check(store, path, acknowledged - {""}))
    return entries


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--store", choices=PLACES, default="sqlite")
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--work", nargs=3)
    asked = options.parse_args()
    if asked.work:
        asyncio.run(work(*asked.work))
        return
    with tempfile.TemporaryDirectory() as directory:
        entries = kill(asked.store, directory, asked.kills)
    print(f"{asked.kills} kills of {asked.store}, {entries:,} entries, each with its change")


if __name__ == "__main__":
    main()
