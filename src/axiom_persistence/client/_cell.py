"""What a client knows of the record of one of its fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

from xxhash import xxh3_128_digest

from ..keys import MISSING, Missing
from ..store._kept import Kept, kept_of
from ..store.store import Store
from ._fields import Field

__all__ = ["Cell", "fingerprint"]

_SHORT: Final = 256


def fingerprint(data: bytes) -> bytes:
    """Something equal for equal records only: the bytes, or 128 bits of XXH3 where they are long."""
    return data if len(data) <= _SHORT else xxh3_128_digest(data)


class Cell:
    """What is known of one field's record."""

    __slots__ = ("_under_way", "kept", "overlapping", "saved", "stamp", "version")

    def __init__(self) -> None:
        self.stamp = 0  # raised by each assignment: a commit that ends later knows if it is still the last
        self.saved: bytes | None = None  # fingerprint of the record; None: not known
        self.version: str | Missing | None = MISSING  # None: nothing is stored; MISSING: not known
        self.kept: Kept | None = None  # what the field's type does not know of the record that was read last
        self.overlapping = False  # whether it is not known which of two commits under way comes last
        self._under_way: WeakSet[Any] | None = None

    def begin(self, entry: object) -> None:
        """Note that ``entry`` is on its way to the store, until ``end`` or as long as somebody has it.

        Weakly: it goes with its commit, also where Ctrl-C keeps the end from being said. What is stored is
        not known from here on, for the same reason.
        """
        self.forget()
        self.overlapping = bool(self._under_way)
        if self._under_way is None:
            self._under_way = WeakSet()
        self._under_way.add(entry)

    def end(self, entry: object) -> None:
        if self._under_way is not None:
            self._under_way.discard(entry)

    def forget(self) -> None:
        """Know nothing of what is stored: it is about to change, or may have changed."""
        self.saved, self.version = None, MISSING

    @property
    def under_way(self) -> bool:
        """Whether a commit of this field has not ended."""
        return bool(self._under_way)

    def differs(self, data: bytes, seal: Callable[[Field, Any], bytes], field: Field) -> bool:
        """Whether ``data``, of a ``field`` that nobody assigned to since, shows a change inside its value.

        What is not stored while a commit is under way is a field that is being reset: it has its default.
        """
        saved = (
            fingerprint(seal(field, field.default()))
            if self.saved is None and self._under_way
            else self.saved
        )
        return saved != fingerprint(data)

    def renew(self, store: Store, key: str, kind: Any, data: bytes | None) -> None:
        """Find out what has to be kept of ``data``, which was just stored over a record with ``kept``."""
        self.kept = None
        if data is not None:
            record = store.open_record(key, data)
            self.kept = kept_of(record, kind, store.decode(key, record, kind), store.schema_of(key))
