"""The simulation of devices, meeting in a simulated iCloud: late, reordered, held back, overwritten.

As in ``simulation``, but for what only a place with compare-and-set can promise: a transaction may arrive in
parts. A power cut also takes what Apple had not written yet; an account changes and comes back; the copy that
a machine has of iCloud is lost, and downloaded anew.
"""

from __future__ import annotations

import msgspec

from axiom_persistence.adapters.icloud import ICloudKeyValueAdapter
from axiom_persistence.errors import ConflictError, ForeignStoreError, StorageUnavailableError
from axiom_persistence.layers.tracked import Tracked
from axiom_persistence.records.record import open_record
from axiom_persistence.records.stamp import Clock
from axiom_persistence.storage.layer import Layer
from axiom_persistence.store.store import Store
from axiom_persistence.sync import _packed as packs
from axiom_persistence.sync._cursor import _CURSOR
from axiom_persistence.sync._device import Device
from axiom_persistence.sync._options import Sync
from axiom_persistence.sync._remote import Remote
from axiom_persistence.sync._state import decode_state
from axiom_persistence.testing import ICloudSimulator

from .simulation import (
    DIRTY,
    Killed,
    Process,
    Simulated,
    ViolationError,
    World,
    befall,
)

OWN = "anna"


class Apple(Layer):
    """The adapter of one process, whose steps the scheduler lets happen; a kill may come within a commit."""

    def __init__(self, process):
        super().__init__(ICloudKeyValueAdapter(process.world.apple[process.medium], patience=1e9))
        self.process = process

    async def fetch(self, keys):
        await self.process.world.gate(self.process, "apple fetch")
        return await self.inner.fetch(keys)

    async def commit(self, changes, *, expect=None, durability=None):
        world = self.process.world
        await world.gate(self.process, "apple commit")
        last = world.rng.randrange(len(changes)) if world.chance("killed within") else len(changes)
        await self.inner.commit({}, expect=expect)
        for key, data in list(changes.items())[:last]:
            await self.inner.commit({key: data})
            world.saw(key, data, self)
        if last < len(changes):
            raise Killed
        return {}


class CloudProcess(Process):
    """A process whose remote is the simulated iCloud."""

    def open(self):
        world = self.world
        tracked = Tracked(Simulated(self.medium, self), lambda key: True)
        who = world.who(self.name, world.rng)

        def now():
            return world.now + world.offsets[self.name]

        self.clock = tracked.clock = Clock(who, now)
        for name, (data, _) in self.medium.records.items():
            if name.startswith(DIRTY):
                self.clock.go_on_from(msgspec.json.decode(open_record(name, data).value))
        self.store = Store(tracked, clock=now)
        self.apple = Apple(self)
        remote = packs.remote_over(self.apple, Sync("icloud:"))
        self.device = Device(self.store, remote, self.clock, self.name, tracked.wants, world.resolver)
        if world.keep_deleted is not None:
            self.device.keep_deleted = world.keep_deleted
        return self

    async def _quiet(self, coroutine):
        try:
            await self.apple.aopen()
            await coroutine
        except (Killed, StorageUnavailableError, ConflictError, ForeignStoreError):
            pass  # what an application would meet, too


class CloudWorld(World):
    """Devices, iCloud, a scheduler, an oracle."""

    pairs = 0.0

    def __init__(self, seed, **options):
        self.cloud = ICloudSimulator(seed=seed, chatty=6)
        self.cloud.accounts[OWN] = {"their own": b"x"}  # so that an empty copy is one that was not downloaded
        self.cloud.accounts["other"] = {"their own": b"x"}
        self.apple, self.changes = {}, {}
        self.brought_elsewhere = False
        super().__init__(seed, **{"chances": {"killed within": 0.1}, **options})

    def make(self, *args):
        return CloudProcess(self, *args)

    def add_device(self, medium):
        self.apple[medium] = self.cloud.device(account=OWN, downloaded=self.rng.random() < 0.5)
        return super().add_device(medium)

    def saw(self, key, data, adapter):
        if data is not None and key.startswith(packs._PACK):
            plain = Remote._opened(adapter.process.device.remote, key, packs.Stored(data, ""))
            for part in msgspec.json.decode(plain)["parts"].values():
                fields = decode_state(msgspec.json.encode(part["state"])).fields.values()
                self.sent |= {msgspec.json.decode(one.value) for one in fields if one.value is not None}

    async def kill(self, process, *, power=False):
        await super().kill(process, power=power)
        device = self.apple[process.medium]
        if power and device.downloaded:
            server = self.cloud.accounts[device.account]
            for name in [name for name in device.outbox if self.rng.random() < 0.5]:
                del device.outbox[name]  # it was in memory only
                device.values.pop(name, None)
                if name in server:
                    device.values[name] = server[name]

    async def meet(self, process):
        was_known = self.has_met(process)
        try:
            await super().meet(process)
        finally:
            # A first meeting, also after an old backup, brings what is here wherever it is held.
            self.brought_elsewhere |= not was_known and self.apple[process.medium].account != OWN

    def _commit(self, process, changes, made):
        super()._commit(process, changes, made)
        self.changed_on(process.medium).update(one.id for one in made)

    def changed_on(self, medium):
        return self.changes.setdefault(medium, set())

    def has_met(self, process):
        """Whether it knows its account: a device that does not brings what it has wherever it comes."""
        found = process.medium.records.get(_CURSOR)
        return found is not None and bool(msgspec.json.decode(open_record(_CURSOR, found[0]).value)["place"])

    async def finish(self):
        for device in self.cloud.devices:
            if device.account != OWN:
                self.cloud.sign_in(device, OWN)
        sent = any(name.startswith("axiom/") for name in self.cloud.accounts["other"])
        if sent and not self.brought_elsewhere:
            raise ViolationError("something was sent to somebody else's account")
        for process in self.processes:
            process.device.remote.accept()  # all that one device had sent may have been lost with its power
        await super().finish()

    def check_end(self, newcomer, here):
        # A change that lost before it was sent is listed, and it had superseded what its author had seen.
        super().check_end(newcomer, here | self.listed - {None})

    def between(self):
        self.cloud.deliver()


async def cloud_schedule(seed, *, steps=80, **options):
    """One run from a seed. Raises ``ViolationError``."""
    w = CloudWorld(seed, **options)
    rng = w.rng
    for _ in range(steps):
        w.now += rng.choice((0.0, 0.001, 0.5, 20.0))
        process = rng.choice(w.processes)
        roll = rng.random()
        for _ in range(rng.choice((0, 0, 1, 4))):
            w.cloud.step()
        if w.gates and roll < 0.3:
            await w.release()
        elif w.gates and roll < 0.5:
            await w.burst(rng.choice(w.gates)[1])
        elif roll < 0.7:
            w.write(process)
        elif roll < 0.75:
            w.delete(process)
        elif roll < 0.92:
            if not process.syncing:
                process.run(w.meet(process))
                await w.settle()
        else:
            await disturb(w, rng, process)
    await w.finish()
    return w


async def disturb(w, rng, process):
    device = w.apple[process.medium]
    kinds = ["kill", "jump", "rest", "deliver", "second", "backup", "copy", "account"]
    # Of a device that is away for longer than deletions are remembered, what Apple lost is not sent again.
    kinds += ["power", "erased"] if w.keep_deleted is None else ["forget"] * 10
    what = rng.choice(kinds)
    if what == "rest":
        w.cloud.rest()
    elif what == "deliver":
        w.cloud.deliver()
    elif what == "account":
        if device.account != OWN or w.has_met(process):
            if device.outbox:  # Apple forgets it, and nothing tells which of it had arrived
                w.unsent |= w.changed_on(process.medium)
            w.cloud.sign_in(device, "other" if device.account == OWN else OWN)
    elif what == "erased":
        device.values, device.outbox, device.downloaded = {}, {}, False
    else:
        await befall(w, rng, process, what)


__all__ = ["CloudWorld", "ViolationError", "cloud_schedule"]
