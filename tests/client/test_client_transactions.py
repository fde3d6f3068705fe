"""Several fields as one commit, undone when the body raises; actions and hooks."""

# ruff: noqa: PT012, SIM117

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from axiom_persistence.client import AutoSave, Client, action, client_state
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    ConflictError,
    EncodingError,
    StorageError,
)
from axiom_persistence.layers.journaled import Journaled
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.storage import BasicAdapter
from axiom_persistence.testing import ConfidentialMemory
from support.client_worlds import Counter, Preferences, Theme, full, turns


async def test_one_commit(store):
    """The fields assigned in a transaction are stored together at its end, not before."""
    async with Counter(store) as counter:
        async with counter.transaction():
            counter.a = 1
            counter.b = 2
            assert counter.a == 1
            assert await store.exists("Counter/a") is False
        assert await store.load_many(["Counter/a", "Counter/b"], int) == {"Counter/a": 1, "Counter/b": 2}
        assert counter.pending == ()


async def test_one_commit_is_counted(flaky, failing):
    """Two fields in a transaction or an action are one commit of the adapter."""
    async with Counter(flaky) as counter:
        failing.commits = 0
        async with counter.transaction():
            counter.a, counter.b = 1, 2
        assert failing.commits == 1


async def test_rolled_back(store):
    """When the body raises, memory and store are as before, values changed in place included."""
    async with Preferences(store) as preferences:
        preferences.theme, preferences.recent = Theme.DARK, ["a"]
        await preferences.persist_state()
        with pytest.raises(KeyError):
            async with preferences.transaction():
                preferences.theme = Theme.LIGHT
                preferences.recent.append("b")
                preferences.draft = "x"
                raise KeyError
        assert (preferences.theme, preferences.recent, preferences.draft) == (Theme.DARK, ["a"], "")
        assert await store.load("Preferences/theme", Theme) is Theme.DARK
    async with Preferences(store) as preferences:
        assert (preferences.theme, preferences.recent) == (Theme.DARK, ["a"])


async def test_a_list_assigned_and_changed_is_rolled_back(persistence):
    """A list that was changed in place and then replaced is put back with its earlier items."""
    async with Preferences(persistence) as preferences:
        preferences.recent = ["a"]
        with pytest.raises(KeyError):
            async with preferences.transaction():
                preferences.recent.append("b")
                preferences.recent = ["c"]
                raise KeyError
        assert preferences.recent == ["a"]


async def test_a_commit_that_fails(flaky, failing):
    """When the commit fails, memory is rolled back and what may have been written is written over."""
    async with Counter(flaky) as counter:
        counter.a = 1
        failing.error = full()
        with pytest.raises(StorageError):
            async with counter.transaction():
                counter.a = 2
        assert (counter.a, counter.pending) == (1, ("a",))
        await failing.inner.commit({"Counter/a": flaky._store.seal("Counter/a", 2, int)})
        failing.error = None
        await counter.persist_state()
        assert await flaky.load("Counter/a", int) == 1


async def test_a_conflict(tmp_path):
    """When another program stored an assigned field meanwhile: ConflictError, and the field has its value."""
    async with (
        open_persistence(tmp_path / "s.db") as here,
        open_persistence(tmp_path / "s.db") as there,
        Counter(here) as counter,
    ):
        counter.a, counter.b = 1, 1
        with pytest.raises(ConflictError):
            async with counter.transaction():
                counter.a = counter.a + 1
                counter.b = 5
                await there.save("Counter/a", 10)
        assert (counter.a, counter.b) == (10, 1)
        async with counter.transaction():
            counter.a = counter.a + 1
        assert await there.load("Counter/a", int) == 11


async def test_transactions_take_turns(store):
    """Transactions of one client run one after the other, so that none loses what another did."""
    async with Counter(store) as counter:

        async def increment() -> None:
            async with counter.transaction():
                seen = counter.a
                await asyncio.sleep(0)
                counter.a = seen + 1

        await asyncio.gather(*(increment() for _ in range(20)))
        assert counter.a == 20


async def test_assignments_of_other_tasks(flaky, failing):
    """What another task assigns while a body runs is not part of it, and stays when the body raises."""
    async with Counter(flaky) as counter:
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def body() -> None:
            async with counter.transaction():
                counter.a = 1
                inside.set()
                await go_on.wait()
                raise KeyError

        task = asyncio.create_task(body())
        await inside.wait()
        counter.b = 7
        counter.a = 8
        assert await flaky.load("Counter/b", int) == 7
        go_on.set()
        with pytest.raises(KeyError):
            await task
        assert (counter.a, counter.b) == (8, 7)
        assert await flaky.load("Counter/a", int) == 8


async def test_an_assignment_during_the_commit(flaky, failing):
    """A value assigned while the commit is under way is the later one, in memory and in the store."""
    async with Counter(flaky) as counter:
        failing.gate = asyncio.Event()

        async def body() -> None:
            async with counter.transaction():
                counter.a = 1

        task = asyncio.create_task(body())
        await turns()
        failing.at_once = False
        counter.a = 2
        failing.gate.set()
        await task
        await counter.persist_state()
        assert (counter.a, await flaky.load("Counter/a", int)) == (2, 2)


async def test_nesting(flaky, failing):
    """An inner transaction joins the outer one in one commit, and is undone alone when it raises."""
    async with Counter(flaky) as counter:
        failing.commits = 0
        async with counter.transaction():
            counter.a = 1
            with pytest.raises(KeyError):
                async with counter.transaction():
                    counter.a = 2
                    counter.b = 2
                    raise KeyError
            assert (counter.a, counter.b) == (1, 0)
            async with counter.transaction():
                counter.b = 3
        assert failing.commits == 1
        assert (counter.a, counter.b) == (1, 3)


async def test_verbs_inside_a_transaction(store):
    """What saves, restores or ends the client is refused inside its transaction."""
    async with Counter(store) as counter:
        async with counter.transaction():
            for verb in (counter.persist_state, counter.restore_state, counter.close, counter.reset):
                with pytest.raises(ConfigurationError, match="inside a transaction"):
                    await verb()
            counter.a = 1
        assert counter.a == 1


async def test_a_transaction_before_the_restore(store):
    """A transaction of a client that was not restored is a clear error."""
    counter = Counter(store)
    with pytest.raises(CapabilityUnavailableError, match="not restored"):
        async with counter.transaction():
            pass
    await counter.close()


async def test_secure_and_plain_do_not_mix():
    """Fields in two places cannot change as one: refused at the assignment, with everything undone."""

    class Account(Client):
        name: str = client_state("")
        token: str = client_state("", secure=True)

    async with open_persistence("memory:", secure=ConfidentialMemory()) as persistence:
        async with Account(persistence) as account:
            with pytest.raises(ConfigurationError, match="another place"):
                async with account.transaction():
                    account.name = "me"
                    account.token = "hush"
            assert (account.name, account.token) == ("", "")
            async with account.transaction():
                account.token = "hush"
            assert account.pending == ()


@dataclass
class Add:
    amount: int


class Cart(Client):
    items: list[str] = client_state(default_factory=list)
    total: int = client_state(0)

    async def process(self, action: object) -> int:
        match action:
            case Add(amount):
                self.items.append(str(amount))
                self.total += amount
                if amount < 0:
                    raise ValueError("no refunds")
        return self.total

    @action
    def clear(self, *, fail: bool = False) -> str:
        self.items = []
        self.total = 0
        if fail:
            raise ValueError
        return "cleared"

    @action
    async def add_twice(self, amount: int) -> None:
        await self.process(Add(amount))
        await asyncio.sleep(0)
        await self.process(Add(amount))


async def test_process(flaky, failing):
    """What ``process`` changes is one commit, and undone when it raises."""
    async with Cart(flaky) as cart:
        failing.commits = 0
        assert await cart.process(Add(5)) == 5
        assert failing.commits == 1
        with pytest.raises(ValueError, match="no refunds"):
            await cart.process(Add(-1))
        assert (cart.items, cart.total, cart.pending) == (["5"], 5, ())
        assert failing.commits == 1
        await cart.add_twice(10)
        assert (cart.items, cart.total, failing.commits) == (["5", "10", "10"], 25, 2)


async def test_plain_actions(flaky, failing):
    """A plain method as an action is stored when it returns, in one commit; undone when it raises."""
    async with Cart(flaky) as cart:
        await cart.process(Add(5))
        with pytest.raises(ValueError):
            cart.clear(fail=True)
        assert (cart.items, cart.total) == (["5"], 5)
        failing.commits = 0
        assert cart.clear() == "cleared"
        assert (failing.commits, cart.pending) == (1, ())
        assert await flaky.load("Cart/total", int) == 0


async def test_plain_actions_where_nothing_is_immediate(flaky, failing, clock):
    """Without a synchronous commit a plain action's changes go out together with the next auto-save."""
    async with Cart(flaky, auto_save=AutoSave(0.5, 2, clock=clock)) as cart:
        await cart.process(Add(5))
        failing.commits = 0
        cart.clear()
        assert failing.commits == 0
        assert set(cart.pending) == {"items", "total"}
        await clock.advance(0.6)
        assert (failing.commits, cart.pending) == (1, ())


async def test_processing_a_function(store):
    """Without an override ``process`` takes a function of the client, plain or async."""

    async def later(counter: Counter) -> str:
        await asyncio.sleep(0)
        counter.b = 2
        return "done"

    async with Counter(store) as counter:
        await counter.process(lambda c: setattr(c, "a", 1))
        assert await counter.process(later) == "done"
        assert (counter.a, counter.b) == (1, 2)
        with pytest.raises(ConfigurationError, match="override"):
            await counter.process("increment")


def test_an_action_of_nothing():
    """``@action`` on what is no method of a client says so when it is called."""

    @action
    def lonely() -> None:
        pass

    with pytest.raises(ConfigurationError, match="methods of a Client"):
        lonely()


class Watched(Client):
    low: int = client_state(0)
    high: int = client_state(10)
    items: list[int] = client_state(default_factory=list)

    def __init__(self, persistence, **options) -> None:
        super().__init__(persistence, **options)
        self._calls = []

    def state_will_update(self, old, new) -> None:
        if new.get("low", self.low) > new.get("high", self.high):
            raise ValueError("low is above high")
        self._calls.append(("will", dict(old), dict(new)))

    def state_did_update(self, old, new) -> None:
        self._calls.append(("did", dict(old), dict(new)))


async def test_hooks(persistence):
    """The hooks get the earlier and the coming values; the first may refuse, also a whole transaction."""
    async with Watched(persistence) as watched:
        watched.low = 3
        assert watched._calls == [("will", {"low": 0}, {"low": 3}), ("did", {"low": 0}, {"low": 3})]
        with pytest.raises(ValueError, match="above"):
            watched.low = 11
        assert watched.low == 3
        watched._calls.clear()
        async with watched.transaction():
            watched.low = 20
            watched.high = 30
        assert watched._calls == [
            ("will", {"low": 3, "high": 10}, {"low": 20, "high": 30}),
            ("did", {"low": 3, "high": 10}, {"low": 20, "high": 30}),
        ]
        with pytest.raises(ValueError, match="above"):
            async with watched.transaction():
                watched.high = 1
        assert (watched.low, watched.high) == (20, 30)
    again = Watched(persistence)
    await again.restore_state()
    assert again._calls == [("did", {"low": 0, "high": 10}, {"low": 20, "high": 30})]
    await again.close()


async def test_a_field_that_cannot_be_encoded_in_a_transaction(persistence):
    """A value that cannot be stored undoes the transaction it is in."""
    async with Preferences(persistence) as preferences:
        with pytest.raises(EncodingError):
            async with preferences.transaction():
                preferences.volume = 50
                preferences.recent.append(object())
        assert (preferences.volume, preferences.recent) == (5, [])


async def test_cancelled_in_the_body(store):
    """Cancelling a body undoes it and leaves the client usable."""
    async with Counter(store) as counter:
        started = asyncio.Event()

        async def body() -> None:
            async with counter.transaction():
                counter.a = 1
                started.set()
                await asyncio.sleep(3600)

        task = asyncio.create_task(body())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert counter.a == 0
        async with counter.transaction():
            counter.a = 2
        assert await store.load("Counter/a", int) == 2


class Shelf(BasicAdapter):
    """Not atomic: each key is written on its own, and keys that hold ``full`` not at all."""

    def __init__(self):
        self.entries = {}
        self.full = "nothing"

    async def read(self, key):
        return self.entries.get(key)

    async def write(self, key, data):
        if self.full in key:
            raise StorageError("no room on the shelf")
        self.entries[key] = data

    async def delete(self, key):
        self.entries.pop(key, None)

    async def exists(self, key):
        return key in self.entries

    async def keys(self, prefix=""):
        for key in sorted(self.entries):
            if key.startswith(prefix):
                yield key


class Shelved(Counter):
    tags: list[str] = client_state(default_factory=list)

    @action
    def both(self):
        self.a, self.b = 1, 2

    @action
    async def both_later(self):
        self.a, self.b = 1, 2

    @action
    def inside(self):
        self.a = 1
        self.tags.append("x")


async def transact(client):
    async with client.transaction():
        client.a, client.b = 1, 2


async def process(client):
    await client.process(Shelved.both)


async def act(client):
    client.both()


async def act_later(client):
    await client.both_later()


async def act_inside(client):
    client.inside()


@pytest.mark.parametrize("change", [transact, process, act, act_later, act_inside])
async def test_several_fields_need_an_atomic_adapter(change):
    """Where the first key would stay when the second fails, nothing changes; the error names the adapter."""
    shelf = Shelf()
    async with open_persistence(shelf) as persistence, Shelved(persistence, auto_save=AutoSave.OFF) as client:
        shelf.full = "Shelved/b"
        with pytest.raises(
            ConfigurationError, match=r"Shelved\.a and \.(b|tags).*Shelf.*put Journaled around it"
        ):
            await change(client)
        assert (client.a, client.b, client.tags, client.pending) == (0, 0, [], ())
        assert not await persistence.exists("Shelved/a")
        async with client.transaction():  # one field is one key
            client.a = 6
            client.a = 7
        assert await persistence.load("Shelved/a", int) == 7
    async with open_persistence(Journaled(Shelf())) as persistence, Shelved(persistence) as client:
        await change(client)
        assert client.a == 1


async def test_what_others_assigned_before_the_body_did_is_not_undone(store):
    """A field goes back to what it was when the body assigned it first, which may be another's value."""
    async with Counter(store) as counter:
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def body() -> None:
            async with counter.transaction(), counter.transaction():
                inside.set()
                await go_on.wait()
                counter.a += 1
                raise KeyError

        task = asyncio.create_task(body())
        await inside.wait()
        counter.a = 7
        go_on.set()
        with pytest.raises(KeyError):
            await task
        assert counter.a == 7
        await counter.persist_state()
        assert await store.load("Counter/a", int) == 7


async def test_what_others_stored_before_a_lost_transaction_is_not_lost(tmp_path):
    """After a conflict over one field, the other has what another program stored before it was assigned."""
    async with (
        open_persistence(tmp_path / "s.db") as here,
        open_persistence(tmp_path / "s.db") as there,
        Counter(here) as counter,
    ):
        counter.a, counter.b = 1, 1
        with pytest.raises(ConflictError):
            async with counter.transaction():
                counter.a += 1
                await there.save("Counter/b", 10)
                async with asyncio.timeout(20):
                    async for b in counter.observe("b"):
                        if b == 10:
                            break
                counter.b += 1
                await there.save("Counter/a", 20)
        assert (counter.a, counter.b) == (20, 10)
        async with counter.transaction():
            counter.b += 1
        assert await there.load("Counter/b", int) == 11


async def test_a_list_that_others_replaced_before_the_body_did_is_not_undone(store):
    """The same of a value that can be changed in place."""
    async with Preferences(store) as preferences:
        inside, go_on = asyncio.Event(), asyncio.Event()
        preferences.recent = ["a"]

        async def body() -> None:
            async with preferences.transaction():
                inside.set()
                await go_on.wait()
                preferences.recent = ["c"]
                raise KeyError

        task = asyncio.create_task(body())
        await inside.wait()
        preferences.recent = ["b"]
        go_on.set()
        with pytest.raises(KeyError):
            await task
        assert preferences.recent == ["b"]
