"""Bring records into a store: those of an archive, or of another store."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Literal, NamedTuple, get_args

from ..errors import (
    ConfigurationError,
    ConflictError,
    InvalidKeyError,
    from_os_error,
    shown,
)
from ..records._subject import tag_in
from ..records.head import HEAD_BYTES, UNSAID, expiry_in
from ..records.record import Damage, NewerFormat, is_plain, look_at, open_record, seal_about, seal_body
from ..runtime.acting import because
from ..runtime.threads import in_thread
from ..runtime.turn import backoff
from ..storage.adapter import Stored
from ..store._tagged import Tag
from ..store.store import Store
from ._erasures import Erasures
from ._lines import ArchiveFault, Entry, Reader
from ._sealed import tag_of_sealed, unsealed_body
from ._selection import Selection, selected
from .walk import PAGE, OnProgress, Progress

__all__ = ["Conflict", "ImportReport", "Place", "Source", "copy_into", "import_from"]

Source = str | os.PathLike[str] | BinaryIO
"""The path of an archive, or a binary file that is open for reading, such as ``sys.stdin.buffer``."""

Conflict = Literal["skip", "overwrite", "newer", "fail"]

_Verdict = Literal["added", "replaced", "kept", "same"]

_POLICIES: Final = get_args(Conflict)
_TOGETHER: Final = 8 * PAGE
"""Records that are read by one thread, fewer where they have more bytes than that:"""
_TOGETHER_BYTES: Final = 1 << 22
_ATTEMPTS: Final = 64


@dataclass(slots=True)
class ImportReport:
    """What an import did, or would do. True when everything could be used."""

    added: int = 0
    """Records that were not there."""
    replaced: int = 0
    """Records that were there with another value, and have the archive's now."""
    kept: int = 0
    """Records that were there with another value, and still have it."""
    same: int = 0
    """Records that were there as they are in the archive; also those that an interrupted import brought."""
    expired: int = 0
    """Records whose time was over."""
    erased: int = 0
    """Records of what was erased from this store since: they do not come back."""
    faults: list[ArchiveFault] = field(default_factory=list)
    """What could not be used."""

    def __bool__(self) -> bool:
        return not self.faults

    @property
    def done(self) -> int:
        return self.added + self.replaced + self.kept + self.same + self.expired + self.erased


class Place(NamedTuple):
    """Where records go."""

    store: Store
    view: str = ""
    """What is put before every key."""
    secure: Store | None = None
    """Where secrets go. None: there is no place for them."""


async def import_from(
    source: Source,
    place: Place,
    *,
    conflict: Conflict = "skip",
    prefix: str = "",
    dry_run: bool = False,
    progress: OnProgress | None = None,
) -> ImportReport:
    """Bring the records of an archive, whose keys begin with ``prefix``, into ``place``.

    What is there already stays (``skip``), is replaced (``overwrite``), is replaced where the archive's was
    saved later (``newer``; the archive must have been written with ``times=True``), or makes the import raise
    ``ConflictError`` before anything is changed (``fail``). Interrupted, it is begun again: what it brought
    is found to be the same. Damaged lines are told in the report, and all others are used.
    """
    _check(conflict)
    intake = _Intake(place, conflict, dry_run)
    if conflict == "fail" and not dry_run:
        if not isinstance(source, (str, os.PathLike)):
            raise ConfigurationError(
                "conflict='fail' reads an archive twice, which is not possible with a stream",
                hint="give the path of a file",
            )
        await import_from(source, place, conflict=conflict, prefix=prefix, dry_run=True)
    with _opened(source) as reader:
        entries = reader.entries()
        if prefix:
            entries = (entry for entry in entries if entry.key.startswith(prefix))
        while some := await in_thread(lambda: _some(entries, source)):
            for at in range(0, len(some), PAGE):
                page = some[at : at + PAGE]
                await intake.take(page)
                if progress is not None:
                    progress(Progress(intake.report.done, None, page[-1].key))
        await intake.settle()
        intake.report.faults = sorted(intake.report.faults + reader.faults, key=lambda fault: fault.line or 0)
    if progress is not None:
        progress(Progress(intake.report.done, intake.report.done))
    return intake.report


async def copy_into(
    place: Place,
    selections: Sequence[Selection],
    *,
    conflict: Conflict = "skip",
    dry_run: bool = False,
    progress: OnProgress | None = None,
) -> ImportReport:
    """Bring what ``selections`` select of other stores into ``place``: an export and an import in one."""
    _check(conflict)
    intake = _Intake(place, conflict, dry_run)
    if conflict == "fail" and not dry_run:
        await copy_into(place, selections, conflict=conflict, dry_run=True)
    for selection in selections:
        async for page in _entries(selection, intake.report.faults, times=conflict == "newer"):
            await intake.take(page)
            if progress is not None:
                progress(Progress(intake.report.done, None, page[-1].key))
    await intake.settle()
    if progress is not None:
        progress(Progress(intake.report.done, intake.report.done))
    return intake.report


async def _entries(
    selection: Selection, faults: list[ArchiveFault], *, times: bool
) -> AsyncIterator[list[Entry]]:
    async for page in selected(selection, faults, times=times):
        if page:
            yield [Entry(name, selection.secure, saved, body) for name, body, saved in page]


def _check(conflict: str) -> None:
    if conflict not in _POLICIES:
        known = ", ".join(map(repr, _POLICIES))
        raise ConfigurationError(
            f"conflict is one of {known}, not {shown(conflict)}",
            hint="leave conflict out to keep what is there",
        )


@contextmanager
def _opened(source: Source) -> Iterator[Reader]:
    """A reader of the archive. A file that somebody else opened stays open."""
    if isinstance(source, (str, os.PathLike)):
        try:
            file = open(source, "rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise from_os_error(error, "cannot read the archive", adapter=source) from error
        with file:
            yield Reader(file, str(source))
        return
    buffered = source if isinstance(source, io.BufferedReader) else io.BufferedReader(source)  # type: ignore[type-var]
    try:
        yield Reader(buffered, getattr(source, "name", "the archive"))
    finally:
        if buffered is not source:
            buffered.detach()


def _some(entries: Iterator[Entry], source: Source) -> list[Entry]:
    """The next entries: fewer where they are large, none at the end."""
    found, size = [], 0
    try:
        for entry in entries:
            found.append(entry)
            size += len(entry.body)
            if len(found) == _TOGETHER or size >= _TOGETHER_BYTES:
                break
    except OSError as error:
        raise from_os_error(error, "cannot read the archive", adapter=source) from error
    return found


@dataclass(slots=True)
class _Wanted:
    """What of a page is to be in a store, by its keys there."""

    records: dict[str, bytes] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    expiring: set[str] = field(default_factory=set)
    is_tagged: bool = False
    """Whether one of them is about a subject."""


class _Intake:
    """Takes records in, a page in one commit."""

    def __init__(self, place: Place, conflict: Conflict, dry_run: bool) -> None:
        self._place = place
        self._conflict = conflict
        self._dry_run = dry_run
        self._erasures: dict[Store, Erasures] = {}
        self.report: ImportReport = ImportReport()
        self._all_new = not dry_run
        """Whether to try first to take a page in as if nothing of it was there."""

    async def settle(self) -> None:
        """Return when what was taken in is as durable as the stores' saves are."""
        for store in (self._place.store, self._place.secure):
            if store is not None and not self._dry_run:
                await store.adapter.commit({}, durability=store.default_durability)

    async def take(self, page: Sequence[Entry]) -> None:
        plain = [entry for entry in page if not entry.secure]
        if plain:
            await self._take(plain, self._place.store)
        secure = [entry for entry in page if entry.secure]
        if secure and self._place.secure is not None:
            await self._take(secure, self._place.secure)
        elif secure:
            self.report.faults += [
                ArchiveFault(entry.line or None, entry.key, "a secret, and this store has no place for them")
                for entry in secure
            ]

    async def _take(self, page: Sequence[Entry], store: Store) -> None:
        wanted = await self._wanted(page, store)
        if self._all_new and not wanted.is_tagged and await self._commit_new(wanted, store):
            return
        for attempt in range(_ATTEMPTS):
            try:
                await self._commit(wanted, store)
                return
            except ConflictError:  # somebody wrote one of the keys meanwhile: look again
                if self._conflict == "fail":
                    raise
                await backoff(attempt)
        raise ConflictError(
            f"other programs write the same keys all the time; {_ATTEMPTS} attempts were in vain",
            key=next(iter(wanted.records)),
            adapter=store.adapter,
            hint="stop them, or try again later: what was imported is not imported twice",
        )

    async def _wanted(self, page: Sequence[Entry], store: Store) -> _Wanted:
        """What of ``page`` is to be in ``store``, with its keys there."""
        wanted, erasures = _Wanted(), await self._erasures_of(store) or None
        for entry in page:
            try:
                name = store.check_key(entry.key, self._place.view)
                body, plain = entry.body, is_plain(entry.body)
                if not plain and (tag := tag_of_sealed(body)) is not None:
                    if await store.is_erased(tag):
                        self.report.erased += 1
                        continue
                    body = await unsealed_body(store, name, body)
                data = seal_body(name, body)
                expires = None if plain else _expiry(store, name, data)
            except (InvalidKeyError, Damage, NewerFormat) as error:
                reason = error.message if isinstance(error, InvalidKeyError) else str(error)
                self.report.faults.append(ArchiveFault(entry.line or None, entry.key, reason))
                continue
            if expires is not None and expires <= store.clock() * 1000:
                self.report.expired += 1
            elif erasures is not None and erasures.covers(name, data, entry.saved):
                self.report.erased += 1
            else:
                wanted.records[name] = data
                wanted.entries[name] = entry
                if expires is not None:
                    wanted.expiring.add(name)
                if not plain and tag_in(data) is not None:
                    wanted.is_tagged = True
        return wanted

    async def _commit_new(self, wanted: _Wanted, store: Store) -> bool:
        """Take in what is not there, without looking first, as most imports can. False: something is."""
        records = wanted.records
        if wanted.expiring:
            store.note_expiry()
        try:
            if records:
                with because("import"):
                    await store.commit(records, expect=dict.fromkeys(records), durability=store.weakest)
        except ConflictError:
            self._all_new = False
            return False
        self.report.added += len(records)
        return True

    async def _erasures_of(self, store: Store) -> Erasures:
        found = self._erasures.get(store)
        if found is None:
            found = self._erasures[store] = await Erasures.of(store)
        return found

    async def _commit(self, wanted: _Wanted, store: Store) -> None:
        there = await store.adapter.fetch_range(list(wanted.records), 0, 1)  # nothing is kept of what is not
        found = await store.adapter.fetch(list(there)) if there else {}
        self._all_new = not (there or self._dry_run)
        changes: dict[str, bytes | None] = {}
        expect: dict[str, str | None] = {}
        counts: dict[_Verdict, int] = dict.fromkeys(get_args(_Verdict), 0)
        for name, data in wanted.records.items():
            stored = found.get(name)
            tag = await _tag_here(store, data, begin=not self._dry_run)
            data = data if tag is None else seal_about(name, data, tag.text)
            verdict = await self._verdict(store, name, stored, wanted.entries[name], data)
            counts[verdict] += 1
            if verdict in ("added", "replaced"):
                changes.update({name: data} if tag is None else tag.mark({name: data}))
                if tag is not None:
                    expect[tag.place] = tag.seen.version
                if name in wanted.expiring:
                    store.note_expiry()
                expect[name] = None if stored is None else stored.version
                changes.update(_rescued(store, name, stored))
                store.forget_refusal(name)
        if changes and not self._dry_run:
            with because("import"):
                await store.commit(changes, expect=expect, durability=store.weakest)
        report = self.report
        for outcome, count in counts.items():
            setattr(report, outcome, getattr(report, outcome) + count)

    async def _verdict(
        self, store: Store, name: str, stored: Stored | None, entry: Entry, data: bytes
    ) -> _Verdict:
        if stored is None:
            return "added"
        if stored.data == data:
            return "same"
        there, damage, too_new = look_at(name, stored.data, store.schema_of(name))
        if there is not None and store.expired(there):
            return "added"
        if stored.damage or (damage and not too_new):
            return "replaced"  # there is no value that could be kept; its bytes go to quarantine
        if self._conflict == "fail":
            raise ConflictError(
                "the store has another value under this key; nothing was imported",
                key=name,
                adapter=store.adapter,
                hint="choose conflict='skip', 'overwrite' or 'newer'",
            )
        if self._conflict == "newer":
            there_since = await store.adapter.saved_at(name)
            if entry.saved is None:
                raise ConfigurationError(
                    "the archive does not say when its records were saved",
                    key=name,
                    adapter=store.adapter,
                    hint="export with times=True, or choose another conflict=",
                )
            return "replaced" if there_since is not None and entry.saved > there_since else "kept"
        return "replaced" if self._conflict == "overwrite" else "kept"


def _expiry(store: Store, name: str, data: bytes) -> int | None:
    """When the record ends. Raises ``Damage`` and ``NewerFormat`` for what is none."""
    expires = expiry_in(data[:HEAD_BYTES])
    return open_record(name, data, store.schema_of(name)).expires if expires == UNSAID else expires


async def _tag_here(store: Store, data: bytes, *, begin: bool) -> Tag | None:
    """What a record about a subject bears in this store. None: it is about nobody, or nobody known."""
    tag = tag_in(data)
    if tag is None:
        return None
    return await (store.tag_named if begin else store.known_tag)(tag[:32])


def _rescued(store: Store, name: str, stored: Stored | None) -> dict[str, bytes]:
    """The quarantine record for what cannot be read and is about to be replaced."""
    if stored is None:
        return {}
    damage = stored.damage or look_at(name, stored.data, store.schema_of(name))[1]
    return {} if damage is None else store.recovery.quarantined(name, stored._replace(damage=damage))
