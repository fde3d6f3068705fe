"""What was deleted, over time: how long the remote remembers it, and devices that come back later."""

import asyncio

import msgspec
import pytest

from axiom_persistence import Sync, open_persistence
from axiom_persistence.records.record import seal_record
from axiom_persistence.sync._deleted import forget_deleted
from axiom_persistence.sync._device import Device
from axiom_persistence.sync._listing import list_all
from axiom_persistence.sync._state import join

from . import instant
from .simulation import Medium, World, schedule

KEEP = 1000.0


class Devices(World):
    """Two devices that have the key ``a``; the first deletes it, and the other is away."""

    def __init__(self):
        super().__init__(0, devices=2, chances={}, keep_deleted=KEEP)
        self.first, self.other = self.processes

    def change(self, process, value):
        data = None if value is None else seal_record("a", msgspec.json.encode(value), "1.0")
        process.store.adapter.commit_now({"a": data})
        self.now += 1

    async def all_meet(self, *processes):
        for process in processes:
            await self.alone(process, lambda _, process=process: self.meet(process))

    async def delete_and_forget(self):
        """The key was deleted, longer ago than it is kept."""
        self.change(self.first, {"f": 1, "g": 1})
        await self.all_meet(self.first, self.other)
        self.change(self.first, None)
        await self.all_meet(self.first)
        await self.forget()
        assert "a" in self.remote.records
        self.now += 1.2 * KEEP
        await self.forget()

    async def forget(self):
        await self.alone(self.first, lambda device: forget_deleted(device, ""))
        await self.all_meet(self.first)

    def shown(self):
        return [self.value(process.medium, "a") for process in self.processes]


async def test_it_is_forgotten_everywhere():
    """Nothing of it stays at the remote, nor on the device that had deleted it."""
    world = Devices()
    await world.delete_and_forget()
    assert "a" not in world.remote.records
    assert not [name for name in world.first.medium.records if name.endswith("/a")]


@pytest.mark.parametrize("listed", [False, True])
async def test_a_device_that_was_away_for_longer_drops_it(listed):
    """It had the key and did not change it; whether the log tells it, or it has to list all keys."""
    world = Devices()
    await world.delete_and_forget()
    if listed:
        await world.alone(world.other, list_all)
    await world.all_meet(world.other, world.first)
    assert world.shown() == [None, None]
    assert "a" not in world.remote.records


async def test_what_it_changed_comes_back():
    """An edit beats a deletion that had not seen it, however long ago."""
    world = Devices()
    await world.delete_and_forget()
    world.change(world.other, {"f": 2, "g": 1})
    await world.all_meet(world.other, world.first)
    assert world.shown() == [{"f": 2, "g": 1}] * 2


async def test_without_the_rule_it_would_come_back(monkeypatch):
    """The planted bug: what the remote lacks is sent again."""
    world = Devices()
    await world.delete_and_forget()
    monkeypatch.setattr(Device, "joined", lambda _, local, theirs, at: join(local.shadow.state, theirs))
    await world.all_meet(world.other, world.first)
    assert world.shown() != [None, None]


@pytest.mark.parametrize("place", ["emptied", "set back"])
async def test_a_remote_that_was_set_back_is_filled_again(place):
    """However long a device was away: what such a remote lacks was not deleted."""
    world = Devices()
    before = dict(world.remote.records)
    world.change(world.first, {"f": 1, "g": 1})
    if place == "set back":
        await world.all_meet(world.first)
        before = dict(world.remote.records)
        world.change(world.first, {"f": 2, "g": 1})
    await world.all_meet(world.first)
    world.remote.records = {name: record for name, record in before.items() if name != "a"}
    world.now += 2 * KEEP
    await world.all_meet(world.first, world.first, world.other)
    assert world.shown()[0] is not None
    assert world.shown()[0] == world.shown()[1]


async def test_a_key_made_anew_after_its_deletion_is_new():
    """Its age is that of the deletion, not of the value."""
    world = Devices()
    await world.delete_and_forget()
    world.change(world.first, {"g": 3})
    await world.all_meet(world.first, world.other)
    assert world.shown() == [{"g": 3}] * 2
    world.change(world.other, None)
    await world.all_meet(world.other, world.first)
    await world.forget()
    assert "a" in world.remote.records


def test_schedules_in_which_things_are_forgotten():
    """Forgetting at any moment, devices away for longer: nothing is lost."""
    for seed in range(100):
        instant.run(schedule(seed, keep_deleted=5000))


async def test_what_is_known_of_a_forgotten_deletion_takes_nothing_away():
    """A device that still knows it, and deletes once more, does not beat what came meanwhile."""
    world = Devices()
    third = world.add_device(Medium())
    world.change(world.other, {"f": "away", "g": "away"})
    world.now += 200  # more than the clocks differ
    world.change(world.first, {"f": 1, "g": 1})
    await world.all_meet(world.first, third)
    world.change(world.first, None)
    await world.all_meet(world.first, third)
    world.now += 1.2 * KEEP
    await world.forget()
    assert "a" not in world.remote.records
    await world.all_meet(world.other)
    world.change(third, None)
    await world.all_meet(third, world.first, world.other)
    assert world.shown() == [{"f": "away", "g": "away"}] * 3


async def test_it_happens_by_itself(tmp_path, monkeypatch):
    """An open store looks once a day."""
    clock = 0.0
    async with open_persistence(tmp_path / "a.db", sync=Sync(tmp_path / "remote.db", every=0.1)) as a:
        store = a.sync._device.store
        real = store.clock
        monkeypatch.setattr(store, "clock", lambda: real() + clock)
        await a.save("k", 1)
        await a.sync.now()
        await a.delete("k")
        await a.sync.now()
        assert await a.sync._adapter.exists("k")
        clock = 120 * 86400.0
        a.sync._forget_next = 0.0
        while await a.sync._adapter.exists("k"):
            await asyncio.sleep(0.05)
