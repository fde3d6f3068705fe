"""What two devices changed without knowing of each other, and who decides what stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
from xxhash import xxh3_64_hexdigest

from ..keys import MISSING
from ..layers.tracked import SYNC
from ..records.codec import encode_value
from ..records.record import INTERNAL_SCHEMA, seal_record
from ..records.stamp import Clock, later_than
from ._shadow import Shadow
from ._state import NAME, WHOLE, Field, State

__all__ = [
    "CONFLICTS",
    "KEPT",
    "Clash",
    "Conflict",
    "Pair",
    "Resolver",
    "clashes_in",
    "made_of",
    "resolved",
    "sealed_conflict",
]

CONFLICTS: Final = SYNC + "conflict/"

KEPT: Final = 256
"""Conflicts that a device remembers; the oldest go first."""


class Conflict(msgspec.Struct, frozen=True):
    """One field that was changed on two devices, neither knowing of the other.

    ``field`` is the name in an object; "" for a value that is no object. Values are builtins; None where the
    field was removed or not there, too.
    """

    key: str
    field: str
    base: Any
    """What it was before both."""
    ours: Any
    theirs: Any
    kept: Any
    """What it is now."""
    our_stamp: str
    their_stamp: str

    @property
    def lost(self) -> Any:
        """The value that is not shown any more."""
        return self.ours if self.kept != self.ours else self.theirs


class Clash(NamedTuple):
    """What a resolver decides about. ``MISSING`` stands for what is not there, or was removed."""

    key: str
    field: str
    base: Any
    ours: Any
    theirs: Any
    our_stamp: str
    their_stamp: str


Resolver = Callable[[Clash], Any]
"""Gives the value that stays. It must give the same for the same clash, or run on one device only."""


class Pair(NamedTuple):
    """A field that was changed here and elsewhere."""

    name: str
    base: Field | None
    ours: Field
    theirs: Field


def clashes_in(shadow: Shadow, theirs: State | None) -> list[Pair]:
    """The fields that were changed here and, by somebody who did not know that, at the remote."""
    found = []
    for name, base in shadow.base.items():
        ours, other = made_of(shadow.state, name), made_of(theirs, name)
        if ours is None or other is None:
            continue
        known = "" if base is None else base.stamp
        if other.stamp <= known or other.stamp == ours.stamp or other.value == ours.value:
            continue
        if min(ours, other, key=lambda one: one.stamp).value is None:
            continue  # what was removed is followed by a value: no value is lost
        if other.stamp not in shadow.intended:  # else an earlier change of ours, whose reply was lost
            found.append(Pair(name, base, ours, other))
    return found


def made_of(state: State | None, name: str) -> Field | None:
    """What somebody made of a field. To delete the key is to remove it."""
    if state is None:
        return None
    covered = state.covered.get(name)
    return state.fields.get(name) or (None if covered is None else Field(covered, None))


def resolved(
    key: str, joined: State, pairs: list[Pair], resolver: Resolver | None, clock: Clock
) -> tuple[State, list[Conflict]]:
    """``joined`` with what the resolver says of each clash, and what is to be remembered of them."""
    fields = dict(joined.fields)
    conflicts = []
    for name, base, ours, theirs in pairs:
        if name[0] not in (NAME, WHOLE):
            continue  # of the library's own fields the later one is right
        label, stamps = name[1:], (ours.stamp, theirs.stamp)
        if resolver is not None:
            decided = resolver(Clash(key, label, _value(base), _value(ours), _value(theirs), *stamps))
            value = None if decided is MISSING else encode_value(decided)
            present = fields.get(name)  # none is left of a key that was deleted
            if value != (None if present is None else present.value):
                fields[name] = Field(max(clock.tick(), later_than(max(stamps), clock.who)), value)
        kept = fields.get(name)
        was, mine, other, now = (_plain(one) for one in (base, ours, theirs, kept))
        conflicts.append(Conflict(key, label, was, mine, other, now, *stamps))
    return joined._replace(fields=fields), conflicts


def _value(field: Field | None) -> Any:
    return MISSING if field is None or field.value is None else msgspec.json.decode(field.value)


def _plain(field: Field | None) -> Any:
    value = _value(field)
    return None if value is MISSING else value


def sealed_conflict(conflict: Conflict) -> tuple[str, bytes]:
    """Where a conflict is remembered, the same each time that it is found, and its record."""
    name = xxh3_64_hexdigest(f"{conflict.key}\0{conflict.field}".encode())
    where = f"{CONFLICTS}{conflict.our_stamp}/{conflict.their_stamp}/{name}"
    return where, seal_record(where, msgspec.json.encode(conflict), INTERNAL_SCHEMA)
