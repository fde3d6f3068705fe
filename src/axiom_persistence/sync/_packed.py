"""What is kept where devices meet in copies of one place, and the last writer of a key wins unasked.

So no key has two writers: each device writes packs of its own, and what is known is all packs joined.

::

    <U+0001>sync/pack/1f/7f3a9c01    of all keys whose hash is 1f, what device 7f3a9c01 says
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import Final

from ..errors import ConfigurationError, ForeignStoreError, StorageFullError
from ..layers.tracked import SYNC
from ..records.record import INTERNAL_SCHEMA, seal_record
from ..storage.adapter import StorageAdapter, Stored
from ..storage.listing import Listing
from ..storage.takers import kind_of, takers
from ._conflict import Pair, clashes_in
from ._devices import SyncDevice, sealed_device
from ._options import Sync
from ._pack import (
    BUCKETS,
    EMPTY,
    Pack,
    Part,
    View,
    bucket_of,
    decode_pack,
    encode_pack,
    made_part,
    time_of,
)
from ._remote import NOTHING, TOGETHER, Head, Remote, Seen, deflated
from ._shadow import Local
from ._state import State, encode_state, join, latest, view

__all__ = ["PackedRemote", "remote_over"]

_PACK: Final = SYNC + "pack/"
_REMEMBERED: Final = 8
"""Heads from which it is known what has changed since."""


def remote_over(adapter: StorageAdapter, asked: Sync) -> Remote:
    """The place where devices meet, in the way that ``adapter`` can."""
    if not adapter.traits.replicated:
        return Remote(adapter, hides=asked.hide_keys)
    given = (
        ("resolve", asked.resolve),
        ("remote_keys", asked.remote_keys),
        ("hide_keys", asked.hide_keys),
    )
    for option, is_given in given:
        if is_given:
            raise ConfigurationError(
                f"{option}= needs a place where one device at a time changes something",
                adapter=adapter,
                hint=f"leave {option} out, or meet in SQLite or a directory on a shared disk, or PostgreSQL",
            )
    return PackedRemote(adapter)


class PackedRemote(Remote):
    """A place that is replicated, as iCloud's key-value store is. ``adapter`` is an open adapter."""

    def __init__(self, adapter: StorageAdapter) -> None:
        super().__init__(adapter)
        self._known: OrderedDict[str, dict[str, str]] = OrderedDict({NOTHING.name: {}})
        self._read: dict[str, tuple[str, Pack]] = {}
        self._damaged: dict[str, str] = {}
        self._places: set[str] = set()
        self._there: dict[str, str] = {}
        self._last: View | None = None
        self._accepted = False

    def accept(self) -> None:
        self._accepted = True

    async def faults(self) -> dict[str, str]:
        told = {str(self.adapter): "; ".join(await self.adapter.check())}
        return {where: why for where, why in {**self._damaged, **told}.items() if why}

    async def introduce(self, device: SyncDevice) -> None:
        """Nothing yet: where somebody else is signed in, nobody is told. Its first pack does it."""

    async def forget(self, device: str) -> bool:
        """Also say what only that device says, and take its packs away."""
        now = await self._view()
        without = View(now.me, {at: pack for at, pack in now.packs.items() if at[1] != device}, now.found)
        names: dict[str, bytes | None] = {}
        changed: dict[int, Pack] = {}
        for (bucket, whose), pack in now.packs.items():
            if whose == device != now.me:
                names[_name(bucket, whose)] = None
                mine = without.pack(bucket, now.me)
                number = max(mine.number, pack.number) + 1
                states = {key: self._joined(key, now.keys[key].values()) for key in pack.parts}
                said = {key: self._said(without, key, state, number) for key, state in states.items()}
                more = {key: part for key, part in said.items() if part is not None}
                changed[bucket] = mine._replace(number=number, parts={**mine.parts, **more})
        if names:
            await self._write(without, changed, names)
        return await super().forget(device)

    # -- reading -----------------------------------------------------------------------------------

    async def look(self) -> Head:
        return self._head_of(await self._view())

    async def keys(self, after: str) -> AsyncIterator[str]:
        for key in Listing("", after, None).of(sorted((await self._view()).keys)):
            yield key

    async def fetch(self, keys: Collection[str]) -> Seen:
        now = await self._view()
        head = self._head_of(now)
        states = {key: self._joined(key, now.keys[key].values()) for key in keys if key in now.keys}
        return Seen(head, None, states, now.versions, {}, now)

    async def since(self, cursor: Head, head: Head) -> list[str] | None:
        self._is_elsewhere(cursor)
        before, now = self._known.get(cursor.name), self._known.get(head.name)
        if before is None or now is None:
            return None  # this process has not seen what there was then
        changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return changed if len(changed) <= TOGETHER else None

    async def went_on_from(self, cursor: Head, head: Head) -> bool:  # noqa: ARG002
        return not self._is_elsewhere(cursor)

    def _is_elsewhere(self, cursor: Head) -> bool:
        """Whether it is another account than before. Raises for one that nobody has accepted."""
        if cursor.place in ("", *self._places):
            self._accepted = False
            return False
        if not self._accepted:
            raise ForeignStoreError(
                "nothing is there of what this device has met: another account is signed in, or all was "
                "deleted; nothing was sent",
                adapter=self.adapter,
                hint="sign in again; or resume the synchronisation, and everything is sent to this account",
            )
        return True

    def _joined(self, key: str, parts: Iterable[Part]) -> State:
        """What all of them say, each brought to the schema of this program."""
        joined: State | None = None
        for part in parts:
            joined = join(joined, self.renewed(key, part.state))
        assert joined is not None
        return joined

    async def _view(self) -> View:
        names = [name async for name in self.adapter.keys(_PACK)]
        found = await self.adapter.fetch(names)
        there = {name: stored.version for name, stored in found.items()}
        if self._last is not None and there == self._there:
            return self._last  # nothing has changed
        self._damaged = {}
        self._read = {name: self._opened_pack(name, stored) for name, stored in found.items()}
        packs = {_split(name): pack for name, (_, pack) in self._read.items()}
        mine = {name: version for name, version in there.items() if _split(name)[1] == self.device}
        self._there, self._last = there, View(self.device, packs, mine or there)
        return self._last

    def _opened_pack(self, name: str, stored: Stored) -> tuple[str, Pack]:
        known = self._read.get(name)
        if known is not None and known[0] == stored.version:
            return known
        self.received += len(stored.data)
        try:
            return stored.version, decode_pack(self._opened(name, stored))
        except ValueError as error:
            # Who wrote it writes it again, as it finds that nobody says what it said.
            self._damaged[name] = f"what a device sent cannot be read: {error}"
            return "", EMPTY

    def _head_of(self, now: View) -> Head:
        self._places = now.places
        if not now.packs:
            return NOTHING
        self._known[now.name] = now.versions
        self._known.move_to_end(now.name)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return Head(0, now.name, now.place)

    def clashes(self, local: Local, theirs: State | None, seen: Seen) -> list[Pair]:  # noqa: ARG002
        now: View = seen.view
        key, shadow = local.key, local.shadow
        found = [pair for part in now.others(key).values() for pair in clashes_in(shadow, part.state)]
        return found + now.clashes(key, shadow.state, shadow.base)

    # -- writing -----------------------------------------------------------------------------------

    async def push(
        self,
        states: Mapping[str, State | None],
        seen: Seen,
        device: SyncDevice,
        left: Collection[str] | None = None,
    ) -> tuple[Head, Mapping[str, str]]:
        """Send what nobody else says. Of what was joined, no longer say what others say, too."""
        now: View = seen.view
        changed: dict[int, Pack] = {}
        news: dict[int, dict[str, State | None]] = {bucket: {} for bucket in range(BUCKETS)}
        for key, state in states.items():
            news[bucket_of(key)][key] = state
        for bucket, known in news.items():
            pack = now.pack(bucket, now.me)
            for key in () if left is None else pack.parts.keys() - known.keys() - set(left):
                if len(now.keys[key]) > 1:
                    known[key] = self._joined(key, now.keys[key].values())
            stamps = [latest(state) for state in known.values() if state is not None]
            number = max(pack.number + 1, *map(time_of, stamps), int(device.last_met * 1000) << 16)
            said = {key: self._said(now, key, state, number) for key, state in known.items()}
            parts = {key: part for key, part in {**pack.parts, **said}.items() if part is not None}
            is_first = left is not None and bucket == 0 and not now.is_known
            if parts != pack.parts or bucket in now.clashing or is_first:
                read = pack.seen if left is None else now.numbers(bucket)
                changed[bucket] = Pack(now.place, number, read, parts)
        if changed:
            now = await self._write(now, changed, sealed_device(device))
        return self._head_of(now), now.versions

    def _said(self, now: View, key: str, state: State | None, number: int) -> Part | None:
        """What this device has to say of a key whose state is known; None: nothing."""
        mine, others = now.mine(key), now.others(key)
        alone = self._joined(key, others.values()) if others else None
        if state is None:  # deleted long ago: as long as others show the key, somebody has to say it
            return None if view(alone) is None else mine
        same = [device for device, part in others.items() if part.state == state]
        if same:  # of several that say it the first one goes on
            return mine if mine is not None and mine.state == state and now.me < min(same) else None
        if mine is not None and mine.state == state:
            return mine
        if alone == state and (mine is None or now.me > min(others)):
            return mine  # they say it together, and the first of them will say all of it
        return made_part(now, key, state, number)

    async def _write(self, now: View, changed: Mapping[int, Pack], more: Mapping[str, bytes | None]) -> View:
        place = now.place or secrets.token_hex(8)
        packs = {bucket: pack._replace(place=place) for bucket, pack in changed.items()}
        changes: dict[str, bytes] = {}
        plain = 0
        for bucket, pack in packs.items():
            name = _name(bucket, now.me)
            whole = seal_record(name, encode_pack(pack), INTERNAL_SCHEMA)
            changes[name], plain = deflated(whole), plain + len(whole)
        try:
            await self.adapter.commit({**changes, **more}, expect=now.found)
        except StorageFullError as error:
            raise self._full(error, now) from error
        size = sum(map(len, changes.values()))
        self.sent, self.saved = self.sent + size, self.saved + plain - size
        return View(now.me, {**now.packs, **{(bucket, now.me): pack for bucket, pack in packs.items()}}, {})

    def _full(self, error: StorageFullError, now: View) -> StorageFullError:
        """``error``, naming which keys take the room."""
        found = (
            (kind_of(key), sum(len(encode_state(part.state)) for part in parts.values()))
            for key, parts in now.keys.items()
        )
        return StorageFullError(
            f"there is no room for what is to be sent: {error.message}. Of what was sent before, most is "
            f"{takers(found, note=', not deflated') or 'nothing'}",
            adapter=self.adapter,
            hint="delete some of that on any device; nothing was sent",
        )


def _name(bucket: int, device: str) -> str:
    return f"{_PACK}{bucket:02x}/{device}"


def _split(name: str) -> tuple[int, str]:
    bucket, _, device = name.removeprefix(_PACK).partition("/")
    return int(bucket, 16), device
