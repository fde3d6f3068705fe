"""Thousands of schedules of devices that keep the same state, and every planted bug found."""

import asyncio

import pytest

from axiom_persistence.sync import _cycle as cycle
from axiom_persistence.sync import _listing as listing

from .planted import PLANTED, planted
from .simulation import ViolationError, schedule

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
            limited += asyncio.run(schedule(seed)).known_limit > 0
        except ViolationError as violation:
            raise AssertionError(f"schedule {seed}: {violation}") from None
    told = f"synchronisation: {SCHEDULES} schedules, the known limit of copied disks seen in {limited}"
    record_property("told", told)


RARE = {"no intent": 430, "an intent that is not durable": 1500}
"""What few schedules show: from where on they are tried."""


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_caught(name, record_property):
    """Each rule is needed: without it some schedule ends wrong."""
    with planted(name):
        for seed in range(RARE.get(name, 0), 3000):
            try:
                asyncio.run(schedule(seed))
            except ViolationError as caught:
                record_property("told", f"synchronisation: {name} is caught by schedule {seed}: {caught}")
                return
    pytest.fail(f"{name} was not caught")
