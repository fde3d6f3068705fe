"""How many Python functions a trip through the stack of ``open_persistence`` calls: each costs its time."""

import sys

import pytest

import axiom_persistence
from axiom_persistence import Client, client_state, open_persistence

PACKAGE = axiom_persistence.__file__.removesuffix("__init__.py")


class Settings(Client):
    volume: int = client_state(0)


async def save(persistence, n):
    await persistence.save("saved", {"n": n})


async def save_for_exit(persistence, n):
    await persistence.save("saved", {"n": n}, durability="process_exit")


async def load(persistence, n):
    assert await persistence.load("k", dict)


async def update(persistence, n):
    await persistence.update("k", dict, lambda value: {"n": value["n"] + 1})


CLIENTS = {}


async def assign(persistence, n):
    CLIENTS[persistence].volume = n + 1


# The calls of this library on the thread that asks, each resumption of a coroutine being one; the function
# above and what asyncio does are not counted. For a durable save that is what lies before and after the
# wait; what the writer thread does meanwhile is on another thread. A key that was only saved is not cached.
# Three to seven of a save look whether anybody else has committed, who may be a newer program.
TRIPS = {
    "durable save": (save, {}, 40),
    "PROCESS_EXIT save": (save_for_exit, {}, 22),
    "uncached load": (load, {"cache": None}, 28),
    "update of a cached key": (update, {}, 80),
    "assignment": (assign, {}, 32),
}


async def calls_of(trip, persistence, n):
    """The names of the functions of this library that ``trip`` calls."""
    called = []

    def note(frame, event, argument):
        code = frame.f_code
        if event == "call" and (code.co_filename.startswith(PACKAGE) or code.co_filename == "<string>"):
            called.append(f"{code.co_filename.removeprefix(PACKAGE)}: {code.co_qualname}")

    sys.setprofile(note)
    try:
        await trip(persistence, n)
    finally:
        sys.setprofile(None)
    return called


@pytest.mark.parametrize("name", TRIPS)
async def test_a_trip_takes_few_calls(name, tmp_path):
    """The usual trip of many, after the first ones, which fill caches and keep a generation."""
    trip, options, most = TRIPS[name]
    async with (
        open_persistence(tmp_path / "x.db", **options) as persistence,
        Settings(persistence) as CLIENTS[persistence],
    ):
        await persistence.save("k", {"n": 1})
        await persistence.load("k", dict)
        for n in range(5):
            await trip(persistence, n)
        trips = [await calls_of(trip, persistence, n) for n in range(5, 36)]
    del CLIENTS[persistence]
    usual = sorted(trips, key=len)[len(trips) // 2]
    print(f"{name}: {len(usual)} calls", *usual, sep="\n  ")
    assert 5 < len(usual) <= most
