"""Transactions: all or nothing, isolated, exact under contention, and safe to cancel anywhere."""

import asyncio
import functools
import itertools
import threading
import types

import pytest

from axiom_persistence import MISSING, AdapterBasedPersistence, Key, MemoryAdapter
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    ConflictError,
    StorageError,
)
from axiom_persistence.storage.basic import BasicAdapter
from support.embedded import Kept, listed


@pytest.fixture
def persistence(each_store):
    return each_store


@pytest.fixture
async def memory():
    async with AdapterBasedPersistence(MemoryAdapter()) as opened:
        yield opened


# -- one transaction --------------------------------------------------------------------------------


async def test_a_transaction_reads_its_own_writes(persistence):
    """Inside, what was saved and deleted is so at once; outside, only when it has ended."""
    await persistence.save_many({"a": 1, "b": 2})
    async with persistence.transaction() as tx:
        await tx.save("a", 10)
        await tx.save("new", None)
        assert await tx.delete("b")
        assert not await tx.delete("b")
        assert not await tx.delete("never")
        assert await tx.load("a", int) == 10
        assert await tx.load("new", int | None, default=MISSING) is None
        assert await tx.load("b", int, default=-1) == -1
        assert (await tx.exists("a"), await tx.exists("new"), await tx.exists("b")) == (True, True, False)
        await tx.save("b", 20)
        assert await tx.load("b", int) == 20
        assert await persistence.load_many(["a", "b", "new"], int) == {"a": 1, "b": 2}
    assert await persistence.load_many(["a", "b"], int) == {"a": 10, "b": 20}
    assert await persistence.load("new", int | None, default=MISSING) is None


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError, KeyboardInterrupt, GeneratorExit])
async def test_a_body_that_raises_changes_nothing(persistence, error):
    """Whatever the body raises passes through, and the store is as it was."""
    await persistence.save("a", 1)

    async def fail():
        async with persistence.transaction() as tx:
            await tx.save("a", 2)
            await tx.save("b", 3)
            await tx.delete("a")
            raise error

    with pytest.raises(error):
        await fail()
    assert await persistence.load("a", int) == 1
    assert await listed(persistence) == ["a"]
    async with persistence.transaction() as tx:  # and the next one is not refused
        await tx.save("a", 4)


async def test_a_transaction_without_writes_commits_nothing(memory):
    """Reading only, or doing nothing, is no commit."""
    await memory.save("a", 1)
    before = memory.stats()["commits"]
    async with memory.transaction() as tx:
        assert await tx.load("a", int) == 1
    async with memory.transaction():
        pass
    assert memory.stats()["commits"] == before


@pytest.mark.parametrize("change", ["save", "delete", "create"])
async def test_who_commits_first_wins(persistence, change):
    """A key that was read and then changed by somebody else: ConflictError at the end, nothing changed."""
    await persistence.save("a", 1)
    name = "absent" if change == "create" else "a"

    async def lose():
        async with persistence.transaction() as tx:
            await tx.load(name, int)
            await tx.save("mine", 1)
            if change == "delete":
                await persistence.delete("a")
            else:
                await persistence.save(name, 5)

    with pytest.raises(ConflictError) as caught:
        await lose()
    assert caught.value.key == name
    assert not await persistence.exists("mine")


async def test_the_same_bytes_written_again_are_a_conflict_too(memory):
    """From A to B and back to A: a transaction that saw the first A does not commit over the second."""
    await memory.save("a", 1)

    async def lose():
        async with memory.transaction() as tx:
            await tx.load("a", int)
            await memory.save("a", 2)
            await memory.save("a", 1)
            await tx.save("a", 3)

    with pytest.raises(ConflictError):
        await lose()


async def test_blind_writes_do_not_conflict(persistence):
    """A key that was only written is simply written."""
    async with persistence.transaction() as tx:
        await tx.save("a", 1)
        await persistence.save("a", 2)
    assert await persistence.load("a", int) == 1


async def test_a_torn_read_is_refused_when_it_happens(persistence):
    """Two keys that change together are never seen half changed: the second read raises."""
    await persistence.save_many({"a": 0, "b": 0})
    seen = []

    async def torn():
        async with persistence.transaction() as tx:
            a = await tx.load("a", int)
            await persistence.save_many({"a": 1, "b": 1})
            seen.append((a, await tx.load("b", int)))

    with pytest.raises(ConflictError) as caught:
        await torn()
    assert caught.value.key == "a"
    assert seen == []


async def test_reading_twice_gives_the_same(persistence):
    """A value read once stays what it was for the transaction, whatever others do."""
    await persistence.save("a", [1])

    async def read():
        async with persistence.transaction() as tx:
            first = await tx.load("a", list)
            first.append("changed by the body")
            await persistence.save("a", [2])
            assert await tx.load("a", list) == [1]

    await read()


async def test_a_transaction_ends_with_its_body(persistence):
    """Used after the end it is CapabilityUnavailableError, whether it was committed or not."""
    async with persistence.transaction() as tx:
        await tx.save("a", 1)
    for call in (tx.load("a", int), tx.save("a", 2), tx.exists("a"), tx.delete("a"), tx.load(Key("a", int))):
        with pytest.raises(CapabilityUnavailableError, match="over") as caught:
            await call
        assert caught.value.key == "a"
    assert await persistence.load("a", int) == 1


async def test_a_transaction_inside_another_of_the_same_store_is_refused(persistence):
    """Nested use says to use the outer one; another store's transaction is fine."""

    async def nest(view):
        async with persistence.transaction(), view.transaction():
            pass

    for view in (persistence, persistence.namespace("n")):
        with pytest.raises(ConfigurationError, match="outer"):
            await nest(view)
    async with AdapterBasedPersistence(MemoryAdapter()) as other:
        async with persistence.transaction() as tx, other.transaction() as other_tx:
            await tx.save("a", 1)
            await other_tx.save("a", 2)
        assert await other.load("a", int) == 2
    assert await persistence.load("a", int) == 1


async def test_a_task_born_in_a_transaction_has_its_own(memory):
    """A task started by a body is not inside its transaction, neither now nor later."""
    go = asyncio.Event()

    async def background():
        async with memory.transaction() as tx:
            await tx.save("at once", 1)
        await go.wait()
        async with memory.transaction() as tx:
            await tx.save("later", 1)

    async with memory.transaction() as tx:
        await tx.save("a", 1)
        task = asyncio.create_task(background())
        await asyncio.sleep(0.01)
    go.set()
    await task
    assert await listed(memory) == ["a", "at once", "later"]


async def test_where_a_commit_is_not_atomic_there_is_no_transaction():
    """A plain BasicAdapter has no transactions and no _many, and the error names the layer that helps."""

    class Plain(BasicAdapter):
        def __init__(self):
            self.data = {}

        async def read(self, key):
            return self.data.get(key)

        async def write(self, key, data):
            self.data[key] = data

        async def delete(self, key):
            self.data.pop(key, None)

        async def keys(self, prefix=""):
            for key in sorted(self.data):
                if key.startswith(prefix):
                    yield key

    async with AdapterBasedPersistence(Plain()) as persistence:
        await persistence.save("a", 1)
        assert await persistence.update("a", int, lambda n: n + 1, default=0) == 2
        await persistence.save_many({"a": 3})
        for call in (
            persistence.save_many({"a": 1, "b": 2}),
            persistence.delete_many(["a", "b"]),
            persistence.run_transaction(lambda tx: tx.load("a", int)),
        ):
            with pytest.raises(ConfigurationError, match="Journaled"):
                await call
        assert await listed(persistence) == ["a"]


# -- again after a conflict -------------------------------------------------------------------------


async def test_run_transaction_runs_again_after_a_conflict(persistence):
    """The body runs until nobody else won; its last answer is returned."""
    await persistence.save("n", 0)
    tries = []

    async def body(tx):
        n = await tx.load("n", int)
        tries.append(n)
        if len(tries) < 4:
            await persistence.save("n", n + 10)
        await tx.save("n", n + 1)
        return n

    assert await persistence.run_transaction(body) == 30
    assert tries == [0, 10, 20, 30]
    assert await persistence.load("n", int) == 31


async def test_run_transaction_gives_up_after_its_attempts(memory):
    """After so many conflicts the last one is raised; other errors are raised at once."""
    tries = []

    async def always_losing(tx):
        tries.append(await tx.load("n", int, default=0))
        await memory.save("n", len(tries))
        await tx.save("n", -1)

    with pytest.raises(ConflictError):
        await memory.run_transaction(always_losing, attempts=3)
    assert len(tries) == 3

    async def failing(tx):
        tries.append(None)
        raise StorageError("broken")

    with pytest.raises(StorageError):
        await memory.run_transaction(failing)
    assert len(tries) == 4
    with pytest.raises(ConfigurationError, match="attempts"):
        await memory.run_transaction(failing, attempts=0)


@pytest.mark.parametrize("tasks", [50])
async def test_contended_transactions_all_succeed(persistence, tasks):
    """50 tasks move money between 3 accounts at once: every one gets through and the sum is exact."""
    await persistence.save_many({"a": 100, "b": 100, "c": 100})

    async def move(number):
        source, target = "abc"[number % 3], "abc"[(number + 1 + number // 3 % 2) % 3]

        async def body(tx):
            have, other = await tx.load(source, int), await tx.load(target, int)
            await asyncio.sleep(0)
            await tx.save(source, have - number)
            await tx.save(target, other + number)

        await persistence.run_transaction(body, durability="memory")

    async def watch():
        for _ in range(20):
            assert sum((await persistence.load_many(["a", "b", "c"], int)).values()) == 300
            await asyncio.sleep(0)

    await asyncio.gather(watch(), *(move(number) for number in range(tasks)))
    expected = {"a": 100, "b": 100, "c": 100}
    for number in range(tasks):
        expected["abc"[number % 3]] -= number
        expected["abc"[(number + 1 + number // 3 % 2) % 3]] += number
    assert await persistence.load_many(["a", "b", "c"], int) == expected


async def test_update_is_exact_among_tasks(persistence):
    """100 tasks that count at once count to 100."""
    count = Key("count", int, default=0)
    await asyncio.gather(
        *(persistence.update(count, lambda n: n + 1, durability="memory") for _ in range(100))
    )
    assert await persistence.load(count) == 100


async def test_update_is_exact_among_threads(kept):
    """4 threads with event loops of their own count 25 times each, to 100, by update and by transaction."""
    async with kept.open() as persistence:

        async def count():
            for step in range(25):
                await persistence.update("updated", int, lambda n: n + 1, default=0, durability="memory")

                async def body(tx):
                    await tx.save("transacted", await tx.load("transacted", int, default=0) + 1)

                if step % 5 == 0:
                    await persistence.run_transaction(body, durability="memory")

        failed = []

        def run():
            try:
                asyncio.run(count())
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert failed == []
        assert await persistence.load_many(["updated", "transacted"], int) == {
            "updated": 100,
            "transacted": 20,
        }


async def test_update_is_exact_between_two_opens(tmp_path):
    """Two persistences over one file count like one."""
    kept = Kept("sqlite", tmp_path)
    async with kept.open() as one, kept.open() as two:

        async def count(persistence):
            for _ in range(50):
                await persistence.update("n", int, lambda n: n + 1, default=0, durability="process_exit")

        await asyncio.gather(count(one), count(two), count(one), count(two))
        assert await one.load("n", int) == await two.load("n", int) == 200


async def test_update_refuses_what_is_no_plain_function(memory):
    """An async function or none at all is refused, naming run_transaction; what it raises passes through."""

    async def asynchronous(value):
        return value

    with pytest.raises(ConfigurationError, match="run_transaction"):
        await memory.update("n", int, asynchronous, default=0)
    with pytest.raises(ConfigurationError, match="function"):
        await memory.update("n", int, 5, default=0)
    with pytest.raises(ConfigurationError, match="function"):
        await memory.update(Key("n", int, default=0), 5)
    with pytest.raises(ZeroDivisionError):
        await memory.update("n", int, lambda n: 1 // n, default=0)
    assert not await memory.exists("n")
    assert await memory.update("n", int, lambda n: n + 1, default=0) == 1


# -- cancelled --------------------------------------------------------------------------------------


@types.coroutine
def cancelled_at(running, n, reached):
    """Await ``running``, cancelling the current task where it suspends for the ``n``-th time."""
    iterator = running.__await__()
    resume = functools.partial(next, iterator)
    for step in itertools.count(1):
        try:
            waited_for = resume()
        except StopIteration as end:
            return end.value
        if step == n:
            reached.append(n)
            asyncio.current_task().cancel()
        try:
            yield waited_for
            resume = functools.partial(next, iterator)
        except BaseException as error:
            resume = functools.partial(iterator.throw, error)


async def swap(persistence):
    async with persistence.transaction() as tx:
        a, b = await tx.load("a", int), await tx.load("b", int)
        await tx.save("a", b)
        await tx.save("b", a)


OPERATIONS = {
    "save": lambda persistence: persistence.save("a", 2),
    "save_many": lambda persistence: persistence.save_many({"a": 2, "b": 1}),
    "update": lambda persistence: persistence.update("a", int, lambda n: 3 - n, default=0),
    "transaction": swap,
    "run_transaction": lambda persistence: persistence.run_transaction(lambda tx: tx.save("a", 2)),
    "load": lambda persistence: persistence.load("a", int),
    "load_many": lambda persistence: persistence.load_many(["a", "b"], int),
    "delete": lambda persistence: persistence.delete("c"),
    "verify": lambda persistence: persistence.verify(),
    "flush": lambda persistence: persistence.flush(),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_cancelling_at_any_await_leaves_the_store_usable(persistence, name):
    """Cancelled at its 1st, 2nd, ... suspension, an operation is done or not done, and the next one works."""
    for n in range(1, 200):
        await persistence.save_many({"a": 1, "b": 2, "c": 3})
        reached = []
        task = asyncio.create_task(wait_for(OPERATIONS[name](persistence), n, reached))
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        await persistence.flush()
        found = await persistence.load_many(["a", "b", "c"], int)
        assert (found["a"], found["b"]) in [(1, 2), (2, 1)] or (name != "transaction" and found["b"] == 2)
        assert found["a"] in (1, 2)
        await persistence.save("after", n)
        assert await persistence.load("after", int) == n
        assert await persistence.update("after", int, lambda value: value + 1, default=0) == n + 1
        if not reached:
            return
    pytest.fail("it never came to its end")


async def wait_for(running, n, reached):
    await cancelled_at(running, n, reached)


async def test_cancelling_an_opening_leaves_it_closed_and_openable(kept):
    """Cancelled at any suspension of opening or closing, a store can be opened again, whole."""
    async with kept.open() as persistence:
        await persistence.save("k", 1)
    for n in range(1, 100):
        persistence = kept.open()
        reached = []
        task = asyncio.create_task(wait_for(persistence.activate(), n, reached))
        await asyncio.gather(task, return_exceptions=True)
        if reached:
            assert not persistence.is_available
        async with persistence:
            assert await persistence.load("k", int) == 1
            closing = []
            task = asyncio.create_task(wait_for(persistence.deactivate(), n, closing))
            await asyncio.gather(task, return_exceptions=True)
        async with kept.open() as again:
            await again.save("k", 1)
        if not reached and not closing:
            return
    pytest.fail("it never came to its end")
