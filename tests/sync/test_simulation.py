"""Thousands of schedules of devices that keep the same state, and every planted bug found."""

import asyncio

import msgspec
import pytest

from axiom_persistence.records.record import seal_record
from axiom_persistence.sync import _cycle as cycle
from axiom_persistence.sync import _listing as listing

from . import instant
from .planted import PLANTED, planted
from .simulation import ViolationError, World, schedule

SCHEDULES = 500


async def at_once(attempt):
    await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Who was beaten to it tries again at once: the scheduler decides how long things take."""
    for module in (cycle, listing):
        monkeypatch.setattr(module, "backoff", at_once)


@pytest.mark.parametrize("quarter", range(4))
def test_nothing_is_lost_and_all_are_equal(quarter, record_property):
    """At least 2,000 schedules with kills, power cuts, lost and late requests, clocks, copies, backups."""
    limited = 0
    for seed in range(quarter * SCHEDULES, (quarter + 1) * SCHEDULES):
        try:
            limited += instant.run(schedule(seed)).known_limit > 0
        except ViolationError as violation:
            raise AssertionError(f"schedule {seed}: {violation}") from None
    told = f"synchronisation: {SCHEDULES} schedules, the known limits seen in {limited}"
    record_property("told", told)


DIRECTED = ("an intent that is not durable", "no intent")
ALONE = ("copies with one name", "without a shadow taken for clean")
"""What hardly any random schedule shows."""
RARE = {"the wall clock alone": range(560, 590)}
"""Where to look first."""


@pytest.mark.parametrize("name", sorted(PLANTED.keys() - set(DIRECTED) - set(ALONE)))
def test_a_planted_bug_is_caught(name, record_property):
    """Each rule is needed: without it some schedule ends wrong."""
    with planted(name):
        for seed in (*RARE.get(name, ()), *range(1500)):
            try:
                instant.run(schedule(seed))
            except ViolationError as caught:
                record_property("told", f"synchronisation: {name} is caught by schedule {seed}: {caught}")
                return
    pytest.fail(f"{name} was not caught")


async def cut_off_between_sending_and_knowing():
    """The power fails once a change is sent and not known to be; then the key is changed here and there."""
    world = World(0, devices=2, chances={})
    first, second = world.processes
    await world.alone(first, lambda _: world.meet(first))
    change(world, first, {"f": "first", "g": "first"})
    first.run(world.meet(first))
    await world.settle()
    while "a" not in world.remote.records:
        await world.release(0)
    first.medium.unsynced = []  # the power takes all that it can
    await world.kill(first, power=True)
    await world.alone(second, lambda _: world.meet(second))
    change(world, second, {"f": "knew the first", "g": "first"})
    await world.alone(second, lambda _: world.meet(second))
    change(world, world.processes[0], {"f": "first", "g": "later"})
    await world.finish()
    return world.value(second.medium, "a")


def change(world, process, value):
    data = seal_record("a", msgspec.json.encode(value), "1.0")
    process.store.adapter.commit_now({"a": data})
    process.medium.sync()
    world.now += 1


def test_what_was_sent_is_what_stands_here_after_a_power_cut():
    """The field that was only sent once keeps its stamp, so the change that had seen it stays."""
    assert instant.run(cut_off_between_sending_and_knowing()) == {"f": "knew the first", "g": "later"}


@pytest.mark.parametrize("name", DIRECTED)
def test_without_a_durable_intent_it_does_not(name):
    """The planted bugs have the earlier value win, stamped anew."""
    with planted(name):
        assert instant.run(cut_off_between_sending_and_knowing())["f"] == "first"


async def met_first_with_data():
    """A device has a value from before there was any synchronisation, and the remote has another one."""
    world = World(0, devices=2, chances={})
    first, second = world.processes
    change(world, second, {"f": "there", "g": "x"})
    await world.alone(second, lambda _: world.meet(second))
    data = seal_record("a", msgspec.json.encode({"f": "here", "g": "x"}), "1.0")
    first.medium.commit({"a": data}, None, world.version(), sync=True)
    first.medium.touched.clear()  # it is marked when it is met
    await world.finish()
    return {world.value(first.medium, "a")["f"], *world.listed}


def test_data_from_before_is_not_lost_unlisted():
    """One of the two values stays, the other is listed."""
    assert instant.run(met_first_with_data()) >= {"here", "there"}


def test_a_key_without_a_shadow_taken_for_clean_is_caught():
    """It would be overwritten, and nobody told."""
    with planted("without a shadow taken for clean"):
        assert "here" not in instant.run(met_first_with_data())


async def copied_and_changed_at_once():
    """A disk is copied, and both copies change one field in the same moment."""
    world = World(0, devices=1, chances={})
    (first,) = world.processes
    change(world, first, {"f": "x", "g": "x"})
    await world.alone(first, lambda _: world.meet(first))
    copy = world.add_device(first.medium.copy())
    world.offsets[copy.name] = world.offsets[first.name]
    change(world, first, {"f": "here", "g": "x"})
    world.now -= 1
    change(world, copy, {"f": "there", "g": "x"})
    await world.finish()
    return {world.value(first.medium, "a")["f"], *world.listed}


def test_copies_of_a_disk_give_stamps_of_their_own():
    """Each opening signs its own: of two changes in one millisecond one stays, and the other is listed."""
    assert instant.run(copied_and_changed_at_once()) >= {"here", "there"}


def test_copies_with_one_name_are_caught():
    """With equal stamps nobody could tell the two changes apart."""
    with planted("copies with one name"):
        assert not instant.run(copied_and_changed_at_once()) >= {"here", "there"}
