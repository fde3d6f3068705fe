"""``python -m tests.interrupts --interrupts 20000``: as many Ctrl-Cs, over both faces and both stores."""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from .harness import STORES, WORLDS, work
from .planted import PLANTED


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.interrupts", description=__doc__)
    parser.add_argument("--interrupts", type=int, default=500)
    parser.add_argument("--seed", type=int, help="of a run to repeat")
    parser.add_argument("--face", choices=WORLDS)
    parser.add_argument("--store", choices=STORES)
    parser.add_argument("--planted", choices=PLANTED, help="a mistake that must be found")
    return parser.parse_args(arguments)


def main(asked):
    seed = random.randrange(1 << 30) if asked.seed is None else asked.seed
    if asked.planted:
        PLANTED[asked.planted]()
    if asked.face and asked.store:
        with tempfile.TemporaryDirectory() as directory:
            print(work(asked.face, asked.store, asked.interrupts, seed, Path(directory)), flush=True)
        return 0
    # Each in a process of its own, which also must come to its end.
    share = -(-asked.interrupts // (len(WORLDS) * len(STORES)))
    failed = 0
    for face in WORLDS:
        for store in STORES:
            command = [sys.executable, "-m", "tests.interrupts", f"--interrupts={share}", f"--seed={seed}"]
            failed |= subprocess.run([*command, "--face", face, "--store", store]).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(parse(sys.argv[1:])))
