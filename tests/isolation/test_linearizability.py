"""What several processes see of a few keys they all change can be explained by one order of their calls."""

import asyncio
import os

import pytest

from axiom_persistence import SQLiteAdapter
from axiom_persistence.layers.cached import Cached
from axiom_persistence.testing.linearizability import check_linearizable
from support.contender import STACKS, mixed
from support.contenders import Contenders

ON_SERVERS = "AXIOM_TEST_STORES" in os.environ
CONTENDED = {
    "sqlite": 2000,
    "file": 2000,
    **dict.fromkeys(("postgres", "redis", "objects"), 2000 if ON_SERVERS else 200),
}
"""How many contended calls are judged: of a server, all of them in ``make torture``."""


def rounds(contenders, steps, most):
    """A verdict on each of up to ``most`` rounds, each over keys of its own."""
    for number in range(most):
        histories = contenders.work("mixed", number, steps)
        yield check_linearizable(operation for history in histories for operation in history)


@pytest.mark.parametrize(
    ("stack", "count"),
    [
        ("sqlite", 2),
        ("sqlite", 4),
        ("file", 2),
        ("file", 4),
        ("postgres", 4),
        ("redis", 4),
        *[("objects", 4)] * ON_SERVERS,
    ],
)
def test_every_answer_of_several_processes_has_its_place_in_one_order(
    stack, count, tmp_path, record_property
):
    """Cached loads, saves, updates, deletions and empty work of mixed durability are linearizable."""
    contended = operations = 0
    with Contenders(stack, tmp_path / "store", count) as contenders:
        for report in rounds(contenders, steps=150 if stack in ("sqlite", "file") else 30, most=100):
            assert report, str(report)
            contended += report.contended
            operations += report.operations
            if contended >= CONTENDED[stack]:
                break
    record_property(
        "told", f"linearizable on {stack}: {operations} calls of {count} processes, {contended} contended"
    )
    assert contended >= CONTENDED[stack]


@pytest.mark.parametrize("stack", ["sqlite", "file"])
async def test_every_answer_of_four_threads_has_its_place_in_one_order(stack, tmp_path, record_property):
    """3 threads over one persistence and one over a second opening: their calls are linearizable, too."""
    contended = operations = 0
    async with STACKS[stack](tmp_path / "store") as shared, STACKS[stack](tmp_path / "store") as other:

        def run(number, seed):
            return asyncio.run(mixed(shared if number else other, f"t{number}", seed, 100))

        for seed in range(20):
            histories = await asyncio.gather(*(asyncio.to_thread(run, number, seed) for number in range(4)))
            report = check_linearizable(operation for history in histories for operation in history)
            assert report, str(report)
            contended += report.contended
            operations += report.operations
            if contended >= CONTENDED[stack]:
                break
    record_property(
        "told", f"linearizable on {stack}: {operations} calls of 4 threads, {contended} contended"
    )
    assert contended >= CONTENDED[stack]


@pytest.mark.parametrize(
    "bug",
    ["lost update", "stale cache", "lost update in files", "stale cache in files"]
    + ["lost update on a server"] * ON_SERVERS,
)
def test_a_planted_bug_is_caught(bug, tmp_path):
    """The same calls and the same check find an update without expect, and a mark that never moves."""
    with Contenders(bug, tmp_path / "store", 4) as contenders:
        assert not all(rounds(contenders, steps=60, most=10))  # it stops at the first that is caught


async def test_a_commit_of_our_own_on_its_way_hides_nobody_elses(tmp_path):
    """What another process had acknowledged before our commit got the lock is seen while ours still runs."""
    path, looks = tmp_path / "a.db", 0
    async with Cached(SQLiteAdapter(path)) as ours, SQLiteAdapter(path) as theirs:
        for number in range(10):
            value = b"%d" % number
            await ours.fetch(["hot"])
            foreign = asyncio.create_task(
                theirs.commit({"hot": value, **{f"t{n}": b"x" * 50 for n in range(20_000)}})
            )
            await asyncio.sleep(0.02)
            mine = asyncio.create_task(ours.commit({f"o{n}": b"x" * 50 for n in range(20_000)}))
            await foreign
            await asyncio.sleep(0.02)
            while not mine.done():
                looks += 1
                assert (await ours.fetch(["hot"]))["hot"].data == value
                await asyncio.sleep(0.002)
            await mine
    assert looks
