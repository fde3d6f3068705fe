"""Many contend for few records: sums stay exact, nobody sees half a transaction, everybody gets through."""

import asyncio
import os
import threading

import pytest

from axiom_persistence import AdapterBasedPersistence, MemoryAdapter
from axiom_persistence.errors import ConfigurationError, ConflictError
from axiom_persistence.persistence import _turns
from support.contender import ACCOUNTS, COUNTERS, STACKS, TOTAL, bank
from support.contenders import Contenders
from support.embedded import Kept

STEPS = {"sqlite": 48, "file": 12, "postgres": 8, "redis": 8, "objects": 4}


async def endow(stack, place):
    async with STACKS[stack](place) as persistence:
        await persistence.save_many(dict.fromkeys(ACCOUNTS, TOTAL // len(ACCOUNTS)))


async def audit(stack, place, reports):
    """The sums are what all the reports together come to."""
    async with STACKS[stack](place) as persistence:
        counted = await persistence.load_many(COUNTERS, int)
        assert counted == {key: sum(report["counters"][key] for report in reports) for key in COUNTERS}
        accounts = await persistence.load_many(ACCOUNTS, int)
        assert accounts == {
            key: TOTAL // len(ACCOUNTS) + sum(report["accounts"][key] for report in reports)
            for key in ACCOUNTS
        }
        assert sum(accounts.values()) == TOTAL


ON_SERVERS = "AXIOM_TEST_STORES" in os.environ  # as in ``make torture``


@pytest.mark.parametrize("stack", ["sqlite", "file", "postgres", *["redis", "objects"] * ON_SERVERS])
async def test_sums_are_exact_among_four_processes_of_eight_tasks(stack, tmp_path, record_property):
    """Increments and transfers lose nothing, and no load_many or transaction sees half a transfer."""
    place = tmp_path / "store"
    await endow(stack, place)
    with Contenders(stack, place, 4) as contenders:
        reports = contenders.work("bank", 1, STEPS[stack])
    await audit(stack, place, reports)
    increments = sum(sum(report["counters"].values()) for report in reports)
    transfers, looks = (sum(report[name] for report in reports) for name in ("transfers", "looks"))
    most = max(report["most_tries"] for report in reports)
    record_property(
        "told",
        f"isolation on {stack}: {increments} increments, {transfers} transfers (at most {most} attempts)"
        f" and {looks} looks by 4 processes of 8 tasks",
    )
    assert increments == transfers == 4 * 8 * STEPS[stack] // 4
    assert looks > transfers


@pytest.mark.parametrize("stack", ["sqlite", "file"])
async def test_sums_are_exact_among_four_threads(stack, tmp_path):
    """The same by 4 threads with event loops of their own, over one persistence."""
    place, reports, failed = tmp_path / "store", [], []
    await endow(stack, place)
    async with STACKS[stack](place) as persistence:

        def run(number):
            try:
                reports.append(asyncio.run(bank(persistence, f"t{number}", 1, STEPS[stack])))
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
    assert failed == []
    await audit(stack, place, reports)


async def test_a_torn_commit_is_seen_by_the_readers(tmp_path):
    """The same readers find an adapter out whose commits appear one key after the other."""
    await endow("sqlite", tmp_path / "store")

    def look():
        with Contenders("torn commit", tmp_path / "store", 3) as contenders:
            for number in range(20):
                contenders.work("bank", number, 48)

    with pytest.raises(AssertionError, match="half a transaction was seen"):
        look()


async def test_a_lost_update_shows_in_the_sums(tmp_path):
    """The same sums find an adapter out that ignores what a commit expects."""
    place = tmp_path / "store"
    await endow("sqlite", place)

    async def until_caught():
        with Contenders("lost update", place, 3) as contenders:
            reports = []
            for number in range(20):
                reports += contenders.work("bank", number, 48)
                await audit("sqlite", place, reports)

    with pytest.raises(AssertionError):
        await until_caught()


# -- everybody gets through -------------------------------------------------------------------------


@pytest.mark.parametrize(("stack", "steps"), [("sqlite", 20), ("file", 3)])
async def test_nobody_starves_among_sixty_contenders(stack, steps, tmp_path, record_property):
    """20 tasks in each of 3 processes want one record at once: no transaction or update gives up."""
    place = tmp_path / "store"
    with Contenders(stack, place, 3) as contenders:
        tries = [tried for answer in contenders.work("crowd", 1, steps) for tried in answer]
    assert len(tries) == 3 * 20 * steps
    async with STACKS[stack](place) as persistence:
        assert await persistence.load("wanted", int) == 2 * len(tries)
    transactions, updates = (max(tried) for tried in zip(*tries, strict=True))
    record_property(
        "told",
        f"contention on {stack}: of {2 * len(tries)} by 60 contenders in 3 processes none gave up; at most"
        f" {transactions} attempts a transaction, {updates} an update, of 64",
    )


@pytest.mark.parametrize("kind", ["memory", "sqlite", "file"])
async def test_a_slow_body_gets_through_among_quick_updates(kind, tmp_path):
    """A body slower than what it contends with has its turn: updates of the key it lost wait for it."""
    async with Kept(kind, tmp_path).open() as persistence:
        over, counted, tries = asyncio.Event(), [], []

        async def quick():
            while not over.is_set():
                await persistence.update("n", int, lambda n: n + 1, default=0, durability="memory")
                counted.append(1)
                await asyncio.sleep(0)

        async def slow(tx):
            tries.append(1)
            n = await tx.load("n", int, default=0)
            await asyncio.sleep(0.02)
            await tx.save("n", n + 1)

        others = [asyncio.create_task(quick()) for _ in range(5)]
        try:
            for _ in range(5):
                await persistence.run_transaction(slow, attempts=4, durability="memory")
        finally:
            over.set()
            await asyncio.gather(*others)
        assert await persistence.load("n", int) == len(counted) + 5
        assert len(tries) > 5, "nobody was in its way"


async def contended(persistence, inside):
    """A transaction that loses "n" at first, and holds the turn of "n" while it awaits ``inside()``."""
    tries = []

    async def body(tx):
        tries.append(1)
        await tx.load("n", int)
        if len(tries) == 1:
            await persistence.save("n", 1)
        else:
            await inside()
        await tx.save("done", len(tries))

    try:
        await persistence.run_transaction(body, attempts=2)
    finally:
        assert len(tries) == 2


def add(persistence, amount):
    return persistence.update("n", int, lambda n: n + amount, default=0)


async def test_a_body_may_wait_for_tasks_of_its_own(monkeypatch):
    """What a body starts and awaits takes no turn that the body has, or each would wait for the other."""
    monkeypatch.setattr(_turns, "_PATIENCE_SECONDS", 1e6)
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:

        async def change(tx):
            await tx.save("n", await tx.load("n", int) + 10)

        async def inside():
            await asyncio.create_task(persistence.run_transaction(change))
            await asyncio.create_task(add(persistence, 100))
            await add(persistence, 1000)

        with pytest.raises(ConflictError):  # it has been overtaken by its own
            await contended(persistence, inside)
        assert await persistence.load("n", int) == 1111


async def test_a_body_may_wait_for_somebody_elses_update(monkeypatch):
    """An update from outside that the body waits for does not wait for the body's turn for ever."""
    monkeypatch.setattr(_turns, "_PATIENCE_SECONDS", 0.01)
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:
        asked = asyncio.Event()

        async def outsider():
            await asked.wait()
            await add(persistence, 100)

        task = asyncio.create_task(outsider())

        async def inside():
            asked.set()
            await task

        with pytest.raises(ConflictError):
            await contended(persistence, inside)
        assert await persistence.load("n", int) == 101


async def test_nesting_after_a_conflict_is_an_error_and_no_wait(monkeypatch):
    """run_transaction inside the body of another says so, also in an attempt that holds turns."""
    monkeypatch.setattr(_turns, "_PATIENCE_SECONDS", 1e6)
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:

        async def inside():
            with pytest.raises(ConfigurationError, match="outer"):
                await persistence.run_transaction(lambda tx: tx.load("n", int))

        await contended(persistence, inside)
        assert await persistence.load_many(["n", "done"], int) == {"n": 1, "done": 2}
