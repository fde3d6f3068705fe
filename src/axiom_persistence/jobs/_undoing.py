"""From the originals of a migration back to the store as it was before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from ..errors import ConflictError, MigrationError
from ..records.migrations import order
from ..records.record import Damage, NewerFormat, Record, major, seal_about
from ..runtime.turn import backoff
from ..storage.adapter import Stored
from ..store._header import HEADER
from ..store._standing import ROLLING_BACK, ClientSchema, Header, Kept, Running
from ..store.store import Store
from ._migration import CHUNK, Headline, Original, digest, original_key, originals, restored_key, user_keys
from .walk import pages

__all__ = ["RollbackReport", "Undoing"]

_ATTEMPTS = 64


@dataclass(slots=True)
class RollbackReport:
    """What a rollback did."""

    to_version: str = ""
    restored: int = 0
    """Records that are byte for byte as they were before the migration."""
    converted: int = 0
    """Records saved since, brought back by the ``down`` of each step."""
    set_aside: list[str] = field(default_factory=list)
    """Keys saved since whose newer value has no earlier form: it is in quarantine, its original is back."""

    def add(self, other: RollbackReport) -> None:
        """Count what happened in a second store as well."""
        self.restored += other.restored
        self.converted += other.converted
        self.set_aside += other.set_aside


class _Work(NamedTuple):
    changes: dict[str, bytes | None]
    expect: dict[str, str | None]


class Undoing:
    """Puts back what migrations did. Whatever kills it, the next one goes on."""

    def __init__(self, store: Store, head: Headline) -> None:
        self.store = store
        self.head = head
        self.report = RollbackReport()

    async def undo(self, id: str, *, whole: bool = False) -> None:
        """Undo the latest migration, if its id is ``id``.

        ``whole``: bring back as well what was saved by the new version before the migration began.
        """
        header = await self.head.read()
        if header is None or not header.kept or header.kept[-1].id != id:
            return
        kept = header.kept[-1]
        target = kept.start if whole else kept.schema
        await self.begin(Running(id, kept.end, target, ROLLING_BACK))
        async for page in pages(originals(self.store, id), size=CHUNK):
            await self._in_one_commit(page, lambda some: self._originals_of(some, kept, target))
        steps = {restored_key(id, key, by_step=True) async for key in originals(self.store, id, by_step=True)}
        await self.come_down(target, kept.clients, without=steps)
        await self._finish(kept, target, steps)

    async def begin(self, running: Running) -> None:
        """Say in the header that this is under way: nobody saves from here on."""
        for attempt in range(_ATTEMPTS):
            header = await self.head.read()
            assert header is not None
            if header.running == running:
                return
            try:
                await self.head.commit(msgspec.structs.replace(header, running=running))
            except ConflictError:
                await backoff(attempt)
                continue
            return

    async def come_down(
        self, target: str, clients: dict[str, str], *, without: Collection[str], strict: bool = False
    ) -> None:
        """Bring down what was saved by the new version only. ``strict``: refuse what has no way back."""
        keys = (key async for key in user_keys(self.store) if key not in without)
        async for page in pages(keys, size=CHUNK):
            await self._in_one_commit(page, lambda some: self._lowered(some, target, clients, strict=strict))

    async def _in_one_commit(self, page: list[str], work: Callable[[list[str]], Awaitable[_Work]]) -> None:
        for attempt in range(_ATTEMPTS):
            changes, expect = await work(page)
            if not changes:
                return
            try:
                await self.store.adapter.commit(
                    changes, expect={**expect, HEADER: self.head.version}, durability=self.store.weakest
                )
            except ConflictError:
                await backoff(attempt)
                await self._still()
                continue
            return
        raise MigrationError(
            "other programs change the same records again and again",
            key=page[0],
            adapter=self.store.adapter,
            hint="end them, and call rollback again, which goes on",
        )

    async def _still(self) -> None:
        was = self.head.header
        now = await self.head.read()
        if was is None or now is None or now.running != was.running:
            raise MigrationError(
                "another process has gone on with the rollback",
                adapter=self.store.adapter,
                hint="leave it to that one, or call rollback again",
            )

    # -- one record --------------------------------------------------------------------------------

    async def _originals_of(self, page: list[str], kept: Kept, target: str) -> _Work:
        found = await self.store.adapter.fetch(page)
        keys = {place: restored_key(kept.id, place) for place in page}
        now = await self.store.adapter.fetch(list(keys.values()))
        changes: dict[str, bytes | None] = {}
        expect: dict[str, str | None] = {}
        for place, stored in found.items():
            key, original = keys[place], Original.from_bytes(stored.data)
            current = now.get(key)
            changes[place], expect[place] = None, stored.version
            expect[key] = None if current is None else current.version
            if current is not None:  # else it was deleted since, and stays so
                self._back(key, current, original, target, kept.clients, changes)
        return _Work(changes, expect)

    def _back(
        self,
        key: str,
        current: Stored,
        original: Original,
        target: str,
        clients: dict[str, str],
        changes: dict[str, bytes | None],
    ) -> None:
        """Put the original back, or what was saved since in its earlier form."""
        if digest(current.data) == original.digest:
            changes[key] = original.data
            self.report.restored += 1
            return
        lowered = self.lower(key, current, target, clients)
        if lowered is None:
            changes.update(self._set_aside(key, current, target))
            lowered = original.data
        changes[key] = lowered

    async def _lowered(self, page: list[str], target: str, clients: dict[str, str], *, strict: bool) -> _Work:
        changes: dict[str, bytes | None] = {}
        expect: dict[str, str | None] = {}
        for key, current in (await self.store.adapter.fetch(page)).items():
            data = self.lower(key, current, target, clients, strict=strict)
            if data == current.data:
                continue
            expect[key] = current.version
            if data is None:
                changes.update(self._set_aside(key, current, target))
            changes[key] = data
        return _Work(changes, expect)

    def lower(
        self, key: str, current: Stored, target: str, clients: dict[str, str], *, strict: bool = False
    ) -> bytes | None:
        """The record as the earlier version had it; None: it has no such form."""
        line = self.store.migrations.line_of(key)
        wanted = clients.get(line.name, line.base) if line.name else target
        record = self._record(key, current)
        if record is None or order(record.schema) <= order(wanted):
            return current.data
        migrations = self.store.migrations
        if strict or migrations.can_go_down(key, wanted):
            value = migrations.down(key, msgspec.json.decode(record.value), wanted)
            self.report.converted += 1
            return seal_about(key, migrations.sealed_as(key, value, wanted, record.expires), record.subject)
        return current.data if major(record.schema) == major(wanted) else None

    def _record(self, key: str, stored: Stored) -> Record | None:
        """None: it cannot be read, and stays as it is."""
        try:
            return None if stored.damage is not None else self.store.open_record(key, stored.data)
        except (Damage, NewerFormat):
            return None

    def _set_aside(self, key: str, current: Stored, target: str) -> dict[str, bytes]:
        self.report.set_aside.append(key)
        why = f"it has no form that version {target} could read"
        return self.store.recovery.quarantined(key, current._replace(damage=why))

    # -- the end -----------------------------------------------------------------------------------

    async def _finish(self, kept: Kept, target: str, steps: Collection[str]) -> None:
        """Put back what store steps changed, and the header, in one commit."""
        places = {original_key(kept.id, key, by_step=True): key for key in steps}
        for attempt in range(_ATTEMPTS):
            found = await self.store.adapter.fetch(list(places))
            now = await self.store.adapter.fetch(list(places.values()))
            changes: dict[str, bytes | None] = {}
            expect: dict[str, str | None] = {}
            for place, stored in found.items():
                key, original = places[place], Original.from_bytes(stored.data)
                current = now.get(key)
                if current is not None and digest(current.data) != original.digest:
                    changes.update(self._set_aside(key, current, target))
                changes[place], expect[place] = None, stored.version
                changes[key], expect[key] = original.data, None if current is None else current.version
            header = self.head.header
            assert header is not None
            try:
                await self.head.commit(_header_before(header, kept, target), changes, expect)
            except ConflictError:
                await backoff(attempt)
                await self._still()
                continue
            self.report.restored += len(found)
            return


def _header_before(header: Header, kept: Kept, target: str) -> Header:
    """The header as it was before a migration, whose originals are back."""
    clients = {
        name: msgspec.structs.replace(client, schema=kept.clients.get(name, ""))
        for name, client in header.clients.items()
    }
    return msgspec.structs.replace(
        header,
        schema=target,
        layout=kept.layout,
        migrated=kept.migrated,
        clients={name: client for name, client in clients.items() if client != ClientSchema()},
        kept=header.kept[:-1],
        running=None,
    )
