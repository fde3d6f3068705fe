"""Devices over every kind of stack agree in the end, whatever is given up on the way."""

import pytest

from axiom_persistence.layers.tracked import Tracked

from .stacks import run

RUNS = 12


@pytest.mark.parametrize("seed", range(RUNS))
async def test_all_agree(seed, tmp_path):
    """12 runs (500 in ``make torture``), each of 80 calls on two or three devices."""
    assert await run(seed, tmp_path) == []


async def test_a_cache_that_is_not_told_what_arrives_is_noticed(tmp_path, monkeypatch):
    """Planted: what others sent is taken for an own change, which the cache is told of elsewhere."""
    monkeypatch.setattr(Tracked, "_note_arrivals", lambda *_: None)
    for seed in range(RUNS):
        place = tmp_path / str(seed)
        place.mkdir()
        if await run(seed, place):
            return
    pytest.fail("nobody noticed")
