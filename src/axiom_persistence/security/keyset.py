"""The keys that records are sealed with, sealed themselves under a key that somebody else keeps.

The key-encryption key (from a ``KeyProvider``) opens the keyset; the keyset's data keys open records. So
another passphrase, or a new keychain item, rewrites one record and not the store.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from ..errors import CorruptedDataError, KeyUnavailableError, SchemaTooNewError
from .cipher import Cipher, WrongKeyError, new_key

__all__ = ["DECRYPTING", "ENCRYPTING", "DataKey", "Keyset", "WrappedKeyset"]

_FORMAT: Final = 1

ENCRYPTING: Final = "encrypting"
DECRYPTING: Final = "decrypting"


class DataKey(msgspec.Struct, frozen=True):
    """One key that records are sealed with."""

    key: bytes
    created: float
    """Seconds since 1970 UTC."""
    retired: float | None = None
    """Since when it only opens, and seals nothing."""
    emptied: float | None = None
    """When a walk through the whole store found no record under it."""


class _Wrapped(msgspec.Struct, frozen=True):
    """A keyset as it is stored: what its provider needs to find the key, in plain, and the keys, sealed."""

    keyset: int
    id: str
    parameters: dict[str, str]
    sealed: bytes


class Keyset(msgspec.Struct, frozen=True):
    """Data keys by number, and which of them seals. Immutable: a change makes another."""

    id: str
    """32 hex digits, random: what is sealed under one keyset does not open under another."""
    primary: int
    keys: dict[int, DataKey]
    passage: str = ""
    """``ENCRYPTING`` or ``DECRYPTING`` while a job is at it: records may be plain as well. Sealed with the
    keys, so that nobody else can say so."""

    def __repr__(self) -> str:
        return f"<Keyset {self.id}: {len(self.keys)} keys, {self.primary} seals>"

    @classmethod
    def new(cls, passage: str = "") -> Keyset:
        return cls(uuid.uuid4().hex, 1, {1: DataKey(new_key(), time.time())}, passage)

    def passing(self, passage: str) -> Keyset:
        """The same keys, with a job under way or, where ``passage`` is empty, none."""
        return msgspec.structs.replace(self, passage=passage)

    @property
    def is_rotating(self) -> bool:
        """Whether records may be sealed with a key that seals no more."""
        return any(key.retired is not None and key.emptied is None for key in self.keys.values())

    def rotated(self) -> Keyset:
        """With a new key that seals from now on; the others go on opening."""
        number, now = max(self.keys) + 1, time.time()
        old = {
            each: msgspec.structs.replace(key, retired=now) if key.retired is None else key
            for each, key in self.keys.items()
        }
        return msgspec.structs.replace(self, primary=number, keys={**old, number: DataKey(new_key(), now)})

    def retired(self, emptied: Collection[int], destroyed: Collection[int], now: float) -> Keyset:
        """Where no record was found under the keys ``emptied``, and ``destroyed`` ones are gone for good.

        The key that seals always stays.
        """
        kept = {
            n: msgspec.structs.replace(key, emptied=now) if n in emptied and key.emptied is None else key
            for n, key in self.keys.items()
            if n == self.primary or n not in destroyed
        }
        return msgspec.structs.replace(self, keys=kept)

    def wrap(self, key: bytes, parameters: Mapping[str, str]) -> bytes:
        """As it is stored, sealed under the key-encryption key ``key``."""
        given = dict(parameters)
        sealed = Cipher(key).seal(msgspec.json.encode(self), _bound(self.id, given))
        return msgspec.json.encode(_Wrapped(_FORMAT, self.id, given, sealed))


class WrappedKeyset:
    """A stored keyset, not opened yet. ``parameters`` say where its key is found."""

    def __init__(self, data: bytes, adapter: object) -> None:
        self._adapter = str(adapter)
        try:
            self._wrapped = msgspec.json.decode(data, type=_Wrapped)
        except msgspec.MsgspecError as error:
            raise CorruptedDataError(
                "the store's keyset is damaged, and without it nothing in the store can be read",
                adapter=adapter,
                hint="put a backup of the store in its place; nothing was changed",
            ) from error
        if self._wrapped.keyset > _FORMAT:
            raise SchemaTooNewError(
                f"the store's keyset has format {self._wrapped.keyset}, this version knows {_FORMAT}",
                adapter=adapter,
                hint="update axiom-persistence; nothing was changed",
            )

    @property
    def parameters(self) -> dict[str, str]:
        return dict(self._wrapped.parameters)

    def open(self, key: bytes) -> Keyset:
        """The keys. Raises ``KeyUnavailableError`` for another key, or a keyset that somebody altered."""
        bound = _bound(self._wrapped.id, self._wrapped.parameters)
        try:
            data = Cipher(key).open(self._wrapped.sealed, bound)
        except WrongKeyError as error:
            raise KeyUnavailableError(
                "the key given is not the one that this store is encrypted with",
                adapter=self._adapter,
                hint="give the key or passphrase it was made with; nothing was changed",
            ) from error
        return msgspec.json.decode(data, type=Keyset)


def _bound(name: str, parameters: Mapping[str, str]) -> bytes:
    return msgspec.json.encode(["axiom-persistence/keyset", _FORMAT, name, sorted(parameters.items())])
