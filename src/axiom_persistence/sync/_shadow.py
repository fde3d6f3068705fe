"""What a device keeps beside each key that it has sent or received: the key's shadow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ..layers.tracked import DIRTY, SHADOW
from ..records.record import INTERNAL_SCHEMA, Record, look_at, seal_record
from ..storage.adapter import Stored
from ._state import Field, State, builtins_of, decode_state

__all__ = ["NO_SHADOW", "Local", "Shadow", "local_keys", "sealed_shadow"]


class Shadow(NamedTuple):
    """What this device knows of a key together with the others."""

    remote: str | None
    """The version of the record at the remote when it was seen last; None: there was none."""
    state: State | None
    base: Mapping[str, Field | None]
    """The fields that were changed here and are not known to be there yet, as they were before."""
    intended: tuple[str, ...] = ()
    """The stamps of those changes, the last ones: any of them may have been sent, and its reply lost."""


NO_SHADOW: Final = Shadow(None, None, {})


class _StoredShadow(msgspec.Struct):
    remote: str | None = None
    state: msgspec.Raw = msgspec.Raw(b"null")
    base: msgspec.Raw = msgspec.Raw(b"null")
    intended: tuple[str, ...] = ()


_decode: Final = msgspec.json.Decoder(_StoredShadow).decode


def sealed_shadow(key: str, shadow: Shadow) -> bytes:
    """The record of a shadow."""
    made: dict[str, Any] = {"remote": shadow.remote}
    if shadow.state is not None:
        made["state"] = builtins_of(shadow.state)
    if shadow.base:
        known = {name: field for name, field in shadow.base.items() if field is not None}
        new = sorted(shadow.base.keys() - known.keys())
        made["base"] = {"known": builtins_of(State("", known, {})), "new": new}
    if shadow.intended:
        made["intended"] = shadow.intended
    return seal_record(SHADOW + key, msgspec.json.encode(made), INTERNAL_SCHEMA)


def _opened_shadow(value: bytes) -> Shadow:
    stored = _decode(value)
    state = None if bytes(stored.state) == b"null" else decode_state(stored.state)
    base: dict[str, Field | None] = {}
    if bytes(stored.base) != b"null":
        parts = msgspec.json.decode(stored.base, type=dict[str, msgspec.Raw])
        base.update(decode_state(parts["known"]).fields)
        base.update(dict.fromkeys(msgspec.json.decode(parts["new"], type=list[str])))
    return Shadow(stored.remote, state, base, stored.intended)


def local_keys(key: str) -> tuple[str, str, str]:
    """Where what belongs to ``key`` is: its record, its mark, its shadow."""
    return key, DIRTY + key, SHADOW + key


class Local:
    """What one device has of one key, as one fetch found it."""

    __slots__ = ("damage", "found", "key", "mark", "record", "shadow")

    def __init__(self, key: str, found: Mapping[str, Stored], schema: str) -> None:
        self.key = key
        self.found: dict[str, Stored | None] = {name: found.get(name) for name in local_keys(key)}
        self.damage: str | None = None
        """Why the record cannot be read; then it is left alone."""
        self.record: Record | None = self._read(key, schema)
        self.mark: str | None = self._mark()
        self.shadow: Shadow = self._shadow()

    @property
    def versions(self) -> dict[str, str | None]:
        """What a commit about this key expects: all as it was found."""
        return {name: None if stored is None else stored.version for name, stored in self.found.items()}

    def _read(self, name: str, schema: str) -> Record | None:
        stored = self.found[name]
        if stored is None:
            return None
        record, damage, _ = look_at(name, stored.data, schema)
        damage = stored.damage or damage
        if damage is not None and self.damage is None:
            self.damage = damage
        return None if damage is not None else record

    def _mark(self) -> str | None:
        name = DIRTY + self.key
        record = self._read(name, INTERNAL_SCHEMA)
        if record is not None:
            return msgspec.json.decode(record.value, type=str)
        # Of a damaged mark only the time is lost: that there was one is what matters.
        return None if self.found[name] is None else ""

    def _shadow(self) -> Shadow:
        record = self._read(SHADOW + self.key, INTERNAL_SCHEMA)
        return NO_SHADOW if record is None else _opened_shadow(record.value)
