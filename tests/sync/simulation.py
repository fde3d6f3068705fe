"""Devices that keep the same state, in one thread: any order of their steps, any kind of end, from a seed.

The real engine runs over the real store; replaced are the media (memory, with what was synced beside what was
not), the network (requests and replies are lost, come late, or find no way), the clocks and the dice. A
scheduler lets one step of one task happen at a time.

The oracle knows which write had seen which. After each step: no pair of keys that are written together is
ever half visible; a record and its shadow agree where no mark is. At the end, when all have met: the same
values everywhere and on a newcomer, no mark left, no value that a later write had seen, and no acknowledged
write that is neither there, nor superseded by one that had seen it, nor in a list of conflicts.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from axiom_persistence.errors import ConflictError, StorageUnavailableError
from axiom_persistence.layers.tracked import DIRTY, SHADOW, Tracked
from axiom_persistence.records.record import open_record, seal_record
from axiom_persistence.records.stamp import Clock
from axiom_persistence.storage.adapter import (
    NOT_NOW,
    Durability,
    StorageAdapter,
    Stored,
    Traits,
    verify_expected,
)
from axiom_persistence.storage.listing import Listing
from axiom_persistence.store.store import Store
from axiom_persistence.sync import _cycle as cycles
from axiom_persistence.sync import _listing as listings
from axiom_persistence.sync._conflict import CONFLICTS, Conflict
from axiom_persistence.sync._deleted import forget_deleted
from axiom_persistence.sync._device import Device
from axiom_persistence.sync._remote import Remote
from axiom_persistence.sync._shadow import Local, local_keys
from axiom_persistence.sync._state import decode_state, fields_of, view

KEYS = ("a", "b", "c")
PAIR = ("pair/1", "pair/2")
FIELDS = ("f", "g")
ALL = (*KEYS, *PAIR)


class Killed(BaseException):
    """The process was killed: nothing it does has an effect any more."""


class ViolationError(AssertionError):
    """An invariant does not hold."""


class Medium:
    """What is stored, and what of it is on the disk."""

    def __init__(self, records=()):
        self.records = dict(records)
        self.synced = dict(self.records)
        self.unsynced = []
        self.touched = {}

    def copy(self):
        return Medium(self.records)

    def commit(self, changes, expect, version, *, sync):
        if expect:
            found = {key: Stored(*self.records[key]) for key in expect if key in self.records}
            verify_expected(found, expect, "the medium")
        versions = {}
        self.touched.update(dict.fromkeys(changes))
        for key, data in changes.items():
            if data is None:
                self.records.pop(key, None)
            else:
                self.records[key] = data, version
                versions[key] = version
        self.unsynced.append({key: self.records.get(key) for key in changes})
        if sync:
            self.sync()
        return versions

    def sync(self):
        for change in self.unsynced:
            apply(self.synced, change)
        self.unsynced = []

    def lose_power(self, rng):
        for change in self.unsynced[: rng.randint(0, len(self.unsynced))]:
            apply(self.synced, change)
        self.records, self.unsynced = dict(self.synced), []


def apply(records, change):
    for key, record in change.items():
        if record is None:
            records.pop(key, None)
        else:
            records[key] = record


class Simulated(StorageAdapter):
    """A medium as one process sees it."""

    traits = Traits(atomic=True, durability=Durability.POWER_LOSS, shared=True, immediate=True)

    def __init__(self, medium, process):
        self.medium, self.process = medium, process

    async def _gate(self, name):
        await self.process.world.gate(self.process, name)

    async def fetch(self, keys):
        await self._gate("fetch")
        records = self.medium.records
        return {key: Stored(*records[key]) for key in keys if key in records}

    def fetch_now(self, key):
        return NOT_NOW

    async def commit(self, changes, *, expect=None, durability=None):
        await self._gate("commit")
        sync = durability in (None, Durability.POWER_LOSS)
        return self.medium.commit(changes, expect, self.process.world.version(), sync=sync)

    def commit_now(self, changes):
        if not self.process.alive:
            raise Killed
        return self.medium.commit(changes, None, self.process.world.version(), sync=False)

    async def keys(self, prefix="", *, after=None, limit=None, reverse=False):
        await self._gate("keys")
        for key in Listing(prefix, after, limit, reverse).of(sorted(self.medium.records)):
            yield key

    async def saved_at(self, key):
        return None

    @property
    def location(self):
        return f"the disk of {self.process.name}"


class Network(Simulated):
    """The remote's medium through a network that loses, delays and cuts."""

    async def _request(self, name):
        await self._gate(name)
        world = self.process.world
        if self.process.name in world.cut or world.chance("lost request"):
            raise StorageUnavailableError("the network was simulated to be down")

    def _reply(self):
        if self.process.world.chance("lost reply"):
            raise StorageUnavailableError("the reply was simulated to be lost")

    async def fetch(self, keys):
        await self._request("remote fetch")
        records = self.medium.records
        found = {key: Stored(*records[key]) for key in keys if key in records}
        self._reply()
        return found

    async def commit(self, changes, *, expect=None, durability=None):
        await self._request("remote commit")
        world = self.process.world
        version = world.version()
        if world.chance("late"):
            world.late.append((dict(changes), dict(expect or {}), version))
            raise StorageUnavailableError("the request was simulated to be late")
        versions = self.medium.commit(changes, expect, version, sync=True)
        world.saw_remote(changes)
        self._reply()
        return versions

    async def keys(self, prefix="", *, after=None, limit=None, reverse=False):
        await self._request("remote keys")
        for key in Listing(prefix, after, limit, reverse).of(sorted(self.medium.records)):
            yield key


@dataclass
class Process:
    """A process on a device."""

    world: World
    name: str
    medium: Medium
    alive: bool = True
    tasks: set = field(default_factory=set)

    def open(self):
        world, rng = self.world, self.world.rng
        tracked = Tracked(Simulated(self.medium, self), lambda key: True)
        who = world.who(self.name, rng)
        self.clock = tracked.clock = Clock(who, lambda: world.now + world.offsets[self.name])
        for name, (data, _) in self.medium.records.items():
            if name.startswith(DIRTY):
                self.clock.go_on_from(msgspec.json.decode(open_record(name, data).value))
        self.store = Store(tracked, clock=lambda: world.now)
        remote = Remote(Network(world.remote, self))
        self.device = Device(self.store, remote, self.clock, self.name, tracked.wants, world.resolver)
        if world.keep_deleted is not None:
            self.device.keep_deleted = world.keep_deleted
        return self

    def run(self, coroutine):
        task = asyncio.ensure_future(self._quiet(coroutine))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def _quiet(self, coroutine):
        try:
            await coroutine
        except (Killed, StorageUnavailableError, ConflictError):
            pass  # what an application would meet, too: the end, no network, somebody was faster

    @property
    def syncing(self):
        return bool(self.tasks)


@dataclass(frozen=True)
class Write:
    """One change of a field: which writes of it its author had seen."""

    id: str
    key: str
    field: str
    seen: frozenset


class World:
    """Devices, a remote, a scheduler, an oracle."""

    pairs = 0.33
    """How many of the changes are of two keys at once."""

    def __init__(self, seed, *, devices=3, chances=None, resolver=lambda key: None, keep_deleted=None):
        self.rng = random.Random(seed)
        self.keep_deleted = keep_deleted
        self.now = 1_000_000.0
        self.remote = Medium()
        self.gates, self.late, self.cut, self.backups = [], [], set(), []
        self.chances = (
            {"lost request": 0.03, "lost reply": 0.06, "late": 0.04} if chances is None else chances
        )
        self.writes, self.deleted, self.sent, self.listed = {}, set(), set(), set()
        self.offsets, self.processes, self.numbers = {}, [], Counter()
        self.acknowledged = set()
        self.unsent = set()  # what a place may have dropped, though it had been given to it
        self.resolver, self.brought, self.lost_by_backup = resolver, set(), set()
        self.remote_copies, self.tainted, self.forgotten, self.known_limit = [], set(), False, 0
        for _ in range(devices):
            self.add_device(Medium())

    def make(self, name, medium):
        """A process, not yet open."""
        return Process(self, name, medium)

    def between(self):
        """What happens between two meetings at the end."""

    # -- chance and time ---------------------------------------------------------------------------

    def chance(self, name):
        return self.rng.random() < self.chances.get(name, 0)

    def version(self):
        self.numbers["version"] += 1
        return f"{self.numbers['version']:08d}"

    def who(self, name, rng):
        return f"{name}{rng.randrange(1 << 24):06x}"

    def add_device(self, medium):
        self.numbers["device"] += 1
        name = f"{self.numbers['device']:08x}"
        self.offsets[name] = self.rng.uniform(-60, 60)
        process = self.make(name, medium).open()
        self.processes.append(process)
        return process

    # -- steps -------------------------------------------------------------------------------------

    async def gate(self, process, name):
        if not process.alive:
            raise Killed
        future = asyncio.get_running_loop().create_future()
        self.gates.append((future, process, name))
        await future

    async def settle(self):
        for _ in range(4):
            await asyncio.sleep(0)

    async def release(self, which=None):
        index = self.rng.randrange(len(self.gates)) if which is None else which
        future, _, _ = self.gates.pop(index)
        if not future.done():
            future.set_result(None)
        await self.settle()
        self.check_step()

    async def burst(self, process):
        """Let one process be faster than all others for a while."""
        for _ in range(self.rng.randint(1, 30)):
            mine = [i for i, gate in enumerate(self.gates) if gate[1] is process]
            if not mine:
                return
            await self.release(mine[0])

    def taint(self, records):
        """A copy of these is made. The known limit: both may stamp a change that has no stamp yet."""
        self.tainted |= {name.removeprefix(DIRTY) for name in records if name.startswith(DIRTY)}

    def complain(self, key, message, *, forgiven=False):
        if key not in self.tainted and not forgiven:
            raise ViolationError(message)
        self.known_limit += 1

    async def alone(self, process, function):
        """Let one process do something while all others stand still."""
        task = process.run(function(process.device))
        await self.settle()
        while not task.done():
            mine = [i for i, gate in enumerate(self.gates) if gate[1] is process]
            await self.release(mine[0])

    async def kill(self, process, *, power=False):
        victims = [p for p in self.processes if p.medium is process.medium] if power else [process]
        for victim in victims:
            victim.alive = False
            for future, owner, _ in self.gates:
                if owner is victim and not future.done():
                    future.set_exception(Killed())
            self.gates = [gate for gate in self.gates if gate[1] is not victim]
        await self.settle()
        if power:
            process.medium.lose_power(self.rng)
        for victim in victims:
            again = self.make(victim.name, victim.medium).open()
            self.processes[self.processes.index(victim)] = again

    # -- what applications do ----------------------------------------------------------------------

    def local(self, process, key):
        found = {
            name: Stored(*record) for name in local_keys(key) if (record := process.medium.records.get(name))
        }
        return Local(key, found, "1.0")

    def value(self, medium, key):
        record = medium.records.get(key)
        return None if record is None else msgspec.json.decode(open_record(key, record[0]).value)

    def write(self, process):
        """Change some fields of a key, or both of the pair, knowing what is here."""
        keys = PAIR if self.rng.random() < self.pairs else (self.rng.choice(KEYS),)
        self.numbers["write"] += 1
        number = f"w{self.numbers['write']}"
        changes, made = {}, []
        for key in keys:
            value = self.value(process.medium, key) or {}
            wanted = FIELDS if key in PAIR or not value else (self.rng.choice(FIELDS),)
            for name in wanted:
                seen = frozenset(self.closure(value.get(name)))
                made.append(Write(f"{number}.{key}.{name}", key, name, seen))
                value[name] = made[-1].id if key not in PAIR else number
            if key in PAIR:
                for one in made:
                    self.writes.setdefault((key, number, one.field), one)
            changes[key] = seal_record(key, msgspec.json.encode(value), "1.0")
        self._commit(process, changes, made)

    def _commit(self, process, changes, made):
        tracked = process.store.adapter
        durable = self.rng.random() < 0.5
        tracked.commit_now(changes)
        if durable:
            process.medium.sync()
        for one in made:
            self.writes[one.id] = one
            if durable:
                self.acknowledged.add(one.id)
        self.check_step()

    def closure(self, id):
        if id is None:
            return set()
        known = self.writes.get(id)
        return {id} | (set(known.seen) if known else set())

    def delete(self, process):
        keys = PAIR if self.rng.random() < self.pairs else (self.rng.choice(KEYS),)
        for key in keys:
            for id in (self.value(process.medium, key) or {}).values():
                self.deleted |= {(key, seen) for seen in self.closure(id)}
        self._commit(process, dict.fromkeys(keys), [])

    async def meet(self, process):
        """What the synchroniser does, once."""
        outcome = await cycles.cycle(process.device)
        if outcome.must_list:
            await listings.list_all(process.device)
            await cycles.cycle(process.device)

    # -- checks ------------------------------------------------------------------------------------

    def saw_remote(self, changes):
        for key, data in changes.items():
            if data is not None and not key.startswith("\x01"):
                plain = zlib.decompress(data[4:]) if data.startswith(b"AXZ1") else data
                fields = decode_state(open_record(key, plain).value).fields.values()
                self.sent |= {msgspec.json.decode(one.value) for one in fields if one.value is not None}

    def check_step(self):
        for process in self.processes:
            medium = process.medium
            touched, medium.touched = medium.touched, {}
            if not touched:
                continue
            halves = [self.value(medium, key) for key in PAIR]
            if halves[0] != halves[1]:
                raise ViolationError(f"half a transaction on {process.name}: {halves}")
            for key in {name.removeprefix(DIRTY).removeprefix(SHADOW) for name in touched} & set(ALL):
                local = self.local(process, key)
                shown = None if local.record is None else fields_of(local.record)
                if local.mark is None and shown != view(local.shadow.state):
                    raise ViolationError(f"{key} on {process.name} is {shown}, its shadow says otherwise")
            for name in touched:
                if name.startswith(CONFLICTS) and name in medium.records:
                    value = open_record(name, medium.records[name][0]).value
                    conflict = msgspec.json.decode(value, type=Conflict)
                    self.listed |= {conflict.ours, conflict.theirs}

    async def finish(self):
        """Let all meet without faults, then check what was promised."""
        self.chances = {}
        self.cut.clear()
        while self.gates:
            await self.release()
        self.late.clear()
        here = {}
        for process in self.processes:
            here.update({id: True for key in ALL for id in (self.value(process.medium, key) or {}).values()})
        newcomer = self.add_device(Medium())
        for _ in range(12):
            before = [dict(p.medium.records) for p in self.processes]
            for process in self.processes:
                task = process.run(self.meet(process))
                for _ in range(3000):
                    if task.done():
                        break
                    if self.gates:
                        await self.release(0)
                    else:
                        await asyncio.sleep(0)
                if not task.done():
                    raise ViolationError("a meeting does not end")
                task.result()
                self.between()
            if before == [dict(p.medium.records) for p in self.processes]:
                break
        self.check_end(newcomer, set(here))

    def check_end(self, newcomer, here):
        final = {key: self.value(newcomer.medium, key) for key in ALL}
        for process in self.processes:
            theirs = {key: self.value(process.medium, key) for key in ALL}
            if theirs != final:
                raise ViolationError(f"{process.name} has {theirs}, the newcomer {final}")
            left = [name for name in process.medium.records if name.startswith(DIRTY)]
            if left:
                raise ViolationError(f"marks are left on {process.name}: {left}")
        surviving = self.sent | here
        shown = {id for value in final.values() if value for id in value.values()}
        revived = {id for key in KEYS for id in self.revived(newcomer, key)}
        for one in self.writes.values():
            if one.id not in surviving or one.key in PAIR:
                continue
            for old in one.seen & shown:
                if (one.key, one.id) not in self.deleted:
                    said = f"{old} is shown, and {one.id} had seen it"
                    # Also known: what revives a deleted object completes it with what its author had seen.
                    self.complain(one.key, said, forgiven=old in revived)
        for id in sorted(self.acknowledged & surviving - shown - self.listed, key=str):
            one = self.writes.get(id)
            if one is None or one.key in PAIR:
                continue
            superseded = any(id in other.seen for other in self.writes.values() if other.id in surviving)
            if not superseded and (one.key, id) not in self.deleted:
                said = f"{id} was acknowledged, and is neither shown nor listed nor superseded"
                # Also known: what a remote forgot that was set back may lose to what did not see it.
                self.complain(one.key, said, forgiven=self.forgotten or id in self.unsent)

    def revived(self, process, key):
        """The values that a deletion covers, and that are shown as another field came later."""
        state = self.local(process, key).shadow.state
        for name, one in () if state is None else state.fields.items():
            if one.value is not None and one.stamp <= state.covered.get(name, ""):
                yield msgspec.json.decode(one.value)


async def schedule(seed, *, steps=70, world=World, **options):
    """One run from a seed. Raises ``ViolationError``."""
    w = world(seed, **options)
    rng = w.rng
    for _ in range(steps):
        w.now += rng.choice((0.0, 0.001, 0.5, 20.0))
        process = rng.choice(w.processes)
        roll = rng.random()
        if w.gates and roll < 0.35:
            await w.release()
        elif w.gates and roll < 0.5:
            await w.burst(rng.choice(w.gates)[1])
        elif roll < 0.75:
            w.write(process)
        elif roll < 0.8:
            w.delete(process)
        elif roll < 0.93:
            if not process.syncing:
                process.run(w.meet(process))
                await w.settle()
        else:
            await disturb(w, rng, process)
    await w.finish()
    return w


async def disturb(w, rng, process):
    kinds = ("kill", "power", "jump", "cut", "heal", "late", "second", "backup", "copy", "set back")
    if w.keep_deleted is not None:
        kinds += ("forget",) * 10
    what = rng.choice(kinds)
    if what == "cut":
        w.cut.add(process.name)
    elif what == "heal":
        w.cut.discard(process.name)
    elif what == "late" and w.late:
        changes, expect, version = w.late.pop(rng.randrange(len(w.late)))
        try:
            w.remote.commit(changes, expect, version, sync=True)
            w.saw_remote(changes)
        except ConflictError:
            pass
    elif what == "set back":
        if w.remote_copies and rng.random() < 0.5:
            w.remote.records = dict(rng.choice(w.remote_copies))
            w.forgotten = True
        else:
            w.remote_copies.append(dict(w.remote.records))
    else:
        await befall(w, rng, process, what)


async def befall(w, rng, process, what):
    """What happens to a device wherever it meets the others."""
    if what == "kill":
        await w.kill(process)
    elif what == "power":
        await w.kill(process, power=True)
    elif what == "jump":
        w.offsets[process.name] += rng.uniform(-60, 60)
    elif what == "second" and len(w.processes) < 6:
        w.processes.append(w.make(process.name, process.medium).open())
    elif what == "backup":
        await back_up_or_restore(w, rng, process)
    elif what == "copy" and len(w.processes) < 6:
        w.taint(process.medium.records)
        await w.alone(w.add_device(process.medium.copy()), cycles.stamp_all)
    elif what == "forget" and not process.syncing:
        w.now += rng.choice((0, 2 * w.keep_deleted))
        process.run(forget_deleted(process.device, ""))
        await w.settle()


async def back_up_or_restore(w, rng, process):
    mine = [(name, copy) for name, copy in w.backups if name == process.name]
    if not mine or rng.random() < 0.5:
        w.backups.append((process.name, dict(process.medium.records)))
        w.taint(process.medium.records)
        return
    medium = process.medium
    _, copy = rng.choice(mine)
    for one in [p for p in w.processes if p.medium is medium]:
        await w.kill(one)
    medium.records = dict(copy)
    medium.synced, medium.unsynced = dict(copy), []
    await w.alone(next(p for p in w.processes if p.medium is medium), cycles.stamp_all)
