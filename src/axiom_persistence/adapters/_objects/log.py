"""The log of a store: the order of all commits, and what they have left.

The number of an entry is taken by creating its object, which one of all writers can. So every number is
decided once and for ever: whoever has not heard whether he got it asks again for the same one, and finds his
own ids there or somebody else's. No clock and no second look at a value decides anything.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Final

from ...errors import CorruptedDataError
from ...storage.adapter import Stored
from .._networked.commit import Commit
from .._networked.settle import Unreachable
from .bucket import Bucket, Part
from .entry import (
    CHECKPOINTS,
    Entry,
    Spot,
    checkpoint_number,
    entry_name,
    packed,
    unpacked,
    unpacked_checkpoint,
)
from .index import Index
from .values import Values

__all__ = ["Log", "Moved"]

_LOOK: Final = 1 << 16
"""Bytes that are read of an entry before it is known how long its header is."""
_AHEAD: Final = 8
"""Entries that are read at once when a store is opened."""
_GAP: Final = 1 << 16
"""Bytes between two values of an object for which one request is cheaper than two."""
_FIRST_PAUSE_S: Final = 0.002
_LONGEST_PAUSE_S: Final = 0.2
_LOOKS: Final = 5
"""How often values may have been moved while they were being read."""


class Moved(Exception):
    """An object is not what the index says; a checkpoint has moved its values."""


class Log:
    """The log as one process knows it. Its calls wait for the server, on a thread each.

    ``append`` is for one thread at a time, the others for any number.
    """

    def __init__(self, bucket: Bucket, readers: ThreadPoolExecutor, adapter: object) -> None:
        self.bucket = bucket
        self.values: Values = Values()
        self.index: Index = Index()
        self.races = 0
        """Numbers that somebody else took first."""
        self._readers = readers
        self._adapter = adapter
        self._reloading = threading.Lock()
        self._sent: dict[str, bool] = {}
        """Commits that went out and were not answered yet: whether they were found in the log."""
        self._under_way: tuple[int, bytes, frozenset[str]] | None = None
        """The number that was asked for last, with what, where no answer came."""

    # -- reading -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Read where everything lies."""
        self.index = self._load()

    def refresh(self) -> Index:
        """An index with everything that was committed before the call."""
        index = self.index
        while True:
            number = index.last + 1
            part = self.bucket.read(entry_name(number), 0, _LOOK)
            if part is None:
                return index
            index = self._take(index, number, part)

    def fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        """What is stored, of one moment."""
        spots, data = self._read(keys, 0, None)
        for key, spot in spots.items():
            self.values.keep(key, spot.version, data[key])
        return {key: Stored(data[key], spot.version) for key, spot in spots.items()}

    def fetch_range(self, keys: Collection[str], start: int, length: int) -> dict[str, bytes]:
        return self._read(keys, start, length)[1]

    def _read(
        self, keys: Collection[str], start: int, length: int | None
    ) -> tuple[dict[str, Spot], dict[str, bytes]]:
        spots: dict[str, Spot] = {}
        for look in range(_LOOKS):
            index = self.refresh()
            spots = index.find(keys)
            try:
                return spots, self._values_at(spots, start, length)
            except Moved:
                if look:  # at first, it may be this process that has moved them
                    self.reload(index)
        raise CorruptedDataError(
            "an object that the store needs is gone from the bucket",
            key=next(iter(spots), None),
            adapter=self._adapter,
            hint="put the bucket's objects back from a backup; no rule of the bucket may delete any of them",
        )

    def values_of(self, rows: Sequence[tuple[str, str, str, int, int, int]]) -> list[bytes]:
        """The values of these rows of an index, in their order. Raises ``Moved``."""
        data = self._values_at({key: Spot(*spot) for key, *spot in rows}, 0, None)  # type: ignore[arg-type]
        return [data[row[0]] for row in rows]

    def _values_at(self, spots: dict[str, Spot], start: int, length: int | None) -> dict[str, bytes]:
        """The values, or a part of each; those that are not kept are read, several objects at once."""
        found: dict[str, bytes] = {}
        wanted: list[tuple[str, Spot]] = []
        for key, spot in spots.items():
            kept = self.values.get(key, spot.version)
            if kept is not None:
                found[key] = kept[start:] if length is None else kept[start : start + length]
                continue
            first = min(start, spot.length)
            most = spot.length - first if length is None else min(length, spot.length - first)
            if most:
                wanted.append((key, spot._replace(start=spot.start + first, length=most)))
            else:
                found[key] = b""
        spans = list(_spans(wanted))
        read = self._readers.map(self._span, spans) if len(spans) > 1 else map(self._span, spans)
        for each in read:
            found |= each
        return found

    def _span(self, span: list[tuple[str, Spot]]) -> dict[str, bytes]:
        first, last = span[0][1], span[-1][1]
        part = self.bucket.read(first.object, first.start, last.start + last.length - first.start)
        if part is None or part.size != first.size:
            raise Moved
        return {
            key: part.data[spot.start - first.start : spot.start - first.start + spot.length]
            for key, spot in span
        }

    # -- following ---------------------------------------------------------------------------------

    def entry(self, number: int, part: Part) -> tuple[Entry, int]:
        """The header of an entry that was begun to be read, and where its values begin."""
        entry, begin = unpacked(part.data)
        if entry is None:
            rest = self.bucket.read(entry_name(number), 0, begin)
            entry = None if rest is None else unpacked(rest.data)[0]
        if entry is None:
            raise Unreachable("an entry of the log was replaced while it was read")
        return entry, begin

    def _take(self, index: Index, number: int, part: Part) -> Index:
        entry, begin = self.entry(number, part)
        self._note(entry)
        if entry.is_cleared:
            return self.reload(index)
        self._keep(entry, part.data, begin)
        index.take(number, entry, begin, part.size)
        return index

    def _note(self, entry: Entry) -> None:
        for each in entry.ids:
            if each in self._sent:
                self._sent[each] = True

    def _keep(self, entry: Entry, data: bytes, start: int) -> None:
        for commit, puts, _ in entry.commits:
            for key, length in puts:
                if start + length <= len(data):
                    self.values.keep(key, commit, data[start : start + length])
                start += length

    def reload(self, old: Index) -> Index:
        """Begin with the newest checkpoint, unless somebody has just done so."""
        with self._reloading:
            if self.index is not old:
                return self.index
            new = self._load()
            if not all(list(self._sent.values())):
                for number in range(old.last + 1, new.base + 1):
                    part = self.bucket.read(entry_name(number), 0, _LOOK)
                    if part is not None:
                        self._note(self.entry(number, part)[0])
            self.index = new
            return new

    def _load(self) -> Index:
        seen = 0
        while True:
            names = self.bucket.names(CHECKPOINTS, 1)
            number = checkpoint_number(names[0]) if names else 0
            part = self.bucket.read(names[0]) if names else None
            checkpoint = None if part is None else unpacked_checkpoint(part.data)
            if names and checkpoint is None:
                continue  # a newer one has come meanwhile
            index = Index(number, checkpoint)
            if self._replay(index):
                return index
            if seen == number + 1:
                raise CorruptedDataError(
                    "the checkpoint of the store is gone from the bucket",
                    adapter=self._adapter,
                    hint="put the bucket's objects back from a backup; no rule of the bucket may delete them",
                )
            seen = number + 1

    def _replay(self, index: Index) -> bool:
        """Apply the entries behind the checkpoint. False: they are cleared, so there is a newer one."""
        ahead = 1
        while True:
            numbers = range(index.last + 1, index.last + 1 + ahead)
            looks = self._readers.map(lambda number: self.bucket.read(entry_name(number), 0, _LOOK), numbers)
            for number, part in zip(numbers, looks, strict=True):
                if part is None:
                    return True
                entry, begin = self.entry(number, part)
                self._note(entry)
                if entry.is_cleared:
                    return False
                index.take(number, entry, begin, part.size)
            ahead = min(2 * ahead, _AHEAD)

    # -- writing -----------------------------------------------------------------------------------

    def append(self, commits: Sequence[Commit]) -> dict[str, list[str]]:
        """What became of each, by id: the keys that are not as expected; none: it was applied."""
        self._settle_number({each.id for each in commits})
        has_looked, lost = False, 0
        refused: dict[str, list[str]] = {}
        while True:
            left = [each for each in commits if not self._sent.get(each.id)]
            number, good, bad = self._judged(left)
            writes = any(each.changes for each in good)
            if (bad or not writes) and not has_looked:
                self.refresh()  # what is expected may have come from elsewhere
                has_looked = True
                continue
            if not writes:
                refused = bad
                break
            if self._write(number, good):
                refused = bad
                break
            self.races += 1
            lost += 1
            # Others compete, too: a pause that is longer and more random each time lets one of them go on.
            time.sleep(random.random() * min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**lost))  # noqa: S311
            self.refresh()
            has_looked = True
        return {each.id: refused.get(each.id, []) for each in commits}

    def forget(self, ids: Collection[str]) -> None:
        """They are answered."""
        for each in ids:
            self._sent.pop(each, None)

    def _judged(self, commits: Sequence[Commit]) -> tuple[int, list[Commit], dict[str, list[str]]]:
        """The next number, and which of ``commits`` would be fine there, one after the other."""
        index = self.index
        with index.lock:
            number = index.last + 1
            spots = index.find({key for each in commits for key in each.expect})
        now: dict[str, str | None] = {key: spot.version for key, spot in spots.items()}
        good, bad = [], {}
        for each in commits:
            wrong = [key for key, version in each.expect.items() if now.get(key) != version]
            if wrong:
                bad[each.id] = wrong
                continue
            good.append(each)
            now |= {key: None if data is None else each.id for key, data in each.changes.items()}
        return number, good, bad

    def _write(self, number: int, commits: Sequence[Commit]) -> bool:
        """Whether ``commits`` got the number."""
        for each in commits:
            each.sending()
            self._sent.setdefault(each.id, False)
        self._under_way = number, packed(commits), frozenset(each.id for each in commits)
        return self._occupy()

    def _occupy(self) -> bool:
        assert self._under_way is not None
        number, body, _ = self._under_way
        if not self.bucket.create(entry_name(number), body):
            if self.bucket.read(entry_name(number), 0, _LOOK) is None:
                # Some servers say so while another writer's request for it is under way.
                raise Unreachable("others want the same number of the log")
            self._under_way = None
            return False
        self._under_way = None
        self._take(self.index, number, Part(body, len(body)))
        return True

    def _settle_number(self, wanted: set[str]) -> None:
        """See that the number whose answer was lost is taken, before anything else goes out."""
        if self._under_way is None:
            return
        number, _, ids = self._under_way
        if self.index.last >= number:  # a reader has seen who got it
            self._under_way = None
            return
        if not ids <= wanted:  # somebody was told that nobody knows: it must not come late
            self._under_way = number, packed(()), frozenset()
        if not self._occupy():
            self.refresh()


def _spans(wanted: list[tuple[str, Spot]]) -> Iterator[list[tuple[str, Spot]]]:
    """What one request each can read: values of one object that lie near to each other."""
    wanted.sort(key=lambda each: (each[1].object, each[1].start))
    for _, group in groupby(wanted, key=lambda each: each[1].object):
        span: list[tuple[str, Spot]] = []
        for key, spot in group:
            if span and spot.start > span[-1][1].start + span[-1][1].length + _GAP:
                yield span
                span = []
            span.append((key, spot))
        if span:
            yield span
