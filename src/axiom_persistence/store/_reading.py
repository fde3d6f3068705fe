"""From bytes to values: fetch, check, recover, decode."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import Any, Unpack

import msgspec

from ..errors import (
    ConfigurationError,
    CorruptedDataError,
    MigrationError,
    PersistenceError,
    SchemaTooNewError,
    TypeMismatchError,
)
from ..keys import INTERNAL
from ..records._subject import erased_key
from ..records.codec import Codec
from ..records.corruption import Corruption, OnCorruption
from ..records.migrations import Renewed, order
from ..records.record import Damage, NewerFormat, Record, major, open_record, plain_value
from ..runtime.turn import backoff
from ..storage.adapter import NOT_NOW, CachedRecord, NotNow, StorageAdapter, Stored
from ._decoded import Decoded
from ._options import Asked, Options
from ._recovery import Recovery
from ._standing import Standing

__all__ = ["Reading", "Seen"]


class Seen(msgspec.Struct, frozen=True):
    """A key as one read found it: its version for a later ``expect``, and its record if it has one."""

    version: str | None
    record: Record | None


class Reading(Options):
    """Reads records, and recovers the damaged ones as ``on_corruption`` says."""

    def __init__(self, adapter: StorageAdapter, **asked: Unpack[Asked]) -> None:
        super().__init__(adapter, **asked)
        self.codec: Codec = Codec(confidential=self.confidential)
        self.recovery: Recovery = Recovery(adapter, self.clock)
        self._fetch_now = adapter.fetch_now
        self._too_new: dict[str, str] = {}
        self._mark: Callable[[], Hashable | None] = adapter.mark_reader
        self._looked: Hashable | None = None
        """The change mark when the header was looked at last."""
        self.standing: Standing | None = None
        """What the header says that is to be minded; None: nothing."""
        self._floor: str = ""
        """The version that every record has at least, says the header."""

    async def look(self) -> None:
        """Look at the header again. Only who knows the header can."""
        raise NotImplementedError

    async def is_erased(self, tag: str) -> bool:
        """Whether the subject with this tag is erased, or about to be."""
        found = self._fetch_now(erased_key(tag))
        return await self.adapter.exists(erased_key(tag)) if isinstance(found, NotNow) else found is not None

    def load_now(self, key: str, kind: Any, default: Any) -> Any:
        """What ``load`` would return, where that can be told without waiting; else ``NOT_NOW``."""
        standing = self.standing
        if self._too_new or (standing is not None and standing.behind):
            return NOT_NOW  # load looks whether it still is
        stored = self._fetch_now(key)
        if type(stored) is CachedRecord:
            decoded: Decoded | None = stored.decoded
            if decoded is not None:
                known, decode, source = decoded.known
                if known is kind:
                    # It was decoded as this very type before, so there is no error that should be named.
                    return source if decode is None else decode(source)
            return self._decode_cached(key, stored, kind)
        if stored is None:
            self.codec.decoder(kind)  # what is no type is refused whether something is stored or not
            known = standing is None and self._mark() == self._looked
            return default if known else NOT_NOW  # it may have another name by now
        if isinstance(stored, NotNow) or stored.damage is not None:
            return NOT_NOW
        body = plain_value(key, stored.data, self.schema_of(key))
        if body is None:
            body = self._plain_body(key, stored)
            if body is None:
                return NOT_NOW
        try:
            return self.codec.decoder(kind)(body)
        except Exception:  # noqa: S110 - once more, for an error that says where and why
            pass  # and out of here, since this one may quote a secret
        return self._decode_or_explain(key, body, kind)

    def _plain_body(self, key: str, stored: Stored) -> bytes | None:
        """The value's JSON, of today, in a whole record that has no expiry and no newer schema; else None."""
        schema = self.schema_of(key)
        try:
            record = open_record(key, stored.data, schema)
        except (Damage, NewerFormat):
            return None
        if record.expires is not None or record.subject is not None:
            return None
        if record.schema == schema:
            return record.value
        if order(record.schema) >= order(schema):
            return None
        made = self.renewed(key, record)
        return record.value if made is None else made.body

    def _decode_cached(self, key: str, stored: CachedRecord, kind: Any) -> Any:
        """The value of a cached record; ``NOT_NOW`` where only ``load`` can deal with it."""
        decoded: Decoded | None = stored.decoded
        body = None
        if decoded is not None:
            known, decode, source = decoded.known
            if known == kind:  # written anew at every call, like list[str]
                return source if decode is None else decode(source)
            body = decoded.body
        if body is None:
            body = self._plain_body(key, stored)
            if body is None:
                return NOT_NOW
        decode = self.codec.decoder(kind)
        try:
            value = decode(body)
        except Exception:
            value = NOT_NOW  # once more, for an error that says where and why, and out of here
        if value is NOT_NOW:
            return self._decode_or_explain(key, body, kind)
        if decoded is None:
            decoded = stored.decoded = Decoded(body)
        decoded.learn(kind, decode, body, value, stored.room)
        return value

    async def load(self, key: str, kind: Any, default: Any) -> Any:
        self.codec.decoder(kind)
        record = (await self.read(key)).record
        return default if record is None else self.decode(key, record, kind)

    async def load_many(self, keys: Collection[str], kind: Any) -> dict[str, Any]:
        """The values of ``keys``, from one snapshot where the adapter is atomic; absent ones left out."""
        self.codec.decoder(kind)
        seen = await self.read_many(keys)
        return {k: self.decode(k, s.record, kind) for k, s in seen.items() if s.record is not None}

    def decode(self, key: str, record: Record, kind: Any) -> Any:
        """The value in ``record`` as ``kind``. Raises ``TypeMismatchError`` or ``ConfigurationError``."""
        try:
            return self.codec.decoder(kind)(record.value)
        except Exception:  # noqa: S110 - once more, for an error that says where and why
            pass  # and out of here, since this one may quote a secret
        return self._decode_or_explain(key, record.value, kind)

    def _decode_or_explain(self, key: str, body: bytes, kind: Any) -> Any:
        try:
            return self.codec.decode(body, kind, key)
        except (TypeMismatchError, ConfigurationError) as error:
            named = error.naming(key=key, adapter=self.adapter)
            if not self.confidential or isinstance(error, ConfigurationError):  # that one is of the type
                raise
        raise self._discreet(named, key)

    def _discreet(self, error: PersistenceError, key: str) -> PersistenceError:
        """The same error without its reasons, which may quote a secret.

        To be raised when ``error`` is handled no more, or that would be its ``__context__``.
        """
        path = getattr(error, "path", "$")
        message = f"the confidential value does not fit its type at {path}"
        hint = "its content is not shown here"
        if isinstance(error, TypeMismatchError):
            return TypeMismatchError(message, path=path, key=key, adapter=self.adapter, hint=hint)
        return type(error)(message, key=key, adapter=self.adapter, hint=hint)

    async def read(self, key: str) -> Seen:
        """The checked record of ``key`` and its version; recovery has happened where it was due."""
        if self.standing is not None and self.standing.behind:
            await self._refuse_read(key)
        found = (await self.adapter.fetch((key,))).get(key)
        if found is None:
            await self._refuse_absence(key)
            return Seen(None, None)
        return await self._open(key, found)

    async def _refuse_read(self, key: str | None) -> None:
        """Raise if the header says that nothing can be read yet, or no longer."""
        if key is None or key[0] != INTERNAL:
            await self.look()
            if self.standing is not None:
                self.standing.refuse_read(key, self.adapter)

    async def _refuse_absence(self, key: str | None) -> None:
        """Raise if an absent key may have been renamed by a newer program."""
        if key is None or key[0] != INTERNAL:
            if self._mark() != self._looked:
                await self.look()
            if self.standing is not None:
                self.standing.refuse_absence(key, self.adapter)

    async def read_many(self, keys: Collection[str]) -> dict[str, Seen]:
        if self.standing is not None and self.standing.behind:
            await self._refuse_read(None)
        found = await self.adapter.fetch(keys)
        if len(found) < len(keys):
            await self._refuse_absence(None)
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
                if key[0] != INTERNAL and self._mark() != self._looked:
                    await self.look()  # it may have been encrypted meanwhile
                bad = stored._replace(damage=str(damage))
                again = await self.recovery.recover(key, bad, choice or self.on_corruption, self._whole)
                if again is None:
                    return Seen(None, None)
                stored = again
                await backoff(attempt)
                continue
            if record.expires is not None and self.expired(record):
                return Seen(stored.version, None)
            if record.subject is not None and await self.is_erased(record.subject):
                return Seen(stored.version, None)
            today = record.schema == self.schema_of(key)
            return Seen(stored.version, record if today else self.migrated(key, record))
        raise CorruptedDataError(
            "the record is damaged again and again while it is being recovered",
            key=key,
            adapter=self.adapter,
            hint="check the medium; the bytes are in quarantine",
        )

    def renewed(self, key: str, record: Record) -> Renewed | None:
        """What an older record is today. Raises ``MigrationError``, naming step and key."""
        try:
            return self.migrations.renewed(key, record, self._floor)
        except MigrationError as error:
            if not self.confidential:
                raise error.naming(adapter=self.adapter)  # noqa: B904 - the same error, named
            step, hint = error.step, error.hint
        # Out of the handler: the reasons may quote the value.
        failed = f"the step {step!r} failed" if step else "it cannot be migrated"
        raise MigrationError(
            f"{failed}; the value is confidential", key=key, adapter=self.adapter, step=step, hint=hint
        )

    def migrated(self, key: str, record: Record) -> Record:
        """An older record with its value as it is today, or the record itself."""
        made = self.renewed(key, record)
        return record if made is None else msgspec.structs.replace(record, value=made.body)

    def open_record(self, key: str, data: bytes) -> Record:
        """The record in ``data``, checked. Raises ``Damage`` or ``NewerFormat``."""
        return open_record(key, data, self.schema_of(key))

    def _checked(self, key: str, stored: Stored) -> Record:
        """The record in ``stored``. Raises ``Damage`` or, for newer data, ``SchemaTooNewError``."""
        if stored.damage is not None:
            raise Damage(stored.damage)
        schema = self.schema_of(key)
        try:
            record = open_record(key, stored.data, schema)
        except NewerFormat as unknown:
            self._too_new[key] = f"format {unknown.number}"
            raise SchemaTooNewError(
                f"written by a newer version of axiom-persistence: {unknown}",
                key=key,
                adapter=self.adapter,
                hint="update axiom-persistence; the record is left as it is",
            ) from None
        if record.schema != schema and key[0] != INTERNAL and self._is_newer(key, record):
            if record.compat is not None:
                return msgspec.structs.replace(record, value=record.compat)
            self._too_new[key] = record.schema
            raise SchemaTooNewError(
                f"written with schema {record.schema}; this program knows {self._current(key)}",
                key=key,
                adapter=self.adapter,
                hint="update the program; the record is left as it is",
            )
        if self._too_new:
            self._too_new.pop(key, None)  # it was; somebody has replaced it since
        return record

    def _current(self, key: str) -> str:
        return self.migrations.line_of(key).current

    def _is_newer(self, key: str, record: Record) -> bool:
        return major(record.schema) > major(self._current(key))

    def _is_expired(self, key: str, stored: Stored) -> bool:
        """Whether ``stored`` is a whole record past its time. The value is not decoded."""
        try:
            return stored.damage is None and self.expired(self.open_record(key, stored.data))
        except (Damage, NewerFormat):
            return False

    async def repair(self, key: str) -> bool:
        """Take the recovery ladder for ``key`` whatever ``on_corruption`` says; whether a value is there."""
        stored = (await self.adapter.fetch((key,))).get(key)
        return stored is not None and (await self._open(key, stored, Corruption.RECOVER)).version is not None

    def forget_refusal(self, key: str) -> None:
        """Let the next commit of ``key`` through although its record was found too new or damaged."""
        self.recovery.unreadable.pop(key, None)
        self._too_new.pop(key, None)

    def _refuse_too_new(self, key: str) -> str:
        raise SchemaTooNewError(
            f"the stored value has schema {self._too_new[key]}, newer than this program's "
            f"{self._current(key)}; it is not overwritten",
            key=key,
            adapter=self.adapter,
            hint="update the program, or delete the key first",
        )

    def _whole(self, key: str, stored: Stored) -> bool:
        try:
            self._checked(key, stored)
        except Damage:
            return False
        return True
