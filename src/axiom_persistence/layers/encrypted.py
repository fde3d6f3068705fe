"""Records that nobody reads without the key, and nobody alters unnoticed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from typing import Final

from ..errors import (
    CapabilityUnavailableError,
    ConflictError,
    CorruptedDataError,
    InsecureStorageError,
    KeyUnavailableError,
    PersistenceError,
    StoreNotFoundError,
)
from ..keys import INTERNAL, KEYSET
from ..security.cipher import NONCE_BYTES, TAG_BYTES, Cipher, WrongKeyError
from ..security.keys import KeyProvider
from ..security.keyset import Keyset, WrappedKeyset
from ..storage.adapter import (
    NOT_NOW,
    Changes,
    Durability,
    Expect,
    NotNow,
    StorageAdapter,
    Stored,
    Traits,
    check_changes,
)
from ..storage.layer import Layer
from ..storage.listing import Listing

__all__ = ["Encrypted"]

_MAGIC: Final = b"AXE1\x02"
"""What sealed bytes begin with: the format, and the number of the algorithm (2: XAES-256-GCM)."""
_HEAD: Final = len(_MAGIC) + 4
_OVERHEAD: Final = _HEAD + NONCE_BYTES + TAG_BYTES
_PLAIN: Final = frozenset((INTERNAL + "store",))
"""The header: what a store is must be known before anything in it can be opened."""


class Encrypted(Layer):
    """Seals every value on its way down, and opens it on its way up.

    Sealed is the value, with XAES-256-GCM; bound to it are the store and the key's name, so that a record in
    another place does not open. Key names, sizes and times of change are not hidden. What does not open is
    told as damage of that key. One record, or the whole store, put back as it was earlier is not noticed.

    ``keys`` gives the key that the store's own keys are sealed under. An empty place gets keys of its own at
    its first opening. Opening raises ``KeyUnavailableError`` without the right key, and
    ``InsecureStorageError`` for a store that holds plain records. Nothing is changed then.
    """

    def __init__(self, inner: StorageAdapter, keys: KeyProvider, *, inspect: bool = False) -> None:
        super().__init__(inner)
        self._provider = keys
        self._inspect = inspect
        self._keyset: Keyset | None = None
        self._version: str | None = None
        self._id = b""
        self._ciphers: dict[int, Cipher] = {}
        self._seal: tuple[bytes, Cipher, bytes] | None = None
        most = inner.traits.max_value_bytes
        room = None if most is None else max(0, most - _OVERHEAD)
        self._traits = replace(inner.traits, confidential=True, max_value_bytes=room)

    @property
    def traits(self) -> Traits:
        return self._traits

    # -- the keys ----------------------------------------------------------------------------------

    async def aopen(self) -> None:
        await self.inner.aopen()
        try:
            while not await self._read_keyset():
                await self._refuse_what_is_there()
                if self._inspect:
                    raise StoreNotFoundError(
                        "there is no encrypted store here yet",
                        adapter=self.inner,
                        hint="check the path, or save something first",
                    )
                await self._begin()
        except BaseException:
            await self.inner.aclose()
            raise

    async def _read_keyset(self) -> bool:
        stored = (await self.inner.fetch((KEYSET,))).get(KEYSET)
        if stored is None:
            return False
        if stored.version == self._version:
            return True
        wrapped = WrappedKeyset(stored.data, self.inner)
        made_by, name = wrapped.parameters.get("provider"), self._provider.name
        if made_by != name:
            raise KeyUnavailableError(
                f"this store is encrypted with a key of the kind {made_by!r}, and {name!r} was given",
                adapter=self.inner,
                hint="give keys= of that kind; nothing was changed",
            )
        try:
            key = await self._provider.find(wrapped.parameters)
        except PersistenceError as error:
            raise error.naming(adapter=self.inner)  # noqa: B904 - the same error, named
        self._use(wrapped.open(key), stored.version)
        return True

    def _use(self, keyset: Keyset, version: str) -> None:
        ciphers = {number: Cipher(data.key) for number, data in keyset.keys.items()}
        head = _MAGIC + keyset.primary.to_bytes(4, "big")
        self._id = keyset.id.encode()
        self._ciphers = ciphers
        self._seal = head, ciphers[keyset.primary], self._bound(head)
        self._keyset, self._version = keyset, version

    async def _refuse_what_is_there(self) -> None:
        """Raise unless the place is empty but for a header."""
        async for key in self.inner.keys():
            stored = (await self.inner.fetch((key,))).get(key)
            if key in _PLAIN or stored is None:
                continue
            if await self.inner.exists(KEYSET):
                return  # another process has begun meanwhile
            named = key if key[0] != INTERNAL else None
            if stored.data.startswith(_MAGIC):
                raise CorruptedDataError(
                    "the store is encrypted, and the record with its keys is missing",
                    key=named,
                    adapter=self.inner,
                    hint="put a backup of the store in its place; nothing was changed",
                )
            raise InsecureStorageError(
                "the store holds plain records, and was opened with keys",
                key=named,
                adapter=self.inner,
                hint="open it without keys=, and copy its records into a new store that has keys",
            )

    async def _begin(self) -> None:
        keyset = Keyset.new()
        key, parameters = await self._provider.create()
        await self._write_keyset(keyset, key, {**parameters, "provider": self._provider.name})

    async def _write_keyset(self, keyset: Keyset, key: bytes, parameters: Mapping[str, str]) -> bool:
        """Durable before any record uses it. False: another process was first."""
        data = keyset.wrap(key, parameters)
        try:
            versions = await self.inner.commit({KEYSET: data}, expect={KEYSET: self._version})
        except ConflictError:
            return False
        self._use(keyset, versions[KEYSET])
        return True

    @property
    def keyset(self) -> Keyset:
        """The keys in use. Not to be shown to anybody."""
        self._sealing()
        assert self._keyset is not None
        return self._keyset

    async def rotate(self) -> None:
        """Make a new data key, which seals from now on, unless a rotation has begun and not ended yet.

        The keys before go on opening.
        """
        while not self.keyset.is_rotating:
            await self._change(self.keyset.rotated(), self._provider)

    async def retire(self, emptied: Collection[int], *, destroyed: Collection[int], now: float) -> None:
        """Note that no record needs the keys ``emptied``; destroy others, and what they sealed with them."""
        while not await self._change(self.keyset.retired(emptied, destroyed, now), self._provider):
            pass

    async def change_key(self, provider: KeyProvider) -> None:
        """Seal the store's keys under another provider's key. Records stay as they are.

        A copy of the store that was made before still opens with the old one.
        """
        while not await self._change(self.keyset, provider):
            pass
        self._provider = provider

    async def _change(self, keyset: Keyset, provider: KeyProvider) -> bool:
        """False: another process changed the keys meanwhile; they were read anew."""
        stored = (await self.inner.fetch((KEYSET,))).get(KEYSET)
        if stored is None or stored.version != self._version:
            if not await self._read_keyset():
                raise CorruptedDataError(
                    "the record with the store's keys was deleted",
                    adapter=self.inner,
                    hint="put a backup of the store in its place",
                )
            return False
        if provider is self._provider:
            parameters = WrappedKeyset(stored.data, self.inner).parameters
            key = await provider.find(parameters)
        else:
            key, parameters = await provider.create()
        return await self._write_keyset(keyset, key, {**parameters, "provider": provider.name})

    @property
    def provider(self) -> KeyProvider:
        """Who gives the key."""
        return self._provider

    # -- the records -------------------------------------------------------------------------------

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        found = await self.inner.fetch([key for key in keys if key != KEYSET])
        if any(
            key not in _PLAIN and self.number_of(key, stored) not in self._ciphers
            for key, stored in found.items()
        ):
            await self._read_keyset()  # another process may have made a new key
        return {key: self._opened(key, stored) for key, stored in found.items()}

    def fetch_now(self, key: str) -> Stored | None | NotNow:
        if key == KEYSET:
            return None
        stored = self.inner.fetch_now(key)
        if stored is None or isinstance(stored, NotNow):
            return stored
        opened = self._opened(key, stored)
        return opened if opened.damage is None else NOT_NOW

    async def previous(self, key: str) -> Stored | None:
        stored = await self.inner.previous(key)
        return None if stored is None else self._opened(key, stored)

    async def set_previous(self, generations: Mapping[str, bytes | None]) -> None:
        await self.inner.set_previous(self._sealed(generations))

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        return await self.inner.commit(self._sealed(changes), expect=expect, durability=durability)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        return self.inner.commit_now(self._sealed(changes))

    def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> AsyncIterator[str]:
        return self._keys_but(KEYSET, Listing(prefix, after, limit, reverse))

    async def exists(self, key: str) -> bool:
        return key != KEYSET and await self.inner.exists(key)

    async def delete_prefix(
        self, prefix: str, *, after: str | None = None, durability: Durability | None = None
    ) -> int:
        if Listing(prefix, after).wants(KEYSET):
            return await super().delete_prefix(prefix, after=after, durability=durability)  # but for that
        return await self.inner.delete_prefix(prefix, after=after, durability=durability)

    def _sealed(self, changes: Changes) -> dict[str, bytes | None]:
        head, cipher, bound = self._sealing()
        check_changes(changes, self._traits, self.inner)
        return {
            key: data if data is None or key in _PLAIN else head + cipher.seal(data, bound + key.encode())
            for key, data in changes.items()
        }

    def _sealing(self) -> tuple[bytes, Cipher, bytes]:
        """What sealed bytes begin with, what seals, and what is bound to them beside the key's name."""
        if self._seal is None:
            raise CapabilityUnavailableError(
                "the store is not open", adapter=self.inner, hint="open it before it is used"
            )
        return self._seal

    def number_of(self, key: str, stored: Stored) -> int | None:
        """The number of the data key that what the inner adapter gave is sealed with; None: it is plain."""
        if key in _PLAIN or not stored.data.startswith(_MAGIC):
            return None
        return int.from_bytes(stored.data[len(_MAGIC) : _HEAD], "big")

    def _is_news(self, key: str, stored: Stored) -> bool:
        number = self.number_of(key, stored)
        return number is not None and number not in self._ciphers

    def _opened(self, key: str, stored: Stored) -> Stored:
        if key in _PLAIN or stored.damage is not None:
            return stored
        number = self.number_of(key, stored)
        if number is None:
            return stored._replace(damage="it is not encrypted, and everything in this store is")
        cipher = self._ciphers.get(number)
        if cipher is None:
            return stored._replace(damage=f"it is sealed with key {number}, which this store does not have")
        bound = self._bound(stored.data[:_HEAD]) + key.encode()
        try:
            return Stored(cipher.open(stored.data[_HEAD:], bound), stored.version)
        except WrongKeyError:
            return stored._replace(
                damage="it does not open: altered, or moved here from another key or store"
            )

    def _bound(self, head: bytes) -> bytes:
        """Bound to a record, before its key's name. Of one length in a store, so that nothing can shift."""
        return b"axiom-persistence/record/1 %b %b " % (self._id, head)
