"""The names of keys, hidden from whoever can read the place where devices meet."""

from __future__ import annotations

import os
from base64 import b32hexdecode, b32hexencode
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from ..errors import ConflictError, CorruptedDataError, InsecureStorageError, PersistenceError
from ..keys import INTERNAL, check_stored_key
from ..records.record import INTERNAL_SCHEMA, look_at, seal_record
from ..storage.adapter import NOT_NOW, Changes, Durability, Expect, NotNow, StorageAdapter, Stored, Traits
from ..storage.layer import Layer
from ..storage.listing import Listing
from ._remote import HEAD, NAMES

__all__ = ["Hidden"]

T = TypeVar("T")

_KEY_BYTES: Final = 64
_TAG_BYTES: Final = 16


class Hidden(Layer):
    """Gives each key another name below: its own, sealed with AES-SIV (RFC 5297).

    One name is always sealed to the same, so it is found again. Somebody who reads the place sees how many
    keys there are, how long each name is, and which of them change. The library's own keys keep their names;
    the key that seals names is one of them, in a record that is encrypted like all others. A listing opens
    all names, and keeps them until it ends.

    Opening raises ``InsecureStorageError`` for a place where names are in clear.
    """

    def __init__(self, inner: StorageAdapter) -> None:
        super().__init__(inner)
        self._sealing: AESSIV | None = None
        most = inner.traits.max_key_bytes * 5 // 8 - _TAG_BYTES
        self._traits = replace(inner.traits, max_key_bytes=most, immediate=False)

    @property
    def traits(self) -> Traits:
        return self._traits

    async def aopen(self) -> None:
        await self.inner.aopen()
        while self._sealing is None:
            found = await self.inner.fetch((NAMES, HEAD))
            if NAMES in found:
                self._sealing = AESSIV(self._key_in(found[NAMES]))
            elif HEAD in found:
                raise InsecureStorageError(
                    "the names of keys are in clear there already",
                    adapter=self.inner,
                    hint="hide_keys=True takes an empty place",
                )
            else:
                data = seal_record(NAMES, msgspec.json.encode(os.urandom(_KEY_BYTES)), INTERNAL_SCHEMA)
                with suppress(ConflictError):  # another device was faster, and its key is taken
                    await self.inner.commit({NAMES: data}, expect={NAMES: None})

    def _key_in(self, stored: Stored) -> bytes:
        record, damage, _ = look_at(NAMES, stored.data, INTERNAL_SCHEMA)
        if record is None or stored.damage is not None:
            raise CorruptedDataError(
                f"the key that hides the names of keys cannot be read: {stored.damage or damage}",
                adapter=self.inner,
                hint="put a backup of that place back, or meet at an empty one",
            )
        return msgspec.json.decode(record.value, type=bytes)

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        names = {self._hidden(key): key for key in keys}
        with self._names():
            found = await self.inner.fetch(list(names))
        return {names[name]: stored for name, stored in found.items()}

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        names = {self._hidden(key): key for key in changes}
        below = {name: changes[key] for name, key in names.items()}
        expected = {self._hidden(key): version for key, version in (expect or {}).items()}
        with self._names():
            versions = await self.inner.commit(below, expect=expected, durability=durability)
        return {names[name]: version for name, version in versions.items()}

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:  # noqa: ARG002
        return None  # what is sent elsewhere is sent by commit

    def fetch_now(self, key: str) -> Stored | None | NotNow:  # noqa: ARG002
        return NOT_NOW

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        listing = Listing(prefix, after, limit, reverse)
        own = prefix if prefix.startswith(INTERNAL) else ""
        opened = [self._opened(name) async for name in self.inner.keys(own)]
        for key in listing.of(sorted(key for key in opened if key is not None)):
            yield key

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        with self._names():
            await self.inner.purge([*map(self._hidden, keys)], previous_of=[*map(self._hidden, previous_of)])

    async def previous(self, key: str) -> Stored | None:
        with self._names():
            return await self.inner.previous(self._hidden(key))

    async def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        with self._names():
            await self.inner.set_previous({self._hidden(key): data for key, data in generations.items()})

    async def saved_at(self, key: str) -> float | None:
        with self._names():
            return await self.inner.saved_at(self._hidden(key))

    def find(self, kind: type[T]) -> T | None:
        return self if isinstance(self, kind) else None  # below, the keys have other names

    def _hidden(self, key: str) -> str:
        if key[:1] == INTERNAL:
            return key
        assert self._sealing is not None
        check_stored_key(key, self._traits.max_key_bytes)
        return b32hexencode(self._sealing.encrypt(key.encode(), None)).decode().rstrip("=").lower()

    def _opened(self, name: str) -> str | None:
        """The key whose name it is; None: nobody's above, or somebody else has put it there."""
        if name == NAMES:
            return None
        if name[:1] == INTERNAL:
            return name
        assert self._sealing is not None
        try:
            sealed = b32hexdecode(name.upper() + "=" * (-len(name) % 8))
            return self._sealing.decrypt(sealed, None).decode()
        except (ValueError, InvalidTag):
            return None

    @contextmanager
    def _names(self) -> Iterator[None]:
        try:
            yield
        except PersistenceError as error:
            if error.key is not None:
                error.key = self._opened(error.key)
            raise
