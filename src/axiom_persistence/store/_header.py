"""What a store says of itself, and the commits that must mind it."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Unpack
from weakref import WeakValueDictionary

import msgspec

from ..errors import (
    ConfigurationError,
    ConflictError,
    CorruptedDataError,
    KeyUnavailableError,
    SchemaTooNewError,
    StorageLockedError,
)
from ..keys import INTERNAL, KEYSET, TRAIL
from ..records.record import FIRST_SCHEMA, FORMAT, INTERNAL_SCHEMA, look_at, seal_record
from ..runtime.turn import Turn
from ..storage.adapter import Changes, Durability, Expect, NotNow, StorageAdapter
from ._options import Asked
from ._reading import Reading, Seen
from ._standing import Header, Standing, new_header, updated

__all__ = ["HEADER", "Headed", "Header", "sealed_header"]

_log = logging.getLogger("axiom_persistence")

HEADER: Final = INTERNAL + "store"

_KEY_TURNS: Final = 64

_VERSIONS: Final = ("schema", "layout", "migrated")

_NEVER: Final = object()
_TRUSTED_S: Final = 1.0
"""In place of a mark that tells nothing: the header is never known to be as it was."""
_TOLD_S: Final = 2.0
_NAP_S: Final = 0.0002
_CLOSED: Final = object()
"""In place of a mark where the key is lacking: every look, and every save, says so again."""


def sealed_header(header: Header) -> bytes:
    """The record of a header: the same bytes for the same header."""
    # What is as it always was is left out, which msgspec tells by the object, not by its value.
    plain = {name: FIRST_SCHEMA for name in _VERSIONS if getattr(header, name) == FIRST_SCHEMA}
    header = msgspec.structs.replace(header, **plain)
    return seal_record(HEADER, msgspec.json.encode(header), INTERNAL_SCHEMA)


class Headed(Reading):
    """Commits records. The header joins the first commit, and damaged bytes move to quarantine."""

    def __init__(self, adapter: StorageAdapter, **asked: Unpack[Asked]) -> None:
        super().__init__(adapter, **asked)
        self._header: Header | None = None
        self._header_version: str | None = None
        self._taken = 0.0
        self._beginning: set[object] = set()
        self._turns: WeakValueDictionary[str, Turn] = WeakValueDictionary()
        self._key_turns: dict[int, Turn] = {}

    def turn(self, name: str) -> Turn:
        """Where tasks and threads of this process take turns at ``name``, instead of conflicting."""
        turn = self._turns.get(name)
        if turn is None:
            turn = self._turns.setdefault(name, Turn())
        return turn

    def key_turns(self, keys: Iterable[str]) -> Sequence[Turn]:
        """The turns at ``keys``. There are few: two keys may share one, which only makes them wait."""
        numbers = sorted({hash(key) % _KEY_TURNS for key in keys})
        known = self._key_turns
        return [known.get(number) or known.setdefault(number, Turn()) for number in numbers]

    async def aopen(self) -> None:
        await self.adapter.aopen()
        if await self.adapter.exists(KEYSET):  # the layer that encrypts keeps its key to itself
            raise self._encrypted()
        if not self.adapter.traits.audited and await self.adapter.exists(TRAIL):
            raise ConfigurationError(
                "this store keeps an audit trail, and was opened without audit=",
                adapter=self.adapter,
                hint="open it with audit=AuditLog(); nothing was changed",
            )
        self._forget()
        try:
            await self.look()
        except CorruptedDataError:
            # The records can still be read, and verify(repair=True) needs an open store: whoever saves
            # meets the error.
            return
        header = self._header
        if header is not None and header.format > FORMAT:
            raise SchemaTooNewError(
                f"the store has format {header.format}, this version knows {FORMAT}",
                adapter=self.adapter,
                hint="update axiom-persistence; nothing was changed",
            )

    def _lacks_key(self) -> bool:
        """Whether somebody has encrypted the store, which is open here without a key."""
        return self._header is not None and self._header.encrypted and not self.confidential

    def _encrypted(self) -> KeyUnavailableError:
        return KeyUnavailableError(
            "this store is encrypted, and no key was given",
            adapter=self.adapter,
            hint="open it with keys=; nothing was changed",
        )

    def _forget(self) -> None:
        self._header, self._header_version, self.standing = None, None, None

    async def look(self) -> None:
        """Read the header, which another process may have changed."""
        mark = self._mark()
        self._take(await self.read(HEADER), mark)
        if self._lacks_key():
            self._looked = _CLOSED
            raise self._encrypted()

    def _look_now(self) -> bool:
        """Read the header without waiting. False: it cannot be told now."""
        mark = self._mark()
        stored = self._fetch_now(HEADER)
        if stored is None or isinstance(stored, NotNow) or stored.damage is not None:
            return False
        if stored.version != self._header_version:
            record, _, _ = look_at(HEADER, stored.data, INTERNAL_SCHEMA)
            if record is None:
                return False
            self._take(Seen(stored.version, record), mark)
        if self._lacks_key():
            self._looked = _CLOSED
            return False
        self._looked = mark
        return True

    def _take(self, seen: Seen, mark: object) -> None:
        if (seen.record is not None and seen.version != self._header_version) or self._header is None:
            header = None if seen.record is None else self.decode(HEADER, seen.record, Header)
            self._header, self._header_version = header, seen.version
            self.standing = None if header is None else Standing.of(header, self.migrations)
            self._floor = "" if header is None else header.migrated
        self._taken = time.monotonic()
        tells = mark is not None or not self.adapter.traits.shared
        self._looked = mark if tells else _NEVER

    def declare_client(self, name: str, schema: str | None) -> bool:
        is_news = super().declare_client(name, schema)
        if is_news and self._header is not None:
            self.standing = Standing.of(self._header, self.migrations)
        return is_news

    @property
    def header(self) -> Header | None:
        """What the header said when it was looked at last; None: the store is new."""
        return self._header

    def _mind(self, keys: Iterable[str]) -> None:
        """Raise unless the header, as it was looked at last, lets this program save ``keys``."""
        if self.standing is not None:
            for key in keys:
                self.standing.refuse_save(key, self.migrations, self.adapter)

    async def refuse(self, keys: Iterable[str]) -> None:
        """Raise unless this program may save ``keys`` in this store now."""
        if self._header is not None and self._mark() != self._looked:
            await self.look()
        self._mind(keys)

    async def prepare(self) -> None:
        """Write the header if there is none yet, so that ``commit_now`` has nothing to wait for."""
        standing = self.standing
        if self._header is None or (standing is not None and standing.is_due):
            await self._commit_carefully({}, None, self.weakest, preparing=True)

    async def commit(
        self,
        changes: Mapping[str, bytes | None],
        *,
        expect: Expect | None = None,
        durability: Durability | None = None,
    ) -> Mapping[str, str]:
        """Commit sealed records; the header joins the first, and damaged bytes move to quarantine."""
        if durability is None:
            durability = self.default_durability
        if self._header is None or self._beginning:
            # Whoever comes first writes the header as well; the others follow in the order they came in.
            place = object()
            self._beginning.add(place)
            try:
                async with self.turn(HEADER):
                    if self._header is None:
                        return await self._commit_carefully(changes, expect, durability)
            finally:
                self._beginning.discard(place)
        if (
            self.standing is not None
            or self._mark() != self._looked
            or self._header is None
            or self._beginning
            or self.recovery.unreadable
            or self._too_new
        ):  # there is a header to write, or something to rescue or to refuse
            return await self._commit_carefully(changes, expect, durability)
        versions = await self.adapter.commit(
            changes,
            expect=expect,
            durability=durability,
        )
        if self._mark() != self._looked:
            await self.refuse(changes)
        return versions

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        """Commit so that it outlives this process, with no await. None: not possible now, nothing done."""
        if self._header is None or self._beginning:
            return None
        if (self.recovery.unreadable or self._too_new) and any(
            key in self.recovery.unreadable or key in self._too_new for key in changes
        ):
            return None
        if self._mark() != self._looked and not self._look_now():
            return None
        if self.standing is not None:
            return None
        versions = self.adapter.commit_now(changes)
        if versions is not None and self._mark() != self._looked:
            self._mind_now(changes)  # perhaps a newer program came before it
        return versions

    def _mind_now(self, keys: Iterable[str]) -> None:
        """Raise unless this program may save ``keys``, which were committed a moment ago.

        They are not committed a second time: another save may have come after them.
        """
        deadline = time.monotonic() + _TOLD_S
        while not self._look_now():  # another thread is reading: it has done so within a millisecond
            if self._lacks_key():
                raise self._encrypted()
            if time.monotonic() > deadline:
                raise StorageLockedError(
                    "it is stored, but whether a newer program has moved it cannot be told, since the store's"
                    " header cannot be read now",
                    adapter=self.adapter,
                    hint="load it, or save it again",
                )
            time.sleep(_NAP_S)
        self._mind(keys)

    async def _commit_carefully(
        self,
        changes: Changes,
        expect: Expect | None,
        durability: Durability | None,
        *,
        preparing: bool = False,
    ) -> Mapping[str, str]:
        while True:
            relies = await self._rely_on_header(changes, durability)
            full: dict[str, bytes | None] = dict(changes)
            wanted: dict[str, str | None] = {}
            header = self._due_header() if changes or preparing else None
            if header is not None:
                full[HEADER] = sealed_header(header)
            if header is not None or relies:
                wanted[HEADER] = self._header_version
            for key in changes.keys() & self._too_new.keys():
                wanted[key] = self._refuse_too_new(key)
            rescued = [key for key in changes if key in self.recovery.unreadable]
            for key in rescued:
                bad = self.recovery.unreadable[key]
                full.update(self.recovery.quarantined(key, bad))
                wanted[key] = bad.version
            wanted.update(expect or {})
            try:
                versions = await self.adapter.commit(full, expect=wanted or None, durability=durability)
            except ConflictError as conflict:
                if conflict.key == HEADER:
                    # Another process made the store meanwhile, or changed what it says.
                    await self.look()
                    continue
                if conflict.key in rescued and conflict.key not in (expect or {}):
                    # Healed or replaced by somebody else.
                    self.recovery.unreadable.pop(str(conflict.key), None)
                    continue
                raise
            if header is not None:
                self._begun(header, versions[HEADER])
            for key in rescued:
                self.recovery.unreadable.pop(key, None)
            if self._looked is not _NEVER:
                await self.refuse(changes)
            return {key: version for key, version in versions.items() if key in changes}

    async def _rely_on_header(self, keys: Iterable[str], durability: Durability | None) -> bool:
        """Raise unless this program may save ``keys``; whether the commit has to check the header, too.

        It has where nothing tells that the header has changed: that costs no trip. What is only accepted in
        memory cannot be checked later, so the header is then looked at once a second.
        """
        if self._looked is not _NEVER or self._header is None or self.standing or self._lacks_key():
            await self.refuse(keys)
            return self._looked is _NEVER
        if durability != Durability.MEMORY:
            return True
        if time.monotonic() - self._taken > _TRUSTED_S:
            await self.refuse(keys)
        return False

    def _due_header(self) -> Header | None:
        """The header that is to be written, since there is none or it does not know this program yet."""
        if self._header is None:
            return new_header(uuid.uuid4().hex, self.clock(), self.migrations)
        if self.standing is not None and self.standing.is_due:
            return updated(self._header, self.migrations)
        return None

    def _begun(self, header: Header, version: str) -> None:
        if self._header is None:
            _log.info("a new store begins: %s", self.adapter.location)
        else:
            _log.info("saved by schema %s from now on: %s", header.schema, self.adapter.location)
        self._header, self._header_version = header, version
        self.standing = Standing.of(header, self.migrations)
        self._floor = header.migrated
