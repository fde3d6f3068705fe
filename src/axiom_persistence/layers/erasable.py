"""Records about somebody, sealed with a key of their own: who destroys it has erased every copy of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from ..errors import ConflictError
from ..records._subject import SUBJECT_KEYS, directory_key, erased_key, subject_key, tag_in
from ..records.record import INTERNAL_SCHEMA, look_at
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
        self._ciphers[tag] = Cipher(msgspec.json.decode(record.value, type=bytes))
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

    def __init__(self, inner: StorageAdapter, keys: SubjectKeys | None = None) -> None:
        super().__init__(inner)
        self.keys_of_subjects: SubjectKeys = SubjectKeys(inner) if keys is None else keys

    async def aclose(self) -> None:
        self.keys_of_subjects.forget()
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
        if stored is None or isinstance(stored, NotNow) or not stored.data.startswith(_MAGIC):
            return stored
        return NOT_NOW  # it may have been erased

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
        while True:
            try:
                sealed = self._sealed(changes)
            except _UnknownError as unknown:
                if not await self.keys_of_subjects.learn(unknown.tag):
                    raise ConflictError(
                        "the subject of this record was erased meanwhile; nothing was changed",
                        key=directory_key(unknown.tag),
                        adapter=self.inner,
                        hint="read again and retry (update and run_transaction do so by themselves)",
                    ) from None
            else:
                return await self.inner.commit(sealed, expect=expect, durability=durability)

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
            if data is not None and data[36:47] == b'"subject":"':
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
