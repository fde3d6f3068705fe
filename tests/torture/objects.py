"""``python -m tests.torture.objects``: a killed server, lost replies, changes, many keys.

The tests run the same with smaller numbers.
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter

from axiom_persistence.adapters._objects.entry import entry_name, unpacked
from axiom_persistence.adapters.objects import ObjectStoreAdapter
from axiom_persistence.errors import ConflictError, StorageUnavailableError
from axiom_persistence.testing import TCPProxy
from support.objects import Seaweed, address, directory


def at(port, prefix, **options):
    return ObjectStoreAdapter(address(port, prefix, **options))


def ids(adapter):
    """How often each commit is in the log."""
    bucket, found = adapter._workers.bucket, Counter()
    number = 1
    while (part := bucket.read(entry_name(number))) is not None:
        entry, _ = unpacked(part.data)
        found.update(entry.ids)
        number += 1
    return found


async def kills(server, count, tasks=8):
    """``tasks`` count up, each its own key and now and then a common one, while the server is killed.

    Returns what was acknowledged and what was lost, applied twice, or not settled.
    """
    report = {"kills": 0, "acknowledged": 0, "lost": 0, "twice": 0, "unsettled": 0}
    going = True
    async with at(server.port, "kills", timeout=120) as adapter:
        await adapter.commit({"all": b"0"})

        async def work(name, acknowledged, chance):
            own = 0
            while going:
                wanted = ["all", name] if chance.random() < 0.1 else [name]
                found = await adapter.fetch(wanted)
                have = int(found[name].data) if name in found else 0
                if have != own:
                    report["lost" if have < own else "twice"] += 1
                    own = have
                counts = {key: int(found[key].data) if key in found else 0 for key in wanted}
                try:
                    await adapter.commit(
                        {key: b"%d" % (n + 1) for key, n in counts.items()},
                        expect={key: found[key].version if key in found else None for key in wanted},
                    )
                except ConflictError:
                    continue
                except StorageUnavailableError:
                    report["unsettled"] += 1
                    raise
                own += 1
                acknowledged[name] = own
                acknowledged["all"] += "all" in wanted

        acknowledged = {"all": 0}
        running = [
            asyncio.create_task(work(f"task {n}", acknowledged, random.Random(n))) for n in range(tasks)
        ]
        chance = random.Random(count)
        for _ in range(count):
            wanted = sum(acknowledged.values()) + chance.randrange(tasks, 20 * tasks)
            while sum(acknowledged.values()) < wanted:
                await asyncio.sleep(0.005)
                for task in running:
                    if task.done():
                        task.result()
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            report["kills"] += 1
        going = False
        await asyncio.gather(*running)
        found = await adapter.fetch(list(acknowledged))
        report["acknowledged"] = sum(acknowledged.values()) - acknowledged["all"]
        for name, known in acknowledged.items():
            have = int(found[name].data)
            report["lost"] += have < known
            report["twice"] += have > known
    return report


async def lost_replies(server, count, prefix="replies"):
    """``count`` commits of one counter whose reply is lost; what went wrong."""
    report = {"lost": 0, "false conflicts": 0, "double effects": 0}
    async with TCPProxy("127.0.0.1", server.port) as proxy, at(proxy.port, prefix) as adapter:
        version, acknowledged = (await adapter.commit({"count": b""}))["count"], set()
        acknowledged.add(version)
        while report["lost"] < count:
            before = proxy.lost
            proxy.lose_replies()
            changes = {"count": b"%d" % len(acknowledged), f"log/{len(acknowledged)}": b""}
            try:
                version = (await adapter.commit(changes, expect={"count": version}))["count"]
            except ConflictError:
                report["false conflicts"] += 1
                version = (await adapter.fetch(["count"]))["count"].version
            acknowledged.add(version)
            report["lost"] += proxy.lost - before
        found = await asyncio.to_thread(ids, adapter)
    report["double effects"] = found.total() - len(acknowledged)
    return report


async def changes(server, count, prefix="feed"):
    """Two writers commit ``count`` times; a reader that is cut off now and then names every key."""
    async with TCPProxy("127.0.0.1", server.port) as proxy:
        reader, first, second = at(proxy.port, prefix), at(server.port, prefix), at(server.port, prefix)
        async with reader, first, second:
            mark = (await reader.changed(None)).mark
            seen, done = set(), asyncio.Event()

            async def write(adapter, name):
                await asyncio.gather(*(part(adapter, name, n) for n in range(8)))

            async def part(adapter, name, start):
                for n in range(start, count // 2, 8):
                    await adapter.commit({f"{name}/{n}": b"x"})

            async def read(mark):
                cuts = 0
                while True:
                    last = done.is_set()
                    changed = await reader.changed(mark)
                    mark = changed.mark
                    seen.update(changed.keys)
                    if last:
                        return cuts
                    await reader.wait_for_change(0.02)
                    if len(seen) > (cuts + 1) * count // 20:
                        cuts += 1
                        proxy.cut()

            async def both():
                await asyncio.gather(write(first, "first"), write(second, "second"))
                done.set()

            _, cuts = await asyncio.gather(both(), read(mark))
            expected = {f"{name}/{n}" for name in ("first", "second") for n in range(count // 2)}
            return {"commits": count, "cuts": cuts, "missed": len(expected - seen)}


async def tidying(server, commits, prefix="tidying", every=20):
    """Two processes' worth of writers make checkpoints all the time, beside readers; nothing is lost.

    Returns how many there were, and the keys that had another value than the one saved last.
    """
    from axiom_persistence.adapters._objects.checkpoint import make_checkpoint

    report = {"checkpoints": 0, "wrong": 0, "commits": commits}
    async with at(server.port, prefix) as first, at(server.port, prefix) as second:
        known, going = {}, True

        async def write(adapter, name):
            for n in range(commits // 2):
                changes = {f"{name}/{n % 7}": b"%d" % n * (n % 50), f"{name}/{n}/x": b"%d" % n}
                if n % 5 == 4:
                    changes[f"{name}/{n - 1}/x"] = None
                known.update(changes)
                await adapter.commit(changes)

        async def tidy(adapter):
            while going:
                made = await asyncio.to_thread(
                    make_checkpoint, adapter._workers.log, adapter._workers.stopped, everything=True
                )
                report["checkpoints"] += made
                await asyncio.sleep(0.01)

        async def read(adapter):
            while going:
                for found in (await adapter.fetch(list(known))).values():
                    assert found.data is not None
                await asyncio.sleep(0.01)

        others = [asyncio.create_task(work(each)) for work in (tidy, read) for each in (first, second)]
        await asyncio.gather(write(first, "first"), write(second, "second"))
        going = False
        await asyncio.gather(*others)
        for adapter in (first, second):
            found = await adapter.fetch(list(known))
            report["wrong"] += sum(
                (found[key].data if key in found else None) != data for key, data in known.items()
            )
    async with at(server.port, prefix) as again:
        assert sorted(key for key, data in known.items() if data is not None) == [
            key async for key in again.keys("")
        ]
    return report


async def listing(server, count, prefix="many"):
    """Seconds to list ``count`` keys, and to open the store that has them."""
    async with at(server.port, prefix) as adapter:
        for n in range(0, count, 10_000):
            await adapter.commit(dict.fromkeys((f"key/{n + each:08}" for each in range(10_000)), b"x"))
        await adapter.scrub()
    started = time.perf_counter()
    async with at(server.port, prefix) as adapter:
        opened = time.perf_counter() - started
        started = time.perf_counter()
        keys = [key async for key in adapter.keys("")]
        seconds = time.perf_counter() - started
    return {
        "keys": len(keys),
        "in order": keys == sorted(keys),
        "seconds": round(seconds, 2),
        "opening": round(opened, 2),
    }


async def main(asked):
    server = Seaweed(directory()).start()
    kept = True
    try:
        for name, wanted, work in (
            ("kills", {"lost": 0, "twice": 0, "unsettled": 0}, lambda: kills(server, asked.kills)),
            (
                "lost replies",
                {"false conflicts": 0, "double effects": 0},
                lambda: lost_replies(server, asked.replies),
            ),
            ("changes", {"missed": 0}, lambda: changes(server, asked.commits)),
            ("tidying", {"wrong": 0}, lambda: tidying(server, asked.tidied)),
            ("listing", {"keys": asked.keys, "in order": True}, lambda: listing(server, asked.keys)),
        ):
            report = await work()
            fine = all(report[each] == value for each, value in wanted.items())
            print(f"{name}: {report}{'' if fine else '  VIOLATED'}", flush=True)
            kept = kept and fine
    finally:
        server.stop()
    return 0 if kept else 1


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.torture.objects", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--replies", type=int, default=1000)
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument("--tidied", type=int, default=2000)
    parser.add_argument("--keys", type=int, default=200_000)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse(sys.argv[1:]))))
