"""Several clients, collections and keys as one commit: ``persistence.transaction(client, ...)``."""

# ruff: noqa: PT012, SIM117

from __future__ import annotations

import asyncio

import pytest

from axiom_persistence import AdapterBasedPersistence, blocking
from axiom_persistence.client import Client, client_state
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    ConflictError,
    StorageError,
    ValidationError,
)
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.testing import ConfidentialMemory
from support.client_worlds import Counter, Preferences, Theme, full


class Score(Client):
    points: int = client_state(0)
    pin: str = client_state("", secure=True)


async def test_all_of_it_is_one_commit(flaky, failing):
    """Fields of two clients, an item of a collection and a key: one commit of the adapter, at the end."""
    async with Counter(flaky) as counter, Preferences(flaky) as preferences:
        failing.commits = 0
        async with flaky.transaction(counter, preferences) as tx:
            counter.a = 1
            preferences.theme = Theme.DARK
            preferences.recent.append("x")
            await tx.collection("items", int).put("one", 1)
            await tx.save("key", counter.a)
            assert failing.commits == 0
            assert counter.pending == preferences.pending == ()
        assert failing.commits == 1
        assert counter.pending == preferences.pending == ()
        assert await flaky.load_many(["Counter/a", "items/one", "key"], int) == {
            "Counter/a": 1,
            "items/one": 1,
            "key": 1,
        }
        assert await flaky.load("Preferences/recent", list) == ["x"]
        assert await flaky.load("Preferences/theme", Theme) is Theme.DARK


@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError, KeyboardInterrupt])
async def test_a_body_that_raises_changes_nothing(store, error):
    """All clients are as before in memory, and nothing of it is stored."""
    async with Counter(store) as counter, Preferences(store) as preferences:
        with pytest.raises(error):
            async with store.transaction(preferences, counter) as tx:
                counter.a, preferences.title = 1, "x"
                preferences.recent.append("y")
                await tx.save("key", 1)
                raise error
        assert (counter.a, preferences.title, preferences.recent) == (0, "", [])
    assert [key async for key in store.keys()] == []  # noqa: SIM118


async def test_a_commit_that_fails_undoes_all_clients(flaky, failing):
    """In memory all is as before; what may have been written is written over."""
    async with Counter(flaky) as counter, Preferences(flaky) as preferences:
        failing.error = full()
        with pytest.raises(StorageError):
            async with flaky.transaction(counter, preferences):
                counter.a, preferences.volume = 2, 50
        assert (counter.a, preferences.volume) == (0, 5)
        assert (counter.pending, preferences.pending) == (("a",), ("volume",))
        failing.error = None


@pytest.mark.parametrize("lost", ["Counter/a", "Preferences/volume", "key"])
async def test_a_conflict_undoes_all_of_it(tmp_path, lost):
    """Whichever part somebody else was faster with: nothing is stored, and the fields have what is stored."""
    async with (
        open_persistence(tmp_path / "s.db") as here,
        open_persistence(tmp_path / "s.db") as there,
        Counter(here) as counter,
        Preferences(here) as preferences,
    ):
        counter.a, preferences.volume = 1, 1
        with pytest.raises(ConflictError) as caught:
            async with here.transaction(counter, preferences) as tx:
                counter.a += 1
                preferences.volume += 1
                await tx.update("key", int, lambda n: n + 1, default=1)
                await there.save(lost, 10)
        assert caught.value.key == lost
        found = await there.load_many(["Counter/a", "Preferences/volume", "key"], int)
        assert found == {"Counter/a": 1, "Preferences/volume": 1} | {lost: 10}
        assert (counter.a, preferences.volume) == (found["Counter/a"], found["Preferences/volume"])


async def test_run_transaction_tries_again_with_what_is_stored(tmp_path):
    """After a conflict over a field the function runs once more, and builds on the other's value."""
    async with (
        open_persistence(tmp_path / "s.db") as here,
        open_persistence(tmp_path / "s.db") as there,
        Counter(here) as counter,
    ):
        seen = []

        async def body(tx):
            seen.append(counter.a)
            counter.a += 1
            if len(seen) == 1:
                await there.save("Counter/a", 10)

        await here.run_transaction(body, counter)
        assert seen == [0, 10]
        assert await there.load("Counter/a", int) == 11


async def test_a_hook_that_refuses_refuses_the_whole(store):
    """What one client refuses at the end keeps the changes of the others out, too."""

    class Guarded(Counter, name="Guarded"):
        def state_will_update(self, old, new):
            raise ValidationError("not today")

    async with Counter(store) as counter, Guarded(store) as guarded, Preferences(store) as preferences:
        with pytest.raises(ValidationError):
            async with store.transaction(counter, guarded, preferences):
                counter.a, guarded.a, preferences.volume = 1, 1, 1
        assert (counter.a, guarded.a, preferences.volume) == (0, 0, 5)
        counter.a = 5  # and each of them goes on
        async with preferences.transaction():
            preferences.volume = 7
    async with Counter(store) as counter, Preferences(store) as preferences:
        assert (counter.a, preferences.volume) == (5, 7)


async def test_hooks_and_streams_are_told_after_the_commit(store):
    """Once for each client, when it is stored."""
    told = []

    class Telling(Counter, name="Telling"):
        def state_did_update(self, old, new):
            told.append((dict(old), dict(new)))

    async with Telling(store) as one, Telling(store, instance="two") as two:
        async with store.transaction(one, two, one):
            one.a, one.b, two.b = 1, 2, 3
            assert told == []
        assert told == [({"a": 0, "b": 0}, {"a": 1, "b": 2}), ({"b": 0}, {"b": 3})]


async def test_a_transaction_of_one_of_them_joins(store):
    """client.transaction() and actions inside are part of the whole; one that fails is undone alone."""
    async with Counter(store) as counter, Preferences(store) as preferences:
        async with store.transaction(counter, preferences) as tx:
            counter.a = 1
            with pytest.raises(KeyError):
                async with counter.transaction():
                    counter.a = counter.b = 2
                    raise KeyError
            async with preferences.transaction():
                preferences.title = "x"
            assert (counter.a, counter.b) == (1, 0)
            assert not await store.exists("Preferences/window-title")
            await tx.save("key", 1)
        assert await store.load_many(["Counter/a", "key"], int) == {"Counter/a": 1, "key": 1}


async def test_two_orders_of_the_same_clients_do_not_wait_for_each_other(store):
    """Transactions over a and b, and over b and a, take their turns in one order."""
    async with Counter(store) as a, Counter(store, instance="b") as b:

        async def move(*clients):
            for _ in range(5):
                async with store.transaction(*clients):
                    for client in clients:
                        client.a += 1
                        await asyncio.sleep(0)

        async with asyncio.timeout(60):
            await asyncio.gather(move(a, b), move(b, a), move(b), move(a))
        assert (a.a, b.a) == (15, 15)


async def test_what_cannot_be_one_step_is_refused(store, tmp_path):
    """A client of another store, one that is not live, one in a transaction of its own, and no client."""
    async with (
        open_persistence("memory:") as elsewhere,
        Counter(elsewhere) as foreign,
        Counter(store) as counter,
    ):
        for wrong, error, said in (
            (foreign, ConfigurationError, "another persistence"),
            (Counter(store, instance="new"), CapabilityUnavailableError, "not restored"),
            ("counter", ConfigurationError, "takes clients"),
        ):
            with pytest.raises(error, match=said):
                async with store.transaction(counter, wrong):
                    raise AssertionError("it began")
        async with counter.transaction():
            with pytest.raises(ConfigurationError, match="inside a transaction"):
                async with store.transaction(counter):
                    raise AssertionError("it began")
        counter.a = 1  # nothing of this has left it in a transaction
    assert await store.load("Counter/a", int) == 1


async def test_a_secure_field_in_another_place_is_refused(store):
    """It cannot be stored in one step with what is in the plain store."""
    async with open_persistence(store.adapter, secure=ConfidentialMemory()) as both, Score(both) as score:
        with pytest.raises(ConfigurationError, match="another place"):
            async with both.transaction(score):
                score.points = 1
                score.pin = "1234"
        assert (score.points, score.pin) == (0, "")


async def test_in_a_namespace(store):
    """The clients and the keys of a namespace, by the transaction of the namespace."""
    space: AdapterBasedPersistence = store.namespace("space")
    async with Counter(space) as counter:
        async with space.transaction(counter) as tx:
            counter.a = 1
            await tx.save("key", 1)
    assert sorted([key async for key in store.keys()]) == ["space/Counter/a", "space/key"]  # noqa: SIM118


class Tally(blocking.Client):
    a: int = blocking.client_state(0)


def test_the_blocking_face(tmp_path):
    """The same without ``await``, and again after a conflict."""
    with blocking.open_persistence(tmp_path / "s.db") as persistence:
        with Tally(persistence) as one, Tally(persistence, instance="two") as two:
            with persistence.transaction(one, two) as tx:
                one.a = two.a = 1
                tx.collection("items", int).put("x", 5)
                assert list(tx.keys("items/")) == ["items/x"]
            with pytest.raises(KeyError):
                with persistence.transaction(one, two):
                    one.a = two.a = 2
                    raise KeyError
            assert (one.a, two.a) == (1, 1)
            assert persistence.load_many(["Tally/a", "Tally/two/a", "items/x"], int) == {
                "Tally/a": 1,
                "Tally/two/a": 1,
                "items/x": 5,
            }

            def body(tx: blocking.Transaction) -> int:
                one.a += 1
                two.a += 1
                return tx.update("n", int, lambda n: n + 1, default=0)

            assert persistence.run_transaction(body, one, two) == 1
            assert persistence.load("Tally/two/a", int) == 2
