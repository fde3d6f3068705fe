"""The torture of synchronising devices, for some seconds."""

import pytest

from .devices import REMOTES, place_for, torture


@pytest.mark.parametrize("kind", REMOTES)
async def test_processes_that_are_killed_lose_nothing(kind, tmp_path, record_property):
    """Three devices, two processes each, killed at random: equal at the end, all changes known."""
    done = await torture(tmp_path, place_for(kind, tmp_path), seconds=1, least=2)
    assert done["kills"] > 0
    record_property("told", f"synchronisation over {kind}, killed: {done}")
