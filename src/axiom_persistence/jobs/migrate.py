"""Bring a whole store to the version that the program knows; nothing is served by halves.

First everything is tried: every step on every record, every result decoded, nothing written. Then one commit
switches: what store steps changed, and the header that says so. From there on the store is at the new
version, since a record of an older one is read as a new one; these are then rewritten, a thousand in a
commit, each with its original. Killed at any point, the next ``migrate`` goes on where this one was; failed
or cancelled, everything is put back.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from ..errors import ConfigurationError, ConflictError, MigrationError, SchemaTooNewError
from ..keys import INTERNAL
from ..records.migrations import Edge, check_version, order
from ..runtime.acting import because
from ..runtime.turn import backoff
from ..store._header import HEADER
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
from ._migration import CHUNK, Headline, View, naming, user_keys
from ._originals import keep, originals_of
from ._renewing import Renewed, Renewing
from ._selection import source_of
from ._undoing import Undoing
from .walk import Progress as Walked
from .walk import pages

__all__ = ["MigrationProgress", "MigrationReport", "migrate"]

_ATTEMPTS = 32


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

T = TypeVar("T")


def _is_rewriting(header: Header) -> bool:
    return header.running is not None and header.running.state == REWRITING


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
        self._id = uuid.uuid4().hex[:16]
        self._progress = progress

    async def run(self) -> None:
        header = await self._tried()
        if header is None or self.report.dry_run:
            return
        if not _is_rewriting(header):
            header = await self._switch()
        running = header.running
        if running is None:
            return  # another process has done it all meanwhile
        try:
            await self._rewrite_all(running)
        except BaseException as error:
            await self._put_back(running, error)
            raise

    async def _tried(self) -> Header | None:
        """The header of a store on which everything was tried, or is being rewritten. None: it is done."""
        for attempt in range(_ATTEMPTS):
            header = await self.head.read()
            if header is None or self._is_done(header):
                return None
            self.renewing = Renewing(self.store, await source_of(self.store), self.report.damaged)
            if _is_rewriting(header) and not self.report.dry_run:
                return header
            try:
                await self._unless_overtaken(self._check(header))
            except ConflictError:
                await backoff(attempt)
            else:
                return header
        raise self._busy()

    async def _unless_overtaken(self, work: Awaitable[T]) -> T:
        """What steps make of a store. ``ConflictError``: it is half another's by now, and they may fail."""
        version = self.head.version
        try:
            return await work
        except MigrationError as error:
            await self.head.read()
            if self.head.version == version:
                raise
            raise ConflictError("the store is being migrated", key=HEADER) from error

    def _busy(self) -> MigrationError:
        return MigrationError(
            "other programs changed the store again and again while it was to be migrated",
            adapter=self.store.adapter,
            hint="end them first; nothing was changed",
        )

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
        report.steps, report.moved = {}, {}
        report.damaged.clear()
        view = await self._store_steps(header)
        made = view.results()
        users = {key: data for key, data in made.items() if key[0] != INTERNAL}
        report.moved = {key: "deleted" if data is None else "written" for key, data in users.items()}

        def told(progress: Walked) -> None:
            self._tell("checking", progress.done, None)

        renewing = self.renewing
        async for page in pages(user_keys(renewing.source), size=CHUNK, progress=told):
            for keys in renewing.pieces(page):
                tried = await renewing.tried(keys)
                for key in view.changes.keys() & tried.keys():
                    del tried[key]
                if report.dry_run:
                    self._count(tried)  # else they are counted when they are rewritten
                renewing.keep(tried)
                report.records += len(keys)
        return view

    def _pending(self, header: Header) -> list[Edge]:
        return [edge for edge in self.line.way(header.schema) or () if edge.stores]

    async def _store_steps(self, header: Header) -> View:
        view = View(self.store)
        for edge in self._pending(header):
            for step in edge.stores:
                await view.run(edge, step.name, step.function)
        return view

    def _count(self, made: Mapping[str, Renewed]) -> None:
        self.report.rewritten += len(made)
        steps = self.report.steps
        for names, count in Counter(one.steps for one in made.values()).items():
            for name in names:
                steps[name] = steps.get(name, 0) + count

    # -- switching ---------------------------------------------------------------------------------

    async def _switch(self) -> Header:
        """One commit after which the store is at the new version."""
        for attempt in range(_ATTEMPTS):
            header = await self.head.read()
            assert header is not None
            if self._is_done(header) or _is_rewriting(header):
                return header  # another process was faster
            try:
                return await self._switch_once(header)
            except ConflictError:
                await backoff(attempt)
        raise self._busy()

    async def _switch_once(self, header: Header) -> Header:
        before = header
        if header.running is not None:  # somebody has tried, and was killed or is still at it
            before = msgspec.structs.replace(header, running=None)
        try:
            if not self._pending(header):
                return await self._commit_switch(before, View(self.store))
            # Older programs are kept from saving while the store steps run, so that these see every key.
            stopped = Running("", header.schema, self.report.to_version, CHECKING)
            if header.running != stopped:
                await self.head.commit(msgspec.structs.replace(header, running=stopped))
            view = await self._unless_overtaken(self._store_steps(before))
            return await self._commit_switch(before, view)
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
            elif now.running.id == self._id:
                await Undoing(self.store, self.head).undo(now.running.id)
        except Exception as second:  # told with the error that counts
            error.add_note(f"older programs cannot save until migrate or rollback is called: {second}")

    async def _commit_switch(self, header: Header, view: View) -> Header:
        id = self._id
        start = header.schema
        if order(start) == order(self.report.to_version):  # saved by this version, and not rewritten yet
            start = max(header.migrated, self.report.from_version, key=order)
        clients = {name: client.schema for name, client in header.clients.items() if client.schema}
        kept = Kept(id, start, self.report.to_version, header.schema, header.layout, header.migrated, clients)
        changes = view.results()
        before = {key: view.before.get(key) for key in changes}
        originals = await originals_of(self.store, before, changes, generations=True)
        changes |= keep(self.store, id, originals, by_step=True)
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
        self.report.steps = {}
        self.report.damaged.clear()

        def told(progress: Walked) -> None:
            self._tell("rewriting", progress.done, total)

        keys = user_keys(self.renewing.source, after=running.after)
        async for page in pages(keys, size=CHUNK, progress=told):
            for some in self.renewing.pieces(page):
                await self._rewrite(some, running.id)
        header = self.head.header
        while header is not None and header.running is not None:
            done = msgspec.structs.replace(header, migrated=self.report.to_version, running=None)
            try:
                await self.head.commit(done)
            except ConflictError:
                header = await self._still(running.id)
            else:
                return

    async def _rewrite(self, keys: Sequence[str], id: str) -> None:
        """Rewrite what is old among ``keys``, with the header that says so, in one commit."""
        last = keys[-1]
        for attempt in range(_ATTEMPTS):
            damaged = len(self.report.damaged)
            renewed = await self.renewing.of(keys)
            header = self.head.header
            if not renewed or header is None or header.running is None or header.running.after >= last:
                break
            done = msgspec.structs.replace(
                header, running=msgspec.structs.replace(header.running, after=last)
            )
            changes: dict[str, bytes | None] = {key: one.new for key, one in renewed.items()}
            before = {key: one.old for key, one in renewed.items()}
            lasting = self.store.together is None  # such a commit leaves a new generation before
            originals = await originals_of(self.store, before, changes, generations=lasting)
            changes |= keep(self.store, id, originals)
            expect: dict[str, str | None] = {key: one.version for key, one in renewed.items()}
            try:
                await self.head.commit(done, changes, expect, self.store.together)
            except ConflictError:
                del self.report.damaged[damaged:]
                await backoff(attempt)
                if await self._still(id) is None:
                    return
                continue
            self._count(renewed)
            break
        else:
            raise MigrationError(
                "other programs change the same records again and again",
                key=last,
                adapter=self.store.adapter,
                hint="call migrate again when they are calmer",
            )
        self.report.records += len(keys)

    async def _still(self, id: str) -> Header | None:
        """The header, if this migration goes on. None: another process has finished it."""
        header = await self.head.read()
        running = None if header is None else header.running
        if running is not None and running.id == id and running.state == REWRITING:
            return header
        if header is not None and running is None and self._is_done(header):
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
