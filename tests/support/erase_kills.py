"""Erasures that are killed at random moments, and begun again until one gets through.

Run as ``python tests/support/erase_kills.py --store sqlite --kills 50``. After each kill everything about the
subject can be read, or nothing; in the end there is one receipt, and no byte of it in any file.
"""

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from axiom_persistence import open_persistence
from axiom_persistence.security import StaticKey

MARKER = "marker-70efdf2ec9b08607"
MINE = {"sqlite": "x.db", "file": "files"}
KEYS = {"plain": None, "encrypted": StaticKey(bytes(range(32)))}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--store", choices=MINE, default="sqlite")
    options.add_argument("--keys", nargs="+", choices=KEYS, default=list(KEYS))
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--records", type=int, default=300)
    options.add_argument("--directory", type=Path)
    options.add_argument("--work", nargs=2)
    asked = options.parse_args()
    if asked.work:
        asyncio.run(erase(Path(asked.work[0]), KEYS[asked.work[1]]))
        return
    for keys in asked.keys:
        with tempfile.TemporaryDirectory(dir=asked.directory) as directory:
            work = killed(Path(directory), MINE[asked.store], keys, asked.kills, asked.records)
            print(asyncio.run(work))


async def erase(place, keys):
    async with open_persistence(place, keys=keys) as persistence:
        print("open", flush=True)
        await persistence.erase("alice")
    print("done", flush=True)


async def killed(directory, name, keys, kills, records):
    """One erasure after the other, in a store of its own, until so many were killed."""
    outcomes, erasures = {"all": 0, "nothing": 0}, 0
    while sum(outcomes.values()) < kills:
        erasures += 1
        (directory / str(erasures)).mkdir()
        left = kills - sum(outcomes.values())
        await one(directory / str(erasures) / name, KEYS[keys], keys, left, records, outcomes)
    return f"{kills} kills of {erasures} erasures in a store that is {keys}: {outcomes}, one receipt each"


async def one(place, provider, keys, kills, records, outcomes):
    names = [f"k{n:05}" for n in range(records)]
    async with open_persistence(place, keys=provider) as persistence:
        await persistence.save_many(dict.fromkeys(names, MARKER), subject="alice")
        await persistence.save_many({f"o{n}": n for n in range(20)}, subject="bob")
        await persistence.snapshot()
    took = 0.02
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, __file__, "--work", str(place), keys], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "open\n"
        await asyncio.sleep(random.uniform(0, took))
        process.send_signal(signal.SIGKILL)
        if "done" in process.communicate()[0]:
            break
        took *= 1.2
        async with open_persistence(place, keys=provider) as persistence:
            found = await persistence.load_many(names, str)
            assert len(found) in (0, records), f"a part can be read: {len(found)} of {records}"
            outcomes["all" if found else "nothing"] += 1
            marks = [key async for key in persistence.adapter.keys("\x01erased/")]
            assert len(marks) == (0 if found else 1)
    async with open_persistence(place, keys=provider) as persistence:
        receipt = (await persistence.erase("alice")).receipt
        assert receipt == (await persistence.erase("alice")).receipt
        assert receipt.erased[0].records == records
        assert await persistence.verify_erasure(receipt, "alice") == receipt
        assert await persistence.count() == 20
        assert await persistence.verify()
    files = [file for file in place.parent.rglob("*") if file.is_file()]
    left = [file for file in files if MARKER.encode() in file.read_bytes()]
    assert not left, f"bytes of it are left in {left}"


if __name__ == "__main__":
    main()
