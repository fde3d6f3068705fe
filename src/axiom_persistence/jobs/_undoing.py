"""From the originals of a migration back to the store as it was before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import msgspec

from ..errors import ConflictError, MigrationError, StorageFullError
from ..keys import INTERNAL
from ..records.migrations import order
from ..records.record import Damage, NewerFormat, Record, major
from ..runtime.turn import backoff
from ..storage.adapter import Stored
from ..store._header import HEADER
from ..store._standing import ROLLING_BACK, ClientSchema, Header, Kept, Running
from ..store.store import Store
from ._migration import CHUNK, Headline, user_keys
from ._originals import Original, digest, kept_at, places, without
from .walk import OnProgress, Progress, pages

__all__ = ["OvertakenError", "RollbackReport", "Undoing"]

_ATTEMPTS = 64

T = TypeVar("T")


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


class OvertakenError(MigrationError):
    """The header says that somebody else is further: a commit of one that was cancelled has just landed."""


class _Work(NamedTuple):
    changes: dict[str, bytes | None]
    expect: dict[str, str | None]


class Undoing:
    """Puts back what migrations did. Whatever kills it, the next one goes on."""

    def __init__(self, store: Store, head: Headline, progress: OnProgress | None = None) -> None:
        self.store = store
        self.head = head
        self.report = RollbackReport()
        self._progress = progress
        self._done = 0

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
        async for place in places(self.store, id):
            originals = await self._originals_at(place)
            await self._restore(originals, kept, target)
            self.tell(self._done + len(originals))
        steps: list[Original] = []
        async for place in places(self.store, id, by_step=True):
            steps += await self._originals_at(place)
        await self.come_down(target, kept.clients, without={original.key for original in steps})
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
        keys = (key async for key in user_keys(self.store.adapter) if key not in without)
        before = self._done
        async for page in pages(keys, size=CHUNK, progress=lambda walked: self.tell(before + walked.done)):
            await self._in_one_commit(page, lambda some: self._lowered(some, target, clients, strict=strict))

    def tell(self, done: int) -> None:
        """Records are looked at more than once: to put the originals back, and for what was saved since."""
        self._done = done
        if self._progress is not None:
            self._progress(Progress(done))

    async def _in_one_commit(self, page: list[T], work: Callable[[list[T]], Awaitable[_Work]]) -> None:
        """What ``work`` makes of ``page``; on a full disk in smaller commits, which need less room."""
        changes: dict[str, bytes | None] = {}
        for attempt in range(_ATTEMPTS):
            changes, expect = await work(page)
            if not changes:
                return
            try:
                await self.store.adapter.commit(
                    changes, expect={**expect, HEADER: self.head.version}, durability=self.store.together
                )
            except ConflictError:
                await backoff(attempt)
                await self._still()
                continue
            except StorageFullError:
                if len(page) == 1:
                    raise
                for half in (page[: len(page) // 2], page[len(page) // 2 :]):
                    await self._in_one_commit(half, work)
            return
        raise MigrationError(
            "other programs change the same records again and again",
            key=next(iter(changes)),
            adapter=self.store.adapter,
            hint="end them, and call rollback again, which goes on",
        )

    async def _still(self) -> None:
        was = self.head.header
        now = await self.head.read()
        if was is None or now is None or now.running != was.running:
            raise OvertakenError(
                "another process has gone on with the rollback",
                adapter=self.store.adapter,
                hint="leave it to that one, or call rollback again",
            )

    # -- one record --------------------------------------------------------------------------------

    async def _originals_at(self, place: str) -> list[Original]:
        stored = (await self.store.adapter.fetch((place,))).get(place)
        return [] if stored is None else kept_at(self.store, place, stored.data)

    async def _restore(self, originals: list[Original], kept: Kept, target: str) -> None:
        """Put originals back. They stay where they are kept, so that whoever goes on finds them all."""
        await self._in_one_commit(originals, lambda some: self._restored(some, kept, target))
        await self._generations_back(originals)

    async def _restored(self, originals: list[Original], kept: Kept, target: str) -> _Work:
        now = await self.store.adapter.fetch([original.key for original in originals])
        changes: dict[str, bytes | None] = {}
        expect: dict[str, str | None] = {}
        for original in originals:
            current = now.get(original.key)
            if current is not None and current.data != original.data:  # what was deleted since stays so
                self._back(current, original, target, kept.clients, changes)
                expect[original.key] = current.version
        return _Work(changes, expect)

    async def _generations_back(self, originals: list[Original]) -> None:
        """What was kept before records that are as they were is kept before them again."""
        before = {one.key: one for one in originals if one.generations is not None}
        now = await self.store.adapter.fetch(list(before))
        there = await self.store.adapter.previous_many(list(before))
        changed: dict[str, bytes | None] = {}
        for key, original in before.items():
            wanted = original.generations[0] if original.generations else None
            found = there[key].data if key in there else None
            if key in now and now[key].data == original.data and found != wanted:
                changed[key] = wanted
        if changed:
            await self.store.adapter.set_previous(changed)

    def _back(
        self,
        current: Stored,
        original: Original,
        target: str,
        clients: dict[str, str],
        changes: dict[str, bytes | None],
    ) -> None:
        """Put the original back, or what was saved since in its earlier form."""
        key = original.key
        if digest(current.data) == original.digest:
            changes[key] = original.data
            self.report.restored += 1
            return
        lowered = self.lower(key, current, target, clients)
        if lowered is None:
            changes.update(self._set_aside(key, current, target))
            lowered = original.data
        if lowered != current.data:
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
            return migrations.sealed_as(key, value, wanted, record.expires, record.subject)
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

    async def _finish(self, kept: Kept, target: str, steps: list[Original]) -> None:
        """Put back what store steps changed, and the header, in one commit; then originals may go."""
        header = self.head.header
        assert header is not None
        before = _header_before(header, kept, target)
        await self._with_header(
            msgspec.structs.replace(before, kept=header.kept, running=header.running),
            lambda: self._rearranged(steps, target),
        )
        await self._generations_back(steps)
        await self._with_header(before, lambda: self._without(kept.id))

    async def _rearranged(self, steps: list[Original], target: str) -> _Work:
        now = await self.store.adapter.fetch([original.key for original in steps])
        changes: dict[str, bytes | None] = {}
        expect: dict[str, str | None] = {}
        for original in steps:
            key, current = original.key, now.get(original.key)
            if (None if current is None else current.data) == original.data:
                continue
            if current is not None and digest(current.data) != original.digest:
                changes.update(self._set_aside(key, current, target))
            elif key[0] != INTERNAL:
                self.report.restored += 1
            changes[key], expect[key] = original.data, None if current is None else current.version
        return _Work(changes, expect)

    async def _without(self, id: str) -> _Work:
        """No originals of this migration."""
        changes: dict[str, bytes | None] = {}
        for by_step in (False, True):
            async for place in places(self.store, id, by_step=by_step):
                changes[place] = None
                for stored in (await self.store.adapter.fetch((place,))).values():
                    changes |= without(place, stored.data)
        return _Work(changes, {})

    async def _with_header(self, header: Header, work: Callable[[], Awaitable[_Work]]) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                await self.head.commit(header, *await work())
            except ConflictError:
                await backoff(attempt)
                await self._still()
                continue
            return
        raise MigrationError(
            "other programs change the store again and again",
            adapter=self.store.adapter,
            hint="end them, and call rollback again, which goes on",
        )


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
