"""What the tortures of servers do alike: kills, replies that are lost, changes, a verdict."""

import argparse
import asyncio
import random
import time

from axiom_persistence.errors import ConflictError, StorageUnavailableError
from axiom_persistence.testing import TCPProxy


async def kills(server, count, tasks=8, *, at, **options):
    """``tasks`` count up, each its own key and now and then a common one, while the server is killed.

    Returns what was acknowledged and what was lost, applied twice, or settled.
    """
    report = {"kills": 0, "acknowledged": 0, "lost": 0, "twice": 0, "unsettled": 0}
    going = True
    async with at(server.port, "kills", **options) as adapter:
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
        report.update((name, n) for name, n in adapter.stats().items() if name == "connections")
    return report


async def lost_replies(server, count, at, place, commits_of, prepare=lambda adapter: None):
    """``count`` commits of one counter whose reply is lost; what went wrong.

    ``commits_of``: how many commits the server has noted. ``prepare``: what an adapter needs before.
    """
    report = {"lost": 0, "false conflicts": 0, "double effects": 0}
    async with TCPProxy("127.0.0.1", server.port) as proxy, at(proxy.port, place) as adapter:
        prepare(adapter)
        version, acknowledged = None, set()
        while report["lost"] < count:
            before = adapter.stats()["requests"]
            proxy.lose_replies()
            changes = {"count": b"%d" % len(acknowledged), f"log/{len(acknowledged)}": b""}
            try:
                version = (await adapter.commit(changes, expect={"count": version}))["count"]
            except ConflictError:
                report["false conflicts"] += 1
                version = (await adapter.fetch(["count"]))["count"].version
            acknowledged.add(version)
            report["lost"] += adapter.stats()["requests"] > before + 1
    report["double effects"] = await commits_of(place) - len(acknowledged)
    return report


async def changes(server, count, place="feed", wait=0.05, *, at):
    """Two writers commit ``count`` times; a reader that is cut off now and then names every key."""
    async with TCPProxy("127.0.0.1", server.port) as proxy:
        reader, first, second = at(proxy.port, place), at(server.port, place), at(server.port, place)
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
                    await reader.wait_for_change(wait)
                    if len(seen) > (cuts + 1) * count // 20:
                        cuts += 1
                        proxy.cut()

            async def both():
                await asyncio.gather(write(first, "first"), write(second, "second"))
                done.set()

            _, cuts = await asyncio.gather(both(), read(mark))
            expected = {f"{name}/{n}" for name in ("first", "second") for n in range(count // 2)}
            return {"commits": count, "cuts": cuts, "missed": len(expected - seen)}


async def listed(adapter, tries=3):
    """How many keys there are, whether they come in order, and the seconds that it takes at best."""
    seconds = []
    for _ in range(tries):
        started = time.perf_counter()
        keys = [key async for key in adapter.keys("")]
        seconds.append(time.perf_counter() - started)
    return {"keys": len(keys), "in order": keys == sorted(keys), "seconds": round(min(seconds), 2)}


async def judged(server, steps):
    """Do what ``steps`` name, print each report, stop the server; the exit status."""
    kept = True
    try:
        for name, wanted, work in steps:
            report = await work()
            fine = all(report[each] == value for each, value in wanted.items())
            print(f"{name}: {report}{'' if fine else '  VIOLATED'}", flush=True)
            kept = kept and fine
    finally:
        server.stop()
    return 0 if kept else 1


def parser(name, says, keys):
    made = argparse.ArgumentParser(prog=f"python -m tests.torture.{name}", description=says)
    for option, number in (("kills", 100), ("replies", 1000), ("commits", 10_000), ("keys", keys)):
        made.add_argument(f"--{option}", type=int, default=number)
    return made
