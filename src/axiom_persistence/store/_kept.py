"""What a newer version of the program has stored in a record, and a save over it must not lose."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..records.codec import Codec
from ..records.record import Record
from ..records.unknown import Unknown, can_hide, is_newer, unknown_in

__all__ = ["Kept", "kept_of"]


class Kept(NamedTuple):
    """What stays of a record when a value that was made of it is saved over it."""

    unknown: Unknown | None
    schema: str | None
    """The record's schema, where it is a later minor version: its fields are still those of that one."""


def kept_of(record: Record, kind: Any, value: Any, ours: str) -> Kept | None:
    """What to keep of ``record``, which was read as ``value`` of type ``kind``. None: nothing.

    To be called before anybody changes ``value``. ``ours``: the schema that this program gives the key.
    """
    unknown = None
    if can_hide(kind):
        try:
            unknown = unknown_in(record.value, kind, Codec().written(value, kind))
        except Exception:  # a class that reads what it does not write; saving the value will say so
            unknown = None
    schema = record.schema if record.schema != ours and is_newer(record.schema, ours) else None
    return None if unknown is None and schema is None else Kept(unknown, schema)
