"""How far a device has read what the others have sent."""

from __future__ import annotations

from typing import Final

import msgspec

from ..layers.tracked import SYNC
from ..records.record import INTERNAL_SCHEMA, look_at, seal_record
from ..storage.adapter import StorageAdapter
from ._remote import Head

__all__ = ["Cursor"]

_CURSOR: Final = SYNC + "cursor"


class _StoredCursor(msgspec.Struct):
    number: int = 0
    name: str = ""
    place: str = ""
    at: float = 0.0
    listed: str | None = None


class Cursor:
    """Up to which entry of the remote's log everything is here; or, while it is listed, up to which key."""

    __slots__ = ("at", "head", "is_new", "listed", "version")

    def __init__(self, stored: _StoredCursor, version: str | None, *, is_new: bool = False) -> None:
        self.head: Head = Head(stored.number, stored.name, stored.place)
        self.at: float = stored.at
        """When this device last was up to date, in seconds since 1970 UTC."""
        self.listed: str | None = stored.listed
        self.version: str | None = version
        self.is_new: bool = is_new
        """Whether nothing is remembered. Then all keys are looked at: a log may name not all of them."""

    @classmethod
    async def read(cls, adapter: StorageAdapter) -> Cursor:
        """What is remembered in the store of ``adapter``."""
        stored = (await adapter.fetch((_CURSOR,))).get(_CURSOR)
        if stored is None:
            return cls(_StoredCursor(), None, is_new=True)
        record, _, _ = look_at(_CURSOR, stored.data, INTERNAL_SCHEMA)
        if record is None or stored.damage is not None:
            return cls(_StoredCursor(), stored.version, is_new=True)
        return cls(msgspec.json.decode(record.value, type=_StoredCursor), stored.version)

    def moved(
        self, head: Head, at: float, listed: str | None = None
    ) -> tuple[dict[str, bytes | None], dict[str, str | None]] | None:
        """The commit that notes that everything up to ``head`` is here; None: it says so already."""
        if head == self.head and listed == self.listed and 0 <= at - self.at < 3600:
            return None
        value = msgspec.json.encode(_StoredCursor(head.number, head.name, head.place, at, listed))
        return {_CURSOR: seal_record(_CURSOR, value, INTERNAL_SCHEMA)}, {_CURSOR: self.version}
