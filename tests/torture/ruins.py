"""``python -m tests.torture.ruins --damages 2000 --kills 200``: stores in SQLite, ruined and repaired.

After each damage everything that a search of all bytes finds must be there, and the report must be true. Then
a repair is killed at random, and the next one must end it.
"""

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.support import ruins

from axiom_persistence.adapters._sqlite.salvage import repair

REPAIR = (
    "import sys; from axiom_persistence.adapters._sqlite.salvage import repair; {}repair(sys.argv[1], 'test')"
)


def kept(report, parts, path):
    return all(Path(report.kept, path.name + end).read_bytes() == data for end, data in parts.items())


async def damage(world, count, seed):
    """The faults found, and what became of how many keys by the kind of the damage."""
    faults, fates = [], Counter()
    for number in range(seed, seed + count):
        kind = ruins.ALL[number % len(ruins.ALL)]
        parts = kind(random.Random(number), world.parts)
        world.put(parts)
        report = repair(str(world.path), "test")
        wrong = world.faults(parts, report, await world.read(), told=kind in ruins.DATABASE)
        wrong += [] if kept(report, parts, world.path) else ["the original is not what it was"]
        faults += [f"{kind.__name__} {number}: {line}" for line in wrong]
        fates.update((kind.__name__, fate.value) for fate in report.fates.values())
    return faults, fates


async def kill(world, count, seed):
    """The faults found, and in how many runs a repair was killed before its end."""
    parts = ruins.header_overwritten(random.Random(1), world.parts)
    faults, chance, killed = [], random.Random(seed), 0
    for _ in range(count):
        world.put(parts)
        program = REPAIR.format("print(flush=True); ")
        running = subprocess.Popen([sys.executable, "-c", program, world.path], stdout=subprocess.PIPE)
        running.stdout.readline()
        time.sleep(chance.uniform(0, 0.25))
        running.kill()
        running.communicate()
        killed += running.returncode == -signal.SIGKILL
        if running.returncode == -signal.SIGKILL and not world.is_sound():
            report = repair(str(world.path), "test")
            faults += [] if kept(report, parts, world.path) else ["the original is not what it was"]
        if await world.read() != world.latest():
            faults.append("a killed repair lost something")
    return faults, killed


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--damages", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        world = await ruins.Ruins(directory).build()
        began = time.monotonic()
        faults, fates = await damage(world, asked.damages, asked.seed)
        print(f"{asked.damages} damages in {time.monotonic() - began:.0f} s, {len(faults)} faults")
        for (kind, fate), count in sorted(fates.items()):
            print(f"  {kind}: {count:,} keys {fate}")
        more, killed = await kill(world, asked.kills, asked.seed)
        print(f"{killed} of {asked.kills} repairs killed before their end, {len(more)} faults")
    for line in (*faults, *more):
        print(f"  VIOLATED {line}")
    return 1 if faults or more else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
