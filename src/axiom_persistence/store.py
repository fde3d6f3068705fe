"""Typed records over one adapter: encode, seal, commit; fetch, check, decode, recover.

The one place where bytes and types meet. Everything above (transactions, collections, clients) reads and
writes through these few methods, and everything below sees bytes only.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import msgspec

from .codec import Codec
from .corruption import (
    Corruption,
    CorruptionReport,
    OnCorruption,
    quarantine_key,
    quarantine_value,
)
from .errors import (
    ConfigurationError,
    ConflictError,
    CorruptedDataError,
    EncodingError,
    InvalidKeyError,
    PersistenceError,
    SchemaTooNewError,
    TypeMismatchError,
)
from .keys import INTERNAL, MAX_KEY_BYTES, MISSING, check_key
from .record import FORMAT, Damage, NewerFormat, Record, open_record, seal_record
from .storage import NOT_NOW, Changes, Durability, Expect, NotNow, StorageAdapter, Stored

__all__ = ["HEADER", "RecordInfo", "Seen", "Store"]

_log = logging.getLogger("axiom_persistence")

HEADER: Final = INTERNAL + "store"
DEFAULT_SCHEMA: Final = "1.0"
_REPORTS_KEPT: Final = 1000


class Seen(NamedTuple):
    """A key as one read found it: its version for a later ``expect``, and its record if it has one."""

    version: str | None
    record: Record | None


class Header(msgspec.Struct, frozen=True):
    """What a store says of itself, in its own record."""

    id: str
    format: int = FORMAT
    created: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordInfo:
    """What is known of a record without decoding its value."""

    key: str
    size: int
    """Bytes as stored."""
    version: str
    schema: str | None
    """None when the record cannot be read."""
    saved_at: float | None
    """Seconds since 1970 UTC; None where the adapter cannot tell."""
    expires_at: float | None
    damage: str | None
    has_previous: bool
    confidential: bool


class Store:
    """Typed records in ``adapter``. Any number of tasks, threads and event loops may use one."""

    def __init__(
        self,
        adapter: StorageAdapter,
        *,
        durability: Durability | str | None = None,
        on_corruption: OnCorruption = Corruption.RECOVER,
        schema: str = DEFAULT_SCHEMA,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.adapter = adapter
        self.codec = Codec()
        self.schema = schema
        self.clock = clock
        self.confidential = adapter.traits.confidential
        self.reports: deque[CorruptionReport] = deque(maxlen=_REPORTS_KEPT)
        self._durability = self.durability(durability)
        self._on_corruption = on_corruption
        self._key_limit = min(MAX_KEY_BYTES, adapter.traits.max_key_bytes)
        self._header: Header | None = None
        # Keys found damaged and left in place, with the version that was: a save must not overwrite them.
        self._unreadable: dict[str, Stored] = {}
        self._too_new: dict[str, str] = {}
        self._turns: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    def turn(self, name: str) -> asyncio.Lock:
        """The lock under which tasks of this event loop take turns at ``name``."""
        place = (id(asyncio.get_running_loop()), name)
        lock = self._turns.get(place)
        if lock is None:
            lock = self._turns[place] = asyncio.Lock()
        return lock

    async def aopen(self) -> None:
        await self.adapter.aopen()
        seen = await self.read(HEADER)
        if seen.record is not None:
            self._header = msgspec.json.decode(seen.record.value, type=Header)
            if self._header.format > FORMAT:
                raise SchemaTooNewError(
                    f"the store has format {self._header.format}, this version knows {FORMAT}",
                    adapter=self.adapter,
                    hint="update axiom-persistence; nothing was changed",
                )

    async def aclose(self) -> None:
        await self.adapter.aclose()

    # -- what is asked, checked --------------------------------------------------------------------

    def durability(self, asked: Durability | str | None) -> Durability | None:
        """The class to commit with; refused here when the adapter cannot promise it."""
        if asked is None:
            return None
        try:
            durability = Durability(asked)
        except ValueError:
            names = ", ".join(repr(d.value) for d in Durability)
            raise ConfigurationError(f"durability is one of {names}, not {asked!r}") from None
        strongest = self.adapter.traits.durability
        if durability > strongest:
            raise ConfigurationError(
                f"durability {durability.value!r} was asked for; the strongest here is {strongest.value!r}",
                adapter=self.adapter,
                hint="leave durability out, or use an adapter that promises it (sqlite, file)",
            )
        return durability

    def check_key(self, key: str) -> str:
        return check_key(key, self._key_limit) if type(key) is str else check_key(_text(key), self._key_limit)

    def expiry(self, ttl: timedelta | None) -> int | None:
        """When a value saved now with ``ttl`` stops being there, in milliseconds since 1970 UTC."""
        if ttl is None:
            return None
        if not isinstance(ttl, timedelta) or ttl <= timedelta(0):
            raise ConfigurationError(f"ttl is a timedelta above zero, not {ttl!r}")
        return int((self.clock() + ttl.total_seconds()) * 1000)

    def expired(self, record: Record) -> bool:
        return record.expires is not None and record.expires <= self.clock() * 1000

    # -- writing -----------------------------------------------------------------------------------

    def seal(self, key: str, value: Any, kind: Any = None, expires: int | None = None) -> bytes:
        """The record bytes of ``value``. Raises before anything is stored."""
        try:
            return seal_record(key, self.codec.encode(value, kind), self.schema, expires=expires)
        except (EncodingError, TypeMismatchError, ConfigurationError) as error:
            named = error.naming(key=key, adapter=self.adapter)
            if self.confidential:  # the reasons may quote the value
                raise self._discreet(named, key) from None
            raise

    async def commit(
        self,
        changes: Mapping[str, bytes | None],
        *,
        expect: Expect | None = None,
        durability: Durability | None = None,
    ) -> Mapping[str, str]:
        """Commit sealed records; the header joins the first, and damaged bytes move to quarantine."""
        if self._header is None or self._unreadable or self._too_new:
            return await self._commit_carefully(changes, expect, durability)
        return await self.adapter.commit(
            changes, expect=expect, durability=durability if durability is not None else self._durability
        )

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
                header = Header(id=uuid.uuid4().hex, created=self.clock())
                full[HEADER] = seal_record(HEADER, msgspec.json.encode(header), DEFAULT_SCHEMA)
                wanted[HEADER] = None
            for key in changes.keys() & self._too_new.keys():
                wanted[key] = self._refuse_too_new(key)
            rescued = [key for key in changes if key in self._unreadable]
            for key in rescued:
                bad = self._unreadable[key]
                full.update(self._quarantined(key, bad))
                wanted[key] = bad.version
            wanted.update(expect or {})
            try:
                versions = await self.adapter.commit(
                    full,
                    expect=wanted or None,
                    durability=durability if durability is not None else self._durability,
                )
            except ConflictError as conflict:
                if conflict.key == HEADER:
                    # Another process made the store meanwhile.
                    self._header = await self._read_header()
                    continue
                if conflict.key in rescued and conflict.key not in (expect or {}):
                    self._unreadable.pop(str(conflict.key), None)  # healed or replaced by somebody else
                    continue
                raise
            self._header = header if header is not None else self._header
            for key in rescued:
                self._unreadable.pop(key, None)
            return {key: version for key, version in versions.items() if key in changes}

    async def prepare(self) -> None:
        """Write the header if there is none yet, so that ``commit_now`` has nothing to wait for."""
        if self._header is None:
            weakest = min(Durability.PROCESS_EXIT, self.adapter.traits.durability)
            await self._commit_carefully({}, None, weakest, preparing=True)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        """Commit so that it outlives this process, with no await. None: not possible now, nothing done."""
        if self._header is None or self._unreadable or self._too_new:
            return None
        return self.adapter.commit_now(changes)

    async def _read_header(self) -> Header | None:
        record = (await self.read(HEADER)).record
        return None if record is None else msgspec.json.decode(record.value, type=Header)

    def _quarantined(self, key: str, bad: Stored) -> dict[str, bytes]:
        """The quarantine record for damaged bytes, ready to join a commit."""
        place = quarantine_key(key, bad.version)
        value = quarantine_value(key, bad.damage or "", bad.data)
        return {place: seal_record(place, value, DEFAULT_SCHEMA)}

    def _refuse_too_new(self, key: str) -> str:
        raise SchemaTooNewError(
            f"the stored value has schema {self._too_new[key]}, newer than this program's {self.schema}; "
            "it is not overwritten",
            key=key,
            adapter=self.adapter,
            hint="update the program, or delete the key first",
        )

    async def save(
        self,
        key: str,
        value: Any,
        kind: Any = None,
        *,
        ttl: timedelta | None = None,
        durability: Durability | None = None,
    ) -> None:
        data = self.seal(key, value, kind, None if ttl is None else self.expiry(ttl))
        try:
            await self.commit({key: data}, durability=durability)
        except PersistenceError as error:
            raise error.naming(key=key, adapter=self.adapter)  # noqa: B904 - the same error, named

    async def delete(self, keys: Iterable[str], *, durability: Durability | None = None) -> int:
        """Forget ``keys`` in one commit; how many of them were there."""
        wanted = list(dict.fromkeys(keys))
        while wanted:
            found = await self.adapter.fetch(wanted)
            gone = [k for k, stored in found.items() if not self._is_expired(k, stored)]
            if not found:
                return 0
            expect = {k: found[k].version for k in found}
            for key in found:
                self._unreadable.pop(key, None)
                self._too_new.pop(key, None)
            try:
                await self.commit(dict.fromkeys(found), expect=expect, durability=durability)
            except ConflictError:
                await backoff(0)
                continue
            return len(gone)
        return 0

    # -- reading -----------------------------------------------------------------------------------

    def load_now(self, key: str, kind: Any, default: Any) -> Any:
        """What ``load`` would return, where that can be told without waiting; else ``NOT_NOW``."""
        stored = self.adapter.fetch_now(key)
        if stored is None:
            return default
        if isinstance(stored, NotNow):
            return NOT_NOW
        if stored.damage is not None:
            return NOT_NOW
        try:
            record = open_record(key, stored.data, self.schema)
        except (Damage, NewerFormat):
            return NOT_NOW
        if record.expires is not None or record.schema != self.schema:
            return NOT_NOW
        return self.decode(key, record, kind)

    async def load(self, key: str, kind: Any, default: Any) -> Any:
        record = (await self.read(key)).record
        return default if record is None else self.decode(key, record, kind)

    async def load_many(self, keys: Collection[str], kind: Any) -> dict[str, Any]:
        """The values of ``keys``, from one snapshot where the adapter is atomic; absent ones left out."""
        seen = await self.read_many(keys)
        return {k: self.decode(k, s.record, kind) for k, s in seen.items() if s.record is not None}

    def decode(self, key: str, record: Record, kind: Any) -> Any:
        try:
            return self.codec.decode(record.value, kind)
        except (TypeMismatchError, ConfigurationError) as error:
            named = error.naming(key=key, adapter=self.adapter)
            if self.confidential:
                raise self._discreet(named, key) from None
            raise

    def _discreet(self, error: PersistenceError, key: str) -> PersistenceError:
        """The same error without its reasons, which may quote a secret."""
        path = getattr(error, "path", "$")
        message = f"the confidential value does not fit its type at {path}"
        return type(error)(message, key=key, adapter=self.adapter, hint="its content is not shown here")

    async def read(self, key: str) -> Seen:
        """The checked record of ``key`` and its version; recovery has happened where it was due."""
        return (await self.read_many((key,)))[key]

    async def read_many(self, keys: Collection[str]) -> dict[str, Seen]:
        found = await self.adapter.fetch(keys)
        seen = {}
        for key in keys:
            stored = found.get(key)
            seen[key] = Seen(None, None) if stored is None else await self._open(key, stored)
        return seen

    async def _open(self, key: str, stored: Stored, choice: OnCorruption | None = None) -> Seen:
        for attempt in range(8):
            try:
                record = self._checked(key, stored)
            except Damage as damage:
                bad = stored._replace(damage=str(damage))
                again = await self._recover(key, bad, choice or self._on_corruption)
                if again is None:
                    return Seen(None, None)
                stored = again
                await backoff(attempt)
                continue
            return Seen(stored.version, None if self.expired(record) else record)
        raise CorruptedDataError(
            "the record is damaged again and again while it is being recovered",
            key=key,
            adapter=self.adapter,
            hint="check the medium; the bytes are in quarantine",
        )

    def _checked(self, key: str, stored: Stored) -> Record:
        """The record in ``stored``. Raises ``Damage`` or, for newer data, ``SchemaTooNewError``."""
        if stored.damage is not None:
            raise Damage(stored.damage)
        try:
            record = open_record(key, stored.data, self.schema)
        except NewerFormat as newer:
            self._too_new[key] = f"format {newer.number}"
            raise SchemaTooNewError(
                f"written by a newer version of axiom-persistence: {newer}",
                key=key,
                adapter=self.adapter,
                hint="update axiom-persistence; the record is left as it is",
            ) from None
        if record.schema != self.schema and _major(record.schema) > _major(self.schema):
            if record.compat is not None:
                return record._replace(value=record.compat)
            self._too_new[key] = record.schema
            raise SchemaTooNewError(
                f"written with schema {record.schema}; this program knows {self.schema}",
                key=key,
                adapter=self.adapter,
                hint="update the program; the record is left as it is",
            )
        return record

    def _is_expired(self, key: str, stored: Stored) -> bool:
        """Whether ``stored`` is a whole record past its time. The value is not decoded."""
        try:
            return stored.damage is None and self.expired(open_record(key, stored.data, self.schema))
        except (Damage, NewerFormat):
            return False

    async def exists(self, key: str) -> bool:
        """Whether something is stored: true for a damaged record, false for an expired one."""
        stored = (await self.adapter.fetch((key,))).get(key)
        return stored is not None and not self._is_expired(key, stored)

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        async for key in self.adapter.keys(prefix):
            if key[0] != INTERNAL:
                yield key

    async def describe(self, key: str) -> RecordInfo | None:
        """What is known of ``key`` without decoding or repairing it. None: nothing is stored."""
        stored = (await self.adapter.fetch((key,))).get(key)
        if stored is None:
            return None
        record, damage = None, stored.damage
        try:
            record = open_record(key, stored.data, self.schema) if damage is None else None
        except (Damage, NewerFormat) as error:
            damage = str(error)
        return RecordInfo(
            key=key,
            size=len(stored.data),
            version=stored.version,
            schema=None if record is None else record.schema,
            saved_at=await self.adapter.saved_at(key),
            expires_at=None if record is None or record.expires is None else record.expires / 1000,
            damage=damage,
            has_previous=await self.adapter.previous(key) is not None,
            confidential=self.confidential,
        )

    # -- recovery ----------------------------------------------------------------------------------

    async def _recover(self, key: str, bad: Stored, choice: OnCorruption) -> Stored | None:
        """Take the ladder for damaged bytes: previous generation, else missing; quarantine either way.

        Returns what is stored under the key now, or None. Raises ``CorruptedDataError`` if that is the
        application's choice, or the repair could not be written.
        """
        previous = await self._good_previous(key)
        report = CorruptionReport(
            key=key,
            reason=bad.damage or "",
            size=len(bad.data),
            adapter=str(self.adapter),
            recovered=previous is not None,
            quarantine=quarantine_key(key, bad.version),
            at=self.clock(),
        )
        if not isinstance(choice, Corruption):
            choice = Corruption(choice(report))
        if choice is Corruption.RAISE:
            self._unreadable[key] = bad
            raise CorruptedDataError(
                f"the stored record is damaged: {bad.damage}",
                key=key,
                adapter=self.adapter,
                hint="nothing was changed; verify(repair=True) or on_corruption=RECOVER brings the "
                "previous generation back, where there is one",
            )
        changes: dict[str, bytes | None] = {**self._quarantined(key, bad)}
        changes[key] = None if previous is None else previous.data
        try:
            versions = await self.adapter.commit(changes, expect={key: bad.version})
        except ConflictError:  # somebody healed or replaced it meanwhile: look again
            return (await self.adapter.fetch((key,))).get(key)
        except PersistenceError as error:
            self._unreadable[key] = bad
            raise CorruptedDataError(
                f"the stored record is damaged ({bad.damage}) and could not be repaired: {error}",
                key=key,
                adapter=self.adapter,
                hint="the damaged bytes are still in place",
            ) from error
        self._unreadable.pop(key, None)
        self.reports.append(report)
        _log.warning(
            "damaged record of %r in %s: %s; %s, the bytes are kept under %r",
            key,
            self.adapter,
            bad.damage,
            "the previous generation is back" if previous else "it now reads as missing",
            report.quarantine,
        )
        return None if previous is None else Stored(previous.data, versions[key])

    async def repair(self, key: str) -> bool:
        """Take the recovery ladder for ``key`` whatever ``on_corruption`` says; whether a value is there."""
        stored = (await self.adapter.fetch((key,))).get(key)
        return stored is not None and (await self._open(key, stored, Corruption.RECOVER)).version is not None

    async def _good_previous(self, key: str) -> Stored | None:
        previous = await self.adapter.previous(key)
        if previous is None:
            return None
        try:
            self._checked(key, previous)
        except (Damage, SchemaTooNewError):
            return None
        return previous


def _text(key: object) -> str:
    """``key`` for the error about keys that are no str."""
    if isinstance(key, str):
        return str(key)  # an enum member or another subclass: its text is the key
    raise InvalidKeyError(f"a key is a str or a Key, not {type(key).__name__}: {key!r:.80}")


def _major(schema: str) -> tuple[int, str]:
    """The major version to compare by: numbers as numbers, anything else after them, as text."""
    head = schema.split(".", 1)[0]
    return (int(head), "") if head.isdigit() else (-1, head)


async def backoff(attempt: int) -> None:
    """Wait a little, longer and more randomly each time, so that contenders get out of step."""
    await asyncio.sleep(random.uniform(0, min(0.05, 0.0005 * 2**attempt)))  # noqa: S311


__all__ += ["MISSING", "backoff"]
