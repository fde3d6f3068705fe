"""Several clients driven together."""

from __future__ import annotations

import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.client import AutoSave, ClientManager, ClientPhase, ClientsFailedError, Persistable
from axiom_persistence.errors import ConfigurationError, StorageError
from axiom_persistence.opening.open import open_persistence
from support.client_worlds import Counter, Failing, Preferences, full


class ByHand:
    """A hand-written Persistable."""

    persisted_keys = ("by-hand",)

    def __init__(self, persistence, log, name="by hand", fails="") -> None:
        self.persistence = persistence
        self.value = 0
        self.log, self.name, self.fails = log, name, fails

    async def restore_state(self) -> None:
        self.log.append(f"restore {self.name}")
        if self.fails == "restore":
            raise RuntimeError("cannot restore")
        self.value = await self.persistence.load("by-hand", int, default=0)

    async def persist_state(self) -> None:
        self.log.append(f"persist {self.name}")
        if self.fails == "persist":
            raise RuntimeError("cannot persist")
        await self.persistence.save("by-hand", self.value)


async def test_any_persistable(store):
    """A class written by hand and a client are restored and saved by the same manager."""
    manager, log = ClientManager(), []
    by_hand = manager.register(ByHand(store, log))
    counter = manager.register(Counter(store))
    async with manager:
        assert manager.running == ("ByHand", "Counter")
        by_hand.value, counter.a = 3, 4
        assert manager.client("Counter", Counter) is counter
        await manager.process("Counter", lambda c: setattr(c, "b", 5))
    assert (await store.load("by-hand", int), await store.load("Counter/b", int)) == (3, 5)
    assert counter.phase is ClientPhase.CLOSED


async def test_one_that_processes_no_actions(persistence):
    """An action for a client without process() is an error that says so, and not an AttributeError."""
    manager = ClientManager()
    manager.register(ByHand(persistence, []))
    with pytest.raises(ConfigurationError, match=r"ByHand.*processes no actions"):
        await manager.process("ByHand", "anything")


async def test_in_order_and_in_reverse(persistence):
    """Clients start in the order of their registration and stop in reverse; one's failure is its own."""
    manager, log = ClientManager(), []
    for name, fails in (("a", ""), ("b", "restore"), ("c", "persist"), ("d", "")):
        manager.register(ByHand(persistence, log, name, fails), name)
    failures = await manager.start()
    assert (list(failures), manager.running) == (["b"], ("a", "c", "d"))
    assert list(await manager.start()) == ["b"]  # tried again
    with pytest.raises(ClientsFailedError, match="cannot persist") as caught:
        await manager.stop()
    assert list(caught.value.failures) == ["c"]
    assert manager.running == ("c",)
    assert log == [
        *("restore a", "restore b", "restore c", "restore d", "restore b"),
        *("persist d", "persist c", "persist a"),
    ]


async def test_a_broken_state_is_told(persistence):
    """A degraded client runs, and the manager says so."""
    await persistence.save("Preferences/theme", 17)
    manager = ClientManager()
    manager.register(Preferences(persistence))
    manager.register(Counter(persistence))
    failures = await manager.start()
    assert list(failures) == ["Preferences"]
    assert manager.running == ("Preferences", "Counter")
    await manager.stop()
    assert await persistence.load("Preferences/theme", int) == 17


async def test_closing_all_is_one_commit(flaky, failing):
    """500 live clients of 5 fields start, and are saved at the end in one commit."""
    manager = ClientManager()
    clients = [
        manager.register(Preferences(flaky, instance=f"user-{i}", auto_save=AutoSave.OFF), str(i))
        for i in range(500)
    ]
    assert await manager.start() == {}
    for i, client in enumerate(clients):
        client.title, client.volume = f"t{i}", i % 100
        client.recent.append(str(i))
    failing.commits = 0
    await manager.stop()
    assert failing.commits == 1
    assert await flaky.load("Preferences/user-499/window-title", str) == "t499"
    assert await flaky.load("Preferences/user-499/recent", list[str]) == ["499"]


async def test_closing_all_syncs_once(tmp_path):
    """At the end of 500 clients over SQLite there are a few syncs, not 500."""
    async with open_persistence(tmp_path / "s.db") as persistence:
        manager = ClientManager()
        clients = [manager.register(Counter(persistence, instance=str(i)), str(i)) for i in range(500)]
        async with manager:
            for client in clients:
                client.a = 1
            before = persistence.stats()["syncs"]
        assert 1 <= persistence.stats()["syncs"] - before <= 5


async def test_a_store_that_fails_at_the_end():
    """Clients of a failing store stay as they are, those of another are closed, and stop can be repeated."""
    failing = Failing(MemoryAdapter())
    async with open_persistence(failing) as bad, open_persistence("memory:") as good:
        manager = ClientManager()
        first = manager.register(Counter(bad, auto_save=AutoSave.OFF), "bad")
        second = manager.register(Counter(good, auto_save=AutoSave.OFF), "good")
        await manager.start()
        first.a = second.a = 1
        failing.error = full()
        with pytest.raises(ClientsFailedError, match="disk says no") as caught:
            await manager.stop()
        assert isinstance(caught.value.failures["bad"], StorageError)
        assert (first.phase, second.phase) == (ClientPhase.READY, ClientPhase.CLOSED)
        failing.error = None
        await manager.stop()
        assert await bad.load("Counter/a", int) == 1


async def test_what_cannot_be_registered(persistence):
    """What is not persistable, and a second client under one key, are refused."""
    manager = ClientManager()
    with pytest.raises(ConfigurationError, match="persist_state"):
        manager.register(object())
    counter = manager.register(Counter(persistence))
    assert isinstance(counter, Persistable)
    with pytest.raises(ConfigurationError, match="registered as 'Counter' already"):
        manager.register(Counter(persistence, instance="2"))
    with pytest.raises(ConfigurationError, match="registered are 'Counter'"):
        manager.client("Conter", Counter)
