"""The recorder and the checker themselves: against brute force, by hand, and over a real store."""

import asyncio
import itertools
import pickle
import random

import pytest

from axiom_persistence import MISSING, AdapterBasedPersistence, MemoryAdapter, SQLiteAdapter
from axiom_persistence.errors import ConfigurationError, ConflictError
from axiom_persistence.testing import linearizability
from axiom_persistence.testing.linearizability import Operation, Recorder, Unknown, check_linearizable

ANYTHING, SOMETHING, UNCHANGED = Unknown.ANYTHING, Unknown.SOMETHING, Unknown.UNCHANGED


def op(saw, left, began, ended, key="k"):
    return Operation("c", "call", key, saw, left, began, ended)


def explains(order, initial):
    value = initial
    for operation in order:
        if operation.saw is SOMETHING:
            if value is MISSING:
                return False
        elif operation.saw is not ANYTHING and operation.saw != value:
            return False
        if operation.left is not UNCHANGED:
            value = operation.left
    return True


def by_brute_force(history):
    """Whether any order of all complete operations and some of the others keeps to the clock and explains."""
    complete = [operation for operation in history if operation.ended is not None]
    others = [operation for operation in history if operation.ended is None]
    for size in range(len(others) + 1):
        for some in itertools.combinations(others, size):
            for order in itertools.permutations([*complete, *some]):
                kept = all(
                    later.ended is None or later.ended >= earlier.began
                    for earlier, later in itertools.combinations(order, 2)
                )
                if kept and explains(order, MISSING):
                    return True
    return False


def test_the_search_agrees_with_brute_force(record_property):
    """On 3,000 small histories, legal and illegal ones, the verdict is that of trying every order."""
    chance, verdicts = random.Random(5), {True: 0, False: 0}
    kinds = [(ANYTHING, 1), (ANYTHING, 2), (1, UNCHANGED), (2, UNCHANGED), (MISSING, UNCHANGED)]
    kinds += [(1, 2), (2, 1), (MISSING, 1), (SOMETHING, MISSING), (ANYTHING, MISSING)]
    for _ in range(3000):
        history = []
        for _ in range(chance.randrange(1, 7)):
            saw, left = chance.choice(kinds)
            began = chance.randrange(8)
            ended = None if chance.random() < 0.1 else began + chance.randrange(5)
            history.append(op(saw, left, began, ended))
        expected = by_brute_force(history)
        assert bool(check_linearizable(history)) is expected, history
        verdicts[expected] += 1
    record_property("told", f"linearizability: {verdicts} histories judged like brute force")
    assert min(verdicts.values()) > 500


def test_a_stale_load_is_found():
    """A load that began after a save had ended must see it; while the save is on its way it need not."""
    saved = [op(ANYTHING, 1, 0, 1), op(ANYTHING, 2, 10, 20)]
    assert check_linearizable([*saved, op(1, UNCHANGED, 15, 30), op(2, UNCHANGED, 31, 32)])
    stale = op(1, UNCHANGED, 21, 30)
    report = check_linearizable([*saved, stale])
    assert not report
    (violation,) = report.violations
    assert violation.operation is stale
    assert violation.possible == (2,)
    assert "saw 1" in str(report)


def test_two_loads_cannot_see_time_run_backwards():
    """Who loads the new value before another begins to load has decided: the old one is gone."""
    saving = op(ANYTHING, 1, 0, 100)
    assert check_linearizable([saving, op(MISSING, UNCHANGED, 10, 20), op(1, UNCHANGED, 30, 40)])
    assert not check_linearizable([saving, op(1, UNCHANGED, 10, 20), op(MISSING, UNCHANGED, 30, 40)])


def test_a_lost_update_is_found():
    """Two updates cannot both have replaced the same value."""
    assert check_linearizable([op(MISSING, 1, 0, 10), op(1, 2, 0, 10)])
    assert not check_linearizable([op(MISSING, 1, 0, 10), op(MISSING, 2, 0, 10)])


def test_what_has_no_end_may_happen_at_any_time_or_never():
    """A save whose outcome nobody knows explains its value and its absence, but not before it began."""
    unknown = op(ANYTHING, 1, 10, None)
    assert check_linearizable([unknown, op(MISSING, UNCHANGED, 90, 91)])
    assert check_linearizable([unknown, op(MISSING, UNCHANGED, 90, 91), op(1, UNCHANGED, 95, 96)])
    assert not check_linearizable([unknown, op(1, UNCHANGED, 5, 6)])
    assert not check_linearizable([unknown, op(1, UNCHANGED, 20, 21), op(MISSING, UNCHANGED, 30, 31)])


def test_keys_are_judged_apart_and_may_be_groups():
    """Each key has an order of its own; keys that change together are one key with one value."""
    report = check_linearizable(
        [op(ANYTHING, 1, 0, 1, "a"), op(MISSING, UNCHANGED, 2, 3, "b"), op(2, UNCHANGED, 2, 3, "a")]
    )
    assert (report.keys, report.operations, len(report.violations)) == (2, 3, 1)
    both = ("a", "b")
    halves = [op(ANYTHING, (1, 1), 0, 1, both), op((1, 0), UNCHANGED, 2, 3, both)]
    assert not check_linearizable(halves, initial=(0, 0))
    assert check_linearizable([op((0, 0), UNCHANGED, 0, 9, both)], initial=(0, 0))


def test_contended_are_those_that_overlap_a_write():
    """Two loads do not contend, nor do calls one after the other."""
    report = check_linearizable([op(MISSING, UNCHANGED, 0, 9), op(MISSING, UNCHANGED, 0, 9)])
    assert report.contended == 0
    history = [op(ANYTHING, 1, 10, 20), op(1, UNCHANGED, 15, 16), op(1, UNCHANGED, 30, 31)]
    assert check_linearizable(history).contended == 2


def test_too_many_overlapping_writes_are_refused(monkeypatch):
    """What would take for ever is an error that says what to do."""
    monkeypatch.setattr(linearizability, "_CONFIGURATIONS_MAX", 1000)
    history = [op(ANYTHING, n, 0, 100) for n in range(30)]
    with pytest.raises(ConfigurationError, match="30 writes overlap"):
        check_linearizable(history)


async def test_the_recorder_writes_down_what_came_of_each_call():
    """Values, absence and outcome of every verb, with its times; it survives pickling."""
    ticks = itertools.count()
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:
        recorder = Recorder(persistence, int, client="me", clock=lambda: next(ticks))
        assert await recorder.load("k") is MISSING
        await recorder.save("k", 1)
        assert await recorder.update("k", lambda n: n + 1) == 2
        assert await recorder.delete("k")
        assert not await recorder.delete("k")
        assert await recorder.update("k", lambda n: 5 if n is MISSING else n) == 5
    assert [(o.verb, o.saw, o.left, o.began, o.ended) for o in recorder.operations] == [
        ("load", MISSING, UNCHANGED, 0, 1),
        ("save", ANYTHING, 1, 2, 3),
        ("update", 1, 2, 4, 5),
        ("delete", SOMETHING, MISSING, 6, 7),
        ("delete", MISSING, UNCHANGED, 8, 9),
        ("update", MISSING, 5, 10, 11),
    ]
    sent = pickle.loads(pickle.dumps(recorder.operations))
    assert sent == recorder.operations
    assert sent[0].saw is MISSING
    assert check_linearizable(sent)


async def test_a_call_that_raises_may_have_taken_effect(tmp_path):
    """A cancelled save has no end; a cancelled load explains nothing; a conflict changed nothing."""
    async with AdapterBasedPersistence(SQLiteAdapter(tmp_path / "a.db")) as persistence:
        recorder = Recorder(persistence, int)
        task = asyncio.create_task(recorder.save("k", 1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (saved,) = recorder.operations
        assert (saved.left, saved.ended) == (1, None)
        for error in (TimeoutError, ConflictError("lost")):
            with pytest.raises((TimeoutError, ConflictError)), recorder.call("load", "k"):
                raise error
        with pytest.raises(ConflictError), recorder.call("save", "k", left=2):
            raise ConflictError("lost")
        assert recorder.operations == [saved]
        await recorder.load("k")
        assert check_linearizable(recorder.operations)
