"""Bring a whole store to the version that the program knows; nothing is served by halves.

First everything is tried: every step on every record, every result decoded, nothing written. Then one commit
switches: what store steps changed, and the header that says so. From there on the store is at the new
version, since a record of an older one is read as a new one; these are then rewritten, a thousand in a
commit, each with its original. Killed at any point, the next ``migrate`` goes on where this one was; failed
or cancelled, everything is put back.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import msgspec

from ..errors import ConfigurationError, ConflictError, MigrationError, SchemaTooNewError
from ..records.migrations import Edge, check_version, order
from ..records.record import FIRST_SCHEMA, Damage, NewerFormat, open_record
from ..runtime.acting import because
from ..runtime.turn import backoff
from ..storage.adapter import Stored
from ..store._standing import (
    CHECKING,
    REWRITING,
    ROLLING_BACK,
    Header,
    Kept,
    Running,
    layout_of,
    updated,
)
from ..store.store import Store
from ._migration import CHUNK, Headline, Original, View, naming, original_key, user_keys, validated
from ._undoing import Undoing
from .walk import Progress as Walked
from .walk import pages

__all__ = ["MigrationProgress", "MigrationReport", "migrate"]

_ATTEMPTS = 32

_READY_BYTES_MAX = 32 << 20
"""Results of the trial that are kept for the rewriting; beyond, each step runs once more."""


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """How far a migration is."""

    phase: str
    """``checking`` (nothing is written yet) or ``rewriting``."""
    done: int
    """Records looked at in this phase."""
    total: int | None = None
    """Of how many; None: not known yet."""


@dataclass(slots=True)
class MigrationReport:
    """What a migration did, or, of a dry run, would do. True when there was something to do."""

    from_version: str
    to_version: str
    dry_run: bool = False
    records: int = 0
    """Records that were looked at."""
    rewritten: int = 0
    """Records of an earlier version that were, or would be, rewritten."""
    steps: dict[str, int] = field(default_factory=dict)
    """How many records each value step applies to."""
    moved: dict[str, str] = field(default_factory=dict)
    """What store steps do to which keys: ``written`` or ``deleted``."""
    damaged: list[str] = field(default_factory=list)
    """Keys whose record cannot be read: left as they are."""

    def __bool__(self) -> bool:
        return bool(self.rewritten or self.moved)

    def add(self, other: MigrationReport) -> None:
        """Count what happened in a second store as well."""
        self.records += other.records
        self.rewritten += other.rewritten
        self.damaged += other.damaged
        for step, count in other.steps.items():
            self.steps[step] = self.steps.get(step, 0) + count


Progress = Callable[[MigrationProgress], None]


async def migrate(
    store: Store,
    from_version: str,
    to_version: str,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> MigrationReport:
    """Bring every record of ``store`` from ``from_version`` or later to ``to_version``, the program's own.

    Returns at once where that is so already. Raises ``MigrationError``, naming step and key, with every
    record as it was; ``ConfigurationError`` where the steps do not lead from one to the other.
    """
    line = store.migrations.store_line
    check_version(from_version)
    if check_version(to_version) != line.current or line.way(from_version) is None:
        raise ConfigurationError(
            f"no migration from {from_version!r} to {to_version!r} is known",
            adapter=store.adapter,
            hint=f"the steps lead from {line.base!r} to {line.current!r}",
        )
    if not store.adapter.traits.atomic:
        raise ConfigurationError(
            "a migration changes several records at once, which this adapter cannot do",
            adapter=store.adapter,
            hint="put Journaled around it; without, each record is migrated when it is saved",
        )
    report = MigrationReport(from_version, to_version, dry_run)
    async with store.turn("migrate"):
        with naming(store), because(f"migration from {from_version} to {to_version}"):
            await _Migration(store, report, progress).run()
    return report


class _Migration:
    """One call of ``migrate``."""

    def __init__(self, store: Store, report: MigrationReport, progress: Progress | None) -> None:
        self.store = store
        self.report = report
        self.line = store.migrations.store_line
        self.head = Headline(store)
        self._progress = progress
        self._likely = FIRST_SCHEMA  # of the next record: that of the last
        # What was made of a version of a record when it was tried, as far as there is room for it.
        self._ready: dict[str, tuple[str, bytes, list[str]]] = {}
        self._room = _READY_BYTES_MAX

    async def run(self) -> None:
        header = await self.head.read()
        if header is None or self._is_done(header):
            return
        if header.running is None or header.running.state != REWRITING:
            await self._check(header)
            if self.report.dry_run:
                return
            header = await self._switch()
        elif self.report.dry_run:
            await self._check(header)
            return
        running = header.running
        assert running is not None
        try:
            await self._rewrite_all(running)
        except BaseException as error:
            await self._put_back(running, error)
            raise

    def _is_done(self, header: Header) -> bool:
        """Whether nothing is to be done. Raises for a store that this program cannot migrate now."""
        running, asked = header.running, self.report
        if running is not None and running.state == ROLLING_BACK:
            raise MigrationError(
                f"the store is being rolled back to {running.end}",
                adapter=self.store.adapter,
                hint="wait until it has ended, or call rollback, which goes on with it",
            )
        if order(header.schema) > order(asked.to_version):
            raise SchemaTooNewError(
                f"the store is at version {header.schema}; this program knows {asked.to_version}",
                adapter=self.store.adapter,
                hint="update the program; nothing was changed",
            )
        if order(header.schema) < order(asked.from_version):
            raise MigrationError(
                f"the store is at version {header.schema}, before {asked.from_version}",
                adapter=self.store.adapter,
                hint=f"declare a step that begins at {header.schema!r}"
                if self.line.way(header.schema) is None
                else f"call migrate({header.schema!r}, {asked.to_version!r})",
            )
        done = order(header.migrated) == order(asked.to_version) and updated(header, self.store.migrations)
        return running is None and done == header

    # -- trying ------------------------------------------------------------------------------------

    async def _check(self, header: Header) -> View:
        """Run every step on every record and write nothing; what store steps make of the store."""
        report = self.report
        report.records = report.rewritten = 0
        report.steps, report.moved, report.damaged = {}, {}, []
        view = await self._store_steps(header)
        made = view.results()
        report.moved = {key: "deleted" if data is None else "written" for key, data in made.items()}

        def told(progress: Walked) -> None:
            self._tell("checking", progress.done, None)

        async for page in pages(user_keys(self.store), size=CHUNK, progress=told):
            found = await self.store.adapter.fetch(page)
            for key, stored in found.items():
                report.records += 1
                if key not in view.changes and self._renewed(key, stored) is not None:
                    report.rewritten += 1
        return view

    def _pending(self, header: Header) -> list[Edge]:
        return [edge for edge in self.line.way(header.schema) or () if edge.stores]

    async def _store_steps(self, header: Header) -> View:
        view = View(self.store)
        for edge in self._pending(header):
            for step in edge.stores:
                await view.run(edge, step.name, step.function)
        return view

    def _renewed(self, key: str, stored: Stored) -> bytes | None:
        """The record of today for an older one. None: it stays as it is."""
        ready = self._ready.get(key)
        if ready is not None and ready[0] == stored.version:
            return self._counted(*ready[1:])
        store = self.store
        try:
            if stored.damage is not None:
                raise Damage(stored.damage)
            record = open_record(key, stored.data, self._likely)
        except Damage:
            self.report.damaged.append(key)
            return None
        except NewerFormat:
            return None
        self._likely = record.schema
        made = store.renewed(key, record)
        if made is None or store.expired(record):
            return None
        validated(store, key, made.body)
        data = store.migrations.sealed(key, made.body, record.expires, made.label)
        if self._room > len(data):
            self._room -= len(data)
            self._ready[key] = stored.version, data, made.steps
        return self._counted(data, made.steps)

    def _counted(self, data: bytes, steps: list[str]) -> bytes:
        for name in steps:
            self.report.steps[name] = self.report.steps.get(name, 0) + 1
        return data

    # -- switching ---------------------------------------------------------------------------------

    async def _switch(self) -> Header:
        """One commit after which the store is at the new version."""
        for attempt in range(_ATTEMPTS):
            header = await self.head.read()
            assert header is not None
            try:
                return await self._switch_once(header)
            except ConflictError:
                await backoff(attempt)
        raise MigrationError(
            "other programs changed the store again and again while it was to be migrated",
            adapter=self.store.adapter,
            hint="end them first; nothing was changed",
        )

    async def _switch_once(self, header: Header) -> Header:
        before = header
        if header.running is not None:  # somebody has tried, and was killed or is still at it
            before = msgspec.structs.replace(header, running=None)
        try:
            if not self._pending(header):
                return await self._commit_switch(before, View(self.store))
            # Older programs are kept from saving while the store steps run, so that these see every key.
            stopped = Running("", header.schema, self.report.to_version, CHECKING)
            await self.head.commit(msgspec.structs.replace(header, running=stopped))
            return await self._commit_switch(before, await self._store_steps(before))
        except BaseException as error:
            await self._let_go(before, error)
            raise

    async def _let_go(self, before: Header, error: BaseException) -> None:
        """Let older programs save again; and put everything back if the switch did happen."""
        try:
            await self.store.settle()  # a commit that was cancelled may be on its way still
            now = await self.head.read()
            if now is None or now.running is None:
                return
            if now.running.state == CHECKING:
                await self.head.commit(before)
            elif not isinstance(error, ConflictError):
                await Undoing(self.store, self.head).undo(now.running.id)
        except Exception as second:  # told with the error that counts
            error.add_note(f"older programs cannot save until migrate or rollback is called: {second}")

    async def _commit_switch(self, header: Header, view: View) -> Header:
        id = uuid.uuid4().hex[:16]
        start = header.schema
        if order(start) == order(self.report.to_version):  # saved by this version, and not rewritten yet
            start = max(header.migrated, self.report.from_version, key=order)
        clients = {name: client.schema for name, client in header.clients.items() if client.schema}
        kept = Kept(id, start, self.report.to_version, header.schema, header.layout, header.migrated, clients)
        changes: dict[str, bytes | None] = {}
        for key, data in view.results().items():
            changes[key] = data
            before = view.before.get(key)
            changes[original_key(id, key, by_step=True)] = Original.of(before, data).to_bytes()
        now = msgspec.structs.replace(
            updated(header, self.store.migrations),
            layout=max(header.layout, layout_of(self.line), key=order),
            kept=(*header.kept, kept),
            running=Running(id, start, self.report.to_version, REWRITING),
        )
        await self.head.commit(now, changes, view.found)
        return now

    # -- rewriting ---------------------------------------------------------------------------------

    async def _rewrite_all(self, running: Running) -> None:
        total = self.report.records or None
        self.report.records = self.report.rewritten = 0
        self.report.steps, self.report.damaged = {}, []

        def told(progress: Walked) -> None:
            self._tell("rewriting", progress.done, total)

        async for page in pages(
            user_keys(self.store), size=CHUNK, after=running.after or None, progress=told
        ):
            await self._rewrite(page, running.id)
        header = self.head.header
        while header is not None and header.running is not None:
            done = msgspec.structs.replace(header, migrated=self.report.to_version, running=None)
            try:
                await self.head.commit(done)
            except ConflictError:
                header = await self._still(running.id)
            else:
                return

    async def _rewrite(self, page: Collection[str], id: str) -> None:
        """Rewrite what is old among the keys of ``page``, with the header that says so, in one commit."""
        last = max(page)
        for attempt in range(_ATTEMPTS):
            before = dict(self.report.steps), list(self.report.damaged)
            changes, expect = await self._changes(page, id)
            header = self.head.header
            if not expect or header is None or header.running is None or header.running.after >= last:
                break
            done = msgspec.structs.replace(header.running, after=last)
            try:
                await self.head.commit(
                    msgspec.structs.replace(header, running=done), changes, expect, self.store.weakest
                )
            except ConflictError:
                self.report.steps, self.report.damaged = before
                await backoff(attempt)
                if await self._still(id) is None:
                    return
                continue
            self.report.rewritten += len(expect)
            break
        else:
            raise MigrationError(
                "other programs change the same records again and again",
                key=last,
                adapter=self.store.adapter,
                hint="call migrate again when they are calmer",
            )
        self.report.records += len(page)

    async def _changes(
        self, page: Collection[str], id: str
    ) -> tuple[dict[str, bytes | None], dict[str, str | None]]:
        changes: dict[str, bytes | None] = {}
        expect: dict[str, str | None] = {}
        for key, stored in (await self.store.adapter.fetch(page)).items():
            data = self._renewed(key, stored)
            if data is not None and data != stored.data:
                changes[key] = data
                changes[original_key(id, key)] = Original.of(stored.data, data).to_bytes()
                expect[key] = stored.version
        return changes, expect

    async def _still(self, id: str) -> Header | None:
        """The header, if this migration goes on. None: another process has finished it."""
        header = await self.head.read()
        running = None if header is None else header.running
        if running is not None and running.id == id and running.state == REWRITING:
            return header
        if header is not None and running is None and any(kept.id == id for kept in header.kept):
            return None
        raise MigrationError(
            "somebody else has rolled this migration back",
            adapter=self.store.adapter,
            hint="every record is as it was; call migrate again to begin anew",
        )

    async def _put_back(self, running: Running, error: BaseException) -> None:
        """Put every record back as it was; what keeps that from being done is added to ``error``."""
        try:
            await self.store.settle()  # a commit that was cancelled may be on its way still
            await Undoing(self.store, self.head).undo(running.id)
        except Exception as second:
            error.add_note(
                f"the migration could not be put back ({second}): call migrate again to go on with it, or "
                f"rollback({running.start!r}) to go back"
            )

    def _tell(self, phase: str, done: int, total: int | None) -> None:
        if self._progress is not None:
            self._progress(MigrationProgress(phase, done, total))
