"""What a store says of itself, and the commits that must mind it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Unpack
from weakref import WeakValueDictionary

import msgspec

from ..errors import ConflictError, CorruptedDataError, KeyUnavailableError, SchemaTooNewError
from ..keys import INTERNAL, KEYSET
from ..records.record import FORMAT, INTERNAL_SCHEMA, seal_record
from ..runtime.turn import Turn
from ..storage.adapter import Changes, Durability, Expect, StorageAdapter
from ._options import Asked
from ._reading import Reading

__all__ = ["HEADER", "Headed", "Header"]

_log = logging.getLogger("axiom_persistence")

HEADER: Final = INTERNAL + "store"

_KEY_TURNS: Final = 64


class Header(msgspec.Struct, frozen=True):
    """What a store says of itself, in its own record."""

    id: str
    format: int = FORMAT
    created: float = 0.0
    """Seconds since 1970 UTC."""
    marks_expiry: bool = False
    """The first record that expires brings a mark of its own. False: records may expire without one."""


class Headed(Reading):
    """Commits records. The header joins the first commit, and damaged bytes move to quarantine."""

    def __init__(self, adapter: StorageAdapter, **asked: Unpack[Asked]) -> None:
        super().__init__(adapter, **asked)
        self._header: Header | None = None
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
            raise KeyUnavailableError(
                "this store is encrypted, and no key was given",
                adapter=self.adapter,
                hint="open it with keys=; nothing was changed",
            )
        try:
            self._header = await self._read_header()
        except CorruptedDataError:
            # The records can still be read, and verify(repair=True) needs an open store: whoever saves
            # meets the error.
            self._header = None
            return
        if self._header is not None and self._header.format > FORMAT:
            raise SchemaTooNewError(
                f"the store has format {self._header.format}, this version knows {FORMAT}",
                adapter=self.adapter,
                hint="update axiom-persistence; nothing was changed",
            )

    async def _read_header(self) -> Header | None:
        record = (await self.read(HEADER)).record
        return None if record is None else self.decode(HEADER, record, Header)

    async def prepare(self) -> None:
        """Write the header if there is none yet, so that ``commit_now`` has nothing to wait for."""
        if self._header is None:
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
        if not self._is_simple():
            return await self._commit_carefully(changes, expect, durability)
        return await self.adapter.commit(
            changes,
            expect=expect,
            durability=durability,
        )

    def _is_simple(self) -> bool:
        """Whether a commit is the adapter's as it is: no header to write, nothing to rescue or to refuse."""
        return self._header is not None and not (self._beginning or self.recovery.unreadable or self._too_new)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        """Commit so that it outlives this process, with no await. None: not possible now, nothing done."""
        if self._header is None or self._beginning:
            return None
        if (self.recovery.unreadable or self._too_new) and any(
            key in self.recovery.unreadable or key in self._too_new for key in changes
        ):
            return None
        return self.adapter.commit_now(changes)

    async def _commit_carefully(
        self,
        changes: Changes,
        expect: Expect | None,
        durability: Durability | None,
        *,
        preparing: bool = False,
    ) -> Mapping[str, str]:
        while True:
            full: dict[str, bytes | None] = dict(changes)
            wanted: dict[str, str | None] = {}
            header = self._header
            if header is None and (changes or preparing):
                header = Header(id=uuid.uuid4().hex, created=self.clock(), marks_expiry=True)
                full[HEADER] = seal_record(HEADER, msgspec.json.encode(header), INTERNAL_SCHEMA)
                wanted[HEADER] = None
            for key in changes.keys() & self._too_new.keys():
                wanted[key] = self._refuse_too_new(key)
            rescued = [key for key in changes if key in self.recovery.unreadable]
            for key in rescued:
                bad = self.recovery.unreadable[key]
                full.update(self.recovery.quarantined(key, bad))
                wanted[key] = bad.version
            wanted.update(expect or {})
            try:
                versions = await self.adapter.commit(
                    full,
                    expect=wanted or None,
                    durability=durability,
                )
            except ConflictError as conflict:
                if conflict.key == HEADER:
                    # Another process made the store meanwhile.
                    self._header = await self._read_header()
                    continue
                if conflict.key in rescued and conflict.key not in (expect or {}):
                    # Healed or replaced by somebody else.
                    self.recovery.unreadable.pop(str(conflict.key), None)
                    continue
                raise
            if header is not None and self._header is None:
                _log.info("a new store begins: %s", self.adapter.location)
                self._header = header
            for key in rescued:
                self.recovery.unreadable.pop(key, None)
            return {key: version for key, version in versions.items() if key in changes}
