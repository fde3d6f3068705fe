"""Clients, collections and keys change in one step, whoever else changes them."""

import pytest

from support.contender import PURSES, STACKS, TOTAL
from support.contenders import Contenders


async def endow(stack, place):
    async with STACKS[stack](place) as persistence:
        await persistence.save_many(dict(zip(PURSES, (TOTAL, 0, 0), strict=True)))


@pytest.mark.parametrize("stack", ["sqlite", "file"])
async def test_sums_are_exact_over_two_clients_and_a_collection(stack, tmp_path, record_property):
    """Three processes move money between two clients; no reader sees half of it, and nothing is lost."""
    place, steps = tmp_path / "store", 20 if stack == "sqlite" else 6
    await endow(stack, place)
    with Contenders(stack, place, 3) as contenders:
        reports = contenders.work("purses", 1, steps)
    moves, looks = (sum(report[name] for report in reports) for name in ("moves", "looks"))
    async with STACKS[stack](place) as persistence:
        found = await persistence.load_many(PURSES, int)
        assert sum(found.values()) == TOTAL
        assert found["ledger/fees"] == moves == 3 * 2 * steps
        assert len([key async for key in persistence.keys("note/")]) == moves
    record_property("told", f"isolation on {stack}: {moves} moves between clients, {looks} looks")
    assert looks


async def test_a_half_commit_is_seen_by_the_readers(tmp_path):
    """The same readers find an adapter out whose commits appear one key after the other."""
    await endow("torn commit", tmp_path / "store")

    def look():
        with Contenders("torn commit", tmp_path / "store", 3) as contenders:
            for seed in range(20):
                contenders.work("purses", seed, 30)

    with pytest.raises(AssertionError, match="half a transaction was seen"):
        look()
