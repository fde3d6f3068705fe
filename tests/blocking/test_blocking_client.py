"""Declared state without ``await``: the same promises, on any thread."""

import os
import signal
import threading
from contextlib import closing

import pytest

from axiom_persistence import Client as AsyncClient
from axiom_persistence import ClientManager, SQLiteAdapter
from axiom_persistence.blocking import AutoSave, Client, Durability, action, client_state, open_persistence
from axiom_persistence.client import ClientPhase
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    InsecureStorageError,
    StorageError,
    TypeMismatchError,
)
from axiom_persistence.storage.layer import Layer
from axiom_persistence.testing.confidential import ConfidentialMemory


class Preferences(Client):
    theme: str = client_state("system", validate=lambda theme: theme != "plaid")
    volume: int = client_state(5)
    recent: list[str] = client_state(default_factory=list)
    draft: str = client_state("", persisted=False)

    @action
    def louder(self, by, *, then=lambda: None):
        self.volume += by
        self.recent.append("louder")
        then()

    def process(self, action):
        match action:
            case {"volume": volume}:
                self.volume = volume
                return volume
            case _:
                return super().process(action)


@pytest.fixture(params=["store.db", "store"])
def place(request, tmp_path):
    return tmp_path / request.param


@pytest.fixture
def persistence(place):
    with open_persistence(place) as opened:
        yield opened


def test_what_is_assigned_is_there_the_next_time(place):
    """Restored on entering, saved at the latest on leaving; fields are plain attributes."""
    with open_persistence(place) as persistence, Preferences(persistence) as preferences:
        assert (preferences.theme, preferences.volume, preferences.recent) == ("system", 5, [])
        preferences.theme = "dark"
        preferences.recent.append("a.txt")
        preferences.draft = "not kept"
    with open_persistence(place) as persistence, Preferences(persistence) as preferences:
        assert (preferences.theme, preferences.recent, preferences.draft) == ("dark", ["a.txt"], "")
        assert set(preferences.restore_report.restored) == {"theme", "recent"}
        assert preferences.persistence is persistence
    assert preferences.phase is ClientPhase.CLOSED


def test_restore_persist_reset_and_close(persistence):
    """The steps one by one, without a ``with`` block."""
    preferences = Preferences(persistence)
    preferences.theme = "early"  # wins over what is stored
    assert preferences.restore_state().kept == ("theme",)
    preferences.volume = 7
    preferences.persist_state("volume")
    preferences.persist_state()
    assert persistence.load("Preferences/theme", str) == "early"
    assert persistence.load("Preferences/volume", int) == 7
    preferences.reset("volume")
    assert (preferences.volume, persistence.exists("Preferences/volume")) == (5, False)
    preferences.reset()
    assert list(persistence.keys("Preferences/")) == []
    preferences.close()
    preferences.close()
    with pytest.raises(CapabilityUnavailableError, match="closed"):
        preferences.theme = "late"
    preferences.restore_state()
    preferences.theme = "dark"
    preferences.close()
    assert persistence.load("Preferences/theme", str) == "dark"


def test_an_assignment_is_checked_and_may_be_refused(persistence):
    """Wrong types, refused values and unknown names raise at once, and change nothing."""
    with Preferences(persistence) as preferences:
        for name, value, error in (
            ("volume", "loud", TypeMismatchError),
            ("theme", "plaid", ValueError),
            ("them", "dark", AttributeError),
        ):
            with pytest.raises(error):
                setattr(preferences, name, value)
        assert (preferences.theme, preferences.volume, preferences.pending) == ("system", 5, ())


def test_several_fields_in_one_transaction(persistence):
    """A body's assignments are one commit; when it raises, memory and store are as before."""
    with Preferences(persistence) as preferences:
        with preferences.transaction(durability=Durability.POWER_LOSS):
            preferences.theme, preferences.volume = "dark", 6
            with preferences.transaction():  # joins the outer one
                preferences.recent.append("a")
            assert not persistence.exists("Preferences/theme")
        assert persistence.load("Preferences/recent", list[str]) == ["a"]

        def fail():
            preferences.theme = "light"
            preferences.recent.append("b")
            with pytest.raises(ConfigurationError, match="inside a transaction"):
                preferences.persist_state()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), preferences.transaction():
            fail()
        assert (preferences.theme, preferences.recent) == ("dark", ["a"])
        preferences.theme = "after"  # no transaction is left behind in this thread
        preferences.persist_state()
    assert persistence.load("Preferences/theme", str) == "after"


def test_threads_take_turns(persistence):
    """Transactions of several threads lose no step, while others assign other fields."""
    with Preferences(persistence) as preferences:
        preferences.volume = 0

        def louder():
            for _ in range(20):
                with preferences.transaction():
                    preferences.volume += 1

        def assign():
            for n in range(200):
                preferences.theme = f"theme {n}"

        threads = [threading.Thread(target=louder) for _ in range(4)] + [threading.Thread(target=assign)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (preferences.volume, preferences.theme) == (80, "theme 199")
    assert persistence.load("Preferences/volume", int) == 80
    assert persistence.load("Preferences/theme", str) == "theme 199"


@pytest.mark.skipif(os.name != "posix", reason="signals to oneself are POSIX")
def test_ctrl_c_while_waiting_for_a_turn_leaves_no_turn_taken(persistence):
    """Interrupted before the body, whatever the moment, the next transaction of the client begins."""
    with Preferences(persistence) as preferences:
        for _ in range(20):
            inside, leave = threading.Event(), threading.Event()

            def hold(inside=inside, leave=leave):
                with preferences.transaction():
                    inside.set()
                    leave.wait()
                    os.kill(os.getpid(), signal.SIGINT)

            holding = threading.Thread(target=hold)
            holding.start()
            inside.wait()

            def enter(leave=leave, holding=holding):
                try:
                    leave.set()
                    with preferences.transaction():
                        preferences.volume += 1
                    threading.Event().wait()  # the interrupt may come after the body, too
                finally:
                    holding.join()

            with pytest.raises(KeyboardInterrupt):
                enter()
        with preferences.transaction():
            preferences.volume = 99
        assert preferences.volume == 99


def test_actions(persistence):
    """A plain method under ``@action`` is one commit, undone when it raises; ``process`` as well."""
    with Preferences(persistence) as preferences:
        preferences.louder(2)
        assert (preferences.volume, preferences.recent) == (7, ["louder"])
        with pytest.raises(ZeroDivisionError):
            preferences.louder(90, then=lambda: 1 / 0)
        assert (preferences.volume, preferences.recent) == (7, ["louder"])
        assert preferences.process({"volume": 3}) == 3
        assert preferences.process(lambda client: client.volume) == 3
        with pytest.raises(ConfigurationError, match="def process"):
            preferences.process("unknown")
    assert persistence.load("Preferences/volume", int) == 3


def test_auto_save_works_in_the_background(tmp_path):
    """Over files, an assignment and a change inside a list are stored without another call."""
    with open_persistence(tmp_path / "store") as persistence:
        changes = persistence.changes("Preferences/")
        with Preferences(persistence, auto_save=AutoSave(0.02, 0.05)) as preferences:
            preferences.theme = "dark"
            assert next(changes).key == "Preferences/theme"
            preferences.recent.append("a.txt")
            assert next(changes).key == "Preferences/recent"
            assert preferences.pending == ()
        changes.close()


class Refusing(Layer):
    """Commits nothing while it refuses."""

    refuses = False

    async def commit(self, changes, *, expect=None, durability=None):
        if self.refuses:
            raise StorageError("planted", adapter=self)
        return await self.inner.commit(changes, expect=expect, durability=durability)

    def commit_now(self, changes):
        return None


def test_a_failing_save_is_told_and_raised(tmp_path):
    """``on_error`` hears of it in the background; close raises and keeps the value, which is then saved."""
    told = threading.Event()
    errors = []

    def on_error(client, error):
        with pytest.raises(CapabilityUnavailableError, match="wait for itself"):
            client.persist_state()  # a callback must not wait
        errors.append(error)
        told.set()

    adapter = Refusing(SQLiteAdapter(tmp_path / "store.db"))
    with open_persistence(adapter) as persistence:
        client = Preferences(persistence, auto_save=AutoSave(0.01, 0.01), on_error=on_error)
        client.restore_state()
        adapter.refuses = True
        client.theme = "dark"
        assert told.wait(60)
        assert client.last_error is errors[0]
        with pytest.raises(StorageError, match="planted"):
            client.close()
        assert (client.phase, client.pending) == (ClientPhase.READY, ("theme",))
        adapter.refuses = False
        client.close()
        assert persistence.load("Preferences/theme", str) == "dark"


def test_what_cannot_be_read_is_left_until_it_is_accepted(persistence):
    """A stored value of another type degrades the client; ``accept`` replaces it."""
    persistence.save("Preferences/volume", "loud")
    preferences = Preferences(persistence)
    report = preferences.restore_state()
    assert set(report.unreadable) == {"volume"}
    assert preferences.phase is ClientPhase.DEGRADED
    preferences.volume = 9
    with pytest.raises(TypeMismatchError):
        preferences.close()
    preferences.accept("volume")
    preferences.close()
    assert persistence.load("Preferences/volume", int) == 9


def test_the_body_s_error_matters_more(persistence):
    """When body and close both fail, the body's error is raised, with the other as a note."""
    persistence.save("Preferences/volume", "loud")
    preferences = Preferences(persistence)

    def body():
        preferences.volume = 9
        raise LookupError("of the body")

    with pytest.raises(LookupError) as caught, preferences:
        body()
    assert "closing Preferences did not succeed" in caught.value.__notes__[0]
    preferences.close(discard=True)


def test_changes_are_observed(persistence):
    """The state first, then what changes, until the timeout or the end of the client."""
    with Preferences(persistence) as preferences:
        states = preferences.state_stream(timeout=0.05)
        assert next(states).values["theme"] == "system"
        preferences.theme = "dark"
        assert [set(update.changed) for update in states] == [{"theme"}]
        volumes = preferences.observe("volume")
        assert next(volumes) == 5
        threading.Thread(target=setattr, args=(preferences, "volume", 6)).start()
        assert next(volumes) == 6
    assert list(volumes) == []


def test_two_stores_hear_of_each_other(place):
    """What one open store's client assigns, the other's takes over."""
    with (
        open_persistence(place) as one,
        open_persistence(place) as two,
        Preferences(one) as mine,
        Preferences(two) as other,
        closing(other.observe("theme")) as themes,
    ):
        assert next(themes) == "system"
        mine.theme = "dark"
        assert next(themes) == "dark"


def test_the_faces_are_not_mixed(persistence):
    """A client of one face over a persistence of the other is refused, with the right way."""

    class Awaited(AsyncClient):
        theme: str = client_state("system")

    with pytest.raises(ConfigurationError, match=r"axiom_persistence\.blocking"):
        Preferences(persistence.inner)
    with pytest.raises(ConfigurationError):
        Awaited(persistence)


async def test_inside_a_running_loop(tmp_path):
    """It works there, too; what would await it is refused, by name."""
    preferences = Preferences(open_persistence(tmp_path / "store.db").open())
    with pytest.raises(ConfigurationError, match="entered with `with`"):
        async with preferences:
            pass
    manager = ClientManager()
    manager.register(preferences)
    assert "blocking client" in str((await manager.start())["Preferences"])
    with preferences:
        preferences.theme = "dark"
    with preferences.persistence, Preferences(preferences.persistence) as again:
        assert again.theme == "dark"


def test_secure_fields(tmp_path):
    """They go to the confidential place, and without one the client cannot be built."""

    class Account(Client):
        token: str = client_state("", secure=True)

    vault = ConfidentialMemory()
    with open_persistence(tmp_path / "store.db", secure=vault) as persistence:
        with Account(persistence) as account:
            account.token = "s3cret"
        assert persistence.secure.load("Account/token", str) == "s3cret"
        assert list(persistence.keys()) == []
        with Account(persistence) as account:
            assert account.token == "s3cret"
    with open_persistence("memory:") as persistence, pytest.raises(InsecureStorageError):
        Account(persistence)


def test_it_declares_like_any_client():
    """Keys, pinned names, instances and inheritance are those of every client."""

    class Base(Client):
        a: int = client_state(1, key="alpha")

    class Derived(Base, name="pinned"):
        b: str | None = client_state(None)

    assert Derived.persisted_keys == ("alpha", "b")
    with open_persistence("memory:") as persistence:
        with Derived(persistence, instance="one") as one, Derived(persistence, instance="two") as two:
            one.a, two.a = 10, 20
            assert repr(one) == "<pinned/one ready a=<int> b=None>"
        assert persistence.load("pinned/one/alpha", int) == 10
        assert persistence.load("pinned/two/alpha", int) == 20
