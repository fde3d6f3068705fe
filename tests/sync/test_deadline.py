"""A meeting that must end soon ends between two requests, and the next one goes on; nobody is held back."""

import asyncio
from typing import Any

import pytest

from axiom_persistence import SQLiteAdapter, Sync, open_persistence
from axiom_persistence.errors import ConfigurationError
from axiom_persistence.sync import _cycle, _listing

from .counted import Counted

PART = 100
"""Keys that go out, or are taken over, together, in place of 4,096 and 256."""
KEYS = 350


class Slow(Counted):
    """A place where each request takes longer than the whole meeting may."""

    async def fetch(self, keys):
        await asyncio.sleep(0.005)
        return await super().fetch(keys)


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    monkeypatch.setattr(_cycle, "TOGETHER", PART)
    monkeypatch.setattr(_cycle, "_BYTES", 10_000)
    monkeypatch.setattr(_listing, "PAGE", PART)


@pytest.fixture
def device(tmp_path):
    """Opens a device whose meetings begin nothing after a millisecond."""

    def opened(name, **options):
        remote = Slow(SQLiteAdapter(tmp_path / "remote.db"))
        sync = Sync(remote, metered=lambda: True, **{"deadline": 0.001, **options})
        return open_persistence(tmp_path / f"{name}.db", sync=sync)

    return opened


async def test_each_meeting_sends_a_part(device):
    """What was sent is acknowledged, the rest is counted as waiting; then it is done, and says so."""
    async with device("a") as a:
        await a.sync.now()
        values = {f"k/{number:03}": number for number in range(KEYS)}
        await a.save_many(values)
        for sent in (100, 200, 300):
            status = await a.sync.now()
            assert (status.sent, status.pending, status.state) == (sent, KEYS - sent, "idle")
            assert "deadline" in status.why
        assert (await a.sync.now()).sent == KEYS
        status = await a.sync.now()
        assert (status.sent, status.pending) == (KEYS, 0)
    async with device("b", deadline=None) as b:
        assert (await b.sync.now()).received == KEYS
        assert await b.load_many(list(values), int) == values


async def test_each_meeting_takes_over_a_part(device):
    """Also of a first one, which looks at all keys."""
    values = {f"k/{number:03}": number for number in range(KEYS)}
    async with device("a", deadline=None) as a:
        await a.save_many(values)
        await a.sync.now()
    async with device("b") as b:
        for received in (100, 200, 300):
            status = await b.sync.now()
            assert (status.received, status.last_success) == (received, None)
        while (await b.sync.now()).last_success is None:
            pass
        assert await b.load_many(list(values), int) == values


@pytest.mark.parametrize(
    ("busy", "quiet"),
    [({f"a/{n:03}": n for n in range(150)}, {"z": "x" * 50_000}), ({"a": "x" * 50_000}, {"z": 1})],
    ids=["small before large", "large before small"],
)
async def test_what_always_changes_holds_nobody_back(device, busy, quiet):
    """Every meeting finds more in front than it may send, and what lies behind arrives all the same."""
    async with device("a") as a, device("b", deadline=None) as b:
        await a.sync.now()
        await a.save_many(quiet)
        for turn in range(5):
            await a.save_many({key: [turn, value] for key, value in busy.items()})
            await a.sync.now()
        await b.sync.now()
        assert await b.load("z", Any) == quiet["z"]


async def test_large_values_go_by_themselves(device):
    """A link has to take no more in one request than a few large values, and many small ones go together."""
    async with device("a", deadline=None) as a:
        await a.sync.now()
        remote = a.sync._adapter
        remote.forget()
        await a.save_many({f"k/{n}": "x" * 4_000 for n in range(6)} | {f"s/{n:03}": n for n in range(50)})
        assert (await a.sync.now()).sent == 56
        assert remote.requests["commit"] == 3
        remote.forget()
        await a.save("k", "x" * 30_000)
        assert (await a.sync.now()).pending == 0
        assert remote.requests["commit"] == 1


def test_what_no_deadline_is():
    """It may be missing, and is no time that was over before."""
    with pytest.raises(ConfigurationError, match="deadline is more than 0"):
        Sync("remote.db", deadline=0)
