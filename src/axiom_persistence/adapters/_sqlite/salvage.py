"""A store made anew from what can be read of the files of another one, page by page."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final, NamedTuple

from ...storage._salvage import Fate, SalvageReport, write_report
from .aside import aside
from .file import create_file
from .frames import Frames
from .images import copies_of
from .lineage import is_of_another_time
from .pages import EARLIEST, Image, Pages, Read, is_record
from .schema import open_writer

__all__ = ["repair"]

_RECORDS, _INDEX = 2, 3
"""The roots of the table of records and of its index, unless another program has rebuilt the file."""
_PUT: Final = {
    "record": "INSERT OR REPLACE INTO record VALUES(?1, CAST(?2 AS {}), ?3)",
    "previous": "INSERT OR REPLACE INTO previous VALUES(?1, CAST(?2 AS {}), ?3, ?4)",
}
_MIXED: Final = (
    "the log belongs to another state of the database file, or its end is missing: of each key the newer "
    "value was taken, and keys that were deleted may be back"
)
_ALONE: Final = (
    "the log that belongs to the database file is not here: what was saved last may be missing, and what was "
    "changed or deleted may be as it was before"
)
_CLOCKS_DIFFER: Final = 86_400_000_000
"""A day, in microseconds: the clock may have been set back since."""
_FORGET: Final = {
    "record": "DELETE FROM record WHERE key=?",
    "previous": "DELETE FROM previous WHERE key=?",
}
_SET_VERSION: Final = "UPDATE record SET version=?2 WHERE key=?1"
_BRING_BACK: Final = (
    "INSERT OR REPLACE INTO record SELECT key, data, version FROM previous AS p"
    " WHERE NOT EXISTS (SELECT 1 FROM record AS r WHERE r.key=p.key AND r.version>=p.version)",
    "DELETE FROM previous AS p"
    " WHERE EXISTS (SELECT 1 FROM record AS r WHERE r.key=p.key AND r.version<=p.version)",
)


def repair(path: str, adapter: object) -> SalvageReport:
    """Move the store at ``path`` aside, and make one in its place of what can be read.

    Broken off at any moment, the next call ends it. Raises ``StorageLockedError``, OSError, sqlite3.Error.
    """
    with aside(path, adapter) as place:
        report = SalvageReport(place.directory)
        place.clear()
        _build(place.original, place.rebuilt, adapter, report)
        write_report(report)
        place.put_in_place()
    return report


def _build(source: str, target: str, adapter: object, report: SalvageReport) -> None:
    """A store in ``target``, which is on the disk when this returns."""
    create_file(target)
    pages, frames = copies_of(source)
    clock, witness = _told_by_file(pages)
    if not frames.finished and witness > clock:
        report.notes.append(_ALONE)
    told = max(clock, witness)
    if _is_of_another_time(source, told):
        report.notes.append(_MIXED)
        frames = frames._replace(gap=sys.maxsize)  # nothing that the two say together is sure
    with closing(open_writer(target, adapter, exclusive=True, deadline=time.monotonic())) as connection:
        connection.execute("BEGIN")
        _Salvage(pages, frames, connection, report, told).run()
        connection.execute("COMMIT")


def _told_by_file(pages: Pages) -> tuple[int, int]:
    """What clock row and witness are in the database file alone; 0 where they cannot be read."""
    clock = witness = 0
    for copies in pages.copies.values():
        for image in copies:
            rows, whole = pages.read(image) if image.order == 0 else ([], False)
            if not whole or len(rows) != 1:
                continue
            match rows[0].values:
                case [None, int(time)]:
                    clock = max(clock, time)
                case [int(time)]:
                    witness = max(witness, time)
    return clock, witness


def _is_of_another_time(source: str, told: int) -> bool:
    """Whether the log belongs to another state of the database file, as far as both can be read."""
    try:
        return is_of_another_time(source, lambda: told or None)
    except FileNotFoundError:
        return False


class _Best(NamedTuple):
    """A record that was found. It has a sum, but its version has none: other signs of its age come first."""

    version: int
    fate: Fate
    page: int
    order: int
    is_newest: bool
    """It is a row of the newest copy of its page."""
    is_doubtful: bool
    """The version may be spoilt."""

    def is_newer(self, other: _Best) -> bool:
        if self._outdates(other):
            return True
        return self.version > other.version and not other._outdates(self)

    def _outdates(self, other: _Best) -> bool:
        """Whether it is the newer one, whatever their versions are."""
        if not self.is_newest or self.order < other.order:
            return False
        if self.fate is Fate.RECOVERED and self.page == other.page:
            return True
        return self.is_doubtful or (self.fate is Fate.LOG and not other.is_newest)

    def gives_way(self, previous: _Best) -> bool:
        """Whether what was kept before the current record is newer than this one, which was left of it."""
        if self.is_newest and self.is_doubtful:
            return False
        if self.fate is Fate.LOG and (previous.is_doubtful or not previous.is_newest):
            return False
        return self.version < previous.version


class _Salvage:
    """One run: the newest copy of each page first; what they lack is looked for everywhere else."""

    def __init__(
        self, pages: Pages, frames: Frames, connection: sqlite3.Connection, report: SalvageReport, told: int
    ) -> None:
        """``told``: the time of the database file, by the clock row or the witness."""
        self._pages = pages
        self._frames = frames
        self._connection = connection
        self._report = report
        self._best: dict[str, dict[str, _Best]] = {"record": {}, "previous": {}}
        self._whole: set[int] = set()
        """The pages of which the newest copy is whole."""
        self._known: dict[int, list[str]] = {}
        """The keys in each page of an index."""
        self._roots = {b"record": _RECORDS, b"sqlite_autoindex_record_1": _INDEX}
        self._clock = time.time_ns() // 1000
        self._latest = max(self._clock, told) + _CLOCKS_DIFFER
        """A later version was never given."""

    def run(self) -> None:
        for copies in self._pages.copies.values():
            self._take_newest(copies[0])
        best = self._best["record"]
        indexed = self._walked(self._roots[b"sqlite_autoindex_record_1"])
        keys = {key for number in (indexed or self._known) for key in self._known.get(number, ())}
        tree = self._walked(self._roots[b"record"])
        if tree is not None:
            self._forget_but({key for key, found in best.items() if found.page in tree})
        elif indexed is not None:
            self._take_others(keys)
        else:
            self._take_others(None)
        self._bring_back()
        fates = self._report.fates
        fates.update({key: found.fate for key, found in best.items()})
        fates.update(dict.fromkeys(keys - best.keys(), Fate.LOST))
        last = max(self._clock, *(found.version for found in best.values()), 0)
        self._connection.execute("UPDATE clock SET last=?", (last,))

    def _take_newest(self, image: Image) -> None:
        if image.order < 0:
            return  # the page is no longer there, or destroyed
        rows, whole = self._pages.read(image)
        if whole:
            self._whole.add(image.number)
        sure = image.order >= self._frames.gap
        fate = (Fate.LOG if image.order else Fate.RECOVERED) if sure else Fate.OLDER
        for row in rows:
            self._take(row, fate, image)

    def _take(self, row: Read, fate: Fate, image: Image) -> None:
        values, number = row.values, image.number
        if is_record(values):
            self._put(row, fate, image)
        elif len(values) == 2 and isinstance(values[0], bytes):
            self._known.setdefault(number, []).append(values[0].decode(errors="replace"))
        elif len(values) == 2 and values[0] is None and isinstance(values[1], int):
            self._clock = max(self._clock, values[1])
        elif len(values) == 5 and isinstance(name := values[1], bytes) and isinstance(values[3], int):
            self._roots[name] = values[3]

    def _put(self, row: Read, fate: Fate, image: Image) -> None:
        """Keep a record unless a newer one of its key was found."""
        key, data, version, *more = row.values
        assert isinstance(key, bytes)
        assert isinstance(data, bytes)
        table, name = "previous" if more else "record", key.decode()
        is_newest = self._pages.newest(image.number) is image and not row.found_by_chance
        is_doubtful = image.order > 0 and not image.is_proven
        earliest = EARLIEST if row.found_by_chance else 1
        if not isinstance(version, int) or not earliest <= version <= self._latest:
            version, is_doubtful = 1, True
        found = _Best(version, fate, image.number, image.order, is_newest, is_doubtful)
        best = self._best[table]
        if name in best and not found.is_newer(best[name]):
            return
        best[name] = found
        put = _PUT[table].format("TEXT" if data[:1] == b"{" else "BLOB")
        self._connection.execute(put, (name, data, version, *more))

    def _walked(self, root: int) -> set[int] | None:
        """The pages of a tree. None: not all of them are left, or newer ones may have been."""
        found: set[int] = set()
        waiting = [root]
        if self._frames.gap or self._frames.finished < self._last_order():
            return None
        while waiting:
            number = waiting.pop()
            if number in found or number not in self._whole:
                return None
            found.add(number)
            waiting += self._pages.children(self._pages.copies[number][0])
        return found

    def _last_order(self) -> int:
        images = self._frames.images
        return max(images[-1].order, 0) if images else 0

    def _take_others(self, keys: set[str] | None) -> None:
        """What destroyed pages, and earlier copies of pages, hold of ``keys`` (None: of any)."""
        for image in self._others():
            rows = self._pages.read(image)[0] if image.number else []
            for row in (*rows, *self._pages.carve(image)):
                if is_record(row.values):
                    assert isinstance(row.values[0], bytes)
                    if keys is None or row.values[0].decode() in keys:
                        self._put(row, Fate.OLDER, image)

    def _others(self) -> Iterator[Image]:
        for number, copies in self._pages.copies.items():
            yield from copies[1 if number in self._whole else 0 :]
        yield from self._pages.strays

    def _forget_but(self, keys: set[str]) -> None:
        """All others were deleted: what was found of them lies in pages that nothing leads to."""
        for table, best in self._best.items():
            for key in best.keys() - keys:
                del best[key]
                self._connection.execute(_FORGET[table], (key,))

    def _bring_back(self) -> None:
        """The generation before takes the place of what is lost, and goes where it is no older than that."""
        best = self._best["record"]
        for key, found in self._best["previous"].items():
            if key in best and best[key].version <= found.version and not best[key].gives_way(found):
                best[key] = best[key]._replace(version=found.version + 1)
                self._connection.execute(_SET_VERSION, (key, found.version + 1))
        for statement in _BRING_BACK:
            self._connection.execute(statement)
        for key, found in self._best["previous"].items():
            if key not in best or best[key].version < found.version:
                best[key] = found._replace(fate=Fate.PREVIOUS)
