"""``python -m tests.torture.redis``: a killed server, lost replies, changes, a failover, a million keys.

The tests run the same with smaller numbers.
"""

import argparse
import asyncio
import sys
import time

from axiom_persistence.adapters.redis import RedisAdapter
from axiom_persistence.errors import ConflictError, StorageUnavailableError
from axiom_persistence.testing import TCPProxy
from support.redis_server import Redis, directory, sentinel
from torture.postgres import changes, kills


def at(port, store, **options):
    query = "".join(f"&{name}={value}" for name, value in options.items())
    return RedisAdapter(f"redis://127.0.0.1:{port}/0?store={store}{query}")


async def lost_replies(server, count, store="replies"):
    """``count`` commits of one counter whose reply is lost; what went wrong."""
    report = {"lost": 0, "false conflicts": 0, "double effects": 0}
    async with TCPProxy("127.0.0.1", server.port) as proxy, at(proxy.port, store) as adapter:
        version, acknowledged = None, set()
        while report["lost"] < count:
            before = adapter.stats()["requests"]
            proxy.lose_replies()
            written = {"count": b"%d" % len(acknowledged), f"log/{len(acknowledged)}": b""}
            try:
                version = (await adapter.commit(written, expect={"count": version}))["count"]
            except ConflictError:
                report["false conflicts"] += 1
                version = (await adapter.fetch(["count"]))["count"].version
            acknowledged.add(version)
            report["lost"] += adapter.stats()["requests"] > before + 1
    with server.client() as client:
        ids = [entry[b"id"] for _, entry in client.xrange(f"{{{store}}}:log") if entry[b"id"]]
    report["double effects"] = len(ids) - len(acknowledged)
    return report


async def failover(commits, *, behind=False, **options):
    """A sentinel promotes the replica of a primary that is killed under 4 tasks; what became of their counts.

    ``behind``: the replica is frozen for the last commits before that.

    ``lost`` counts commits that were acknowledged and are not there: asynchronous replication may lose them.
    ``wrong`` counts values that no order of the calls explains.
    """
    report = {"acknowledged": 0, "lost": 0, "wrong": 0, "unsettled": 0}
    primary = Redis(directory()).start()
    replica = Redis(directory(), replicaof=f"127.0.0.1 {primary.port}").start()
    watching = sentinel(directory(), primary)
    try:
        while not (has_replica(primary) and knows_replica(watching)):
            await asyncio.sleep(0.02)
        query = "".join(f"&{name}={value}" for name, value in options.items())
        address = f"redis://127.0.0.1:{watching.port}/0?sentinel=notes{query}"
        acknowledged, tried = dict.fromkeys("abcd", 0), dict.fromkeys("abcd", 0)
        async with RedisAdapter(address) as adapter:
            while not holds_store(replica):
                await asyncio.sleep(0.02)

            async def count(name):
                while acknowledged[name] < commits:
                    found = (await adapter.fetch([name])).get(name)
                    have = int(found.data) if found else 0
                    report["lost"] += max(0, acknowledged[name] - have)
                    report["wrong"] += have > tried[name]
                    tried[name] = max(tried[name], have + 1)
                    try:
                        expected = {name: found.version if found else None}
                        await adapter.commit({name: b"%d" % (have + 1)}, expect=expected)
                    except ConflictError:
                        continue
                    except StorageUnavailableError:
                        report["unsettled"] += 1
                        continue
                    acknowledged[name] = have + 1
                    report["acknowledged"] += 1

            tasks = [asyncio.create_task(count(name)) for name in acknowledged]
            while min(acknowledged.values()) < commits // 2:
                await asyncio.sleep(0.005)
            if behind:
                replica.freeze()
                await adapter.commit({"bulk": bytes(32 << 20)})  # more than the system keeps for it
                wanted = report["acknowledged"] + 20
                while report["acknowledged"] < wanted:
                    await asyncio.sleep(0.005)
            await asyncio.to_thread(primary.kill)
            replica.thaw()
            if options.get("replicas"):  # somebody has to follow the new primary
                while not is_primary(replica):
                    await asyncio.sleep(0.02)
                await asyncio.to_thread(primary.start)
            await asyncio.gather(*tasks)
    finally:
        for server in (watching, replica, primary):
            server.stop()
    return report


def is_primary(server):
    with server.client() as client:
        return client.info("replication")["role"] == "master"


def has_replica(server):
    with server.client() as client:
        return client.info("replication").get("slave0", {}).get("state") == "online"


def holds_store(server):
    with server.client() as client:
        return bool(client.exists("{axiom}:store"))


def knows_replica(watching):
    with watching.client() as client:
        return bool(client.execute_command("SENTINEL", "REPLICAS", "notes"))


async def listing(server, count):
    """Seconds to list ``count`` keys, and whether they came in order."""
    store = "many"
    async with at(server.port, store) as adapter:
        with server.client() as client:
            for start in range(0, count, 10_000):
                names = {f"key/{n:08}": 0 for n in range(start, min(count, start + 10_000))}
                client.zadd(f"{{{store}}}:index", names)
        best = None
        for _ in range(3):
            started = time.perf_counter()
            keys = [key async for key in adapter.keys("")]
            seconds = time.perf_counter() - started
            best = seconds if best is None else min(best, seconds)
        return {"keys": len(keys), "in order": keys == sorted(keys), "seconds": round(best, 2)}


async def main(asked):
    server = Redis(directory()).start()
    kept = True
    try:
        for name, wanted, report in (
            ("kills", {"lost": 0, "twice": 0, "unsettled": 0}, await kills(server, asked.kills, at=at)),
            (
                "lost replies",
                {"lost": asked.replies, "false conflicts": 0, "double effects": 0},
                await lost_replies(server, asked.replies),
            ),
            ("changes", {"missed": 0}, await changes(server, asked.commits, at=at)),
            ("failover", {"wrong": 0}, await failover(2000)),
            ("failover to a replica behind", {"wrong": 0}, await failover(2000, behind=True)),
            ("failover, replicas=1", {"lost": 0, "wrong": 0}, await failover(200, replicas=1, timeout=2)),
            ("listing", {"keys": asked.keys, "in order": True}, await listing(server, asked.keys)),
        ):
            fine = all(report[each] == value for each, value in wanted.items())
            print(f"{name}: {report}{'' if fine else '  VIOLATED'}", flush=True)
            kept = kept and fine
    finally:
        server.stop()
    return 0 if kept else 1


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.torture.redis", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--replies", type=int, default=1000)
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse(sys.argv[1:]))))
