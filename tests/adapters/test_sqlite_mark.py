"""The change mark of SQLite: silent about our own commits, never about those of others."""

import asyncio
import itertools
import random
import sys
import threading
from types import SimpleNamespace

import pytest

from axiom_persistence.adapters._sqlite.mark import ChangeMark
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.layers.cached import Cached
from axiom_persistence.storage.adapter import Durability


async def test_own_commits_do_not_move_it(tmp_path):
    """Puts, batches, deletions and empty commits of every durability leave the mark where it was."""
    async with SQLiteAdapter(tmp_path / "a.db") as adapter:
        mark = adapter.change_mark()
        for n in range(50):
            await adapter.commit({"a": b"%d" % n})
            await adapter.commit({"a": b"{%d}" % n, "b": b"x"}, durability=Durability.PROCESS_EXIT)
            adapter.commit_now({"c": b"%d" % n})
            await adapter.commit({"b": None})
            await adapter.commit({"absent": None})
            await adapter.commit({})
            await asyncio.gather(*(adapter.commit({str(i): b"%d" % n}) for i in range(5)))
        assert adapter.change_mark() == mark


async def test_every_foreign_commit_moves_it(tmp_path):
    """A commit through another opening of the file moves the mark, between any commits of our own."""
    chance = random.Random(1)
    async with SQLiteAdapter(tmp_path / "a.db") as ours, SQLiteAdapter(tmp_path / "a.db") as theirs:
        for n in range(300):
            mark = ours.change_mark()
            for _ in range(chance.randrange(3)):
                ours.commit_now({"a": b"%d" % n})
            changes = {"b": b"%d" % n} if chance.random() < 0.7 else {"a": None, "b": b"%d" % n}
            while theirs.commit_now(changes) is None:
                await asyncio.sleep(0.001)
            if chance.random() < 0.5:
                await ours.commit({"a": b"mine %d" % n})
            assert ours.change_mark() != mark


async def test_a_restarted_log_of_ours_does_not_move_it(tmp_path):
    """Copying the log back and starting it again is nobody's commit."""
    async with SQLiteAdapter(tmp_path / "a.db") as adapter:
        mark = adapter.change_mark()
        for n in range(9000):
            adapter.commit_now({f"k{n % 50}": random.randbytes(4000)})
        await adapter.commit({})
        assert adapter.stats()["checkpoints"] > 0
        assert adapter.change_mark() == mark


async def test_readers_on_other_threads_keep_their_cache(tmp_path):
    """While one thread commits, only what others read in that very moment is asked for anew."""
    async with Cached(SQLiteAdapter(tmp_path / "a.db")) as adapter:
        still = [f"still {n}" for n in range(50)]
        await adapter.commit(dict.fromkeys(still, b"1"))
        for key in still:
            assert await adapter.read(key) == b"1"
        mark, marks, done = adapter.change_mark(), set(), threading.Event()

        def look() -> None:
            while not done.is_set():
                marks.add(adapter.change_mark())
                adapter.fetch_now(still[0])

        thread = threading.Thread(target=look)
        thread.start()
        try:
            for n in range(80):
                await adapter.commit({"moving": b"%d" % n})
        finally:
            done.set()
            thread.join()
        assert adapter.change_mark() == mark
        assert mark in marks
        misses = adapter.stats()["cache_misses"]
        for key in still[1:]:
            adapter.fetch_now(key)
        assert adapter.stats()["cache_misses"] == misses


async def test_a_look_during_a_commit_never_hides_a_foreign_one(tmp_path):
    """After somebody else's commit the mark is none that any thread has seen before it."""
    async with SQLiteAdapter(tmp_path / "a.db") as ours, SQLiteAdapter(tmp_path / "a.db") as theirs:
        seen, done = set(), threading.Event()

        def look() -> None:
            while not done.is_set():
                seen.add(ours.change_mark())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            for n in range(80):
                await ours.commit({"ours": b"%d" % n})
                before = seen.copy()
                # None, and nothing done, while our writer thread holds SQLite's lock to lengthen the log.
                while theirs.commit_now({"theirs": b"%d" % n}) is None:
                    await asyncio.sleep(0.001)
                assert ours.change_mark() not in before
        finally:
            done.set()
            thread.join()


async def test_a_look_behind_a_transaction_left_open_hides_no_foreign_commit(tmp_path):
    """Ctrl-C may leave one open, which the next commit rolls back; a thread looks before that one ends."""
    async with SQLiteAdapter(tmp_path / "a.db") as ours, SQLiteAdapter(tmp_path / "a.db") as theirs:
        for adapter in (ours, theirs):
            await adapter.commit({"first": b"1"})  # which may take more than one commit
        transactions = ours._writer.transactions
        cursor, seen = transactions._cursor, {ours.change_mark()}

        def execute(statement, given=()):
            done = cursor.execute(statement, given)
            seen.add(ours.change_mark())
            return done

        cursor.execute("BEGIN IMMEDIATE")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transactions, "_cursor", SimpleNamespace(execute=execute))
            assert ours.commit_now({"ours": b"2"})
        seen.add(ours.change_mark())
        while theirs.commit_now({"theirs": b"1"}) is None:  # as above
            await asyncio.sleep(0.001)
        assert ours.change_mark() not in seen


class World:
    """A log and the counts of our commits, which move on by themselves between the mark's own reads."""

    def __init__(self):
        self.steps, self.after, self.reads = [], [], 0
        self.states = {"own": (0, False, False)}
        self.count, self.foreign = 7, False

    def plan(self, steps, after):
        """Take each step once there were as many reads as ``after`` says."""
        self.steps, self.after, self.reads = list(steps), list(after), 0

    def advance(self, *, to_the_end=False):
        self.reads += 1
        while self.steps and (to_the_end or self.after[0] < self.reads):
            self.after.pop(0)
            match self.steps.pop(0):
                case "effect":
                    self.count += 1
                case "foreign":
                    self.count, self.foreign = self.count + 1, True
                case own:
                    self.states["own"] = own

    def __getattr__(self, name):
        self.advance()
        return self.states[name]

    def __getitem__(self, part):
        self.advance()
        return (bytes(8) + self.count.to_bytes(4, sys.byteorder) + bytes(36))[part]


def put(count, committing, putting):
    return [(count - 1, committing, putting), "effect", (count, False, False)]


PLANS = {
    "a put": put(1, False, True),
    "two puts": put(1, False, True) + put(2, False, True),
    "a transaction": put(1, True, False),
    "a transaction rolled back": [(0, True, False), (0, False, False)],
}


# Of a transaction not before its effect: a look lies between taking SQLite's lock and the flag.
@pytest.mark.parametrize(
    ("plan", "foreign_at"),
    [(plan, None) for plan in PLANS]
    + [
        (plan, at)
        for plan, steps in PLANS.items()
        for at in range(2 if plan.startswith("a transaction") else 0, len(steps) + 1)
    ],
)
def test_every_interleaving_of_looks_with_commits(plan, foreign_at):
    """Whenever a look is overtaken: a foreign commit moves the mark, ours alone does not."""
    adapter = SQLiteAdapter("x.db")  # never opened: what it would read is the World
    steps = list(PLANS[plan])
    if foreign_at is not None:
        steps.insert(foreign_at, "foreign")
    for after in itertools.combinations_with_replacement(range(14 if len(steps) < 6 else 9), len(steps)):
        world = World()
        mark = ChangeMark(SimpleNamespace(memory=world), world)
        adapter._writer = SimpleNamespace(mark=mark, commits=SimpleNamespace(refusal=None))
        start = adapter.change_mark()
        world.plan(steps, after)
        seen = {start}
        for _ in range(3):
            foreign = world.foreign
            now = adapter.change_mark()
            assert not foreign or now not in seen, after
            if not world.foreign:
                seen.add(now)
        world.advance(to_the_end=True)
        now = adapter.change_mark()
        assert (now == start) if foreign_at is None else (now not in seen), after
