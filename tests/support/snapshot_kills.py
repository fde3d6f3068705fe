"""Snapshots beside busy writers, and restores that are killed.

Run as ``python tests/support/snapshot_kills.py --store sqlite --snapshots 200 --kills 50``. Two processes
with four tasks each move money between accounts; a third one makes a snapshot every 50 ms, each of which
must open, verify, and hold exactly all of the money. Then restores are killed at random moments: what is
found is the store before or the restored one, and nothing in between.
"""

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from axiom_persistence import open_persistence

ACCOUNTS = 40
EACH = 1000
MINE = {"sqlite": "bank.db", "file": "bank"}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--store", choices=MINE, default="sqlite")
    options.add_argument("--snapshots", type=int, default=200)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--records", type=int, default=3000)
    options.add_argument("--directory", type=Path)
    options.add_argument("--work", nargs="+")
    asked = options.parse_args()
    if asked.work:
        asyncio.run({"transfer": transfer, "restore": restore}[asked.work[0]](*asked.work[1:]))
        return
    with tempfile.TemporaryDirectory(dir=asked.directory) as directory:
        place = Path(directory) / MINE[asked.store]
        print(asyncio.run(beside_writers(place, asked.snapshots)))
        place = Path(directory) / f"restored-{MINE[asked.store]}"
        print(asyncio.run(killed(place, asked.kills, asked.records)))


def begin(*work, **options):
    return subprocess.Popen([sys.executable, __file__, "--work", *map(str, work)], **options)


# -- beside writers --------------------------------------------------------------------------------


async def transfer(place):
    """Four tasks that move money, until killed."""
    async with open_persistence(Path(place)) as persistence:

        async def move():
            while True:
                one, other = random.sample(range(ACCOUNTS), 2)
                amount = random.randint(1, 50)

                async def body(tx, one=one, other=other, amount=amount):
                    await tx.save(f"account/{one:02}", await tx.load(f"account/{one:02}", int) - amount)
                    await tx.save(f"account/{other:02}", await tx.load(f"account/{other:02}", int) + amount)

                await persistence.run_transaction(body, attempts=10_000)

        await asyncio.gather(*(move() for _ in range(4)))


async def beside_writers(place, count):
    async with open_persistence(place) as persistence:
        await persistence.save_many({f"account/{n:02}": EACH for n in range(ACCOUNTS)})
        writers = [begin("transfer", place) for _ in range(2)]
        try:
            before = await persistence.load_many([f"account/{n:02}" for n in range(ACCOUNTS)], int)
            while await persistence.load_many(list(before), int) == before:
                await asyncio.sleep(0.01)  # until they are at work
            states = set()
            for _ in range(count):
                taken = await persistence.snapshot(keep=5)
                states.add(await check(taken))
                await asyncio.sleep(0.05)
            assert all(writer.poll() is None for writer in writers), "a writer ended"
        finally:
            for writer in writers:
                writer.kill()
                writer.wait()
    assert len(states) > 1, "nobody wrote meanwhile"
    return f"{count} snapshots, {len(states)} different ones, every one of them whole and exact"


async def check(snapshot):
    async with open_persistence(Path(snapshot.path), mode="inspect") as copy:
        report = await copy.verify()
        assert report, report
        found = await copy.load_many([f"account/{n:02}" for n in range(ACCOUNTS)], int)
    assert sum(found.values()) == ACCOUNTS * EACH, found
    return tuple(sorted(found.items()))


# -- killed restores -------------------------------------------------------------------------------


async def restore(place, snapshot):
    async with open_persistence(Path(place)) as persistence:
        print("open", flush=True)
        await persistence.restore(snapshot)
        print("restored", flush=True)


async def contents(place):
    async with open_persistence(place) as persistence:
        found = {}
        async for key in persistence.keys():
            found[key] = await persistence.load(key, dict)
        assert await persistence.verify()
        return found


async def killed(place, kills, records):
    old = {f"k{n:05}": {"n": n} for n in range(records)}
    new = {f"k{n:05}": {"n": n * (1 + n % 2)} for n in range(records // 2, records + records // 2)}
    async with open_persistence(place) as persistence:
        await persistence.save_many(old)
        first = await persistence.snapshot()
        await persistence.delete_many(old.keys() - new.keys())
        await persistence.save_many(new)
        second = await persistence.snapshot()
    targets = [(first.path, old), (second.path, new)]
    now, outcomes, took = new, {"before": 0, "restored": 0}, None
    for number in range(kills + 1):
        snapshot, wanted = targets[0] if now is new else targets[1]
        process = begin("restore", place, snapshot, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "open\n"
        begun = time.monotonic()
        if number:
            await asyncio.sleep(random.uniform(0, took))
            process.send_signal(signal.SIGKILL)
        else:
            assert process.stdout.readline() == "restored\n"
            took = time.monotonic() - begun  # and not the end of the interpreter
        process.communicate()
        found = await contents(place)
        assert found in (now, wanted), f"a mixture: {len(found)} records"
        outcomes["restored" if found == wanted else "before"] += 1
        took *= 0.85 if found == wanted else 1.15  # so that as many are killed before as behind
        now = new if found == new else old
    assert all(outcomes.values()) or kills < 20, f"all killed on one side: {outcomes}"
    return f"{kills} restores killed: {outcomes}"


if __name__ == "__main__":
    main()
