"""Typed records over one adapter: encode, seal, commit; fetch, check, decode, recover.

The one place where bytes and types meet. Everything above (transactions, collections, clients) reads and
writes through these few methods, and everything below sees bytes only.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from ..errors import (
    ConfigurationError,
    ConflictError,
    CorruptedDataError,
    EncodingError,
    PersistenceError,
    SchemaTooNewError,
    TypeMismatchError,
)
from ..keys import INTERNAL, MAX_KEY_BYTES, MISSING, check_key, key_text
from ..records.codec import Codec
from ..records.corruption import Corruption, OnCorruption
from ..records.record import (
    FIRST_SCHEMA,
    FORMAT,
    INTERNAL_SCHEMA,
    Damage,
    Header,
    NewerFormat,
    Record,
    RecordInfo,
    Seen,
    major,
    open_record,
    plain_value,
    seal_record,
)
from ..runtime.turn import DONE, Turn, backoff
from ..storage.adapter import (
    NOT_NOW,
    CachedRecord,
    Changes,
    Durability,
    Expect,
    NotNow,
    StorageAdapter,
    Stored,
)
from ._decoded import Decoded
from ._recovery import Ladder

__all__ = ["HEADER", "Header", "Store"]

_log = logging.getLogger("axiom_persistence")

HEADER: Final = INTERNAL + "store"


class Store:
    """Typed records in ``adapter``. Any number of tasks, threads and event loops may use one."""

    def __init__(
        self,
        adapter: StorageAdapter,
        *,
        durability: Durability | str | None = None,
        on_corruption: OnCorruption = Corruption.RECOVER,
        schema: str = FIRST_SCHEMA,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.adapter = adapter
        self.codec = Codec()
        self.schema = schema
        self.clock = clock
        self.confidential = adapter.traits.confidential
        self.weakest = min(Durability.PROCESS_EXIT, adapter.traits.durability)
        self.ladder = Ladder(adapter, clock)
        self._promised: dict[str, Durability] = {}
        self._durability = self.durability(durability)
        self._on_corruption = on_corruption
        self._key_limit = min(MAX_KEY_BYTES, adapter.traits.max_key_bytes)
        self._fetch_now = adapter.fetch_now
        self.check_plain = check_key if self._key_limit == MAX_KEY_BYTES else self.check_key
        """``check_key`` for what is known to be a str, without a prefix: a look-up, mostly."""
        self._header: Header | None = None
        self._beginning: set[object] = set()
        self._too_new: dict[str, str] = {}
        self._turns: WeakValueDictionary[str, Turn] = WeakValueDictionary()
        self.closing: list[Callable[[Store], Awaitable[None]]] = []
        """Called before the store closes, while it can still save; what they raise is raised by the close."""

    def turn(self, name: str) -> Turn:
        """Where tasks and threads of this process take turns at ``name``, instead of conflicting."""
        turn = self._turns.get(name)
        if turn is None:
            turn = self._turns.setdefault(name, Turn())
        return turn

    async def aopen(self) -> None:
        await self.adapter.aopen()
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

    async def aclose(self) -> None:
        await self.adapter.aclose()

    # -- what is asked, checked --------------------------------------------------------------------

    def durability(self, asked: Durability | str | None) -> Durability | None:
        """The class to commit with; refused here when the adapter cannot promise it."""
        if asked is None:
            return None
        try:
            if asked in self._promised:
                return self._promised[asked]
            durability = Durability(asked)
        except (ValueError, TypeError):
            names = ", ".join(repr(d.value) for d in Durability)
            raise ConfigurationError(f"durability is one of {names}, not {asked!r}") from None
        strongest = self.adapter.traits.durability
        if durability > strongest:
            raise ConfigurationError(
                f"durability {durability.value!r} was asked for; the strongest here is {strongest.value!r}",
                adapter=self.adapter,
                hint="leave durability out, or use an adapter that promises it (sqlite, file)",
            )
        self._promised[asked] = durability
        return durability

    def check_key(self, key: str, prefix: str = "") -> str:
        """``prefix + key``, if a user may use it."""
        name = key if type(key) is str else key_text(key)
        if prefix:
            check_key(name, self._key_limit)  # an empty key is none, whatever is before it
            name = prefix + name
        return check_key(name, self._key_limit)

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
        if value is MISSING:
            raise EncodingError("MISSING is no value", key=key, adapter=self.adapter, hint="delete the key")
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
            changes, expect=expect, durability=durability if durability is not None else self._durability
        )

    def _is_simple(self) -> bool:
        """Whether a commit is the adapter's as it is: no header to write, nothing to rescue or to refuse."""
        return self._header is not None and not (self._beginning or self.ladder.unreadable or self._too_new)

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
                full[HEADER] = seal_record(HEADER, msgspec.json.encode(header), INTERNAL_SCHEMA)
                wanted[HEADER] = None
            for key in changes.keys() & self._too_new.keys():
                wanted[key] = self._refuse_too_new(key)
            rescued = [key for key in changes if key in self.ladder.unreadable]
            for key in rescued:
                bad = self.ladder.unreadable[key]
                full.update(self.ladder.quarantined(key, bad))
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
                    self.ladder.unreadable.pop(str(conflict.key), None)  # healed or replaced by somebody else
                    continue
                raise
            if header is not None and self._header is None:
                _log.info("a new store begins: %s", self.adapter.location)
                self._header = header
            for key in rescued:
                self.ladder.unreadable.pop(key, None)
            return {key: version for key, version in versions.items() if key in changes}

    async def settle(self) -> None:
        """Return when all commits that were called before have taken effect, or never will."""
        await self.adapter.commit({}, durability=self.weakest)

    async def prepare(self) -> None:
        """Write the header if there is none yet, so that ``commit_now`` has nothing to wait for."""
        if self._header is None:
            await self._commit_carefully({}, None, self.weakest, preparing=True)

    def commit_now(self, changes: Changes) -> Mapping[str, str] | None:
        """Commit so that it outlives this process, with no await. None: not possible now, nothing done."""
        if self._header is None or self._beginning:
            return None
        if (self.ladder.unreadable or self._too_new) and any(
            key in self.ladder.unreadable or key in self._too_new for key in changes
        ):
            return None
        return self.adapter.commit_now(changes)

    async def _read_header(self) -> Header | None:
        record = (await self.read(HEADER)).record
        return None if record is None else self.decode(HEADER, record, Header)

    def _refuse_too_new(self, key: str) -> str:
        raise SchemaTooNewError(
            f"the stored value has schema {self._too_new[key]}, newer than this program's {self.schema}; "
            "it is not overwritten",
            key=key,
            adapter=self.adapter,
            hint="update the program, or delete the key first",
        )

    def save(
        self,
        key: str,
        value: Any,
        kind: Any = None,
        *,
        ttl: timedelta | None = None,
        durability: Durability | None = None,
    ) -> Awaitable[None]:
        """Store ``value``, or begin to: ``DONE`` where nothing is left to be awaited."""
        changes = {key: self.seal(key, value, kind, None if ttl is None else self.expiry(ttl))}
        asked = self._durability if durability is None else durability
        try:
            # The same commit without a coroutine on each stair, where the adapter can do it at once.
            if asked is Durability.PROCESS_EXIT and self.commit_now(changes) is not None:
                return DONE
        except PersistenceError as error:
            raise error.naming(key=key, adapter=self.adapter)  # noqa: B904 - the same error, named
        return self._save(key, changes, asked)

    async def _save(self, key: str, changes: Changes, durability: Durability | None) -> None:
        try:
            await (self.adapter if self._is_simple() else self).commit(changes, durability=durability)
        except PersistenceError as error:
            raise error.naming(key=key, adapter=self.adapter)  # noqa: B904 - the same error, named

    async def delete(self, keys: Iterable[str], *, durability: Durability | None = None) -> int:
        """Forget ``keys`` in one commit; how many of them were there."""
        wanted = list(dict.fromkeys(keys))
        while wanted:
            await self.settle()  # a save that was called before may be on its way still
            found = await self.adapter.fetch(wanted)
            if not found:
                return 0
            expect = {k: stored.version for k, stored in found.items()}
            asked = durability or self._durability
            try:
                await self.adapter.commit(dict.fromkeys(found), expect=expect, durability=asked)
            except ConflictError:
                await backoff(0)
                continue
            for key in found:  # not before: a save must still refuse to overwrite what is left
                self.ladder.unreadable.pop(key, None)
                self._too_new.pop(key, None)
            return sum(not self._is_expired(key, stored) for key, stored in found.items())
        return 0

    # -- reading -----------------------------------------------------------------------------------

    def load_now(self, key: str, kind: Any, default: Any) -> Any:
        """What ``load`` would return, where that can be told without waiting; else ``NOT_NOW``."""
        if self._too_new:
            return NOT_NOW  # load looks whether it still is
        stored = self._fetch_now(key)
        if type(stored) is CachedRecord:
            decoded: Decoded | None = stored.decoded
            if decoded is not None and decoded.known[0] is kind:
                return decoded.known[1]
            return self._decode_cached(key, stored, kind)
        if stored is None:
            return default
        if isinstance(stored, NotNow) or stored.damage is not None:
            return NOT_NOW
        body = plain_value(key, stored.data, self.schema)
        if body is None:
            return NOT_NOW
        try:
            return self.codec.decoder(kind)(body)
        except Exception:  # once more, for an error that says where and why
            return self.decode(key, Record(self.schema, body), kind)

    def _plain_body(self, key: str, stored: Stored) -> bytes | None:
        """The value's JSON in a whole record that has no expiry and today's schema; else None."""
        try:
            record = open_record(key, stored.data, self.schema)
        except (Damage, NewerFormat):
            return None
        return record.value if record.expires is None and record.schema == self.schema else None

    def _decode_cached(self, key: str, stored: CachedRecord, kind: Any) -> Any:
        """The value of a cached record; ``NOT_NOW`` where only ``load`` can deal with it."""
        decoded: Decoded | None = stored.decoded
        body = None
        if decoded is not None:
            known, value = decoded.known
            if known == kind:  # written anew at every call, like tuple[str, ...]
                return value
            body = decoded.body
        if body is None:
            body = self._plain_body(key, stored)
            if body is None:
                return NOT_NOW
            if decoded is None:
                decoded = stored.decoded = Decoded(body)
        try:
            value = self.codec.decoder(kind)(body)
        except Exception:  # once more, for an error that says where and why
            return self.decode(key, Record(self.schema, body), kind)
        assert decoded is not None
        decoded.learn(kind, value, stored.room)
        return value

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
                again = await self.ladder.recover(key, bad, choice or self._on_corruption, self._whole)
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
        except NewerFormat as unknown:
            self._too_new[key] = f"format {unknown.number}"
            raise SchemaTooNewError(
                f"written by a newer version of axiom-persistence: {unknown}",
                key=key,
                adapter=self.adapter,
                hint="update axiom-persistence; the record is left as it is",
            ) from None
        newer = record.schema != self.schema and major(record.schema) > major(self.schema)
        if newer and key[0] != INTERNAL:
            if record.compat is not None:
                return record._replace(value=record.compat)
            self._too_new[key] = record.schema
            raise SchemaTooNewError(
                f"written with schema {record.schema}; this program knows {self.schema}",
                key=key,
                adapter=self.adapter,
                hint="update the program; the record is left as it is",
            )
        if self._too_new:
            self._too_new.pop(key, None)  # it was; somebody has replaced it since
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
        from .describe import describe  # few programs ask

        return await describe(self.adapter, key, self.schema)

    async def repair(self, key: str) -> bool:
        """Take the recovery ladder for ``key`` whatever ``on_corruption`` says; whether a value is there."""
        stored = (await self.adapter.fetch((key,))).get(key)
        return stored is not None and (await self._open(key, stored, Corruption.RECOVER)).version is not None

    def _whole(self, key: str, stored: Stored) -> bool:
        try:
            self._checked(key, stored)
        except Damage:
            return False
        return True
