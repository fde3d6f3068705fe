"""Reading an audit trail, and proving that what is sealed in it is what was written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NamedTuple

import msgspec

from ..errors import ConfigurationError, shown
from ..layers._audit.chain import batch_in
from ..layers.audited import Audited
from ..security._seals import (
    NEW,
    SEALED,
    Checkpoint,
    Entry,
    Sealed,
    Trail,
    batch_key,
    entry_of,
    hashed,
    head_of,
    json_in,
    number_in,
    root_of,
)
from ..security.audit import AuditEntry
from ..storage.adapter import StorageAdapter, Stored
from ..store.store import Store
from .walk import OnProgress, Progress, pages

__all__ = ["AuditReport", "Operation", "Tampering", "entries", "trail_of", "verify_audit"]

Operation = Literal["save", "delete"]

_PAGE: Final = 4
"""Batches read together: some 2,000 entries, some milliseconds of work."""
_FAULTS_KEPT: Final = 1000

_DROPPED: Final = b'"dropped":'

_decode_entry: Final = msgspec.json.Decoder(Entry).decode


def trail_of(store: Store) -> tuple[StorageAdapter, Trail]:
    """Where the trail of an open store is, and what it is. Raises ``ConfigurationError`` if it has none."""
    audited = store.adapter.find(Audited)
    if audited is None or audited.trail is None:
        raise ConfigurationError(
            "this store keeps no audit trail",
            adapter=store.adapter,
            hint="open it with audit=AuditLog(), and it does from then on",
        )
    return audited.inner, audited.trail


# -- reading ---------------------------------------------------------------------------------------


async def entries(
    store: Store,
    *,
    since: datetime | float | None = None,
    until: datetime | float | None = None,
    actor: str | None = None,
    key: str | None = None,
    prefix: str = "",
    operation: Operation | None = None,
) -> AsyncIterator[AuditEntry]:
    """The entries in the order in which they were sealed, then those that are not sealed yet."""
    adapter, trail = trail_of(store)
    wanted = _Wanted(since, until, actor, _names(store, trail, key, prefix), prefix, operation)
    after = -1
    while True:
        async for number, sealed in _batches(adapter, after):
            after = number
            if sealed is None:
                yield _UNREADABLE._replace(batch=number)
            elif sealed.last >= wanted.since:
                for entry in filter(wanted, _shown(sealed.entries, number)):
                    yield entry
        # Those that are not sealed, and that none of them was sealed meanwhile, are one snapshot.
        new = [key async for key in adapter.keys(NEW)]
        following = batch_key(after + 1)
        found = await adapter.fetch([following, *new])
        if following not in found:
            break
    values = [json_in(key, stored.data) for key, stored in found.items() if stored.damage is None]
    for entry in filter(wanted, _shown([value for value in values if value is not None], None)):
        yield entry


async def _batches(adapter: StorageAdapter, after: int) -> AsyncIterator[tuple[int, Sealed | None]]:
    """The batches behind number ``after``; None: it cannot be read."""
    async for page in pages(adapter.keys(SEALED, after=batch_key(after) if after >= 0 else None), size=_PAGE):
        found = await adapter.fetch(page)
        for key in page:
            number = number_in(key)
            if number is not None and key in found:
                yield number, batch_in(key, found[key])


def _shown(raw: Sequence[bytes | msgspec.Raw], batch: int | None) -> Iterator[AuditEntry]:
    for data in raw:
        yield entry_of(_decode_entry(data), batch)


def _names(store: Store, trail: Trail, key: str | None, prefix: str) -> frozenset[str]:
    """What an entry may call ``key``."""
    if prefix and trail.secret:
        raise ConfigurationError(
            "this audit trail hashes keys, so that none can be found by its beginning",
            adapter=store.adapter,
            hint="ask for a whole key, key=",
        )
    if key is None:
        return frozenset()
    return frozenset({key, hashed(bytes.fromhex(trail.secret), key)} if trail.secret else {key})


class _Wanted:
    """Whether an entry is one of those that were asked for."""

    def __init__(
        self,
        since: datetime | float | None,
        until: datetime | float | None,
        actor: str | None,
        names: frozenset[str],
        prefix: str,
        operation: Operation | None,
    ) -> None:
        if operation not in (None, "save", "delete"):
            raise ConfigurationError(
                f"operation is 'save' or 'delete', not {shown(operation)}", hint="leave it out for both"
            )
        self.since = 0.0 if since is None else _seconds(since) * 1_000_000
        self._since = self.since / 1_000_000
        self._until = float("inf") if until is None else _seconds(until)
        self._actor = actor
        self._names = names
        self._prefix = prefix
        self._operation = operation

    def __call__(self, entry: AuditEntry) -> bool:
        if not self._since <= entry.at < self._until:
            return False
        if self._actor is not None and entry.actor != self._actor:
            return False
        saved = () if self._operation == "delete" else entry.saved
        deleted = () if self._operation == "save" else entry.deleted
        keys = saved + deleted
        if self._names:
            return not self._names.isdisjoint(keys)
        if self._prefix:
            return any(key.startswith(self._prefix) for key in keys)
        return self._operation is None or bool(keys)


def _seconds(moment: datetime | float) -> float:
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)


_UNREADABLE: Final = AuditEntry(
    0.0, None, "damaged", (), (), "a batch cannot be read; verify_audit tells more", "", 0, None
)


# -- proving ---------------------------------------------------------------------------------------


class Tampering(NamedTuple):
    """Something in an audit trail that is not as it was sealed."""

    batch: int | None
    """The number of the batch; None: it is about the trail as a whole."""
    reason: str


@dataclass(slots=True)
class AuditReport:
    """What ``verify_audit`` found. True when all that is sealed is as it was."""

    entries: int = 0
    """How many sealed entries were checked."""
    batches: int = 0
    unsealed: int = 0
    """How many entries are not sealed yet. Of these nothing is proved."""
    faults: list[Tampering] = field(default_factory=list)
    """What was found, the first thousand."""
    checkpoint: Checkpoint | None = None
    """The state of the trail. Kept elsewhere, it finds later that the trail was cut or written anew."""
    dropped: int = 0
    """How many old entries retention dropped since the trail began."""
    compared: int = 0
    """How many checkpoints the trail was compared with: the anchor's, and the one given."""

    def __bool__(self) -> bool:
        return not self.faults


async def verify_audit(
    store: Store, *, checkpoint: Checkpoint | None = None, progress: OnProgress | None = None
) -> AuditReport:
    """Check every batch, the chain, and its end against the anchor and ``checkpoint``.

    Without either, a trail that was cut at its end or written anew from its beginning cannot be told.
    ``progress`` is told how many entries were checked so far.
    """
    adapter, trail = trail_of(store)
    audited = store.adapter.find(Audited)
    anchored = None if audited is None else await audited.anchor()
    known = [one for one in (anchored, checkpoint) if one is not None]
    proof = _Proof(trail.id, known)

    def told(so_far: Progress) -> None:
        if progress is not None:
            progress(so_far._replace(done=proof.report.entries))

    async for page in pages(adapter.keys(SEALED), size=_PAGE, progress=told):
        found = await adapter.fetch(page)
        for key in page:
            proof.add(key, found.get(key))
    await _count_unsealed(adapter, proof)
    return proof.end()


async def _count_unsealed(adapter: StorageAdapter, proof: _Proof) -> None:
    async for page in pages(adapter.keys(NEW)):
        for key, stored in (await adapter.fetch(page)).items():
            proof.report.unsealed += 1
            if stored.damage is not None or json_in(key, stored.data) is None:
                proof.fault(None, "an entry that is not sealed yet cannot be read")


class _Proof:
    """Takes the batches one after the other, and says in the end what does not fit."""

    def __init__(self, trail: str, known: Sequence[Checkpoint]) -> None:
        self.report = AuditReport(compared=len(known))
        self._trail = trail
        self._known = known
        self._heads: dict[int, str] = {}  # of the batches that a checkpoint knows
        self._first: tuple[int, str] | None = None  # the number of the first batch, and what it follows
        self._last = -1
        self._head: str | None = ""  # None: the batch before could not be read
        self._total = 0
        self._dropped: dict[int, str] = {}
        self._gone: list[int] = []

    def fault(self, batch: int | None, reason: str) -> None:
        if len(self.report.faults) < _FAULTS_KEPT:
            self.report.faults.append(Tampering(batch, reason))

    def add(self, key: str, stored: Stored | None) -> None:
        number = number_in(key)
        if number is None:
            self.fault(None, f"there is a record among the batches that is none: {key[1:]!r}")
            return
        self.report.batches += 1
        sealed = None if stored is None else batch_in(key, stored)
        if self._first is None:
            self._first = number, "" if sealed is None else sealed.prev
            self._last, self._head = number - 1, None
        if number != self._last + 1:
            self.fault(number, f"the batches {self._last + 1} to {number - 1} before it are missing")
            self._head = None
        self._last = number
        if sealed is None:
            self._head = None
            if stored is None:
                self._gone.append(number)  # retention took it meanwhile, or so it seems
            else:
                self.fault(number, "it cannot be read: altered or damaged")
            return
        self._check(number, sealed)

    def _check(self, number: int, sealed: Sealed) -> None:
        if sealed.batch != number:
            self.fault(number, f"it is batch {sealed.batch}, put in another place")
        if self._head is not None and sealed.prev != self._head:
            self.fault(number, "it does not follow the batch before it: one of them was replaced")
        elif self._head is not None and sealed.total != self._total + sealed.count:
            self.fault(number, f"it says that {sealed.total:,} entries were sealed with it; that is not so")
        raw = sealed.entries
        if len(raw) != sealed.count:
            self.fault(number, f"it has {len(raw):,} entries, and was sealed with {sealed.count:,}")
        elif not raw or root_of(raw).hex() != sealed.root:
            self.fault(number, "its entries were altered, replaced or put in another order")
        for data in raw:
            if _DROPPED in bytes(data) and (dropped := _decode_entry(data).dropped) is not None:
                self._dropped[dropped.batch] = dropped.head
                self.report.dropped = dropped.entries
        self.report.entries += len(raw)
        self._total = sealed.total
        self._head = head_of(self._trail, sealed)
        if any(number == one.batch for one in self._known):
            self._heads[number] = self._head

    def end(self) -> AuditReport:
        most = max(self._dropped, default=-1)
        for number in self._gone:
            if number > most:
                self.fault(number, "it was removed while the trail was verified")
        if self._first is not None and self._first[0] > 0:
            first, follows = self._first
            if first not in self._gone and self._dropped.get(first - 1) != follows:
                self.fault(None, f"the batches before {first} are missing, and nothing says why")
        for one in self._known:
            self._compare(one)
        if self._head is not None:
            self.report.checkpoint = Checkpoint(self._trail, self._last, self._total, self._head)
        return self.report

    def _compare(self, known: Checkpoint) -> None:
        """Whether the trail has gone on from where a checkpoint saw it."""
        if known.trail != self._trail:
            self.fault(None, "this is another trail than the checkpoint is of: it was begun anew")
        elif known.batch > self._last:
            self.fault(
                None, f"it ends with batch {self._last}, and went on to {known.batch}: its end was cut off"
            )
        elif known.batch in self._heads and self._heads[known.batch] != known.head:
            self.fault(known.batch, "it is not the batch that the checkpoint saw: the trail was written anew")
