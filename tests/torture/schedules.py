"""A hundred thousand schedules of the simulation of synchronisation, on every core, with progress.

The suite runs two thousand; each seed is one schedule, so a violation can be run again:
``python -m tests.torture.schedules --first SEED --schedules 1``.
"""

import argparse
import asyncio
import sys
import time
from functools import partial
from multiprocessing import get_context

from axiom_persistence.sync import _cycle as cycle
from axiom_persistence.sync import _listing as listing

from ..sync import instant
from ..sync.icloud_simulation import cloud_schedule
from ..sync.simulation import ViolationError, schedule

AT_ONCE = 100
EVERY = 5_000


async def at_once(attempt):
    await asyncio.sleep(0)


def run(seeds, simulate=schedule):
    """How many met the known limit, and what was violated, by seed."""
    for module in (cycle, listing):
        module.backoff = at_once
    limited, violations = 0, []
    for seed in seeds:
        try:
            # Two to five devices, and schedules of several lengths.
            # In some, what was deleted is forgotten, and devices are away for longer than that.
            keep = 5000 if seed % 5 == 0 else None
            devices, steps = 2 + seed % 4, 50 + 40 * (seed % 3)
            world = instant.run(simulate(seed, devices=devices, steps=steps, keep_deleted=keep))
            limited += world.known_limit > 0
        except ViolationError as violation:
            violations.append((seed, str(violation)))
    return len(seeds), limited, violations


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, help="one for each core")
    parser.add_argument("--icloud", action="store_true", help="devices that meet in a simulated iCloud")
    asked = parser.parse_args()
    simulate = cloud_schedule if asked.icloud else schedule
    last = asked.first + asked.schedules
    parts = [range(seed, min(seed + AT_ONCE, last)) for seed in range(asked.first, last, AT_ONCE)]
    began, done, limited, violated = time.monotonic(), 0, 0, 0
    with get_context("spawn").Pool(asked.processes) as pool:
        for count, met, violations in pool.imap_unordered(partial(run, simulate=simulate), parts):
            done, limited, violated = done + count, limited + met, violated + len(violations)
            for seed, what in violations:
                print(f"schedule {seed}: {what}", flush=True)
            if done % EVERY < AT_ONCE or done == asked.schedules:
                seconds = time.monotonic() - began
                print(
                    f"synchronisation: {done:,} schedules in {seconds:.0f} s, {violated} violations, "
                    f"the known limits seen in {limited:,}",
                    flush=True,
                )
    return int(violated > 0)


if __name__ == "__main__":
    sys.exit(main())
