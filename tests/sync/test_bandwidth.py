"""How much is sent and asked for: counted, and not timed. First meetings of many keys, in parts."""

from dataclasses import replace

import pytest

from axiom_persistence import SQLiteAdapter, Sync, open_persistence
from axiom_persistence.errors import StorageUnavailableError
from axiom_persistence.sync import _cycle

from .counted import Counted

TOGETHER = 300
"""In place of 4,096, so that few keys show what many would."""
KEYS = 1500


class Place:
    """A directory with devices, and where they meet."""

    def __init__(self, directory):
        self.directory = directory

    def remote(self):
        return Counted(SQLiteAdapter(self.directory / "remote.db"))

    def device(self, name, remote, **options):
        sync = Sync(remote, metered=lambda: True, **options)
        return open_persistence(Counted(SQLiteAdapter(self.directory / f"{name}.db")), sync=sync)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


async def test_ten_thousand_changes_of_200_keys_are_200_states(place, record_property):
    """In two requests, one that fetches and one that commits, however often each key was changed."""
    remote = place.remote()
    async with place.device("a", remote) as a:
        await a.sync.now()
        remote.forget()
        for number in range(10_000):
            await a.save(f"note/{number % 200}", {"text": "x" * 300, "n": number}, durability="process_exit")
        status = await a.sync.now()
        assert status.sent == 200
        assert remote.requests == {"fetch": 1, "commit": 1}
        assert remote.most["commit"] <= 200 + 3  # the head, an entry of the log, and whose it is
        told = f"{remote.bytes:,} bytes, {status.bytes_saved:,} saved by deflating"
        record_property("told", f"synchronisation: 10,000 changes of 200 keys take {told}")


async def test_nothing_to_do_is_one_small_request(place):
    """It fetches the end of the log, and no value."""
    remote = place.remote()
    async with place.device("a", remote) as a:
        await a.save("k", "x" * 10_000)
        await a.sync.now()
        remote.forget()
        for number in range(1, 4):
            await a.sync.now()
            assert remote.requests == {"fetch": number}
        assert remote.bytes < 3 * 300
        assert remote.most == {"fetch": 1}


async def test_one_key_that_changed_elsewhere_is_one_value(place):
    """Of a hundred keys only the one is fetched: the end of the log, its entries, the key."""
    remote = place.remote()
    async with place.device("a", remote) as a, place.device("b", place.remote()) as b:
        await b.save_many({f"k/{number}": "x" * 1000 for number in range(100)})
        await b.sync.now()
        await a.sync.now()
        await b.save("k/7", "y" * 1000)
        await b.sync.now()
        remote.forget()
        assert (await a.sync.now()).received == 101
        assert remote.requests == {"fetch": 3}
        assert remote.bytes < 3000


@pytest.fixture
def few_together(monkeypatch):
    monkeypatch.setattr(_cycle, "TOGETHER", TOGETHER)


async def cut_off(place, name, after):
    """Meet through a network that is cut after so many requests; what was sent until then, and received."""
    remote = place.remote()
    remote.cut_after = after
    async with place.device(name, remote) as store:
        with pytest.raises(StorageUnavailableError):
            await store.sync.now()
        return store.sync.status.sent, store.sync.status.received


async def met(place, name):
    """Meet without faults: the status, and the largest requests here and there."""
    remote = place.remote()
    async with place.device(name, remote) as store:
        status = await store.sync.now()
        local = store.adapter.find(Counted)
        return status, remote, max(*local.most.values(), *remote.most.values())


@pytest.mark.usefixtures("few_together")
async def test_a_first_meeting_is_in_parts_and_goes_on_where_it_was(place):
    """However many keys there are, few are in memory; what was sent, or taken over, is not sent again."""
    values = {f"note/{number:05}": {"n": number, "text": "x" * 50} for number in range(KEYS)}
    async with open_persistence(place.directory / "a.db") as before:
        await before.save_many(values)
    sent, _ = await cut_off(place, "a", 12)
    assert 0 < sent < KEYS
    status, _, most = await met(place, "a")
    assert status.sent == KEYS - sent
    # A key, its mark and its shadow here; the head, its entry and the device beside the states there.
    assert most <= 3 * TOGETHER + 10
    _, received = await cut_off(place, "b", 9)
    assert 0 < received < KEYS
    status, remote, most = await met(place, "b")
    assert status.received == KEYS - received
    assert status.sent == 0
    assert remote.requests["fetch"] < 5 + (KEYS - received) / 256 + 1
    assert most <= 3 * TOGETHER + 10
    async with place.device("b", place.remote()) as b:
        assert await b.load_many(list(values), dict) == values


@pytest.mark.usefixtures("few_together")
async def test_a_place_that_was_emptied_is_filled_in_parts(place):
    """It takes no more memory than a first meeting."""
    values = {f"note/{number:05}": number for number in range(KEYS)}
    async with place.device("a", place.remote()) as a:
        await a.save_many(values)
        await a.sync.now()
    for path in place.directory.glob("remote.db*"):
        path.unlink()
    status, _, most = await met(place, "a")
    assert (status.sent, status.set_back) == (KEYS, 1)
    assert most <= 3 * TOGETHER + 10


@pytest.mark.usefixtures("few_together")
async def test_keys_that_cannot_be_sent_hold_nobody_up(place):
    """Not even more of them than are sent together: the others behind them arrive, and it comes to an end."""

    class Narrow(Counted):
        @property
        def traits(self):
            return replace(super().traits, max_value_bytes=500)

    async with place.device("a", Narrow(SQLiteAdapter(place.directory / "remote.db"))) as a:
        await a.save_many({f"a large one/{number:05}": "x" * 1000 for number in range(TOGETHER + 50)})
        await a.save("small", 1)
        status = await a.sync.now()
        assert (status.sent, status.state) == (1, "stuck")
        assert len(status.faults) == TOGETHER + 50
