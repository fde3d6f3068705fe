"""Back to an earlier version: from kept originals, or by each step's ``down``; and the end of originals."""

from __future__ import annotations

import msgspec

from ..errors import ConfigurationError, ConflictError, CorruptedDataError, MigrationError
from ..keys import INTERNAL
from ..records.migrations import Edge, check_version, order
from ..runtime.acting import because
from ..runtime.turn import backoff
from ..store._header import HEADER
from ..store._standing import ROLLING_BACK, Header, Running, layout_of
from ..store.store import Store
from ._migration import CHUNK, Headline, View, naming, user_keys
from ._originals import ORIGINALS, kept_at, without
from ._undoing import OvertakenError, RollbackReport, Undoing
from .walk import OnProgress, pages

__all__ = ["RollbackReport", "finalize", "rollback"]

_ATTEMPTS = 32

_PLACES = 16
"""Places of originals that are looked at together; each may hold a megabyte."""


async def rollback(store: Store, to_version: str, *, progress: OnProgress | None = None) -> RollbackReport:
    """Bring the store back to ``to_version``, which it had before a migration.

    Until ``finalize``, from the originals: what nobody has saved since is byte for byte as it was; what
    was saved since goes through the ``down`` of each step, or, where one has none, to quarantine, and the
    original is back. Afterwards by ``down`` alone: then every step needs one, or ``MigrationError`` is
    raised and nothing changes. Killed at any point, the next ``rollback`` goes on.
    """
    check_version(to_version)
    async with store.turn("migrate"):
        with naming(store), because(f"rollback to {to_version}"):
            try:
                return await _rolled_back(store, to_version, progress)
            except OvertakenError:  # by a commit that was on its way: nobody else has the turn
                return await _rolled_back(store, to_version, progress)


async def _rolled_back(store: Store, to_version: str, progress: OnProgress | None) -> RollbackReport:
    head = Headline(store)
    header = await head.read()
    work = Undoing(store, head, progress)
    work.report.to_version = to_version
    if header is None:
        return work.report
    if [kept for kept in header.kept if kept.start == to_version]:
        while header is not None and any(kept.start == to_version for kept in header.kept):
            await work.undo(header.kept[-1].id, whole=header.kept[-1].start == to_version)
            header = await head.read()
        return work.report
    if order(header.schema) > order(to_version) or header.running is not None:
        await _by_downs(store, head, header, work, to_version)
    return work.report


async def _by_downs(store: Store, head: Headline, header: Header, work: Undoing, to_version: str) -> None:
    line = store.migrations.store_line
    way = line.way(to_version)
    if way is None or order(header.schema) > order(line.current):
        raise ConfigurationError(
            f"no way back from {header.schema} to {to_version} is known",
            adapter=store.adapter,
            hint="give the program that migrated the store, with its Migrations",
        )
    clients = {own.name: own.current for own in store.migrations.clients()}
    view = await _store_downs(store, way, header)
    await _try(work, to_version, view)
    running = Running("", header.schema, to_version, ROLLING_BACK)
    if header.running is None or header.running.state != ROLLING_BACK:
        await work.begin(running)
    await work.come_down(to_version, clients, without=view.changes, strict=True)
    for attempt in range(_ATTEMPTS):
        now = await head.read()
        assert now is not None
        view = await _store_downs(store, way, now)
        before = msgspec.structs.replace(
            now,
            schema=to_version,
            layout=layout_of(line, until=to_version),
            migrated=min(now.migrated, to_version, key=order),
            kept=tuple(kept for kept in now.kept if order(kept.end) <= order(to_version)),
            running=None,
        )
        try:
            await head.commit(before, view.results(to_version), view.found)
        except ConflictError:
            await backoff(attempt)
            continue
        work.report.converted += len(view.changes)
        return


async def _store_downs(store: Store, way: tuple[Edge, ...], header: Header) -> View:
    """What the store steps' ways down make of the store. Raises ``MigrationError`` where one has none."""
    view = View(store)
    for edge in reversed(way):
        if order(edge.end) > order(header.layout):
            continue  # it was never done here
        for step in reversed(edge.stores):
            if step.down is None:
                raise MigrationError(
                    f"the store step {edge.describe(step.name)} has no down, and no originals are kept",
                    adapter=store.adapter,
                    step=step.name,
                    hint="declare the step with down=, or restore a snapshot",
                )
            await view.run(edge, step.name, step.down)
    return view


async def _try(work: Undoing, to_version: str, view: View) -> None:
    """Run every way down and write nothing."""
    view.results(to_version)
    store = work.store
    trial = Undoing(store, Headline(store))
    clients = {own.name: own.current for own in store.migrations.clients()}
    keys = (key async for key in user_keys(store.adapter) if key not in view.changes)
    async for page in pages(keys, size=CHUNK, progress=lambda walked: work.tell(walked.done)):
        for key, stored in (await store.adapter.fetch(page)).items():
            trial.lower(key, stored, to_version, clients, strict=True)


async def finalize(store: Store) -> int:
    """Drop the originals of finished migrations; how many records they were. Idempotent.

    From then on ``rollback`` works by ``down`` alone. Raises ``MigrationError`` while a migration is not
    finished. Killed at any point, the next ``finalize`` drops the rest.
    """
    async with store.turn("migrate"):
        with because("originals of migrations are dropped"):
            head, dropped = Headline(store), 0
            header = await _without_kept(store, head)
            if header is None:
                return 0
            async for page in pages(store.adapter.keys(ORIGINALS), size=_PLACES):
                header = await head.read()
                assert header is not None
                needed = tuple(f"{ORIGINALS}{kept.id}/" for kept in header.kept)  # of a migration since
                old = [place for place in page if not place.startswith(needed or ("\0",))]
                gone: dict[str, bytes | None] = dict.fromkeys(old)
                count = 0
                for place, stored in (await store.adapter.fetch(old)).items():
                    gone |= without(place, stored.data)
                    count += _how_many(store, place, stored.data)
                if gone:
                    await store.adapter.commit(gone, expect={HEADER: head.version}, durability=store.together)
                dropped += count
            await store.adapter.commit({})
            return dropped


def _how_many(store: Store, place: str, data: bytes) -> int:
    try:
        return sum(original.key[0] != INTERNAL for original in kept_at(store, place, data))
    except CorruptedDataError:
        return 0  # nobody can tell any more, and they are to go


async def _without_kept(store: Store, head: Headline) -> Header | None:
    for attempt in range(_ATTEMPTS):
        header = await head.read()
        if header is None or not header.kept:
            return header
        if header.running is not None:
            raise MigrationError(
                f"a migration to {header.running.end} is not finished",
                adapter=store.adapter,
                hint="call migrate, which goes on with it, or rollback",
            )
        try:
            await head.commit(msgspec.structs.replace(header, kept=()))
        except ConflictError:
            await backoff(attempt)
            continue
        return head.header
    raise MigrationError(
        "other programs change the store again and again",
        adapter=store.adapter,
        hint="end them, and call finalize again",
    )
