"""``python -m tests.torture --kills 500``: as many SIGKILLs in each embedded store."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from axiom_persistence import FileStorageAdapter, SQLiteAdapter
from axiom_persistence.testing.torture import percentile, torture

STORES = {"sqlite": (SQLiteAdapter, "store.db"), "files": (FileStorageAdapter, "store")}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, help="of a run to repeat")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument(
        "--directory", type=Path, help="on the disk to torture; default: the system's temporary one"
    )
    return parser.parse_args(arguments)


def show(report, seconds):
    milliseconds = [
        f"{1000 * percentile(values, share):.2f}"
        for values in (report.save_seconds, report.load_seconds)
        for share in (0.5, 0.99)
    ]
    moments = ", ".join(f"{moment} {count}" for moment, count in report.moments.most_common())
    print(
        f"{report.store}\n"
        f"  {report.kills} kills in {seconds:.0f} s ({moments}), seed {report.seed}\n"
        f"  {report.acknowledged:,} acknowledged, {report.found:,} found, {report.lost} lost, "
        f"{report.torn} torn, {report.failed} failed; {report.in_flight_kept} more were there unasked\n"
        f"  save p50 {milliseconds[0]} ms, p99 {milliseconds[1]} ms; "
        f"load p50 {milliseconds[2]} ms, p99 {milliseconds[3]} ms"
    )
    for violation in report.violations:
        print(f"  VIOLATED {violation}")


async def main(asked):
    kept = True
    for name in asked.stores:
        make, place = STORES[name]
        with tempfile.TemporaryDirectory(dir=asked.directory) as directory:
            started = time.monotonic()
            report = await torture(make, Path(directory) / place, kills=asked.kills, seed=asked.seed)
            show(report, time.monotonic() - started)
            kept = kept and bool(report)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse(sys.argv[1:]))))
