"""Erasing all that is about somebody, so that nothing of it can be read and no copy brings it back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from ..errors import ConflictError
from ..keys import INTERNAL
from ..records._subject import ENTRIES, name_of
from ..runtime.turn import backoff
from ..store.store import Store
from ._erasures import Erasure, Mark, marks, write_mark
from ._receipt import Erased, Receipt, id_of, part_of
from ._scrub import Scrub
from ._snapshots import directory_of, made_beside, source_in
from .walk import OnProgress, Progress

__all__ = ["ErasureReport", "Target", "erase"]

_SHOWN: Final = 1000
_ATTEMPTS: Final = 64


class Target(NamedTuple):
    """What is to be erased: records about a subject or, with ``prefix``, those whose keys begin with it."""

    name: str
    """The hash of the subject's name, or of the prefix."""
    prefix: str | None = None

    @classmethod
    def subject(cls, subject: str) -> Target:
        return cls(name_of(subject))

    @classmethod
    def keys(cls, prefix: str) -> Target:
        return cls(name_of(prefix), prefix)


@dataclass(slots=True)
class ErasureReport:
    """What an erasure did, or would do."""

    records: int = 0
    """How many records it was, or would be, about."""
    keys: list[str] = field(default_factory=list)
    """Their keys: of a dry run all, else the first thousand of those that this call erased."""
    snapshots: int = 0
    """How many snapshots beside the store were gone through."""
    receipt: Receipt | None = None
    """None: nothing of it was ever here, or it was a dry run."""


async def erase(
    stores: Sequence[Store],
    target: Target,
    *,
    dry_run: bool = False,
    progress: OnProgress | None = None,
) -> ErasureReport:
    """Erase ``target`` in each of ``stores`` and in the snapshots beside them.

    First a mark, from which on nothing about the subject can be read; then the key, where there is one; then
    the records. Killed anywhere, the next call goes on. What is erased already has the receipt it had.
    """
    report = ErasureReport()
    parts = []
    for store in stores:
        if dry_run:
            await _look(store, target, report)
        elif (part := await _erase(store, target, report, progress)) is not None:
            parts.append(part)
    report.receipt = Receipt(parts) if parts else None
    return report


async def _look(store: Store, target: Target, report: ErasureReport) -> None:
    for mark in await _open_marks(store, target, begin=False):
        report.keys += _users([key async for key in _scrub(store, target, mark).keys(store.adapter)])
    report.records = len(report.keys)
    report.snapshots += len(await made_beside(store))


def _users(keys: Iterable[str]) -> list[str]:
    """Without records of the library's own, such as originals of a migration."""
    return [key for key in keys if key[0] != INTERNAL]


def _scrub(store: Store, target: Target, mark: Mark) -> Scrub:
    kept = () if store.header is None else store.header.kept
    return Scrub(mark.tag, target.prefix, [migration.id for migration in kept])


async def _erase(
    store: Store, target: Target, report: ErasureReport, progress: OnProgress | None
) -> Erased | None:
    await store.look()
    await store.settle()  # what was called before is in the store, and not in a cache
    for mark in await _open_marks(store, target, begin=True):
        scrub = _scrub(store, target, mark)
        counted = await _counted(store, scrub, mark)
        await _go_through(store, scrub, counted, report, progress)
        await _changed(store, counted, ended=store.clock())
    return await _last(store, target, report)


async def _go_through(
    store: Store, scrub: Scrub, mark: Mark, report: ErasureReport, progress: OnProgress | None
) -> None:
    done = 0

    def told(page: list[str]) -> None:
        nonlocal done
        users = _users(page)
        done += len(users)
        report.keys += users[: max(0, _SHOWN - len(report.keys))]
        for key in page:
            store.forget_refusal(key)  # damaged bytes of it that wait for their place in quarantine
        if progress is not None:
            progress(Progress(done, mark.erasure.records, page[-1]))

    await scrub.run(store.adapter, told)
    made = await made_beside(store)
    if made and store.confidential:
        from ._subject_keys import destroy_keys  # few stores are encrypted

        await destroy_keys(store, directory_of(store, None))
    for snapshot in made:
        async with source_in(store, snapshot.path, inspect=False) as copy:
            await scrub.run(copy, lambda _: None)
        report.snapshots += 1
    if progress is not None:
        progress(Progress(done, mark.erasure.records))


async def _open_marks(store: Store, target: Target, *, begin: bool) -> list[Mark]:
    """The erasures of ``target`` that have not ended, those that begin now among them.

    Unless ``begin``, nothing is written, and the marks of those that would begin are only made up.
    """
    found = [mark for mark in await _of(store, target) if mark.erasure.ended is None]
    if target.prefix is None:
        tags = await _tags(store, target.name)
    elif found or not [key async for key in store.adapter.keys(target.prefix, limit=1)]:
        tags = []
    else:
        tags = [f"{target.name}-{os.urandom(8).hex()}"]
    known = {mark.tag for mark in found}
    for tag in tags:
        if tag not in known:
            mark = Mark(tag, Erasure.new(store.clock(), target.prefix), None)
            found.append(await _begun(store, target, mark) if begin else mark)
    return found


async def _tags(store: Store, name: str) -> list[str]:
    """The tags that a subject has here: one, unless the record that says so was ever lost."""
    known = await store.known_tag(name)
    tags = [] if known is None else [known.text]
    begin = f"{ENTRIES}{name}-"
    after = begin
    while page := [key async for key in store.adapter.keys(begin, after=after, limit=1)]:
        tag = page[0][len(ENTRIES) :].partition("/")[0]
        if tag not in tags:
            tags.append(tag)
        after = f"{ENTRIES}{tag}/\U0010ffff"
    return tags


async def _begun(store: Store, target: Target, mark: Mark) -> Mark:
    """From here on nothing about the subject can be read, and what is saved about it is another's."""
    for attempt in range(_ATTEMPTS):
        known = None if target.prefix is not None else await store.known_tag(target.name)
        also: dict[str, bytes | None] = {}
        expect: dict[str, str | None] = {}
        if known is not None and known.text == mark.tag:
            also, expect = {known.place: None}, {known.place: known.seen.version}
        try:
            return await write_mark(store, mark, also, expect)
        except ConflictError:
            async for other in marks(store, mark.tag):
                return other  # another process has begun it, too
            await backoff(attempt)
    raise _in_vain(store)


async def _of(store: Store, target: Target) -> list[Mark]:
    by_prefix = target.prefix is not None
    found = [mark async for mark in marks(store, target.name)]
    return [mark for mark in found if (mark.erasure.length is not None) is by_prefix]


async def _counted(store: Store, scrub: Scrub, mark: Mark) -> Mark:
    if mark.erasure.records is not None:
        return mark
    count = 0
    async for key in scrub.keys(store.adapter):
        count += key[0] != INTERNAL
    return await _changed(store, mark, records=count)


async def _changed(store: Store, mark: Mark, **changes: float) -> Mark:
    """``mark`` with what is news, unless another process was faster: then as that one left it."""
    for attempt in range(_ATTEMPTS):
        news = {name: value for name, value in changes.items() if getattr(mark.erasure, name) is None}
        if not news:
            return mark
        erasure = msgspec.structs.replace(mark.erasure, **news)
        try:
            return await write_mark(store, mark._replace(erasure=erasure))
        except ConflictError:
            await backoff(attempt)
            async for other in marks(store, mark.tag):
                mark = other
    raise _in_vain(store)


def _in_vain(store: Store) -> ConflictError:
    return ConflictError(
        f"other processes erase the same all the time; {_ATTEMPTS} attempts were in vain",
        adapter=store.adapter,
        hint="let one of them do it",
    )


async def _last(store: Store, target: Target, report: ErasureReport) -> Erased | None:
    ended = [mark for mark in await _of(store, target) if mark.erasure.ended is not None]
    if not ended:
        return None
    mark = max(ended, key=lambda mark: mark.erasure.ended or 0)
    part = part_of(await id_of(store), mark)
    report.records += part.records
    return part
