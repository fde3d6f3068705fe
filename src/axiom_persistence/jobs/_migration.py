"""What migrating and going back share: the header's changes, and the view of a store step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any, Final, NamedTuple

import msgspec

from ..errors import MigrationError, PersistenceError, refused_by
from ..keys import BEHIND_INTERNAL, INTERNAL
from ..records._subject import entry_key, tag_in
from ..records.migrations import Edge, order, told
from ..records.record import INTERNAL_SCHEMA, Damage, NewerFormat, Record, seal_record
from ..storage.adapter import Durability, StorageAdapter
from ..store._header import HEADER, Header, sealed_header
from ..store._tagged import entries_for
from ..store.store import Store

__all__ = [
    "CHUNK",
    "Headline",
    "View",
    "naming",
    "user_keys",
    "validated",
]

CHUNK: Final = 1000
"""Records rewritten in one commit."""


def user_keys(adapter: StorageAdapter, *, after: str = "") -> AsyncIterator[str]:
    """All keys but the library's own, whatever the header says of them."""
    return adapter.keys(after=max(after, BEHIND_INTERNAL))


def validated(store: Store, key: str, body: bytes, steps: tuple[str, ...] = ()) -> None:
    """Raise ``MigrationError`` unless a result is of the type that ``validate`` was told."""
    try:
        store.migrations.validated(key, body, steps)
        return
    except MigrationError as error:
        if not store.confidential:
            raise
        hint = error.hint
    # Out of the handler: the reasons may quote the value.
    raise MigrationError(
        f"what {told(steps)} made would not load; the value is confidential",
        key=key,
        step=steps[-1] if steps else None,
        adapter=store.adapter,
        hint=hint,
    )


@contextmanager
def naming(store: Store) -> Iterator[None]:
    """Errors of a job name the adapter of ``store``, wherever they come from."""
    try:
        yield
    except MigrationError as error:
        raise error.naming(adapter=store.adapter)  # noqa: B904 - the same error, named


class Headline:
    """The header of a store as a job changes it: never over somebody else's change."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.header: Header | None = None
        self.version: str | None = None

    async def read(self) -> Header | None:
        """The header as it is now."""
        await self.store.look()
        seen = await self.store.read(HEADER)
        self.version = seen.version
        self.header = None if seen.record is None else msgspec.json.decode(seen.record.value, type=Header)
        return self.header

    async def commit(
        self,
        header: Header,
        changes: dict[str, bytes | None] | None = None,
        expect: dict[str, str | None] | None = None,
        durability: Durability | None = None,
    ) -> None:
        """Change the header and records, with their entries, in one commit.

        Raises ``ConflictError`` if either changed.
        """
        versions = await self.store.adapter.commit(
            {**(changes or {}), **entries_for(changes or {}), HEADER: sealed_header(header)},
            expect={**(expect or {}), HEADER: self.version},
            durability=durability,
        )
        self.header, self.version = header, versions[HEADER]
        await self.store.look()


class _Entry(NamedTuple):
    value: Any
    expires: int | None
    version: str
    subject: str | None = None
    steps: tuple[str, ...] = ()
    """The store step that wrote it."""


class View:
    """A ``StoreTransaction``: the whole store at one version, with changes that are not stored yet."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.version = ""
        self.steps: tuple[str, ...] = ()
        self.changes: dict[str, _Entry | None] = {}
        self.found: dict[str, str | None] = {}
        """The version of every record that was looked at."""
        self.before: dict[str, bytes | None] = {}

    async def run(self, edge: Edge, name: str, function: Callable[[Any], Awaitable[None]]) -> None:
        """Let one store step change the view. Raises ``MigrationError``, naming it."""
        self.version, self.steps = edge.start, (name,)
        try:
            waiting = function(self)
            if not isawaitable(waiting):
                raise MigrationError(
                    f"the store step {edge.describe(name)} is not async",
                    hint="make it a coroutine function, and wait for every verb of what it is given",
                )
            await waiting
        except MigrationError as error:
            error.step = error.step or name
            raise
        except Exception as error:  # a function of the user may raise anything
            ours = error if isinstance(error, PersistenceError) else None
            reason = refused_by(error) if ours is None else ours.message
            raise MigrationError(
                f"the store step {edge.describe(name)} failed: {reason}",
                key=None if ours is None else ours.key,
                adapter=self.store.adapter,
                step=name,
                hint="correct the step; every record is as it was",
            ) from error

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """The keys that begin with ``prefix``, in code point order, the step's own changes included."""
        stored = [key async for key in self.store.adapter.keys(prefix) if key[0] != INTERNAL]
        own = {key for key, entry in self.changes.items() if entry is not None and key.startswith(prefix)}
        for key in sorted({*stored, *own}):
            if self.changes.get(key, own) is not None:
                yield key

    async def read(self, key: str, default: Any = None) -> Any:
        """The value under ``key``; ``default`` where there is none."""
        entry = await self._entry(key)
        return default if entry is None else entry.value

    async def write(self, key: str, value: Any) -> None:
        """Store ``value``. An expiry that the key has stays."""
        self.store.check_key(key)
        entry = await self._entry(key)
        expires, subject = (None, None) if entry is None else (entry.expires, entry.subject)
        self.changes[key] = _Entry(value, expires, self.version, subject, self.steps)

    async def delete(self, key: str) -> None:
        """Forget ``key``. Fine when it is absent."""
        await self._entry(key)
        self.changes[key] = None

    async def rename(self, old: str, new: str) -> None:
        """Give the value under ``old`` another key, with its expiry. Fine when it is absent."""
        self.store.check_key(new)
        entry = await self._entry(old)
        if entry is not None and new != old:
            await self._entry(new)
            self.changes[new] = entry._replace(version=self.version)
            self.changes[old] = None

    async def _entry(self, key: str) -> _Entry | None:
        """The value of ``key`` at this version, in a copy that the step may change."""
        if key in self.changes:
            entry = self.changes[key]
            if entry is None:
                return None
            value = msgspec.json.decode(self.store.migrations.encoded(key, entry.value, entry.steps))
            return entry._replace(value=self._at(key, value, entry.version), version=self.version)
        record = await self._record(key)
        if record is None:
            return None
        value = self._at(key, msgspec.json.decode(record.value), record.schema)
        return _Entry(value, record.expires, "", record.subject)

    async def _record(self, key: str) -> Record | None:
        stored = (await self.store.adapter.fetch((key,))).get(key)
        self.found[key] = None if stored is None else stored.version
        self.before[key] = None if stored is None else stored.data
        if stored is None:
            return None
        try:
            if stored.damage is not None:
                raise Damage(stored.damage)
            record = self.store.open_record(key, stored.data)
        except (Damage, NewerFormat) as error:
            raise MigrationError(
                f"a store step cannot read this record: {error}",
                key=key,
                hint="verify(repair=True) brings its earlier generation back, where there is one",
            ) from None
        return None if self.store.expired(record) else record

    def _at(self, key: str, value: Any, schema: str) -> Any:
        """``value`` as the version of the step has it; of a client type with its own schema, as today."""
        migrations = self.store.migrations
        line = migrations.line_of(key)
        version = line.current if line.name else self.version
        if order(schema) > order(version):
            return migrations.down(key, value, version, schema)
        return migrations.up(key, value, schema, version)

    def results(self, label: str | None = None) -> dict[str, bytes | None]:
        """What the changed records become; ``label``: written for this earlier version, else for today."""
        migrations, made = self.store.migrations, dict[str, bytes | None]()
        for key, entry in self.changes.items():
            if entry is None:
                made[key] = None
            elif label is not None:
                value = migrations.down(key, entry.value, label, entry.version)
                made[key] = migrations.sealed_as(key, value, label, entry.expires, entry.subject)
            else:
                line = migrations.line_of(key)
                start = line.current if line.name else entry.version
                steps = (*entry.steps, *migrations.steps_of(key, start))
                body = migrations.encoded(key, migrations.up(key, entry.value, start), steps)
                validated(self.store, key, body, steps)
                made[key] = migrations.sealed(key, body, entry.expires, subject=entry.subject)
        before = {**self.before, **_entries(self.before)}
        made = {**dict.fromkeys(before.keys() - self.before.keys()), **made, **_entries(made)}
        self.before = before
        return {key: data for key, data in made.items() if data != before.get(key)}


def _entries(records: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """By which those of ``records`` are found that are about a subject."""
    tags = {key: tag_in(data) for key, data in records.items() if data is not None}
    places = [entry_key(tag, key) for key, tag in tags.items() if tag is not None]
    return {place: seal_record(place, b"true", INTERNAL_SCHEMA) for place in places}
