"""``python -m tests.torture.postgres``: a killed server, lost replies, changes, a million keys.

The tests run the same with smaller numbers.
"""

import argparse
import asyncio
import random
import sys
import time

from axiom_persistence.adapters.postgres import PostgresAdapter
from axiom_persistence.errors import ConflictError, StorageUnavailableError
from axiom_persistence.testing import TCPProxy
from support.postgres import USER, Postgres, directory, sql


def at(port, table, **options):
    query = "".join(f"&{name}={value}" for name, value in options.items())
    return PostgresAdapter(f"postgresql://{USER}@127.0.0.1:{port}/postgres?table={table}{query}")


async def kills(server, count, tasks=8, at=at):
    """``tasks`` count up, each its own key and now and then a common one, while the server is killed.

    Returns what was acknowledged and what was lost, applied twice, or settled.
    """
    report = {"kills": 0, "acknowledged": 0, "lost": 0, "twice": 0, "unsettled": 0}
    going = True
    async with at(server.port, "kills") as adapter:
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
        report["connections"] = adapter.stats()["connections"]
    return report


async def lost_replies(server, count, table="replies"):
    """``count`` commits of one counter whose reply is lost; what went wrong."""
    report = {"lost": 0, "false conflicts": 0, "double effects": 0}
    async with TCPProxy("127.0.0.1", server.port) as proxy, at(proxy.port, table) as adapter:
        adapter._lanes().changes.announce = lambda: None  # its reply is not the one to be lost
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
    rows = await sql(server, f"SELECT count(*) AS n FROM {table}_log WHERE ok")
    report["double effects"] = rows[0]["n"] - len(acknowledged)
    return report


async def changes(server, count, table="feed", at=at):
    """Two writers commit ``count`` times; a reader that is cut off now and then names every key."""
    async with TCPProxy("127.0.0.1", server.port) as proxy:
        reader, first, second = at(proxy.port, table), at(server.port, table), at(server.port, table)
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
                    await reader.wait_for_change(0.05)
                    if len(seen) > (cuts + 1) * count // 20:
                        cuts += 1
                        proxy.cut()

            async def both():
                await asyncio.gather(write(first, "first"), write(second, "second"))
                done.set()

            _, cuts = await asyncio.gather(both(), read(mark))
            expected = {f"{name}/{n}" for name in ("first", "second") for n in range(count // 2)}
            return {"commits": count, "cuts": cuts, "missed": len(expected - seen)}


async def listing(server, count):
    """Seconds to list ``count`` keys, and whether they came in order."""
    async with at(server.port, "many") as adapter:
        await sql(
            server,
            "INSERT INTO many (key, data, version) SELECT 'key/' || lpad(n::text, 8, '0'), '\\x78', "
            "gen_random_uuid() FROM generate_series(1, $1::int) AS n",
            count,
        )
        await sql(server, "VACUUM ANALYZE many")
        best = None
        for _ in range(3):
            started = time.perf_counter()
            keys = [key async for key in adapter.keys("")]
            seconds = time.perf_counter() - started
            best = seconds if best is None else min(best, seconds)
        return {"keys": len(keys), "in order": keys == sorted(keys), "seconds": round(best, 2)}


async def main(asked):
    server = Postgres(directory()).start()
    kept = True
    try:
        for name, wanted, report in (
            ("kills", {"lost": 0, "twice": 0, "unsettled": 0}, await kills(server, asked.kills)),
            (
                "lost replies",
                {"lost": asked.replies, "false conflicts": 0, "double effects": 0},
                await lost_replies(server, asked.replies),
            ),
            ("changes", {"missed": 0}, await changes(server, asked.commits)),
            ("listing", {"keys": asked.keys, "in order": True}, await listing(server, asked.keys)),
        ):
            fine = all(report[each] == value for each, value in wanted.items())
            print(f"{name}: {report}{'' if fine else '  VIOLATED'}", flush=True)
            kept = kept and fine
    finally:
        server.stop()
    return 0 if kept else 1


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.torture.postgres", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--replies", type=int, default=1000)
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse(sys.argv[1:]))))
