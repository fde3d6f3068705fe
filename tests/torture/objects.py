"""``python -m tests.torture.objects``: a killed server, lost replies, changes, many keys.

The tests run the same with smaller numbers. ``--on`` names another server; only SeaweedFS is killed, since
the others keep what they have in memory.
"""

import asyncio
import sys
import time
from collections import Counter
from functools import partial

from axiom_persistence.adapters._objects.entry import entry_name, unpacked
from axiom_persistence.adapters.objects import ObjectStoreAdapter
from axiom_persistence.errors import ConflictError
from axiom_persistence.testing import TCPProxy
from support import buckets
from support.objects import address
from torture import served


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


kills = partial(served.kills, at=at, timeout=120)
changes = partial(served.changes, at=at, wait=0.02)


async def lost_replies(server, count, prefix="replies", at=at):
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


async def tidying(server, commits, prefix="tidying", at=at):
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


async def listing(server, count, prefix="many", at=at):
    """Seconds to list ``count`` keys, and to open the store that has them."""
    async with at(server.port, prefix) as adapter:
        for n in range(0, count, 10_000):
            await adapter.commit(
                dict.fromkeys((f"key/{each:08}" for each in range(n, min(count, n + 10_000))), b"x")
            )
        await adapter.scrub()
    started = time.perf_counter()
    async with at(server.port, prefix) as adapter:
        opened = time.perf_counter() - started
        return {**await served.listed(adapter, tries=1), "opening": round(opened, 2)}


async def main(asked):
    kind = buckets.module_of(asked.on)
    server = kind.shared.start()

    def at(port, prefix, **options):
        return ObjectStoreAdapter(kind.address(port, prefix, **options))

    killing = ("kills", {"lost": 0, "twice": 0, "unsettled": 0}, lambda: kills(server, asked.kills))
    return await served.judged(
        server,
        (
            *[killing] * (asked.on == "seaweed"),
            (
                "lost replies",
                {"false conflicts": 0, "double effects": 0},
                lambda: lost_replies(server, asked.replies, at=at),
            ),
            ("changes", {"missed": 0}, lambda: changes(server, asked.commits, at=at)),
            ("tidying", {"wrong": 0}, lambda: tidying(server, asked.tidied, at=at)),
            ("listing", {"keys": asked.keys, "in order": True}, lambda: listing(server, asked.keys, at=at)),
        ),
    )


def parse(arguments):
    parser = served.parser("objects", __doc__, keys=200_000)
    parser.add_argument("--tidied", type=int, default=2000)
    parser.add_argument("--on", choices=("seaweed", "moto", "azurite"), default="seaweed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse(sys.argv[1:]))))
