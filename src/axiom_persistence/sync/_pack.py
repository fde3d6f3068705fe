"""What one device says where nobody can say "only if it is still as I found it": its packs. Pure.

A pack has the states of some keys, chosen by a hash. Of each key a device says all that it knows, if nobody
else says that much. So there is about one copy of everything, at the device that changed it last.

A later field replaces an earlier one without asking. Whether it was written knowing that is told by numbers.
Each pack has one, and those of the other devices' packs that its writer had read and joined. Beside each
field stands in which packs it was. Where the writer of the later field had read none of them, it is a
conflict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final, NamedTuple

import msgspec
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from ._conflict import Pair, made_of
from ._state import Field, State, builtins_of, decode_state

__all__ = [
    "BUCKETS",
    "EMPTY",
    "Pack",
    "Part",
    "View",
    "bucket_of",
    "decode_pack",
    "encode_pack",
    "hashed",
    "made_part",
    "time_of",
]

BUCKETS: Final = 32
"""Packs of a device at most. Of iCloud's 1,024 keys that makes 31 devices."""

Fields = Mapping[str, Field]
Base = Mapping[str, Field | None]
Where = Mapping[str, tuple[int, int]]
"""In whose packs a field was, from which number to which."""


class Part(NamedTuple):
    """What one device says of a key."""

    state: State
    where: Mapping[str, Where]
    """By field."""
    digest: str


class Pack(NamedTuple):
    """What one device says of the keys of one bucket."""

    place: str
    """Drawn at random by the first device, and taken over by later ones: the account is known by it."""
    number: int
    """Later packs of one device have higher ones; none is below the time of a stamp that is in it."""
    seen: Mapping[str, int]
    """Of each other device, the number of its pack that this one had read and joined."""
    parts: Mapping[str, Part]


EMPTY: Final = Pack("", 0, {}, {})


class _StoredPart(msgspec.Struct):
    state: msgspec.Raw
    where: dict[str, dict[str, tuple[int, int]]]


class _StoredPack(msgspec.Struct):
    place: str
    number: int
    seen: dict[str, int]
    parts: dict[str, _StoredPart]


def encode_pack(pack: Pack) -> bytes:
    """As JSON."""
    parts = {
        key: {"state": builtins_of(part.state), "where": part.where}
        for key, part in sorted(pack.parts.items())
    }
    made = {"place": pack.place, "number": pack.number, "seen": pack.seen, "parts": parts}
    return msgspec.json.encode(made)


def decode_pack(data: bytes) -> Pack:
    """The pack in JSON. Raises ``ValueError`` for what is none."""
    try:
        stored = msgspec.json.decode(data, type=_StoredPack)
    except msgspec.MsgspecError as error:
        raise ValueError("it is no pack of states") from error
    parts = {
        key: Part(decode_state(part.state), part.where, xxh3_64_hexdigest(bytes(part.state)))
        for key, part in stored.parts.items()
    }
    return Pack(stored.place, stored.number, stored.seen, parts)


def bucket_of(key: str) -> int:
    """The pack that a key is in."""
    return xxh3_64_intdigest(key.encode()) % BUCKETS


class View:
    """All packs, of one moment, as the device ``me`` reads them."""

    def __init__(self, me: str, packs: Mapping[tuple[int, str], Pack], found: Mapping[str, str]) -> None:
        self.me = me
        self.packs = dict(packs)
        self.found = found
        """Versions of packs that are gone if somebody else signs in: this device's, or any if it has none."""
        self.keys: dict[str, dict[str, Part]] = {}
        for (_, device), pack in self.packs.items():
            for key, part in pack.parts.items():
                self.keys.setdefault(key, {})[device] = part
        self.clashing: set[int] = set()
        """Packs of ours that have to say that those of others were read."""

    @property
    def is_known(self) -> bool:
        """Whether this device has a pack there."""
        return any(device == self.me for _, device in self.packs)

    @property
    def places(self) -> set[str]:
        return {pack.place for pack in self.packs.values() if pack.place}

    @property
    def place(self) -> str:
        """That of this device, or of those that were there before; of several any, but always the same."""
        mine = [pack.place for (_, device), pack in self.packs.items() if device == self.me and pack.place]
        return min(mine or self.places, default="")

    def pack(self, bucket: int, device: str) -> Pack:
        return self.packs.get((bucket, device), EMPTY)

    def mine(self, key: str) -> Part | None:
        return self.keys.get(key, {}).get(self.me)

    def others(self, key: str) -> dict[str, Part]:
        return {device: part for device, part in self.keys.get(key, {}).items() if device != self.me}

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of each key what changes when anybody says something else of it."""
        return {
            key: hashed("".join(device + part.digest for device, part in sorted(parts.items())))
            for key, parts in self.keys.items()
        }

    @cached_property
    def name(self) -> str:
        """What changes when any version does."""
        return hashed("".join(f"{key}\0{version}\0" for key, version in sorted(self.versions.items())))

    def numbers(self, bucket: int) -> dict[str, int]:
        """The numbers of the other devices' packs."""
        found = self.packs.items()
        return {name: pack.number for (at, name), pack in found if at == bucket and name != self.me}

    def clashes(self, key: str, ours: State | None, pending: Base) -> list[Pair]:
        """What is lost without having been known, of what this device says, or by what it wrote.

        ``ours`` is what it knew, ``pending`` what of it was changed here since: that is in no pack yet.
        """
        own = {}
        for name in () if ours is None else {**ours.fields, **ours.covered}:
            field = made_of(ours, name)  # what it deleted is its own, too
            if field is not None and _by(field) == self.me:
                own[name] = field
        found: list[Pair] = []
        for device, part in self.others(key).items():
            found += self._lost_to(part, key, own, pending)
            found += self._lost_by(device, part, key, own, pending)
        if found:
            self.clashing.add(bucket_of(key))
        return found

    def _lost_to(self, part: Part, key: str, own: Fields, pending: Base) -> Iterator[Pair]:
        mine = self.mine(key)
        said = {} if mine is None else mine.state.fields
        for name in {**own, **said}:
            field = max((f for f in (own.get(name), said.get(name)) if f is not None), key=lambda f: f.stamp)
            theirs = made_of(part.state, name)
            if theirs is None or name in pending or not _is_lost(field, theirs):
                continue
            if field == said.get(name):
                knew = self._knew(theirs, self.me, key, name)
            else:
                knew = self._may_know(theirs, key, name, field)
            if not knew:
                yield Pair(name, None, field, theirs)

    def _lost_by(self, device: str, part: Part, key: str, own: Fields, pending: Base) -> Iterator[Pair]:
        for name, theirs in part.state.fields.items():
            field, base = own.get(name), pending.get(name)
            if field is None or not _is_lost(theirs, field):
                continue
            if base is not None and (theirs.stamp > base.stamp or _by(base) != self.me):
                continue  # it is compared with what was changed since, or was lost before
            if not self._knew(field, device, key, name):
                yield Pair(name, None, field, theirs)

    def _may_know(self, later: Field, key: str, name: str, own: Field) -> bool:
        """The same of a field of this device's own that its pack does not say.

        Others say it, or have found it beaten and listed that. Or the pack was lost before anybody had it.
        """
        if any(part.state.fields.get(name) == own for part in self.keys[key].values()):
            return True
        seen = self.pack(bucket_of(key), _by(later)).seen
        return _by(later) == self.me or seen.get(self.me, -1) >= time_of(own.stamp)

    def _knew(self, later: Field, holder: str, key: str, name: str) -> bool:
        """Whether who wrote ``later`` had seen what ``holder`` says of a field, or has listed it since."""
        author, part = _by(later), self.keys[key][holder]
        earlier = part.state.fields[name]
        where = self.where(key, holder, name)
        if author == _by(earlier) or author in where:
            return True
        seen = self.pack(bucket_of(key), author).seen
        return any(first <= seen.get(device, -1) <= last for device, (first, last) in where.items())

    def where(self, key: str, holder: str, name: str) -> dict[str, tuple[int, int]]:
        """In which packs a field was that ``holder`` says; up to the one that is there."""
        where = dict(self.keys[key][holder].where.get(name, {}))
        number = self.pack(bucket_of(key), holder).number
        where[holder] = where.get(holder, (number, number))[0], number
        return where


def made_part(now: View, key: str, state: State, number: int) -> Part:
    """What this device says of ``key`` in its pack ``number``."""
    where = {}
    for name, field in state.fields.items():
        known: dict[str, tuple[int, int]] = {}
        for device, part in now.keys.get(key, {}).items():
            if part.state.fields.get(name) == field:
                known.update(now.where(key, device, name))
        known[now.me] = known.get(now.me, (number, number))[0], number
        where[name] = known
    return Part(state, where, xxh3_64_hexdigest(msgspec.json.encode(builtins_of(state))))


def time_of(stamp: str) -> int:
    """What the numbers of packs are counted in."""
    return int(stamp[:16], 16)


def hashed(text: str) -> str:
    """16 hex digits."""
    return xxh3_64_hexdigest(text.encode())


def _is_lost(earlier: Field, later: Field) -> bool:
    return earlier.stamp < later.stamp and earlier.value is not None and earlier.value != later.value


def _by(field: Field) -> str:
    return field.stamp[17:25]
