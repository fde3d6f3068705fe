"""A layer that takes ``commit_now`` away: clients choose auto-save by themselves, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import pytest

from axiom_persistence import AdapterBasedPersistence, SQLiteAdapter
from axiom_persistence.client import AutoSave
from axiom_persistence.errors import ConfigurationError
from axiom_persistence.layers.cached import Cached
from axiom_persistence.layers.observed import Observed
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.storage import Layer
from support.client_worlds import Counter, Preferences


class Hidden(Layer):
    """Takes ``commit_now`` away without a word."""

    def commit_now(self, changes):
        return None


class Unhurried(Hidden):
    """Takes ``commit_now`` away, and says so."""

    @property
    def traits(self):
        return replace(self.inner.traits, immediate=False)


def below(layer, place):
    """The stack of open_persistence around ``layer``."""
    return open_persistence(layer(SQLiteAdapter(place)))


def above(layer, place):
    """``layer`` around everything."""
    return AdapterBasedPersistence(layer(Observed(Cached(SQLiteAdapter(place)))))


stacks = pytest.mark.parametrize("stacked", [below, above])
layers = pytest.mark.parametrize("layer", [Unhurried, Hidden])


@stacks
async def test_auto_save_is_chosen(tmp_path, stacked):
    """The client saves by the interval and not at once; who asks for more is told that it cannot be."""
    async with stacked(Unhurried, tmp_path / "s.db") as persistence:
        async with Counter(persistence) as counter:
            assert counter._state.auto_save == AutoSave()
            counter.a = 1
            assert counter.pending == ("a",)
            async with asyncio.timeout(30):
                while counter.pending:
                    await asyncio.sleep(0.05)
            assert await persistence.load("Counter/a", int) == 1
        with pytest.raises(ConfigurationError, match=r"AutoSave\.IMMEDIATE"):
            Counter(persistence, auto_save=AutoSave.IMMEDIATE)


@stacks
@layers
@pytest.mark.parametrize("end", ["client", "persistence"])
async def test_nothing_is_lost_at_close(tmp_path, stacked, layer, end):
    """What was assigned, changed in place or done by an action is stored when either of them closes."""
    async with stacked(layer, tmp_path / "s.db") as persistence:
        preferences = Preferences(persistence)
        await preferences.restore_state()
        preferences.volume = 7
        preferences.recent.append("a")
        await preferences.process(lambda client: setattr(client, "title", "t"))
        if end == "client":
            await preferences.close()
    await preferences.close()
    async with open_persistence(tmp_path / "s.db") as persistence, Preferences(persistence) as preferences:
        assert (preferences.volume, preferences.recent, preferences.title) == (7, ["a"], "t")


@stacks
@layers
def test_nothing_is_lost_when_the_process_ends(tmp_path, stacked, layer):
    """The last save, on a thread without an event loop, needs no ``commit_now``."""
    program = (
        "import asyncio, pathlib, sys\n"
        f"from client.test_client_not_at_once import {layer.__name__}, {stacked.__name__}\n"
        "from support.client_worlds import Counter\n"
        "async def main():\n"
        f"    store = {stacked.__name__}({layer.__name__}, pathlib.Path(sys.argv[1]) / 's.db')\n"
        "    await store.activate()\n"
        "    counter = Counter(store)\n"
        "    await counter.restore_state()\n"
        "    counter.a = 5\n"
        "    return store, counter\n"
        "kept = asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, timeout=60, env=environment())
    assert asyncio.run(stored(tmp_path / "s.db")) == 5


def environment():
    """That of this process, in which the tests can be imported."""
    import os
    from pathlib import Path

    paths = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


async def stored(place):
    async with open_persistence(place) as persistence:
        return await persistence.load("Counter/a", int)


@stacks
@layers
async def test_collections_and_change_streams_work(tmp_path, stacked, layer):
    """Known items are not read again, what another process writes is, and streams tell of both."""
    async with (
        asyncio.timeout(60),
        stacked(layer, tmp_path / "s.db") as persistence,
        open_persistence(tmp_path / "s.db") as elsewhere,
    ):
        changes = persistence.changes("items/")
        items = persistence.collection("items", int)
        await items.save_all({"a": 1, "b": 1})
        assert {(await anext(changes)).key for _ in range(2)} == {"items/a", "items/b"}
        reads = persistence.stats()["cache_misses"]
        assert await items.save_all({"a": 1, "b": 2}) == 1
        assert await items.save_all({"a": 1, "b": 3}) == 1
        assert persistence.stats()["cache_misses"] == reads
        await elsewhere.save("items/a", 9)
        assert await items.save_all({"a": 1, "b": 3}) == 1
        assert await items.load_all() == {"a": 1, "b": 3}
        await elsewhere.save("items/c", 1)
        while (change := await anext(changes)).key != "items/c":
            pass
        assert change.origin == "process"


def found_by_another(place, key):
    """What another connection, as another process, finds: what SIGKILL would leave."""
    with closing(sqlite3.connect(place)) as connection:
        found = connection.execute("SELECT data FROM record WHERE key=?", (key,)).fetchone()
    return None if found is None else json.loads(found[0])["value"]


@pytest.mark.parametrize("size", ["one large", "many"])
async def test_an_assignment_waits_for_the_own_writer(tmp_path, size):
    """While a large save of the same process is being written, an assignment is stored when it ends."""
    values = {"large": "x" * 8_000_000} if size == "one large" else {f"k{i}": "x" * 500 for i in range(5000)}
    place = tmp_path / "s.db"
    async with open_persistence(SQLiteAdapter(place)) as persistence, Counter(persistence) as counter:
        lock = persistence.adapter.find(SQLiteAdapter)._writer.commits.lock.inner
        saving = asyncio.create_task(persistence.save_many(values))
        while not lock.locked():
            assert not saving.done()
            await asyncio.sleep(0)
        counter.a = 7
        assert counter.pending == ()
        assert found_by_another(place, "Counter/a") == 7
        await saving


async def test_an_assignment_says_that_another_process_is_writing(tmp_path):
    """Beside a foreign write lock ``pending`` names the field and it is counted, until the lock is free."""
    place = tmp_path / "s.db"
    async with open_persistence(SQLiteAdapter(place)) as persistence, Counter(persistence) as counter:
        with closing(sqlite3.connect(place, isolation_level=None)) as foreign:
            foreign.execute("BEGIN IMMEDIATE")
            began = time.perf_counter()
            for value in range(300):
                counter.a = value
            assert time.perf_counter() - began < 0.25
            assert counter.pending == ("a",)
            assert persistence.stats()["deferred"] == 300
        async with asyncio.timeout(10):
            while counter.pending:
                await asyncio.sleep(0.001)
        assert found_by_another(place, "Counter/a") == 299
        counter.a = 5
        assert counter.pending == ()
