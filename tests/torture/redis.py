"""``python -m tests.torture.redis``: a killed server, lost replies, changes, a failover, a million keys.

The tests run the same with smaller numbers.
"""

import asyncio
import sys
from functools import partial

from axiom_persistence.adapters.redis import RedisAdapter
from axiom_persistence.errors import ConflictError, StorageUnavailableError
from support.redis_server import Redis, directory, sentinel
from support.servers import query_of
from torture import served


def at(port, store, **options):
    return RedisAdapter(f"redis://127.0.0.1:{port}/0?store={store}{query_of(options)}")


kills = partial(served.kills, at=at)
changes = partial(served.changes, at=at)


async def lost_replies(server, count, store="replies"):
    """See ``served.lost_replies``."""

    async def commits_of(store):
        with server.client() as client:
            return sum(bool(entry[b"id"]) for _, entry in client.xrange(f"{{{store}}}:log"))

    return await served.lost_replies(server, count, at, store, commits_of)


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
        address = f"redis://127.0.0.1:{watching.port}/0?sentinel=notes{query_of(options)}"
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
        return await served.listed(adapter)


async def main(asked):
    server = Redis(directory()).start()
    return await served.judged(
        server,
        (
            ("kills", {"lost": 0, "twice": 0, "unsettled": 0}, lambda: kills(server, asked.kills)),
            (
                "lost replies",
                {"lost": asked.replies, "false conflicts": 0, "double effects": 0},
                lambda: lost_replies(server, asked.replies),
            ),
            ("changes", {"missed": 0}, lambda: changes(server, asked.commits)),
            ("failover", {"wrong": 0}, lambda: failover(2000)),
            ("failover to a replica behind", {"wrong": 0}, lambda: failover(2000, behind=True)),
            ("failover, replicas=1", {"lost": 0, "wrong": 0}, lambda: failover(200, replicas=1, timeout=2)),
            ("listing", {"keys": asked.keys, "in order": True}, lambda: listing(server, asked.keys)),
        ),
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main(served.parser("redis", __doc__, keys=1_000_000).parse_args())))
