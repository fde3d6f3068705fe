"""A cell that is run again, or a module that is loaded again, replaces its client; a leaked one is named."""

# ruff: noqa: PT031, SIM117

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading

import pytest

from axiom_persistence import blocking
from axiom_persistence.client import AutoSave, Client, ClientPhase, action, client_state
from axiom_persistence.errors import CapabilityUnavailableError, ConfigurationError, StorageError
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.testing import ConfidentialMemory
from support.client_worlds import Counter, Preferences, full

CELL = """
from axiom_persistence.client import Client, client_state

class Notes(Client):
    title: str = client_state("")
    lines: list[str] = client_state(default_factory=list)
"""


def run_cell(source=CELL):
    """The class that a cell of a notebook, or a module that is loaded again, makes."""
    names = {"__name__": "notebook"}
    exec(source, names)
    return names["Notes"]


@pytest.mark.parametrize("redefined", [True, False])
@pytest.mark.parametrize("auto_save", [None, AutoSave.OFF])
async def test_a_cell_is_run_again(store, caplog, redefined, auto_save):
    """The new client has all that the old one held; the old one is closed, and says why."""
    kind = run_cell()
    old = kind(store, auto_save=auto_save)
    await old.restore_state()
    stream = old.state_stream()
    await anext(stream)
    old.title = "mine"
    old.lines.append("in place")

    kind = run_cell() if redefined else kind
    async with kind(store) as new:
        assert (new.title, new.lines, new.phase) == ("mine", ["in place"], ClientPhase.READY)
        assert old.phase is ClientPhase.CLOSED
        assert old.pending == ()
        with pytest.raises(CapabilityUnavailableError, match="newer client of the same name took its place"):
            old.title = "too late"
        with pytest.raises(CapabilityUnavailableError, match="newer client"):
            await old.persist_state()
        await old.close()
        assert [update async for update in stream][-1]["title"] == "mine"
        new.title = "new"
        await new.persist_state()
    assert await store.load("Notes/title", str) == "new"
    assert "Notes: a newer client takes the place" in caplog.text


async def test_one_is_live_whoever_enters(store):
    """Of many clients that are entered at once the last one is live, and none of their values is lost."""
    counters = [Counter(store, auto_save=AutoSave.OFF) for _ in range(6)]
    counters[0].a = 1
    counters[5].b = 2
    await asyncio.gather(*(counter.restore_state() for counter in counters))
    (live,) = [counter for counter in counters if counter.phase is not ClientPhase.CLOSED]
    assert (live.a, live.b) == (1, 2)
    await live.close()
    assert await store.load_many(["Counter/a", "Counter/b"], int) == {"Counter/a": 1, "Counter/b": 2}


async def test_what_cannot_be_stored_is_handed_over(failing):
    """While the disk is full, plain and secret values are pending in the new client, and stored by it."""

    class Account(Client):
        name: str = client_state("")
        tags: list[str] = client_state(default_factory=list)
        token: str = client_state("", secure=True)
        size: int = client_state(0)

    async with open_persistence(failing, secure=ConfidentialMemory()) as persistence:
        old = Account(persistence, auto_save=AutoSave.OFF)
        await old.restore_state()
        failing.error = full()
        old.name, old.token, old.size = "n", "s3cr3t", 1
        old.tags.append("t")
        new = Account(persistence, auto_save=AutoSave.OFF, on_error=lambda client, error: None)
        new.size = 2
        await new.restore_state()
        assert old.phase is ClientPhase.CLOSED
        assert (new.name, new.tags, new.token, new.size) == ("n", ["t"], "s3cr3t", 2)
        assert set(new.pending) >= {"name", "tags", "size"}
        with pytest.raises(StorageError):
            await new.persist_state()
        failing.error = None
        await new.close()
        assert await persistence.load("Account/tags", list[str]) == ["t"]
        assert await persistence.load("Account/size", int) == 2
        assert await persistence.secure.load("Account/token", str) == "s3cr3t"


async def test_what_waits_for_accept_is_handed_over(store):
    """A value that waits because the stored one cannot be read waits in the new client."""
    await store.save("Preferences/theme", "neon")
    old = Preferences(store)
    await old.restore_state()
    old.title, old.theme = "t", (other := type(old.theme)("dark"))
    new = Preferences(store)
    await new.restore_state()
    assert (new.phase, new.theme, new.title, new.pending) == (ClientPhase.DEGRADED, other, "t", ("theme",))
    await new.accept("theme")
    await new.close()
    assert await store.load("Preferences/theme", str) == "dark"


@pytest.mark.parametrize("line", ["", "    title: int = client_state(0)"])
async def test_a_value_with_no_place_to_go_keeps_the_old_client(failing, line):
    """A field that was taken out, or has another type, while its value is pending: nothing is replaced."""
    async with open_persistence(failing) as persistence:
        old = run_cell()(persistence, auto_save=AutoSave.OFF)
        await old.restore_state()
        old.title = "mine"
        failing.error = full()
        new = run_cell(CELL.replace('    title: str = client_state("")', line))(persistence)
        with pytest.raises((ConfigurationError, TypeError), match="title"):
            await new.restore_state()
        assert (old.phase, old.pending, new.phase) == (ClientPhase.READY, ("title",), ClientPhase.CREATED)
        failing.error = None
        await new.restore_state()
        assert await persistence.load("Notes/title", str) == "mine"
        await new.close(discard=True)


async def test_a_closed_client_that_starts_again_takes_its_place_back(failing):
    """Also then nothing is lost, even if nothing can be read."""
    async with open_persistence(failing) as persistence:
        first, second = Counter(persistence), Counter(persistence, auto_save=AutoSave.OFF)
        await first.restore_state()
        await second.restore_state()
        second.a = 5
        failing.error = full()
        await first.restore_state()
        assert (first.a, first.pending, second.phase) == (5, ("a",), ClientPhase.CLOSED)
        failing.error = None
        first.b = 1
        await first.close()
        assert await persistence.load("Counter/a", int) == 5


async def test_not_inside_a_transaction_of_the_old_one(store):
    """In the body of its transaction the old client is not replaced, and nothing waits for ever."""
    async with asyncio.timeout(20), Counter(store) as old:
        async with old.transaction():
            old.a = 1
            with pytest.raises(ConfigurationError, match="inside a transaction"):
                await Counter(store).restore_state()
        assert (old.a, old.phase) == (1, ClientPhase.READY)


class Slow(Client):
    a: int = client_state(0)

    @action
    def set(self, entered, go):
        self.a = 5
        entered.set()
        go.wait(20)


async def test_an_action_of_another_thread_is_told(store):
    """An action that runs on a thread while its client is replaced raises, and is undone."""
    old, entered, go = Slow(store), threading.Event(), threading.Event()
    await old.restore_state()
    acting = asyncio.create_task(asyncio.to_thread(old.set, entered, go))
    await asyncio.to_thread(entered.wait, 20)
    async with Slow(store) as new:
        go.set()
        with pytest.raises(CapabilityUnavailableError, match="newer client"):
            await acting
        assert (old.a, new.a) == (0, 0)
    assert await store.exists("Slow/a") is False


async def test_other_instances_and_persistences_stay(store):
    """Only the client of the same path over the same persistence is replaced."""
    async with Counter(store) as one, Counter(store, instance="2") as two:
        async with open_persistence("memory:") as other, Counter(other) as three:
            async with Counter(store):
                assert one.phase is ClientPhase.CLOSED
                two.a = three.a = 1


def test_the_blocking_face_replaces_its_client(tmp_path):
    """A cell of a notebook with a blocking client is run again."""

    class Settings(blocking.Client):
        volume: int = client_state(5)
        tags: list[str] = client_state(default_factory=list)

    with blocking.open_persistence(tmp_path / "s.db") as persistence:
        for run in range(3):
            settings = Settings(persistence)
            settings.restore_state()
            assert settings.tags == ["x"] * run
            settings.tags.append("x")
        settings.close()
        assert persistence.load("Settings/tags", list[str]) == ["x"] * 3


async def test_a_leaked_client_is_named(place):
    """One that was dropped and never closed is named once its store is closed; its values are stored."""
    persistence = await open_persistence(place)
    leaked = Preferences(persistence, instance="leaked")
    await leaked.restore_state()
    leaked.recent.append("in place")
    del leaked
    async with Counter(persistence) as closed:
        closed.a = 1
    kept = Counter(persistence, instance="kept")
    await kept.restore_state()
    Counter(persistence, instance="never entered").a = 3
    gc.collect()
    await asyncio.sleep(0.6)  # while the store is open its values are looked after
    assert await persistence.load("Preferences/leaked/recent", list[str]) == ["in place"]
    with pytest.warns(ResourceWarning, match="unclosed client 'Preferences/leaked'") as caught:
        await persistence.aclose()
        gc.collect()
    assert len(caught) == 1
    await kept.close()


@pytest.fixture(params=["state.db", "directory"])
def place(request, tmp_path):
    return tmp_path / request.param


def test_a_leaked_client_is_named_at_the_end_of_the_process(tmp_path):
    """The warning comes after its values were stored."""
    program = """
        import asyncio, sys
        from pathlib import Path
        from axiom_persistence import Client, client_state, open_persistence

        class Counter(Client):
            a: list[int] = client_state(default_factory=list)

        async def main():
            global persistence
            persistence = await open_persistence(Path(sys.argv[1]))
            counter = Counter(persistence)
            await counter.restore_state()
            counter.a.append(7)

        asyncio.run(main())
    """
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", textwrap.dedent(program)]
    ended = subprocess.run([*command, str(tmp_path / "s.db")], check=True, capture_output=True, text=True)
    assert "ResourceWarning: unclosed client 'Counter'" in ended.stderr
    with blocking.open_persistence(tmp_path / "s.db") as persistence:
        assert persistence.load("Counter/a", list[int]) == [7]
