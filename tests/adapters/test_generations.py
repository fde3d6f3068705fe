"""The previous generation is kept once a minute, whatever is done to the clock of the machine."""

import time

import pytest

from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter

ADAPTERS = pytest.mark.parametrize("make", [FileStorageAdapter, SQLiteAdapter])


class Clocks:
    """Both clocks, moved ahead of the real ones: the one on the wall, and the one that only goes forward."""

    def __init__(self, monkeypatch):
        self.wall = self.steady = 0.0
        real, real_ns, monotonic = time.time, time.time_ns, time.monotonic
        monkeypatch.setattr(time, "time", lambda: real() + self.wall)
        monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(self.wall * 1e9))
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + self.steady)

    def wait(self, seconds):
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


async def data(adapter):
    found = await adapter.previous("k")
    return None if found is None else found.data


@ADAPTERS
async def test_once_a_minute(make, tmp_path, clocks):
    """What is overwritten within the minute is too young to be kept; after it, it is."""
    async with make(tmp_path / "store") as adapter:
        for n, wait, previous in ((1, 0, None), (2, 0, b"1"), (3, 58, b"1"), (4, 4, b"3"), (5, 0, b"3")):
            clocks.wait(wait)
            await adapter.commit({"k": b"%d" % n})
            assert await data(adapter) == previous


@ADAPTERS
@pytest.mark.parametrize("again", ["same", "opened again", "deleted"])
async def test_a_clock_set_back(make, again, tmp_path, clocks):
    """A generation kept at a time that is still to come does not keep the next ones from being kept."""
    async with make(tmp_path / "store") as adapter:
        for n in range(3):
            await adapter.commit({"k": b"%d" % n})
        assert await data(adapter) == b"0"
        clocks.wall -= 3600
        clocks.wait(61)
        if again == "deleted":
            await adapter.commit({"k": None})
            await adapter.commit({"k": b"2"})
        if again != "opened again":
            await adapter.commit({"k": b"3"})
            assert await data(adapter) == b"2"
    async with make(tmp_path / "store") as adapter:
        clocks.wait(61)
        await adapter.commit({"k": b"4"})
        assert await data(adapter) == (b"2" if again == "opened again" else b"3")


@ADAPTERS
async def test_two_that_write(make, tmp_path, clocks):
    """What one opening kept within the minute, by the clock they share, the other one leaves alone."""
    async with make(tmp_path / "store") as one, make(tmp_path / "store") as two:
        await one.commit({"k": b"1"})
        await one.commit({"k": b"2"})
        clocks.wall -= 3600
        clocks.wait(61)
        await two.commit({"k": b"3"})
        assert await data(one) == b"2"
        if make is SQLiteAdapter:  # files tell no time of their own: each opening counts for itself
            await one.commit({"k": b"4"})
            assert await data(one) == b"2"
