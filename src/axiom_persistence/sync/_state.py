"""What a key is, to all devices together: its fields, each with the stamp of its last change. Pure.

States *join*: in any order, any number of times, with the same result. So a request may be lost, repeated
or late, and all devices still end with the same value.

A value that is a JSON object has a field for each of its names; any other value is one field. Fields never
leave a state: a removed one stays without its value, so that an older copy of it is known to be older.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ..records.migrations import order
from ..records.record import Record
from ..records.stamp import is_stamp, seconds_of

__all__ = [
    "EXPIRES",
    "NAME",
    "SUBJECT",
    "WHOLE",
    "Field",
    "State",
    "builtins_of",
    "decode_state",
    "deleted_at",
    "encode_state",
    "fields_of",
    "join",
    "latest",
    "stamped",
    "subject_in",
    "value_in",
    "view",
]

WHOLE: Final = "="
"""The field of a value that is no object."""
_OBJECT: Final = "{"
"""A field of every object, so that an empty one is not an absent one."""
NAME: Final = "."
"""What the field of a name in an object begins with."""
EXPIRES: Final = "!expires"
"""The field of the time at which the value ends."""

SUBJECT: Final = "!subject"
"""The field of whom the value is about: the hash of a name. A deleted key keeps it."""
_DELETED: Final = "!deleted"
"""Of a key that was deleted: when, among what is covered."""

_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Field(NamedTuple):
    """One part of a value, as JSON; None where it was removed, at the stamp of what was removed."""

    stamp: str
    value: bytes | None


class State(NamedTuple):
    """A key's fields; and of a key that was deleted, which stamps of its fields the deleter had seen."""

    schema: str
    fields: Mapping[str, Field]
    covered: Mapping[str, str]


class _StoredField(msgspec.Struct, omit_defaults=True):
    at: str
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Stored(msgspec.Struct, omit_defaults=True):
    schema: str
    fields: dict[str, _StoredField]
    covered: dict[str, str] = {}


_decode: Final = msgspec.json.Decoder(_Stored).decode


def encode_state(state: State) -> bytes:
    """As JSON: the same bytes for equal states."""
    return msgspec.json.encode(builtins_of(state), order="deterministic")


def builtins_of(state: State) -> dict[str, Any]:
    """What ``encode_state`` encodes."""
    made: dict[str, Any] = {
        "schema": state.schema,
        "fields": {
            name: {"at": field.stamp}
            if field.value is None
            else {"at": field.stamp, "value": msgspec.Raw(field.value)}
            for name, field in sorted(state.fields.items())
        },
    }
    if state.covered:
        made["covered"] = dict(sorted(state.covered.items()))
    return made


def decode_state(data: bytes | msgspec.Raw) -> State:
    """The state in JSON. Raises ``ValueError`` for what is none."""
    try:
        stored = _decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError("it is no state of a synchronised key") from error
    stamps = [*(field.at for field in stored.fields.values()), *stored.covered.values()]
    if not all(map(is_stamp, stamps)):
        raise ValueError("a stamp in it has another form")
    fields = {
        name: Field(field.at, None if isinstance(field.value, msgspec.UnsetType) else bytes(field.value))
        for name, field in stored.fields.items()
    }
    return State(stored.schema, fields, stored.covered)


# -- values ----------------------------------------------------------------------------------------


def fields_of(record: Record) -> dict[str, bytes]:
    """The fields of a record's value, as JSON each."""
    if record.value[:1] == b"{":
        fields = {NAME + name: bytes(raw) for name, raw in _decode_object(record.value).items()}
        fields[_OBJECT] = b"true"
    else:
        fields = {WHOLE: record.value}
    if record.expires is not None:
        fields[EXPIRES] = b"%d" % record.expires
    if record.subject is not None:
        fields[SUBJECT] = b'"%b"' % record.subject.partition("-")[0].encode()
    return fields


def value_in(fields: Mapping[str, bytes]) -> bytes:
    """The value, as JSON, that has these fields; an object's names in alphabetical order."""
    if WHOLE in fields:
        return fields[WHOLE]
    named = {name[1:]: msgspec.Raw(raw) for name, raw in sorted(fields.items()) if name[0] == NAME}
    return msgspec.json.encode(named)


def view(state: State | None) -> dict[str, bytes] | None:
    """The fields that a device shows; None: the key is absent."""
    if state is None:
        return None
    there = {name: field for name, field in state.fields.items() if field.value is not None}
    if not any(field.stamp > state.covered.get(name, "") for name, field in there.items()):
        return None  # whoever deleted it had seen all of it
    whole, is_object = there.get(WHOLE), there.get(_OBJECT)
    if whole is not None and (is_object is None or whole.stamp > is_object.stamp):
        there = {name: field for name, field in there.items() if name in (WHOLE, EXPIRES, SUBJECT)}
    else:
        there.pop(WHOLE, None)
    return {name: field.value for name, field in there.items() if field.value is not None}


def latest(state: State | None) -> str:
    """The latest stamp in it; "" in none."""
    if state is None:
        return ""
    return max([field.stamp for field in state.fields.values()] + list(state.covered.values()), default="")


def subject_in(state: State | None) -> str | None:
    """Whom a key is about, or was when it was deleted: the hash of a name."""
    field = None if state is None else state.fields.get(SUBJECT)
    return None if field is None or field.value is None else msgspec.json.decode(field.value, type=str)


def deleted_at(state: State | None) -> float | None:
    """When the key was deleted, in seconds since 1970 UTC. None: it is alive, or never was."""
    if state is None or view(state) is not None:
        return None
    return seconds_of(state.covered.get(_DELETED) or latest(state))


# -- changes ---------------------------------------------------------------------------------------


def stamped(state: State | None, now: Mapping[str, bytes] | None, stamp: str, schema: str) -> State | None:
    """``state`` after a change that was made knowing it: the value has the fields ``now`` (None: deleted).

    What differs bears ``stamp``, later than all in ``state``. None: nothing was there, and nothing is.
    """
    if now is None:
        return None if state is None else _covers_all(state, stamp)
    before = view(state) or {}
    fields = {} if state is None else dict(state.fields)
    for name, field in fields.items():
        if name not in now and field.value is not None:
            fields[name] = Field(field.stamp, None)  # it beats the value that it removes, and no newer one
    covered = {} if state is None else state.covered
    for name, seen in covered.items():  # of a value that was deleted: it does not come back with this one
        if name not in now and name not in fields and name != _DELETED:
            fields[name] = Field(seen, None)
    for name, value in now.items():
        if before.get(name) != value:
            fields[name] = Field(stamp, value)
    return State(schema, fields, covered)


def _covers_all(state: State, stamp: str) -> State:
    """``state`` deleted at ``stamp`` by somebody who knows all of it. No value is left in it."""
    if view(state) is None:
        return state
    covered = {**state.covered, _DELETED: stamp}
    for name, field in state.fields.items():
        covered[name] = max(field.stamp, covered.get(name, ""))
    return _without_values(state._replace(covered=covered))


def _without_values(state: State) -> State:
    """A state that shows nothing, without the values that it would not show: an edit brings its own along."""
    if all(field.value is None for field in state.fields.values()) or view(state) is not None:
        return state
    kept = {name: f for name, f in state.fields.items() if f.value is None or name == SUBJECT}
    return state._replace(fields=kept)


def join(one: State | None, other: State | None) -> State | None:
    """What is known when both are known: of each field the later. Both are of one schema."""
    if one is None or other is None:
        return one or other
    fields = dict(one.fields)
    for name, theirs in other.fields.items():
        ours = fields.get(name)
        fields[name] = theirs if ours is None else _later(ours, theirs)
    covered = dict(one.covered)
    for name, stamp in other.covered.items():
        covered[name] = max(stamp, covered.get(name, ""))
    return _without_values(State(max(one.schema, other.schema, key=_schema_order), fields, covered))


def _later(one: Field, other: Field) -> Field:
    if one.stamp != other.stamp:
        return max(one, other, key=lambda field: field.stamp)
    if one.value is None or other.value is None:
        return Field(one.stamp, None)  # removed beats the value that it removes
    return max(one, other, key=lambda field: field.value or b"")


def _schema_order(schema: str) -> tuple[tuple[int, ...], str]:
    return order(schema), schema
