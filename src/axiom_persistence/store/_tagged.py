"""Records that are about somebody, and found again by that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from ..errors import ConfigurationError, ConflictError, InvalidKeyError, shown
from ..keys import INTERNAL
from ..records._subject import directory_key, entry_key, name_of, tag_in
from ..records.record import INTERNAL_SCHEMA, seal_about, seal_record
from ..runtime.turn import backoff
from ..storage.adapter import Changes, Durability, Expect
from ._expiring import Expiring
from ._reading import Seen

__all__ = ["Tag", "Tagged", "entries_for"]

_ATTEMPTS: Final = 64


class Tag(NamedTuple):
    """A subject as this store knows it now."""

    text: str
    """What its records bear."""
    place: str
    """The key under which that stands; who saves a record about it relies on ``seen`` there."""
    seen: Seen

    def mark(self, changes: Changes) -> dict[str, bytes | None]:
        """``changes``, sealed records, as records about the subject, and the entries to find them by."""
        marked: dict[str, bytes | None] = {}
        for key, data in changes.items():
            if data is None:
                marked[key] = None
                continue
            entry = entry_key(self.text, key)
            marked[key] = seal_about(key, data, self.text)
            marked[entry] = seal_record(entry, b"true", INTERNAL_SCHEMA)
        return marked


def entries_for(changes: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """The entries by which those records among ``changes`` are found that are about somebody."""
    tags = {key: tag_in(data) for key, data in changes.items() if data is not None and key[0] != INTERNAL}
    entries = [entry_key(tag, key) for key, tag in tags.items() if tag is not None]
    return {entry: seal_record(entry, b"true", INTERNAL_SCHEMA) for entry in entries}


class Tagged(Expiring):
    """Saves records about subjects: with each, in the same commit, goes an entry by which it is found."""

    async def tag_of(self, subject: str) -> Tag:
        """The tag of ``subject``, which is known from now on."""
        if not isinstance(subject, str) or not subject:
            raise InvalidKeyError(
                f"a subject is a str that is not empty, not {shown(subject)}",
                hint="say who it is about as your program knows them: subject='user-42'",
            )
        return await self.tag_named(name_of(subject))

    async def known_tag(self, name: str) -> Tag | None:
        """The tag of the subject with this hash of a name. None: no record is about them."""
        place = directory_key(name)
        seen = await self.read(place)
        return None if seen.record is None else Tag(self.decode(place, seen.record, str), place, seen)

    async def tag_named(self, name: str) -> Tag:
        """The same, which is known from now on."""
        if not self.adapter.traits.atomic:
            raise ConfigurationError(
                "a record about a subject and the entry by which it is found are one commit, which this "
                "adapter cannot promise",
                adapter=self.adapter,
                hint="put Journaled around it, or leave subject= out",
            )
        for attempt in range(_ATTEMPTS):
            known = await self.known_tag(name)
            if known is not None:
                return known
            place, tag = directory_key(name), f"{name}-{os.urandom(8).hex()}"
            try:
                data = seal_record(place, msgspec.json.encode(tag), INTERNAL_SCHEMA)
                await self.commit({place: data}, expect={place: None})
            except ConflictError:  # another one was first
                await backoff(attempt)
        raise self._erased_all_the_time(directory_key(name))

    def _erased_all_the_time(self, place: str) -> ConflictError:
        return ConflictError(
            f"the subject was erased again and again; {_ATTEMPTS} attempts to save were in vain",
            key=place,
            adapter=self.adapter,
            hint="erase it once, when nobody saves records about it any more",
        )

    async def save_about(
        self,
        subject: str,
        changes: Changes,
        *,
        expect: Expect | None = None,
        durability: Durability | None = None,
    ) -> None:
        """Commit sealed records as records about ``subject``. One that is erased meanwhile begins anew."""
        for attempt in range(_ATTEMPTS):
            tag = await self.tag_of(subject)
            relied = {tag.place: tag.seen.version, **(expect or {})}
            try:
                await self.commit(tag.mark(changes), expect=relied, durability=durability)
                return
            except ConflictError as conflict:
                if conflict.key != tag.place:
                    raise
                await backoff(attempt)
        raise self._erased_all_the_time(directory_key(name_of(subject)))
