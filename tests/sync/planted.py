"""Bugs that the simulation has to catch: each takes away one rule of the protocol."""

from __future__ import annotations

from contextlib import contextmanager

from axiom_persistence.layers.tracked import DIRTY, SHADOW, Tracked
from axiom_persistence.storage.adapter import Durability
from axiom_persistence.sync import _cycle as cycle
from axiom_persistence.sync import _device as device
from axiom_persistence.sync import _listing as listing
from axiom_persistence.sync import _remote as remote

from . import simulation


def _marks_in_a_second_commit(patch):
    def commit_now(self, changes):
        versions = self.inner.commit_now(changes)
        process = self.inner.process
        if process.world.chance("a kill between") or process.world.rng.random() < 0.1:
            return versions  # the process was killed before the second one
        extra = {key: data for key, data in self._marked(changes).items() if key not in changes}
        self.inner.commit_now(extra)
        return versions

    patch(Tracked, "commit_now", commit_now)


def _the_wall_clock_alone(patch):
    patch(cycle, "later_than", lambda known, who: f"{0:016x}-{who}")


class _Forgetful:
    """A device that does not write down what it is going to send."""

    def __init__(self, device):
        self._device = device

    def __getattr__(self, name):
        return getattr(self._device, name)

    async def commit(self, changes, expect):
        return dict.fromkeys(changes, "nowhere")


def _no_intent(patch):
    stamp = cycle._Meeting.stamp

    async def without(self):
        device, self._device = self._device, _Forgetful(self._device)
        dirty = await stamp(self)
        self._device = device
        fresh = await device.locals(dirty)
        for key, local in fresh.items():
            local.shadow = dirty[key].shadow
        return fresh

    patch(cycle._Meeting, "stamp", without)


def _an_intent_that_is_not_durable(patch):
    async def commit(self, changes, expect):
        only_shadows = all(name.startswith(SHADOW) for name in changes)
        durability = Durability.PROCESS_EXIT if only_shadows else Durability.POWER_LOSS
        return await self.store.commit(changes, expect=expect, durability=durability)

    patch(device.Device, "commit", commit)


def _sent_without_joining(patch):
    patch(device, "join", lambda ours, theirs: ours or theirs)


def _taken_over_without_joining(patch):
    patch(device, "join", lambda ours, theirs: theirs or ours)


def _sent_without_expecting(patch):
    commit = simulation.Network.commit

    async def blind(self, changes, *, expect=None, durability=None):
        return await commit(self, changes, expect=None, durability=durability)

    patch(simulation.Network, "commit", blind)


def _applied_without_expecting(patch):
    async def commit(self, changes, expect):
        is_intent = all(name.startswith(SHADOW) for name in changes)
        wanted = expect if is_intent else None
        return await self.store.commit(changes, expect=wanted, durability=Durability.POWER_LOSS)

    patch(device.Device, "commit", commit)


def _applied_key_by_key(patch):
    async def commit(self, changes, expect):
        versions = {}
        for key in sorted({name.removeprefix(DIRTY).removeprefix(SHADOW) for name in changes}):
            names = (key, DIRTY + key, SHADOW + key)
            part = {name: changes[name] for name in names if name in changes}
            wanted = {name: expect[name] for name in names if name in expect}
            made = await self.store.commit(part, expect=wanted, durability=Durability.POWER_LOSS)
            versions.update(made)
        return versions

    patch(device.Device, "commit", commit)


def _taken_over_where_something_was_changed(patch):
    async def careless(self, locals):
        for local in locals:
            local.found.pop(DIRTY + local.key)

    stamp = cycle._Meeting.stamp

    async def blind(self):
        dirty = await stamp(self)
        return {} if self._device.remote.adapter.process.world.rng.random() < 0.3 else dirty

    patch(cycle._Meeting, "_mark_untracked", careless)
    patch(cycle._Meeting, "stamp", blind)


def _without_a_shadow_taken_for_clean(patch):
    for module in (cycle, listing):
        patch(module, "is_untracked", lambda local: False)


def _copies_with_one_name(patch):
    patch(simulation.World, "who", lambda self, name, rng: "00000001abcdef")


def _a_mark_that_is_lost_at_the_end(patch):
    """A key changed again while it was sent loses its mark."""
    applied = device.Device.applied

    def careless(self, local, joined, version):
        made = applied(self, local, joined, version)
        local.found.pop(DIRTY + local.key, None)
        local.found.pop(local.key, None)
        return made

    patch(device.Device, "applied", careless)


def _conflicts_that_nobody_remembers(patch):
    patch(remote, "clashes_in", lambda shadow, theirs: [])


def _parts_of_what_was_sent_together(patch):
    whole = remote.Remote.since

    async def since(self, cursor, head):
        keys = await whole(self, cursor, head)
        return None if keys is None else keys[:1]

    patch(remote.Remote, "since", since)


PLANTED = {
    name.strip("_").replace("_", " "): function
    for name, function in sorted(globals().items())
    if name[0] == "_" and name[1:2].islower() and callable(function)
}


@contextmanager
def planted(name, bugs=PLANTED):
    """Have the bug ``name``, one of ``bugs``, in the engine."""
    kept = []

    def patch(owner, attribute, value):
        kept.append((owner, attribute, getattr(owner, attribute)))
        setattr(owner, attribute, value)

    try:
        bugs[name](patch)
        yield
    finally:
        for owner, attribute, value in reversed(kept):
            setattr(owner, attribute, value)
