"""Phases, restore and the end of a client."""

# ruff: noqa: PT012, SIM118

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import msgspec
import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.client import AutoSave, Client, ClientPhase, Persistable, _restore, client_state
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    CorruptedDataError,
    EncodingError,
    SchemaTooNewError,
    StorageError,
    TypeMismatchError,
)
from axiom_persistence.layers.observed import Origin
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.records.corruption import QUARANTINE, Quarantined
from axiom_persistence.records.record import open_record, seal_record
from axiom_persistence.storage.layer import Layer
from axiom_persistence.store.store import Store
from support.client_worlds import Counter, Preferences, Theme, full, turns


async def test_restart(store):
    """What was assigned is there after the next start, exact in value and type, with a report of it."""
    async with Preferences(store) as preferences:
        assert preferences.phase is ClientPhase.READY
        assert set(preferences.restore_report.defaulted) == {"theme", "volume", "recent", "title"}
        preferences.theme = Theme.DARK
        preferences.recent.append("a")
        preferences.draft = "not kept"
    assert preferences.phase is ClientPhase.CLOSED

    async with Preferences(store) as preferences:
        assert preferences.theme is Theme.DARK
        assert preferences.recent == ["a"]
        assert preferences.draft == ""
        assert set(preferences.restore_report.restored) == {"theme", "recent"}
        assert set(preferences.restore_report.defaulted) == {"volume", "title"}


async def test_defaults_are_not_stored(store):
    """A default that nobody assigned is not written, so a later version of the program may change it."""
    async with Preferences(store) as preferences:
        await preferences.persist_state()
    assert [key async for key in store.keys()] == []


async def test_an_explicit_default_is_stored(store):
    """A value that was assigned is stored, although it equals the default."""
    async with Preferences(store) as preferences:
        preferences.theme = Theme.SYSTEM
    assert [key async for key in store.keys()] == ["Preferences/theme"]


async def test_set_before_restore_wins(store):
    """A value assigned before the restore, or changed in place, wins over the stored one."""
    async with Preferences(store) as preferences:
        preferences.volume, preferences.recent, preferences.title = 10, ["old"], "old"

    preferences = Preferences(store)
    preferences.volume = 20
    preferences.recent.append("new")
    assert set(preferences.pending) >= {"volume"}
    report = await preferences.restore_state()

    assert set(report.kept) == {"volume", "recent"}
    assert (preferences.volume, preferences.recent, preferences.title) == (20, ["new"], "old")
    assert preferences.pending == ()
    await preferences.close()
    async with Preferences(store) as preferences:
        assert (preferences.volume, preferences.recent, preferences.title) == (20, ["new"], "old")


async def test_an_empty_value_set_before_restore_wins(store):
    """An assignment of what is the default anyway counts, too."""
    async with Preferences(store) as preferences:
        preferences.recent = ["old"]
    preferences = Preferences(store)
    preferences.recent = []
    async with preferences:
        assert preferences.recent == []


async def test_a_late_restore_never_overwrites(flaky, failing):
    """What is assigned while the restore reads is kept, although the restore ends later."""
    async with Preferences(flaky) as preferences:
        preferences.volume, preferences.title = 10, "old"

    failing.fetch_gate = asyncio.Event()
    preferences = Preferences(flaky)
    restoring = asyncio.create_task(preferences.restore_state())
    await turns()
    assert preferences.phase is ClientPhase.RESTORING
    preferences.volume = 30
    failing.fetch_gate.set()
    report = await restoring

    assert (preferences.volume, preferences.title, report.kept) == (30, "old", ("volume",))
    assert await flaky.load("Preferences/volume", int) == 30
    await preferences.close()


async def test_restores_at_once_and_again(store):
    """Several restores at the same time, and one of a running client, are fine."""
    async with Counter(store) as counter:
        counter.a = 1
    counter = Counter(store)
    await asyncio.gather(*(counter.restore_state() for _ in range(5)))
    counter.a = 2
    await counter.restore_state()
    assert counter.a == 2
    await counter.persist_state()
    await store.save("Counter/b", 9)
    await counter.restore_state()
    assert (counter.a, counter.b) == (2, 9)
    await counter.close()


async def test_every_order_of_start_and_end(store):
    """Each order of the verbs is fine or a clear error, and a closed client can be started again."""
    counter = Counter(store)
    await counter.close()
    await counter.close()
    with pytest.raises(CapabilityUnavailableError, match="closed"):
        counter.a = 1
    with pytest.raises(CapabilityUnavailableError, match="closed"):
        await counter.persist_state()
    async with counter:
        counter.a = 1
        async with aclosing(counter):
            counter.b = 2
    assert counter.phase is ClientPhase.CLOSED
    await counter.restore_state()
    assert (counter.a, counter.b) == (1, 2)
    await counter.close()


async def test_persisting_before_a_restore(store):
    """``persist_state`` and ``close`` of a client that was never restored restore it first."""
    async with Counter(store) as counter:
        counter.a = counter.b = 1
    counter = Counter(store)
    counter.a = 2
    await counter.persist_state()
    assert (counter.a, counter.b, counter.phase) == (2, 1, ClientPhase.READY)
    await counter.close()
    counter = Counter(store)
    counter.b = 3
    await counter.close()
    assert await store.load("Counter/b", int) == 3


async def test_a_restore_that_fails(failing):
    """Where nothing can be read the restore raises, the client is as before and can try again."""
    async with open_persistence(failing) as persistence:
        counter = Counter(persistence)
    with pytest.raises(CapabilityUnavailableError):
        await counter.restore_state()
    assert counter.phase is ClientPhase.CREATED
    await persistence.activate()
    await counter.restore_state()
    assert counter.phase is ClientPhase.READY
    await counter.close()
    await persistence.deactivate()


async def test_partial_persist(persistence):
    """``persist_state("a")`` stores that field and leaves the others pending."""
    async with Counter(persistence, auto_save=AutoSave.OFF) as counter:
        counter.a, counter.b = 1, 2
        await counter.persist_state("a")
        assert counter.pending == ("b",)
        assert await persistence.load("Counter/a", int) == 1
        assert await persistence.exists("Counter/b") is False
        with pytest.raises(ConfigurationError, match="did you mean"):
            await counter.persist_state("aa")


async def test_reset(store):
    """``reset`` gives the defaults back and forgets what is stored, of one field or of all."""
    async with Preferences(store) as preferences:
        preferences.theme, preferences.volume, preferences.recent = Theme.DARK, 9, ["x"]
        await preferences.reset("theme")
        assert (preferences.theme, preferences.volume) == (Theme.SYSTEM, 9)
        assert await store.exists("Preferences/theme") is False
        await preferences.reset()
        assert (preferences.volume, preferences.recent, preferences.pending) == (5, [], ())
        preferences.recent.append("again")
    assert [key async for key in store.keys()] == ["Preferences/recent"]


class Slow(Layer):
    """Commits only once it is let go."""

    def __init__(self, inner):
        super().__init__(inner)
        self.go = asyncio.Event()

    async def commit(self, changes, *, expect=None, durability=None):
        await self.go.wait()
        return await self.inner.commit(changes, expect=expect, durability=durability)


@pytest.mark.parametrize("changes", [False, True])
async def test_a_look_for_changes_while_a_reset_is_under_way(store, changes):
    """The default is no change; what is put into it meanwhile is one, and is stored."""
    async with Preferences(store) as preferences:
        preferences.recent = ["x"]
        await preferences.persist_state()
        opened = preferences._state.place(preferences._state.fields["recent"]).store
        opened.adapter = slow = Slow(opened.adapter)
        resetting = asyncio.create_task(preferences.reset("recent"))
        while preferences.recent:
            await asyncio.sleep(0)
        if changes:
            preferences.recent.append("meanwhile")
        noticed = preferences._state.notice_mutations()
        slow.go.set()
        await resetting
        opened.adapter = slow.inner
        assert (noticed, preferences.pending) == (["recent"] * changes, ("recent",) * changes)
    assert [key async for key in store.keys()] == ["Preferences/recent"] * changes


async def too_new(store: Store, key: str) -> bytes:
    return seal_record(key, b'"much newer"', "9.0")


async def other_type(store: Store, key: str) -> bytes:
    return store.seal(key, {"not": "a theme"})


async def refused(store: Store, key: str) -> bytes:
    return store.seal(key, "neon")


@pytest.mark.parametrize(
    ("make", "error"),
    [(too_new, SchemaTooNewError), (other_type, TypeMismatchError), (refused, TypeMismatchError)],
)
async def test_an_unreadable_field_is_left_alone(store, make, error):
    """A value too new or of another type stays byte for byte, through close and restart, until accepted."""
    key = "Preferences/theme"
    raw = store._store
    async with Preferences(store) as preferences:
        preferences.volume = 8
    data = await make(raw, key)
    await raw.adapter.commit({key: data})

    preferences = Preferences(store)
    report = await preferences.restore_state()
    assert preferences.phase is ClientPhase.DEGRADED
    assert isinstance(report.unreadable["theme"], error)
    assert (preferences.theme, preferences.volume) == (Theme.SYSTEM, 8)
    preferences.volume = 9
    await preferences.persist_state()  # nothing of the field was assigned: nothing is lost
    with pytest.raises(error):
        await preferences.persist_state("theme")
    preferences.theme = Theme.LIGHT
    assert preferences.pending == ("theme",)
    for verb in (preferences.persist_state, preferences.close, lambda: preferences.reset("theme")):
        with pytest.raises(error):
            await verb()
    await preferences.close(discard=True)
    assert (await raw.adapter.fetch((key,)))[key].data == data

    async with Preferences(store) as preferences:
        assert preferences.phase is ClientPhase.DEGRADED
        assert preferences.volume == 9
        preferences.theme = Theme.DARK
        await preferences.accept("theme")
        assert (preferences.phase, preferences.pending) == (ClientPhase.READY, ())
        preferences.theme = Theme.LIGHT
    async with Preferences(store) as preferences:
        assert (preferences.phase, preferences.theme) == (ClientPhase.READY, Theme.LIGHT)
    assert data in [q.data for q in await quarantined(raw)]


async def quarantined(raw: Store) -> list[Quarantined]:
    places = [place async for place in raw.adapter.keys(QUARANTINE)]
    found = await raw.adapter.fetch(places)
    return [msgspec.json.decode(open_record(k, s.data).value, type=Quarantined) for k, s in found.items()]


async def test_a_damaged_field_goes_to_quarantine(store):
    """Damaged bytes are reported and kept in quarantine; the field takes its default and can be saved."""
    key = "Counter/a"
    async with Counter(store) as counter:
        counter.b = 4
    await store._store.adapter.commit({key: b"\0\0rubbish"})

    async with Counter(store) as counter:
        (report,) = counter.restore_report.damaged
        assert (report.key, counter.a, counter.b) == (key, 0, 4)
        assert counter.phase is ClientPhase.READY
        counter.a = 5
    async with Counter(store) as counter:
        assert (counter.a, counter.restore_report.damaged) == (5, ())
    assert [q.data for q in await quarantined(store._store)] == [b"\0\0rubbish"]


async def test_damage_is_told_after_a_thousand_reports(persistence):
    """However much was found damaged before, a restore tells what it found, in the order it was found."""
    adapter = persistence._store.adapter
    await adapter.commit({f"k{n}": b"rubbish" for n in range(1001)})
    await persistence.save("other", 1)
    for round in range(2):
        await persistence.load_many([f"k{n}" for n in range(1001)], int)
        assert len(persistence.reports) == 1000
        await adapter.commit({"Counter/a": b"rubbish", "Counter/b": b"rubbish"})
        async with Counter(persistence) as counter:
            assert [report.key for report in counter.restore_report.damaged] == ["Counter/a", "Counter/b"], (
                round
            )


async def test_damage_that_may_not_be_recovered():
    """With RAISE a damaged field makes the client DEGRADED and its bytes stay where they are."""
    adapter = MemoryAdapter()
    async with open_persistence(adapter) as persistence, Counter(persistence) as counter:
        counter.a = 1
        await adapter.commit({"Counter/a": b"rubbish"})
    async with open_persistence(adapter, on_corruption="raise") as persistence:
        counter = Counter(persistence)
        report = await counter.restore_state()
        assert isinstance(report.unreadable["a"], CorruptedDataError)
        counter.b = 2
        await counter.persist_state()
        await counter.close()
        assert (await adapter.fetch(("Counter/a",)))["Counter/a"].data == b"rubbish"
        async with Counter(persistence) as counter:
            counter.a = 7
            await counter.accept("a")
            assert counter.phase is ClientPhase.READY
    async with open_persistence(adapter) as persistence, Counter(persistence) as counter:
        assert (counter.a, counter.b) == (7, 2)


async def test_a_value_that_validation_refuses_now(persistence):
    """A stored value that a stricter version of the program refuses is unreadable, not lost."""
    await persistence.save("Preferences/volume", 500)
    preferences = Preferences(persistence)
    await preferences.restore_state()
    assert (preferences.phase, preferences.volume) == (ClientPhase.DEGRADED, 5)
    assert await persistence.load("Preferences/volume", int) == 500
    await preferences.close()


async def test_one_bad_value_does_not_keep_the_others(persistence):
    """A list that cannot be stored raises at the save; everything else is stored all the same."""

    class Mixed(Client):
        bad: list[str] = client_state(default_factory=list)
        good: list[str] = client_state(default_factory=list)

    mixed = Mixed(persistence)
    await mixed.restore_state()
    mixed.bad.append(object())
    mixed.good.append("x")
    with pytest.raises(EncodingError):
        await mixed.persist_state()
    assert await persistence.load("Mixed/good", list[str]) == ["x"]
    assert mixed.pending == ("bad",)
    mixed.bad.clear()
    await mixed.close()


async def test_a_close_that_fails_loses_nothing(flaky, failing):
    """``close`` raises while the adapter fails, the value stays, and the next close stores it."""
    counter = Counter(flaky, auto_save=AutoSave.OFF)
    await counter.restore_state()
    counter.a = 5
    failing.error = full()
    with pytest.raises(StorageError, match="disk says no"):
        await counter.close()
    assert (counter.pending, counter.phase) == (("a",), ClientPhase.READY)
    failing.error = None
    await counter.close()
    assert await flaky.load("Counter/a", int) == 5


async def test_the_bodys_own_error_comes_first(flaky, failing):
    """What a body raises is not replaced by the failed save at its end: that is a note, and reported."""
    reported = []
    with pytest.raises(KeyError) as caught:
        async with Counter(
            flaky, auto_save=AutoSave.OFF, on_error=lambda c, e: reported.append(e)
        ) as counter:
            counter.a = 5
            failing.error = full()
            raise KeyError("mine")
    assert "disk says no" in caught.value.__notes__[0]
    assert len(reported) == 1
    failing.error = None
    await counter.close()


async def test_close_leaves_nothing_unsynced(tmp_path):
    """``close`` makes what was only handed to the operating system survive power loss."""
    async with open_persistence(tmp_path / "s.db") as persistence:
        async with Counter(persistence) as counter:
            counter.a = 1
            before = persistence.stats()["syncs"]
        assert persistence.stats()["syncs"] > before


async def test_the_store_is_closed_first(tmp_path):
    """The close of a store saves what its clients hold, and they may end after it."""
    async with open_persistence(tmp_path / "s.db") as persistence:
        counter, late = Counter(persistence), Counter(persistence, instance="late", auto_save=AutoSave.OFF)
        await counter.restore_state()
        await late.restore_state()
        counter.a = late.a = 1
    await counter.close()
    assert late.pending == ()
    late.a = 2
    with pytest.raises(CapabilityUnavailableError):
        await late.close()
    assert late.pending == ("a",)
    await persistence.activate()
    assert await persistence.load("Counter/late/a", int) == 1
    await late.close()
    assert await persistence.load("Counter/late/a", int) == 2
    await persistence.deactivate()


async def test_clients_are_persistable(persistence):
    """A client satisfies the Persistable protocol."""
    assert isinstance(Counter(persistence), Persistable)


async def test_only_a_persistence_will_do():
    """Anything else than a persistence is refused with the right spelling."""
    with pytest.raises(ConfigurationError, match="open_persistence"):
        Counter(MemoryAdapter())


async def test_threads_may_assign(tmp_path):
    """Assignments from several threads are all stored, and memory and store end the same."""
    async with open_persistence(tmp_path / "s.db") as persistence, Counter(persistence) as counter:

        def assign(offset: int) -> None:
            for i in range(200):
                counter.a = offset + i

        await asyncio.gather(*(asyncio.to_thread(assign, 1000 * n) for n in range(4)))
        assert await persistence.load("Counter/a", int) == counter.a


async def test_an_assignment_during_a_look_at_the_store(tmp_path, monkeypatch):
    """What a thread assigns after a foreign change was read, and before it is taken, is not taken back."""
    path, read = tmp_path / "s.db", _restore._read
    async with (
        open_persistence(path) as persistence,
        open_persistence(path) as other,
        Counter(persistence) as counter,
    ):
        counter.a = 1
        await other.save("Counter/a", 2)

        async def read_slowly(state, fields):
            found = await read(state, fields)
            counter.a = 3
            return found

        monkeypatch.setattr(_restore, "_read", read_slowly)
        await _restore.refresh(counter._state, ["a"], Origin.PROCESS)
        assert counter.a == 3
        assert await persistence.load("Counter/a", int) == 3


async def cancelled_at(steps: int, work: Callable[[], Coroutine[Any, Any, object]]) -> bool:
    """Run ``work`` in a task of its own and cancel it after ``steps`` turns; whether that came in time."""
    task = asyncio.ensure_future(work())
    for _ in range(steps):
        await asyncio.sleep(0)
        if task.done():
            return False
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return True


@pytest.mark.parametrize("verb", ["restore", "persist", "transaction", "reset", "close"])
async def test_cancelled_anywhere(store, verb):
    """Cancelled at whatever await, a verb leaves a client that works, with nothing that was assigned lost."""
    for steps in (*range(1, 12), *(int(12 * 1.6**n) for n in range(22))):
        counter = Counter(store, instance=f"{verb}{steps}", auto_save=AutoSave.OFF)
        if verb != "restore":
            await counter.restore_state()
            counter.b = 7
            await counter.persist_state()
        counter.a = steps

        async def transaction(counter=counter) -> None:
            async with counter.transaction():
                counter.b = 8

        work = {
            "restore": counter.restore_state,
            "persist": counter.persist_state,
            "transaction": transaction,
            "reset": lambda counter=counter: counter.reset("b"),
            "close": counter.close,
        }[verb]
        in_time = await cancelled_at(steps, work)
        if counter.phase is not ClientPhase.CLOSED:
            await counter.close()
        async with Counter(store, instance=f"{verb}{steps}") as again:
            assert again.a == steps
            assert again.b == counter.b
        if not in_time:
            break
    else:
        raise AssertionError("never ran to its end")
