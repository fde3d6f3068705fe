"""A client that outlives its event loop goes on in the next one, and ends with its store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import replace

import pytest

from axiom_persistence import SQLiteAdapter, blocking
from axiom_persistence.client import AutoSave, Client, action, client_state
from axiom_persistence.errors import CapabilityUnavailableError, ClientsFailedError, StorageError
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.storage import Layer
from axiom_persistence.testing import ConfidentialMemory
from support.client_worlds import Failing, full, turns

SOON = 0.02


class Vault(Layer):
    @property
    def traits(self):
        return replace(self.inner.traits, confidential=True)


class Notes(Client):
    title: str = client_state("")
    lines: list[str] = client_state(default_factory=list)
    words: list[str] = client_state(default_factory=list, secure=True)

    @action
    def shout(self):
        self.lines.append("!")


@pytest.fixture(params=["state.db", "directory"])
def place(request, tmp_path):
    return tmp_path / request.param


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def until_stored(persistence, key, value):
    async with asyncio.timeout(30):
        while await persistence.load(key, type(value)) != value:
            await asyncio.sleep(0.005)


async def assign(notes):
    notes.title = "second"


async def touch(notes):
    notes.touch("title")


async def persist(notes):
    await notes.persist_state("title")


async def transact(notes):
    async with notes.transaction():
        pass


async def act(notes):
    notes.shout()


async def reset(notes):
    await notes.reset("title")


async def accept(notes):
    await notes.accept("title")


async def watch(notes):
    async with aclosing(notes.state_stream()) as stream:
        await anext(stream)


async def observe(notes):
    async with aclosing(notes.observe("title")) as values:
        await anext(values)


async def restore(notes):
    await notes.restore_state()


async def enter(notes):
    await notes.__aenter__()


def opened(place):
    vault = Vault(SQLiteAdapter(place.parent / "vault.db"))
    return open_persistence(place, secure=vault)


# A timer may fire as the first loop stops for good, and its task never begin.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("ended", ["closed", "stopped"])
@pytest.mark.parametrize(
    "use", [assign, touch, persist, transact, act, reset, accept, watch, observe, restore, enter]
)
def test_a_client_goes_on_in_the_next_loop(place, use: Callable, ended):
    """From its first use there, changes inside values are saved and others' are seen, in both places."""

    async def first():
        persistence = await opened(place)
        notes = Notes(persistence, auto_save=AutoSave(SOON, SOON, immediate=place.suffix == ".db"))
        await notes.restore_state()
        notes.lines.append("first")
        await notes.persist_state()
        return persistence, notes

    async def second(persistence, notes):
        await use(notes)
        lines = [*notes.lines, "second"]
        notes.lines.append("second")
        notes.words.append("hush")
        await until_stored(persistence, "Notes/lines", lines)
        await until_stored(persistence.secure, "Notes/words", ["hush"])
        async with opened(place) as there:
            await there.save("Notes/title", "theirs")
            await there.secure.save("Notes/words", ["theirs"])
            await until(lambda: (notes.title, notes.words) == ("theirs", ["theirs"]))
        await notes.close()
        await persistence.aclose()

    loop = asyncio.new_event_loop()
    persistence, notes = loop.run_until_complete(first())
    if ended == "closed":
        loop.close()
    asyncio.run(second(persistence, notes))
    if ended == "stopped":
        loop.run_until_complete(asyncio.sleep(0))  # what was stopped with it ends
        loop.close()


def test_a_loop_that_runs_keeps_its_clients(place):
    """An assignment from another thread's loop leaves the client where it is, and is saved there."""

    async def elsewhere(notes):
        notes.title = "from another loop"

    async def main():
        async with opened(place) as persistence, Notes(persistence, auto_save=AutoSave(SOON, SOON)) as notes:
            saver = notes._state.saver
            await asyncio.to_thread(asyncio.run, elsewhere(notes))
            await until_stored(persistence, "Notes/title", "from another loop")
            assert notes._state.saver is saver

    asyncio.run(main())


class Plain(Client):
    a: int = client_state(0)
    items: list[int] = client_state(default_factory=list)
    secret: int = client_state(0, secure=True)


@pytest.mark.parametrize("immediate", [True, False])
async def test_nothing_is_tried_once_the_store_is_closed(failing, clock, immediate):
    """After its close raised and its persistence was closed, a client tries nothing, and says so once."""
    vault = Failing(ConfidentialMemory())
    heard = []
    persistence = await open_persistence(failing, secure=vault)
    auto_save = AutoSave(0.5, 2, immediate=immediate, clock=clock)
    client = Plain(persistence, auto_save=auto_save, on_error=lambda client, error: heard.append(error))
    await client.restore_state()
    failing.error = vault.error = full()
    client.a, client.secret = 1, 1
    client.items.append(1)
    with pytest.raises(StorageError):
        await client.close()
    with suppress(ClientsFailedError):
        await persistence.aclose()
    heard.clear()
    failing.commits = vault.commits = 0
    for _ in range(5):
        await clock.advance(100)
    assert (heard, failing.commits, vault.commits, clock.armed) == ([], 0, 0, 0)

    failing.error = vault.error = None
    client.a, client.secret = 2, 2
    client.items.append(2)
    await clock.advance(100)
    client.a = 3
    await clock.advance(100)
    tried = failing.commits, vault.commits
    for _ in range(5):
        await clock.advance(100)
    assert [type(error) for error in heard] == [CapabilityUnavailableError]
    assert (failing.commits, vault.commits, clock.armed) == (*tried, 0)

    await persistence.activate()
    client.a = 4
    await clock.advance(1)
    await turns()
    assert (client.pending, client.last_error) == ((), None)
    client.items.append(3)
    await clock.advance(1)
    assert await persistence.load("Plain/items", list[int]) == [1, 2, 3]
    await client.close()
    await persistence.aclose()
    assert len(heard) == 1


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_blocking_face_tries_nothing_either(tmp_path):
    """A blocking client whose persistence was closed tells of it once, rests, and goes on when it is open."""

    class Lists(blocking.Client):
        items: list[int] = client_state(default_factory=list)
        title: str = client_state("")

    def resting():
        return client._state.saver is None

    heard = []
    place = tmp_path / "directory"
    persistence = blocking.open_persistence(place).open()
    client = Lists(persistence, auto_save=AutoSave(SOON, SOON), on_error=lambda *told: heard.append(told))
    client.restore_state()
    persistence.close()
    assert resting()
    client.title = "too late"
    client.items.append(1)
    wait_until(lambda: heard and resting())
    client.title = "still too late"
    wait_until(resting)
    assert [told[0] for told in heard] == [client]
    assert isinstance(client.last_error, CapabilityUnavailableError)

    persistence.open()
    client.title = "in time"
    wait_until(lambda: client.pending == ())
    client.items.append(2)
    wait_until(lambda: persistence.load("Lists/items", list[int]) == [1, 2])
    with blocking.open_persistence(place) as there:
        there.save("Lists/title", "theirs")
        wait_until(lambda: client.title == "theirs")
    client.close()
    persistence.close()
    assert len(heard) == 1
