"""Records whose keys match a pattern stay no longer than the store's retention says."""

import sqlite3
from datetime import timedelta

import pytest

from axiom_persistence import Client, blocking, client_state, open_persistence
from axiom_persistence.errors import ConfigurationError
from axiom_persistence.opening import _chores
from axiom_persistence.security import AuditLog
from axiom_persistence.store import _options

DAY = 86_400.0
KEEP = {"log/*": timedelta(days=30), "log/debug/*": timedelta(days=1), "Player/*": timedelta(days=30)}


@pytest.fixture(params=["x.db", "files"])
def where(request, tmp_path):
    return tmp_path / request.param


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be moved by hand."""
    now = [1_900_000_000.0]
    monkeypatch.setattr(_options, "wall_clock", lambda: now[0])
    return now


async def ends(persistence, clock, *keys):
    """After how many days each of ``keys`` is gone."""
    found = [await persistence.expires_at(key) for key in keys]
    return [None if end is None else round((end - clock[0]) / DAY, 3) for end in found]


async def test_every_verb_that_saves_gives_an_end(where, clock):
    """The shortest time of the patterns holds, a ``ttl`` only shortens it, and other keys stay for good."""
    async with open_persistence(where, retention=KEEP) as persistence:
        await persistence.save("log/a", 1)
        await persistence.save("log/debug/b", 1, subject="alice")
        await persistence.save_many({"log/c": 1, "other": 1}, ttl=timedelta(days=2))
        await persistence.save("log/d", 1, ttl=timedelta(days=90))
        await persistence.update("log/e", int, lambda n: n + 1, default=0)
        await persistence.namespace("log").save("f", 1)
        await persistence.save("kept", 1)
        async with persistence.transaction() as tx:
            await tx.save("log/g", 1)
        keys = ["a", "debug/b", "c", "d", "e", "f", "g"]
        found = await ends(persistence, clock, *(f"log/{key}" for key in keys), "other", "kept")
        assert found == [30, 1, 2, 30, 30, 30, 30, 2, None]
        clock[0] += 10 * DAY
        await persistence.update("log/a", int, lambda n: n + 1, default=0)
        assert await persistence.touch("log/d", ttl=None)
        assert await ends(persistence, clock, "log/a", "log/d") == [20, 30]
        clock[0] += 21 * DAY
        assert [key async for key in persistence.keys("log/")] == ["log/d"]
        assert (await persistence.sweep()).expired == 7


async def test_items_of_a_collection(where, clock):
    """Each save of them begins their time anew, also of those that are the same."""
    async with open_persistence(where, retention=KEEP) as persistence:
        log = persistence.collection("log", int)
        await log.put("1", 1)
        assert await log.save_all({"2": 2, "3": 3}) == 2
        clock[0] += 10 * DAY
        assert await log.save_all({"2": 2}) == 1
        assert await ends(persistence, clock, "log/1", "log/2", "log/3") == [20, 30, 20]


class Player(Client):
    volume: int = client_state(5)
    recent: list[str] = client_state(default_factory=list)


async def test_what_was_there_before_gets_its_end_at_a_sweep(where, clock):
    """So do fields of clients, whose records stay equal for equal values. Others are left alone."""
    async with open_persistence(where) as persistence, Player(persistence) as player:
        await persistence.save_many({"log/old": 1, "kept": 1})
        await persistence.save("log/long", 1, ttl=timedelta(days=90))
        player.recent = ["a"]
    async with open_persistence(where, retention=KEEP, audit=AuditLog()) as persistence:
        assert (await persistence.sweep(dry_run=True)).ended == 0
        assert (await persistence.sweep()).ended == 3
        assert (await persistence.sweep()).ended == 0
        assert await ends(persistence, clock, "log/old", "log/long", "kept") == [30, 30, None]
        assert await ends(persistence, clock, "Player/recent") == [30]
        told = [entry.reason async for entry in persistence.audit(key="log/old")]
        assert told == ["retention"]
        async with Player(persistence) as player:
            assert player.recent == ["a"]
            await player.persist_state()
        assert await ends(persistence, clock, "Player/recent") == [30]
        clock[0] += 31 * DAY
        assert [key async for key in persistence.keys("")] == ["kept"]


async def test_a_store_that_is_open_sees_to_it_by_itself(where, clock):
    async with open_persistence(where) as persistence:
        await persistence.save_many({f"log/{number}": number for number in range(200)})
    async with open_persistence(where, retention=KEEP) as persistence:
        sweeping = _chores._Sweeping(persistence._store)
        while await sweeping() < _chores.SWEEP_PAUSE_SECONDS:
            pass
        assert await ends(persistence, clock, "log/0", "log/199") == [30, 30]
        clock[0] += 31 * DAY
        while await sweeping() < _chores.SWEEP_PAUSE_SECONDS:
            pass
        assert [key async for key in persistence.adapter.keys("log/")] == []


async def test_damaged_records_are_left_alone(tmp_path, clock):
    async with open_persistence(tmp_path / "x.db") as persistence:
        await persistence.save_many({"log/a": 1, "log/b": 2})
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("UPDATE record SET data = replace(data, ':1}', ':7}') WHERE key = 'log/a'")
    connection.close()
    async with open_persistence(tmp_path / "x.db", retention=KEEP, on_corruption="raise") as persistence:
        assert (await persistence.sweep()).ended == 1
        assert await persistence.exists("log/a")


def test_the_blocking_face(where, clock):
    with blocking.open_persistence(where, retention=KEEP, durability="process_exit") as persistence:
        persistence.save("log/a", 1)
        assert persistence.expires_at("log/a") == clock[0] + 30 * DAY


@pytest.mark.parametrize("wrong", [{"a": 5}, {"a": timedelta(0)}, ["log/*"], {"a": None}])
async def test_what_says_no_time_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="retention"):
        open_persistence("memory:", retention=wrong)
