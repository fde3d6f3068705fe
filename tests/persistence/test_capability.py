"""The lifecycle: every transition, seen by every observer, from tasks, threads and event loops."""

import asyncio
import threading

import pytest

from axiom_persistence import (
    AdapterBasedPersistence,
    Capability,
    CapabilityState,
    MemoryAdapter,
    PersistenceCapability,
)
from axiom_persistence.errors import AccessDeniedError, CapabilityUnavailableError, StorageError

UNKNOWN, AVAILABLE, UNAVAILABLE, RESTRICTED = (
    CapabilityState.UNKNOWN,
    CapabilityState.AVAILABLE,
    CapabilityState.UNAVAILABLE,
    CapabilityState.RESTRICTED,
)


class Lamp(Capability):
    """A capability that waits and fails as it is told."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.gate = None
        self.error = None
        self.last_error = None

    async def _activate(self):
        self.calls.append("on")
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error

    async def _deactivate(self):
        self.calls.append("off")
        if self.gate is not None:
            await self.gate.wait()
        if self.last_error is not None:
            raise self.last_error


async def test_every_transition():
    """Unknown until activated, then available, unavailable, and available again; twice is fine."""
    lamp = Lamp()
    assert (lamp.state, lamp.is_available) == (UNKNOWN, False)
    await lamp.deactivate()
    assert lamp.state is UNKNOWN
    await lamp.activate()
    await lamp.activate()
    assert (lamp.state, lamp.is_available) == (AVAILABLE, True)
    await lamp.deactivate()
    await lamp.aclose()
    assert (lamp.state, lamp.is_available) == (UNAVAILABLE, False)
    async with lamp as entered:
        assert entered is lamp
        assert lamp.is_available
    assert lamp.state is UNAVAILABLE
    assert lamp.calls == ["on", "off", "on", "off"]
    assert await lamp.is_supported()
    await lamp.request_permission()


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (StorageError("broken"), UNAVAILABLE),
        (AccessDeniedError("forbidden"), RESTRICTED),
        (RuntimeError("a bug"), UNAVAILABLE),
        (PermissionError("not of our tree"), UNAVAILABLE),
        (TimeoutError("its own"), UNAVAILABLE),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_failing_activation_can_be_tried_again(error, state):
    """The error is raised, what was begun is let go, and the next try may work."""
    lamp = Lamp()
    lamp.error = error
    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            await lamp.activate()
        assert caught.value is error
        assert lamp.state is state
    assert lamp.calls == ["on", "off", "on", "off"]
    lamp.error = None
    await lamp.activate()
    assert lamp.is_available


async def test_an_activation_has_a_time_limit():
    """After activation_timeout it is CapabilityUnavailableError, and can be tried again."""
    lamp = Lamp()
    lamp.activation_timeout = 0.01

    async def forever():
        lamp.calls.append("on")
        await asyncio.Event().wait()

    activate, lamp._activate = lamp._activate, forever
    with pytest.raises(CapabilityUnavailableError, match=r"longer than 0\.01 s") as caught:
        await lamp.activate()
    assert "activation_timeout" in caught.value.hint
    assert lamp.state is UNAVAILABLE
    assert lamp.calls == ["on", "off"]
    lamp._activate = activate
    await lamp.activate()
    assert lamp.is_available


async def test_a_failing_deactivation_raises_and_ends_it():
    """What closing raises is raised, once, and the capability is unavailable all the same."""
    lamp = Lamp()
    await lamp.activate()
    lamp.last_error = StorageError("the last flush failed")
    with pytest.raises(StorageError):
        await lamp.deactivate()
    assert lamp.state is UNAVAILABLE
    await lamp.deactivate()
    assert lamp.calls == ["on", "off"]


async def test_tasks_that_activate_at_once_share_one_activation():
    """One does the work, all return when it is done; a failure is raised in all."""
    lamp = Lamp()
    lamp.gate = asyncio.Event()
    tasks = [asyncio.create_task(lamp.activate()) for _ in range(10)]
    await asyncio.sleep(0)
    lamp.gate.set()
    await asyncio.gather(*tasks)
    assert lamp.calls == ["on"]
    await lamp.deactivate()
    lamp.error, lamp.gate = StorageError("broken"), asyncio.Event()
    tasks = [asyncio.create_task(lamp.activate()) for _ in range(10)]
    await asyncio.sleep(0)
    lamp.gate.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [lamp.error] * 10


async def test_a_cancelled_activation_fails_for_those_who_waited():
    """Who waited for a task that was cancelled gets an error, not a cancellation, and may try again."""
    lamp = Lamp()
    lamp.gate = asyncio.Event()
    first = asyncio.create_task(lamp.activate())
    await asyncio.sleep(0)
    second = asyncio.create_task(lamp.activate())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    lamp.gate.set()
    assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], asyncio.CancelledError)
    with pytest.raises(CapabilityUnavailableError, match="cancelled"):
        await second
    await lamp.activate()
    assert lamp.is_available


async def test_a_cancelled_waiter_disturbs_nobody():
    """Cancelling one who waits for another's activation leaves that activation alone."""
    lamp = Lamp()
    lamp.gate = asyncio.Event()
    first = asyncio.create_task(lamp.activate())
    await asyncio.sleep(0)
    second = asyncio.create_task(lamp.activate())
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    lamp.gate.set()
    await first
    assert second.cancelled()
    assert lamp.is_available


async def test_changes_follow_each_other():
    """Deactivating during an activation waits for it, and the other way round: they never overlap."""
    lamp = Lamp()
    lamp.gate = asyncio.Event()
    on = asyncio.create_task(lamp.activate())
    await asyncio.sleep(0)
    off = asyncio.create_task(lamp.deactivate())
    await asyncio.sleep(0)
    assert lamp.calls == ["on"]
    lamp.gate.set()
    await asyncio.gather(on, off)
    assert (lamp.state, lamp.calls) == (UNAVAILABLE, ["on", "off"])
    await lamp.activate()
    lamp.gate = asyncio.Event()
    off = asyncio.create_task(lamp.deactivate())
    await asyncio.sleep(0)
    again = [asyncio.create_task(lamp.deactivate()), asyncio.create_task(lamp.activate())]
    await asyncio.sleep(0)
    assert lamp.calls[2:] == ["on", "off"]
    lamp.gate.set()
    await asyncio.gather(off, *again)
    assert lamp.calls[2:] in (["on", "off", "on"], ["on", "off", "on", "off"])


def test_threads_with_loops_of_their_own_share_one_activation():
    """activate from 8 threads at once: one activation, and every thread finds it available."""
    lamp = Lamp()
    start, found = threading.Barrier(8), []

    async def run():
        start.wait(timeout=30)
        await lamp.activate()
        found.append(lamp.is_available)

    threads = [threading.Thread(target=asyncio.run, args=(run(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert found == [True] * 8
    assert lamp.calls == ["on"]


# -- observers --------------------------------------------------------------------------------------


async def test_every_observer_sees_the_state_and_then_each_change():
    """A stream begins with the current state; several observers see the same changes."""
    lamp = Lamp()
    seen = [[], []]

    async def observe(into):
        async for state in lamp.state_stream():
            into.append(state)
            if state is RESTRICTED:
                return

    watching = [asyncio.create_task(observe(into)) for into in seen]
    await asyncio.sleep(0.01)
    for step in (lamp.activate, lamp.deactivate, lamp.activate):
        await step()
        await asyncio.sleep(0.01)
    lamp.gate, lamp.error = None, AccessDeniedError("forbidden")
    await lamp.deactivate()
    await asyncio.sleep(0.01)
    with pytest.raises(AccessDeniedError):
        await lamp.activate()
    await asyncio.gather(*watching)
    assert seen == [[UNKNOWN, AVAILABLE, UNAVAILABLE, AVAILABLE, UNAVAILABLE, RESTRICTED]] * 2


async def test_a_slow_observer_sees_the_latest_state():
    """A stream that is not read keeps nothing: the next read is what holds then."""
    lamp = Lamp()
    stream = lamp.state_stream()
    assert await anext(stream) is UNKNOWN
    for _ in range(100):
        await lamp.activate()
        await lamp.deactivate()
    await lamp.activate()
    assert await anext(stream) is AVAILABLE
    await stream.aclose()
    assert not lamp._observers._waiting


def test_an_observer_on_another_loop_is_woken():
    """A stream in another thread's event loop sees changes; one whose loop is closed disturbs nobody."""
    lamp = Lamp()
    seen, ready = [], threading.Event()

    async def observe():
        async for state in lamp.state_stream():
            seen.append(state)
            ready.set()
            if state is AVAILABLE:
                return

    left_open = []

    async def leave():
        stream = lamp.state_stream()
        left_open.append(stream)
        await anext(stream)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    thread = threading.Thread(target=asyncio.run, args=(observe(),))
    thread.start()
    ready.wait(timeout=30)
    asyncio.run(lamp.activate())
    thread.join(timeout=30)
    assert seen == [UNKNOWN, AVAILABLE]


# -- a persistence is one ---------------------------------------------------------------------------


async def test_a_persistence_is_a_capability(kept):
    """AdapterBasedPersistence has the lifecycle and the members of PersistenceCapability."""
    persistence = kept.open()
    assert isinstance(persistence, Capability)
    assert isinstance(persistence, PersistenceCapability)
    assert isinstance(persistence.namespace("n"), PersistenceCapability)
    assert persistence.state is UNKNOWN
    assert await persistence is persistence
    assert persistence.state is AVAILABLE
    await persistence.save("k", 1)
    await persistence.deactivate()
    assert persistence.state is UNAVAILABLE
    async with persistence:
        await persistence.save("j", 2)
        assert await persistence.load("j", int) == 2
    assert persistence.state is UNAVAILABLE


async def test_a_persistence_that_is_not_open_says_how_to_open_it(kept):
    """Every verb of one that was never opened, or is closed, is CapabilityUnavailableError."""
    persistence = kept.open()

    async def listing():
        async for _ in persistence.keys():
            pass

    async def transacting():
        async with persistence.transaction():
            pass

    verbs = [
        lambda: persistence.save("k", 1),
        lambda: persistence.load("k", int),
        lambda: persistence.delete("k"),
        lambda: persistence.exists("k"),
        lambda: persistence.save_many({"k": 1}),
        lambda: persistence.load_many(["k"], int),
        lambda: persistence.delete_many(["k"]),
        lambda: persistence.update("k", int, lambda n: n, default=0),
        lambda: persistence.run_transaction(lambda tx: tx.load("k", int)),
        lambda: persistence.describe("k"),
        lambda: persistence.verify(),
        lambda: persistence.flush(),
        lambda: persistence.migrate("1.0", "1.0"),
        lambda: persistence.namespace("n").save("k", 1),
        listing,
        transacting,
    ]
    for verb in verbs:
        with pytest.raises(CapabilityUnavailableError, match="inside its `with` block"):
            await verb()
    async with persistence:
        await persistence.save("k", 1)
    for verb in verbs:
        with pytest.raises(CapabilityUnavailableError, match="closed"):
            await verb()


async def test_a_failed_opening_leaves_nothing_open(monkeypatch):
    """If the place for secrets fails, the other is closed again, and opening can be tried again."""
    from axiom_persistence.testing import ConfidentialMemory

    main, secrets = MemoryAdapter(), ConfidentialMemory()
    persistence = AdapterBasedPersistence(main, secure=secrets)
    opening = secrets.aopen

    async def fail():
        raise AccessDeniedError("locked")

    monkeypatch.setattr(secrets, "aopen", fail)
    with pytest.raises(AccessDeniedError):
        await persistence
    assert persistence.state is RESTRICTED
    with pytest.raises(CapabilityUnavailableError):
        await main.read("k")
    monkeypatch.setattr(secrets, "aopen", opening)
    async with persistence:
        await persistence.secure.save("k", 1)


async def test_an_unclosed_persistence_is_told_of():
    """One that is dropped while open gives a ResourceWarning that names it."""

    async def forget():
        await AdapterBasedPersistence(MemoryAdapter())

    with pytest.warns(ResourceWarning, match=r"unclosed.*MemoryAdapter"):
        await forget()
