"""Records that nobody reads without the key, and nobody alters unnoticed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping
from dataclasses import replace
from typing import Final

from ..errors import (
    AccessDeniedError,
    CapabilityUnavailableError,
    ConflictError,
    CorruptedDataError,
    InsecureStorageError,
    KeyUnavailableError,
    PersistenceError,
    StoreNotFoundError,
)
from ..keys import INTERNAL, KEYSET
from ..platform.places import refuse_shared
from ..security.cipher import WrongKeyError
from ..security.keys import KeyProvider
from ..security.keyset import DECRYPTING, ENCRYPTING, Keyset, WrappedKeyset
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
from ._encryption.envelopes import MAGIC, NONCE, OVERHEAD, PREFIX, Envelopes, Opening, number_in

__all__ = ["Encrypted"]

_PLAIN: Final = frozenset((INTERNAL + "store",))
"""The header: what a store is must be known before anything in it can be opened."""

_ALTERED: Final = "it does not open: altered, or moved here from another key or store"
_UNSEALED: Final = "plain"
"""The passage of a store that is not encrypted yet, or no longer."""
_NOT_SAVED: Final = {
    _UNSEALED: ("the store is not encrypted", "call encrypt() first, or open it without keys="),
    DECRYPTING: ("the store is being decrypted", "wait until that has ended, or call decrypt() to go on"),
}


class Encrypted(Layer):
    """Seals every value on its way down, and opens it on its way up.

    Sealed is the value, with XAES-256-GCM; bound to it are the store and the key's name, so that a record in
    another place does not open. Key names, sizes and times of change are not hidden. What does not open is
    told as damage of that key. One record, or the whole store, put back as it was earlier is not noticed.

    ``keys`` gives the key that the store's own keys are sealed under. An empty place gets keys of its own at
    its first opening. Opening raises ``KeyUnavailableError`` without the right key, and
    ``InsecureStorageError`` for a store that holds plain records, unless ``plain`` says that they are to be
    encrypted: they are read, and nothing is saved before ``begin``. Nothing is changed then.
    """

    def __init__(
        self, inner: StorageAdapter, keys: KeyProvider, *, inspect: bool = False, plain: bool = False
    ) -> None:
        super().__init__(inner)
        self._provider = keys
        self._inspect = inspect
        self._takes_plain = plain
        self._passage = ""
        self._mark: Callable[[], Hashable | None] = inner.mark_reader
        self._looked: Hashable | None = None
        """The change mark when the keys were looked at last."""
        self._keyset: Keyset | None = None
        self._version: str | None = None
        self._envelopes: Envelopes | None = None
        self._openings: dict[bytes, Opening] = {}
        """Those that ``_envelopes`` remembers."""
        most = inner.traits.max_value_bytes
        room = None if most is None else max(0, most - OVERHEAD)
        self._traits = replace(inner.traits, confidential=True, max_value_bytes=room)

    @property
    def traits(self) -> Traits:
        return self._traits

    # -- the keys ----------------------------------------------------------------------------------

    async def aopen(self) -> None:
        self._refuse_shared_place()
        await self.inner.aopen()
        try:
            self._looked = self._mark()
            while not await self._read_keyset():
                if await self._is_plain():
                    self._passage = _UNSEALED
                    return
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

    async def aclose(self) -> None:
        try:
            await self.inner.aclose()
        finally:
            self._forget_keyset()
            self._passage = ""

    def _refuse_shared_place(self) -> None:
        """Raise where others may put files in place of the store's: its directory, or that of its file."""
        place = self.inner.location
        if not os.path.isabs(place):
            return  # it has no files
        try:
            if os.path.isdir(place):
                refuse_shared(place.rstrip(os.sep), "an encrypted store")
            else:
                refuse_shared(os.path.dirname(place), "an encrypted store")
                if os.path.islink(place):
                    refuse_shared(place, "an encrypted store")
        except InsecureStorageError as error:
            raise error.naming(adapter=self.inner)  # noqa: B904 - the same error, named

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
        self._envelopes = Envelopes(keyset)
        self._openings = self._envelopes.openings
        self._keyset, self._version = keyset, version
        self._passage = keyset.passage

    async def _look(self) -> None:
        """Read the keys anew if somebody else has committed. Raises if they are gone."""
        if self._keyset is None and not self._passage:
            raise self._not_open()
        mark = self._mark()
        if mark != self._looked:
            await self._read_keyset_again()
            self._looked = mark

    async def _read_keyset_again(self) -> None:
        if await self._read_keyset():
            return
        if not self._passage or self._passage == ENCRYPTING:
            raise self._keyset_gone()
        self._forget_keyset()  # it was being decrypted, and that has ended

    def _forget_keyset(self) -> None:
        self._passage, self._keyset, self._version = _UNSEALED, None, None
        self._envelopes, self._openings = None, {}

    def _look_now(self) -> bool:
        """The same without waiting. False: it cannot be told now, or the keys have changed."""
        mark = self._mark()
        if mark == self._looked:
            return True
        stored = self.inner.fetch_now(KEYSET)
        if stored is None or isinstance(stored, NotNow) or stored.version != self._version:
            return False
        self._looked = mark
        return True

    def _keyset_gone(self) -> PersistenceError:
        return CorruptedDataError(
            "the record with the store's keys is gone: it was decrypted meanwhile, or somebody deleted it",
            adapter=self.inner,
            hint="if it was decrypted, open it without keys=; else put a backup of the store in its place",
        )

    async def _is_plain(self) -> bool:
        """Whether the place holds plain records. Raises where they are not taken. False: it is empty."""
        async for key in self.inner.keys():
            stored = (await self.inner.fetch((key,))).get(key)
            if key in _PLAIN or stored is None:
                continue
            if await self.inner.exists(KEYSET):
                return False  # another process has begun meanwhile
            named = key if key[0] != INTERNAL else None
            if stored.data.startswith(MAGIC):
                raise CorruptedDataError(
                    "the store is encrypted, and the record with its keys is missing",
                    key=named,
                    adapter=self.inner,
                    hint="put a backup of the store in its place; nothing was changed",
                )
            if self._takes_plain:
                return True
            raise InsecureStorageError(
                "the store holds plain records, and was opened with keys",
                key=named,
                adapter=self.inner,
                hint="open it without keys=, or encrypt it: mode='encrypt', or `axiom-persistence encrypt`",
            )
        return False

    async def _begin(self) -> None:
        key, parameters = await self._provider.create()
        await self._write_keyset(Keyset.new(), key, {**parameters, "provider": self._provider.name}, {}, {})

    async def begin(self, changes: Changes, expect: Expect) -> None:
        """Have keys from now on, in one commit with ``changes``, where the records are still plain.

        Everything saved is sealed then, and what is plain is read as well until ``end``. Raises
        ``ConflictError`` if the others were changed. Nothing to do where there are keys.
        """
        await self._look()
        if self._passage != _UNSEALED or await self._read_keyset():
            return
        key, parameters = await self._provider.create()
        parameters = {**parameters, "provider": self._provider.name}
        if not await self._write_keyset(Keyset.new(ENCRYPTING), key, parameters, changes, expect):
            await self._read_keyset()

    async def enter(self, passage: str) -> None:
        """Say in the keyset that a job is under way or, with ``""``, that there is none."""
        while self.keyset.passage != passage:
            await self._change(self.keyset.passing(passage), self._provider)

    async def end(self, changes: Changes, expect: Expect) -> None:
        """Have no keys any more, in one commit with ``changes``. What was sealed with them is lost."""
        await self.inner.commit({**changes, KEYSET: None}, expect={**expect, KEYSET: self._version})
        self._forget_keyset()

    @property
    def passage(self) -> str:
        """``"encrypting"``, ``"decrypting"``, ``"plain"`` where nothing is sealed, or ``""``."""
        return self._passage

    async def _write_keyset(
        self, keyset: Keyset, key: bytes, parameters: Mapping[str, str], also: Changes, expect: Expect
    ) -> bool:
        """Durable before any record uses it. False: another process was first."""
        data = keyset.wrap(key, parameters)
        try:
            versions = await self.inner.commit(
                {**also, KEYSET: data}, expect={**expect, KEYSET: self._version}
            )
        except ConflictError as conflict:
            if conflict.key != KEYSET:
                raise
            return False
        self._use(keyset, versions[KEYSET])
        return True

    @property
    def keyset(self) -> Keyset:
        """The keys in use. Not to be shown to anybody."""
        if self._keyset is None:
            raise self._not_open()
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
                raise self._keyset_gone()
            return False
        if provider is self._provider:
            parameters = WrappedKeyset(stored.data, self.inner).parameters
            key = await provider.find(parameters)
        else:
            key, parameters = await provider.create()
        return await self._write_keyset(keyset, key, {**parameters, "provider": provider.name}, {}, {})

    @property
    def provider(self) -> KeyProvider:
        """Who gives the key."""
        return self._provider

    # -- the records -------------------------------------------------------------------------------

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        found = await self.inner.fetch([key for key in keys if key != KEYSET])
        if any(key not in _PLAIN and self._opening(stored.data) is None for key, stored in found.items()):
            # Another process may have made a new key, or is at it to encrypt or decrypt the store.
            await self._read_keyset_again()
        return {key: self._opened(key, stored) for key, stored in found.items()}

    def fetch_now(self, key: str) -> Stored | None | NotNow:
        stored = self.inner.fetch_now(key)
        if not isinstance(stored, Stored):
            return stored
        data = stored.data
        opening = self._openings.get(data[:PREFIX])
        if opening is not None and stored.damage is None:  # almost always: as ``_opened``, in fewer calls
            decrypt, bound = opening
            try:
                value = decrypt(data[PREFIX:NONCE], data[NONCE:], bound + key.encode())
            except (WrongKeyError, ValueError):
                return NOT_NOW
            return Stored(value, stored.version)
        if key == KEYSET:
            return None
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
        await self._look()
        return await self.inner.commit(self._sealed(changes), expect=expect, durability=durability)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        if self._passage in _NOT_SAVED or not self._look_now():
            return None
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
        await self._look()
        self._refuse_to_save(None)
        if Listing(prefix, after).wants(KEYSET):
            return await super().delete_prefix(prefix, after=after, durability=durability)  # but for that
        return await self.inner.delete_prefix(prefix, after=after, durability=durability)

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        await self._look()
        self._refuse_to_save(None)
        await self.inner.purge([key for key in keys if key != KEYSET], previous_of=previous_of)

    def _refuse_to_save(self, key: str | None) -> None:
        if self._passage in _NOT_SAVED:
            message, hint = _NOT_SAVED[self._passage]
            raise AccessDeniedError(
                f"{message}, and nothing is saved here", key=key, adapter=self.inner, hint=hint
            )

    def _sealed(self, changes: Changes) -> dict[str, bytes | None]:
        if not changes:
            return {}  # a flush
        if self._passage in _NOT_SAVED:
            self._refuse_to_save(next(iter(changes)))
        if self._envelopes is None:
            raise self._not_open()
        check_changes(changes, self._traits, self.inner)
        head, seal, bound = self._envelopes.sealing
        return {
            key: data if data is None or key in _PLAIN else head + seal(data, bound + key.encode())
            for key, data in changes.items()
        }

    def _not_open(self) -> CapabilityUnavailableError:
        return CapabilityUnavailableError(
            "the store is not open", adapter=self.inner, hint="open it before it is used"
        )

    def number_of(self, key: str, stored: Stored) -> int | None:
        """The number of the data key that what the inner adapter gave is sealed with; None: it is plain."""
        return None if key in _PLAIN else number_in(stored.data)

    def _opening(self, data: bytes) -> Opening | None:
        return None if self._envelopes is None else self._envelopes.opening(data)

    def _opened(self, key: str, stored: Stored) -> Stored:
        if key in _PLAIN or stored.damage is not None:
            return stored
        data = stored.data
        opening = self._opening(data)
        if opening is not None:
            decrypt, bound = opening
            try:
                value = decrypt(data[PREFIX:NONCE], data[NONCE:], bound + key.encode())
            except (WrongKeyError, ValueError):  # ValueError: it ends within the nonce
                return stored._replace(damage=_ALTERED)
            return Stored(value, stored.version)
        number = number_in(data)
        if number is not None:
            return stored._replace(damage=f"it is sealed with key {number}, which this store does not have")
        if self._passage:
            return stored
        return stored._replace(damage="it is not encrypted, and everything in this store is")
