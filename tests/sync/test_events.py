"""What synchronisation tells of itself: its status, conflicts, bytes; and when it uses no network."""

import asyncio

import pytest

from axiom_persistence import Sync, blocking, open_persistence
from axiom_persistence.errors import StorageError
from axiom_persistence.sync import Conflict, SyncStatus


def opened(tmp_path, name, **options):
    return open_persistence(
        tmp_path / f"{name}.db", sync=Sync(tmp_path / "remote.db", **{"every": 3600, **options})
    )


async def test_events_tell_status_and_conflicts(tmp_path):
    """The status of now, each later one, each conflict; the stream ends with the store."""
    seen = []

    async def listen(store):
        async for event in store.sync.events():
            seen.append(event)

    # Only now() meets, so that b is the one who finds the conflict.
    async with opened(tmp_path, "a", metered=lambda: True) as a:
        async with opened(tmp_path, "b", metered=lambda: True) as b:
            listening = asyncio.create_task(listen(b))
            await a.save("k", 1)
            await b.save("k", 2)
            await a.sync.now()
            await b.sync.now()
            await b.sync.pause()
        await listening
    assert isinstance(seen[0], SyncStatus)
    states = [event.state for event in seen if isinstance(event, SyncStatus)]
    assert "syncing" in states
    assert states[-1] == "paused"
    (conflict,) = [event for event in seen if isinstance(event, Conflict)]
    assert (conflict.key, {conflict.ours, conflict.theirs}) == ("k", {1, 2})


async def test_a_slow_listener_misses_the_oldest(tmp_path):
    """What waits for it is bounded."""
    async with opened(tmp_path, "a") as a:
        stream = aiter(a.sync.events())
        await anext(stream)
        for _ in range(300):
            await a.sync.pause()
            await a.sync.resume()
        assert (await anext(stream)).state in ("paused", "idle")
        assert len(a.sync._told._streams[0][2]) < 256


async def test_bytes_and_what_is_pending(tmp_path):
    """What was sent, by how much deflating made it shorter, and what waits."""
    async with opened(tmp_path, "a") as a, opened(tmp_path, "b") as b:
        await a.sync.now()
        await a.sync.pause()
        await a.save_many({"long": "word " * 1000, "short": 1})
        status = await a.sync.now()
        assert (status.pending, status.sent) == (0, 2)
        assert 0 < status.bytes_sent < 1000 < 4000 < status.bytes_saved
        assert (await b.sync.now()).bytes_received >= status.bytes_sent


async def test_pending_is_told_where_nothing_can_be_sent(tmp_path):
    """Offline, the status says how many keys wait."""
    (tmp_path / "wall").write_text("no directory")
    remote = Sync(tmp_path / "wall" / "remote.db", every=3600)
    async with open_persistence(tmp_path / "a.db", sync=remote) as a:
        await a.sync.pause()
        await a.save_many({"x": 1, "y": 2})
        with pytest.raises(StorageError):
            await a.sync.now()
        assert (a.sync.status.state, a.sync.status.pending) == ("offline", 2)


async def test_a_metered_network_is_used_only_when_asked(tmp_path):
    """Nothing is sent by itself until it costs nothing; now() meets at once."""
    costs = True
    async with opened(tmp_path, "a", every=0.05, metered=lambda: costs) as a:
        while a.sync.status.state != "paused":
            await asyncio.sleep(0.02)
        assert "metered" in a.sync.status.why
        await a.save("k", 1)
        await asyncio.sleep(0.5)
        assert a.sync.status.sent == 0
        await a.sync.now()
        assert a.sync.status.sent == 1
        await a.save("k", 2)
        costs = False
        while a.sync.status.sent < 2:
            await asyncio.sleep(0.02)


def test_events_without_await(tmp_path):
    """The same for threads that wait."""
    remote = Sync(tmp_path / "remote.db", every=3600)
    with (
        blocking.open_persistence(tmp_path / "a.db", sync=remote) as a,
        a.sync.events(timeout=0.2) as events,
    ):
        a.sync.pause()
        assert [event.state for event in events][-1] == "paused"
