"""Turns: one task at a time, whenever those who wait look whether the holder is still there."""

import asyncio

import pytest

from axiom_persistence.runtime import turn as turns
from axiom_persistence.runtime.turn import Turn


@pytest.mark.parametrize("look", [0.0, 0.0001, 0.2])
async def test_one_at_a_time_however_often_they_look(look, monkeypatch):
    """A turn passed on to one who looks just then, and was not told yet, is not passed on again."""
    monkeypatch.setattr(turns, "LOOK_S", look)
    turn, inside, most = Turn(), 0, 0

    async def take():
        nonlocal inside, most
        async with turn:
            inside += 1
            most = max(most, inside)
            for _ in range(3):
                await asyncio.sleep(0)
            inside -= 1

    async with asyncio.timeout(60):
        await asyncio.gather(*(take() for _ in range(100)))
    assert most == 1
    assert turn.take_now()
    turn.release()
