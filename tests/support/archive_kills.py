"""Exports and imports that are killed again and again, and what becomes of them.

Run as ``python tests/support/archive_kills.py --records 1000000``: it makes a store, kills an export
``--kills`` times, lets it finish, and compares the archive with one that was written without a kill; then the
same with imports into another store, whose export must be the same archive again. Says what memory the jobs
took at most.
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from axiom_persistence import open_persistence

MEMORY_MAX_MB = 200


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--records", type=int, default=50_000)
    options.add_argument("--kills", type=int, default=4)
    options.add_argument("--directory", type=Path)
    options.add_argument("--compression", default="None")
    options.add_argument("--job", nargs=3)
    asked = options.parse_args()
    if asked.job:
        asyncio.run(work(*asked.job, asked.compression))
        return
    with tempfile.TemporaryDirectory(dir=asked.directory) as directory:
        show(Path(directory), asked.records, asked.kills, asked.compression)


async def work(job, store, archive, compression):
    """One job in a process of its own; says how much of it was done before, and its memory in KB."""
    import resource

    async with open_persistence(Path(store)) as persistence:
        if job == "export":
            report = await persistence.export_to(
                archive, compression=None if compression == "None" else compression
            )
            before = report.resumed
        else:
            report = await persistence.import_from(archive)
            before = report.same
    assert report, report.faults
    print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


async def fill(store, count):
    async with open_persistence(store) as persistence:
        for start in range(0, count, 10_000):
            numbers = range(start, min(count, start + 10_000))
            await persistence.save_many({f"{n:08}": {"n": n, "text": f"{n} " * 12} for n in numbers})


def show(directory, records, kills, compression):
    asyncio.run(fill(directory / "one.db", records))
    whole, killed, again = (directory / name for name in ("whole", "killed", "again"))
    begun = time.monotonic()
    run("export", directory / "one.db", whole, compression)
    took = time.monotonic() - begun
    before = torture("export", directory / "one.db", killed, compression, kills, took)
    same(whole, killed)
    print(f"export: killed {kills} times, the last run found {before:,} of {records:,} records done")
    before = torture("import", directory / "two.db", whole, compression, kills, took)
    run("export", directory / "two.db", again, compression)
    same(whole, again)
    print(f"import: killed {kills} times, the last run found {before:,} of {records:,} records done")


def torture(job, store, archive, compression, kills, took):
    """Kill the job at a random time, often; then let it end."""
    for _ in range(kills):
        process = begin(job, store, archive, compression)
        try:
            process.wait(random.uniform(0.2, 0.2 + took / 2))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
    return run(job, store, archive, compression)


def begin(job, store, archive, compression):
    command = [sys.executable, __file__, "--job", job, store, archive, "--compression", compression]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)


def run(job, store, archive, compression):
    process = begin(job, store, archive, compression)
    said, _ = process.communicate()
    assert process.returncode == 0, f"{job} ended with {process.returncode}"
    before, kilobytes = map(int, said.split())
    assert kilobytes < MEMORY_MAX_MB * 1024, f"{job} took {kilobytes // 1024} MB"
    print(f"{job}: {kilobytes // 1024} MB")
    return before


def same(one, other):
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            left, right = first.read(1 << 20), second.read(1 << 20)
            assert left == right, f"{one.name} and {other.name} differ"
            if not left:
                return


if __name__ == "__main__":
    main()
