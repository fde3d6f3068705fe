"""Records about somebody, sealed with a key of their own: who destroys it has erased every copy of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from ..errors import CapabilityUnavailableError, ConflictError, CorruptedDataError, StorageLockedError
from ..records._subject import SUBJECT_KEYS, SubjectKey, directory_key, erased_key, subject_key, tag_in
from ..records.record import INTERNAL_SCHEMA, look_at, seal_record
from ..security.cipher import Cipher, WrongKeyError
from ..storage.adapter import NOT_NOW, Changes, Durability, Expect, NotNow, StorageAdapter, Stored
from ..storage.layer import Layer

__all__ = ["Erasable", "SubjectKeys"]

_MAGIC: Final = b"AXS1\x02"
"""What sealed bytes begin with: the format, and the number of the algorithm (2: XAES-256-GCM)."""
_TAG_BYTES: Final = 24
_HEAD: Final = len(_MAGIC) + _TAG_BYTES
_KEPT: Final = 512
"""Keys remembered; 1 KB each."""


class _UnknownError(Exception):
    """The key of a subject has to be looked up first."""

    def __init__(self, tag: str) -> None:
        super().__init__(tag)
        self.tag = tag


class SubjectKeys:
    """The keys of the subjects of one store, which are kept in ``adapter``."""

    def __init__(self, adapter: StorageAdapter) -> None:
        self._adapter = adapter
        self._ciphers: dict[str, Cipher] = {}

    def known(self, tag: str) -> Cipher:
        """Raises ``_UnknownError`` where ``learn`` has to be called first."""
        cipher = self._ciphers.get(tag)
        if cipher is None:
            raise _UnknownError(tag)
        return cipher

    async def learn(self, tag: str) -> bool:
        """Look the key of ``tag`` up. False: there is none, or none any more."""
        if tag in self._ciphers:
            return True
        place = subject_key(tag)
        stored = (await self._adapter.fetch((place,))).get(place)
        if stored is None or stored.damage is not None:
            return False
        record = look_at(place, stored.data, INTERNAL_SCHEMA)[0]
        if record is None:
            return False
        if len(self._ciphers) >= _KEPT:
            self._ciphers.clear()
        self._ciphers[tag] = Cipher(msgspec.json.decode(record.value, type=SubjectKey).key)
        return True

    async def is_erased(self, tag: str) -> bool:
        return await self._adapter.exists(erased_key(tag))

    def forget(self) -> None:
        self._ciphers.clear()


class Erasable(Layer):
    """Seals every record about a subject with that subject's own key, above the layer that encrypts all.

    The keys are records of the store. A record whose subject was erased is absent, in copies too; one whose
    key is missing otherwise is told as damage. ``keys``: those of another store, of which this is a copy.
    """

    def __init__(
        self, inner: StorageAdapter, keys: SubjectKeys | None = None, *, inspect: bool = False
    ) -> None:
        super().__init__(inner)
        self._is_written = not inspect
        self.keys_of_subjects: SubjectKeys = SubjectKeys(inner) if keys is None else keys

    async def aclose(self) -> None:
        """Where there are keys, no copy of one is left in what the adapter removes when it is closed."""
        self.keys_of_subjects.forget()
        try:
            if self._is_written and [key async for key in self.inner.keys(SUBJECT_KEYS, limit=1)]:
                await self.inner.purge(())
        except StorageLockedError:
            pass  # somebody else goes on using it: nothing is removed by this close
        except CapabilityUnavailableError:
            pass  # it is closed already, or refuses to write; the close says what there is to say
        finally:
            await self.inner.aclose()

    async def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        found = await self.inner.fetch(keys)
        for key, stored in list(found.items()):
            if stored.data.startswith(_MAGIC):
                opened = await self._opened(key, stored)
                if opened is None:
                    del found[key]
                else:
                    found[key] = opened
        return found

    def fetch_now(self, key: str) -> Stored | None | NotNow:
        stored = self.inner.fetch_now(key)
        if isinstance(stored, Stored) and stored.data.startswith(_MAGIC):
            return NOT_NOW  # it may have been erased
        return stored

    async def previous(self, key: str) -> Stored | None:
        stored = await self.inner.previous(key)
        return (
            stored
            if stored is None or not stored.data.startswith(_MAGIC)
            else await self._opened(key, stored)
        )

    async def _opened(self, key: str, stored: Stored) -> Stored | None:
        """None: it was erased."""
        if stored.damage is not None:
            return stored
        raw = stored.data[len(_MAGIC) : _HEAD].hex()
        tag, known = f"{raw[:32]}-{raw[32:]}", self.keys_of_subjects
        if await known.is_erased(tag):
            return None
        if not await known.learn(tag):
            return stored._replace(damage="it is sealed with the key of a subject, which is not here")
        try:
            data = known.known(tag).open(stored.data[_HEAD:], stored.data[:_HEAD] + key.encode())
        except WrongKeyError:
            return stored._replace(damage="it does not open: altered, or moved here from another key")
        return Stored(data, stored.version)

    async def commit(
        self, changes: Changes, *, expect: Expect | None = None, durability: Durability | None = None
    ) -> Mapping[str, str]:
        sealed = await self.sealed(changes)
        return await self.inner.commit(sealed, expect=expect, durability=durability)

    async def sealed(self, changes: Changes) -> Changes:
        """``changes`` with those records sealed that are about somebody, whose key is made if there is none.

        Raises ``ConflictError`` where they were erased meanwhile.
        """
        while True:
            try:
                return self._sealed(changes)
            except _UnknownError as unknown:
                if not await self.keys_of_subjects.learn(unknown.tag):
                    await self._begin(unknown.tag)

    async def _begin(self, tag: str) -> None:
        """Make the key of a subject, in a commit of its own, so that no journal has a copy of it."""
        place, erased = subject_key(tag), erased_key(tag)
        key = seal_record(place, msgspec.json.encode(SubjectKey.new()), INTERNAL_SCHEMA)
        try:
            await self.inner.commit({place: key}, expect={place: None, erased: None})
        except ConflictError:
            if await self.keys_of_subjects.learn(tag):
                return  # another process was faster
            if await self.inner.exists(erased):
                raise ConflictError(
                    "the subject of this record was erased meanwhile; nothing was changed",
                    key=directory_key(tag),
                    adapter=self.inner,
                    hint="read again and retry (update and run_transaction do so by themselves)",
                ) from None
            raise CorruptedDataError(
                "the key of the subject that this record is about is damaged; nothing was changed",
                key=directory_key(tag),
                adapter=self.inner,
                hint="put a backup of the store in its place, or erase the subject",
            ) from None

    async def unsealed(self, changes: Changes) -> Changes:
        """``changes`` as they are without the keys of subjects, where those can be opened."""
        plain = dict(changes)
        for key, data in changes.items():
            if data is not None and data.startswith(_MAGIC):
                opened = await self._opened(key, Stored(data, ""))
                if opened is None or opened.damage is None:
                    plain[key] = None if opened is None else opened.data
        return plain

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        try:
            sealed = self._sealed(changes)
        except _UnknownError:
            return None
        return self.inner.commit_now(sealed)

    async def delete_prefix(
        self, prefix: str, *, after: str | None = None, durability: Durability | None = None
    ) -> int:
        return await self.inner.delete_prefix(prefix, after=after, durability=durability)

    async def purge(self, keys: Collection[str], *, previous_of: Collection[str] = ()) -> None:
        if any(key.startswith(SUBJECT_KEYS) for key in keys):
            self.keys_of_subjects.forget()
        await self.inner.purge(keys, previous_of=previous_of)

    async def exists(self, key: str) -> bool:
        return await self.inner.exists(key)

    def _sealed(self, changes: Changes) -> Changes:
        """Raises ``_UnknownError``."""
        for data in changes.values():
            if data is not None and tag_in(data) is not None:
                break
        else:
            return changes  # nearly always
        return {key: self._sealed_one(key, data) for key, data in changes.items()}

    def _sealed_one(self, key: str, data: bytes | None) -> bytes | None:
        tag = None if data is None else tag_in(data)
        if tag is None or data is None:
            return data
        head = _MAGIC + bytes.fromhex(tag.replace("-", ""))
        return head + self.keys_of_subjects.known(tag).seal(data, head + key.encode())
