"""When clients save by themselves, and what happens when they cannot."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from axiom_persistence.client import AutoSave, Client, client_state
from axiom_persistence.client._saver import rosters
from axiom_persistence.errors import ConfigurationError, EncodingError, StorageError
from axiom_persistence.opening.open import open_persistence
from support.client_worlds import Counter, Preferences, Theme, full, turns


async def test_immediate_is_the_default_where_it_can_be(tmp_path):
    """Over memory and SQLite an assignment is stored before its statement ends."""
    for where in ("memory:", tmp_path / "s.db"):
        async with open_persistence(where) as persistence, Preferences(persistence) as preferences:
            preferences.theme = Theme.DARK
            assert preferences.pending == ()
            assert await persistence.load("Preferences/theme", Theme) is Theme.DARK


async def test_immediate_where_it_cannot_be(tmp_path):
    """Asking for immediate saves over an adapter without them is refused when the client is built."""
    async with open_persistence(tmp_path / "directory") as persistence:
        with pytest.raises(ConfigurationError, match=r"AutoSave\.IMMEDIATE"):
            Counter(persistence, auto_save=AutoSave.IMMEDIATE)


@pytest.mark.parametrize(("interval", "max_delay"), [(0, 1), (-1, 1), (2, 1), (float("nan"), 1)])
def test_intervals_that_cannot_be(interval, max_delay):
    """An interval is above zero, and max_delay not below it."""
    with pytest.raises(ConfigurationError):
        AutoSave(interval, max_delay)


async def test_ten_thousand_assignments(flaky, failing, clock):
    """10,000 assignments within a second are at most 4 commits, and the last holds the last values."""
    async with Counter(flaky, auto_save=AutoSave(0.5, 2, clock=clock)) as counter:
        failing.commits = 0
        for i in range(1, 5001):
            counter.a = i
            counter.b = -i
            await clock.advance(1 / 5000)
        await clock.advance(3)

        assert 1 <= failing.commits <= 4
        assert await flaky.load_many(["Counter/a", "Counter/b"], int) == {
            "Counter/a": 5000,
            "Counter/b": -5000,
        }
        assert counter.pending == ()
        assert clock.armed == 0


async def test_max_delay(flaky, failing, clock):
    """A field that never rests is stored after max_delay all the same."""
    async with Counter(flaky, auto_save=AutoSave(0.5, 2, clock=clock)) as counter:
        for i in range(25):
            counter.a = i
            await clock.advance(0.1)
        assert await flaky.load("Counter/a", int) >= 18


async def test_quiet_after_an_interval(flaky, failing, clock):
    """What rested for an interval is stored, not before."""
    async with Counter(flaky, auto_save=AutoSave(0.5, 2, clock=clock)) as counter:
        counter.a = 1
        await clock.advance(0.4)
        assert counter.pending == ("a",)
        await clock.advance(0.2)
        assert counter.pending == ()


async def test_one_commit_for_all_clients(flaky, failing, clock):
    """Whatever is dirty in a store goes out in one commit, by one timer."""
    auto_save = AutoSave(0.5, 2, clock=clock)
    counters = [Counter(flaky, instance=str(i), auto_save=auto_save) for i in range(20)]
    for counter in counters:
        await counter.restore_state()
    failing.commits = 0
    for counter in counters:
        counter.a = 1
    assert clock.armed == 1
    await clock.advance(1)
    assert failing.commits == 1
    assert all(counter.pending == () for counter in counters)
    for counter in counters:
        await counter.close()


async def test_unchanged_values_are_not_written(flaky, failing):
    """Assigning what is stored already costs no commit."""
    async with Preferences(flaky) as preferences:
        preferences.recent = ["a"]
        preferences.volume = 7
        failing.commits = 0
        preferences.recent = ["a"]
        preferences.volume = 7
        await preferences.persist_state()
        assert failing.commits == 0


async def test_off(flaky, failing, clock):
    """With AutoSave.OFF nothing is stored until asked."""
    async with Preferences(flaky, auto_save=AutoSave.OFF) as preferences:
        failing.commits = 0
        preferences.recent.append("x")
        preferences.volume = 1
        await turns()
        assert failing.commits == 0
        await preferences.persist_state()
        assert failing.commits == 1


async def test_changes_inside_values(flaky, failing, clock):
    """A list changed in place is noticed at the next interval by its bytes, and stored once."""
    auto_save = AutoSave(0.5, 2, immediate=True, clock=clock)
    async with Preferences(flaky, auto_save=auto_save) as preferences:
        failing.commits = 0
        preferences.recent.append("a")
        assert await flaky.load("Preferences/recent", list[str]) is None
        await clock.advance(0.6)
        assert await flaky.load("Preferences/recent", list[str]) == ["a"]
        await clock.advance(5)
        assert failing.commits == 1
        preferences.recent.append("b")
        preferences.touch("recent")
        assert await flaky.load("Preferences/recent", list[str]) == ["a", "b"]
        with pytest.raises(ConfigurationError):
            preferences.touch("recnt")


async def test_an_idle_client_costs_nothing(flaky, clock):
    """Clients whose values cannot change in place arm no timer and own no task."""
    tasks = len(asyncio.all_tasks())
    auto_save = AutoSave(0.5, 2, immediate=True, clock=clock)
    counters = [Counter(flaky, instance=str(i), auto_save=auto_save) for i in range(500)]
    for counter in counters:
        await counter.restore_state()
        counter.a = 1
    assert clock.armed == 0
    assert len(asyncio.all_tasks()) - tasks <= 1  # at most one that watches for changes from elsewhere
    for counter in counters:
        await counter.close()


async def test_looking_for_changes_has_a_budget(flaky, clock, monkeypatch):
    """The more there is to look at, the rarer it is looked at: at most a hundredth of the time."""
    auto_save = AutoSave(0.5, 2, immediate=True, clock=clock)
    counters = [Preferences(flaky, instance=str(i), auto_save=auto_save) for i in range(10)]
    for counter in counters:
        await counter.restore_state()
    state_type = type(counters[0]._state)
    looks = []
    original = state_type.notice_mutations

    def slow(self, names=None):
        looks.append(clock.now)
        clock.now += 0.01
        return original(self, names)

    monkeypatch.setattr(state_type, "notice_mutations", slow)
    for _ in range(400):
        await clock.advance(0.1)
    assert 10 < len(looks) <= 50
    monkeypatch.undo()
    for counter in counters:
        await counter.close()


async def test_a_failing_adapter(flaky, failing, clock):
    """The callback fires, the value stays pending, the next save stores it; close raises while it fails."""
    calls = []
    auto_save = AutoSave(0.5, 2, clock=clock)
    counter = Counter(
        flaky, auto_save=auto_save, on_error=lambda client, error: calls.append((client, error))
    )
    await counter.restore_state()
    failing.error = full()
    counter.a = 5
    await clock.advance(0.6)
    assert [(client, str(error)) for client, error in calls] == [(counter, str(failing.error))]
    assert (counter.pending, counter.last_error) == (("a",), failing.error)
    for verb in (counter.persist_state, counter.close):
        with pytest.raises(StorageError, match="disk says no"):
            await verb()
    failing.error = None
    await clock.advance(60)
    assert (counter.pending, counter.last_error) == ((), None)
    assert await flaky.load("Counter/a", int) == 5
    await counter.close()


async def test_a_failing_immediate_save(flaky, failing, clock):
    """An assignment does not raise because of the store; its value is tried again, less and less often."""
    calls = []
    auto_save = AutoSave(0.5, 2, immediate=True, clock=clock)
    async with Counter(flaky, auto_save=auto_save, on_error=lambda *call: calls.append(call)) as counter:
        failing.error = full()
        counter.a = 5
        assert (counter.a, counter.pending, len(calls)) == (5, ("a",), 1)
        await clock.advance(100)
        assert 4 < len(calls) < 15
        failing.error = None
        await clock.advance(31)
        assert counter.pending == ()
        assert await flaky.load("Counter/a", int) == 5


async def test_without_a_callback_it_is_logged(flaky, failing, caplog):
    """Without ``on_error`` a failed save is logged with the client's name, and never with a value."""
    async with Counter(flaky) as counter:
        failing.error = full()
        counter.a = 123456
        assert "Counter could not be saved" in caplog.text
        assert "123456" not in caplog.text
        failing.error = None


async def test_one_value_that_cannot_be_stored(flaky, failing, clock):
    """One key the adapter refuses does not keep other clients from being saved."""
    auto_save = AutoSave(0.5, 2, clock=clock)
    bad: list[str] = []
    counters = [
        Counter(flaky, instance=str(i), auto_save=auto_save, on_error=lambda c, e: bad.append(repr(c)))
        for i in range(30)
    ]
    for counter in counters:
        await counter.restore_state()
        counter.a = 1
    failing.error, failing.only = full(), "Counter/17/"
    await clock.advance(0.6)
    assert [counter.pending for counter in counters].count(()) == 29
    assert len(bad) == 1
    failing.error = None
    for counter in counters:
        await counter.close()


async def test_a_list_that_cannot_be_encoded(flaky, clock):
    """A mutation that cannot be stored is reported at the interval, and raised by the explicit save."""
    calls = []
    auto_save = AutoSave(0.5, 2, immediate=True, clock=clock)
    async with Preferences(
        flaky, auto_save=auto_save, on_error=lambda *call: calls.append(call)
    ) as preferences:
        preferences.recent.append(object())
        await clock.advance(0.6)
        assert isinstance(calls[0][1], EncodingError)
        with pytest.raises(EncodingError):
            await preferences.persist_state()
        preferences.recent.clear()


async def test_an_adapter_that_is_busy(flaky, failing):
    """Where the adapter cannot commit at once just now, the value goes out by the queue right away."""
    async with Counter(flaky) as counter:
        failing.at_once = False
        counter.a = 5
        assert counter.pending == ("a",)
        await turns()
        await asyncio.sleep(0.01)
        await turns()
        assert counter.pending == ()
        assert await flaky.load("Counter/a", int) == 5


async def test_an_assignment_while_a_save_is_under_way(flaky, failing, clock):
    """A value assigned while an older one is being committed is neither lost nor taken for stored."""
    async with Counter(flaky, auto_save=AutoSave(0.5, 2, clock=clock)) as counter:
        counter.a = 1
        await counter.persist_state()
        failing.gate = asyncio.Event()
        counter.a = 2
        saving = asyncio.create_task(counter.persist_state())
        await turns()
        counter.a = 1  # what the store has for the moment
        failing.gate.set()
        await saving
        assert counter.pending == ("a",)
        await counter.persist_state()
        assert await flaky.load("Counter/a", int) == 1


async def test_a_cancelled_save(flaky, failing):
    """Cancelling ``persist_state`` leaves the value pending and the client usable."""
    async with Counter(flaky, auto_save=AutoSave.OFF) as counter:
        failing.gate = asyncio.Event()
        counter.a = 2
        saving = asyncio.create_task(counter.persist_state())
        await turns()
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        assert counter.pending == ("a",)
        failing.gate = None
        await counter.persist_state()
        assert await flaky.load("Counter/a", int) == 2


async def test_assignments_from_a_thread(flaky, failing):
    """A value assigned in a thread is saved by the timer of the client's loop."""
    failing.at_once = False
    async with Counter(flaky, auto_save=AutoSave(0.01, 0.02)) as counter:
        thread = threading.Thread(target=lambda: setattr(counter, "a", 7))
        thread.start()
        async with asyncio.timeout(20):
            while not counter.a or counter.pending:
                await asyncio.sleep(0.005)
        thread.join()
        assert await flaky.load("Counter/a", int) == 7


def test_a_client_used_in_a_second_loop(tmp_path):
    """A client restored in a loop that ended is saved by the next loop that assigns."""
    persistence = open_persistence(tmp_path / "directory")
    counter = Counter(persistence, auto_save=AutoSave(0.01, 0.02))

    async def first() -> None:
        await persistence.activate()
        await counter.restore_state()

    async def second() -> None:
        counter.a = 3
        async with asyncio.timeout(20):
            while counter.pending:
                await asyncio.sleep(0.005)
        assert await persistence.load("Counter/a", int) == 3
        await counter.close()
        await persistence.deactivate()

    asyncio.run(first())
    asyncio.run(second())


async def test_nothing_is_held_after_close(persistence):
    """A closed client leaves nothing behind in the library."""
    async with Preferences(persistence):
        pass
    gc.collect()
    roster = rosters[persistence._store]
    assert (roster.live, roster._savers) == ({}, {})


class Frozen(Client):
    pair: tuple[int, ...] = client_state(())
    mixed: tuple[list[int], ...] = client_state(default_factory=lambda: ([],))


async def test_tuples_of_lists_are_looked_into(flaky, clock):
    """A tuple is watched only for the mutable values inside it."""
    async with Frozen(flaky, auto_save=AutoSave(0.5, 2, immediate=True, clock=clock)) as frozen:
        assert frozen._state.mutable == {"mixed"}
        frozen.mixed[0].append(1)
        await clock.advance(0.6)
        assert await flaky.load("Frozen/mixed", tuple[list[int], ...]) == ([1],)
