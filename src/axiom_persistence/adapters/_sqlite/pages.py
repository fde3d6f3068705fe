"""Pages of an SQLite file read without SQLite: what it does not open any more may still hold rows.

Format: https://www.sqlite.org/fileformat2.html#b_tree_pages
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, product
from typing import Final, NamedTuple

from xxhash import xxh3_64_intdigest

from ...storage._salvage import is_whole
from ...storage.adapter import MAX_STORED_KEY_BYTES

__all__ = ["EARLIEST", "Image", "Pages", "Read", "is_record"]

_INNER_INDEX, _INNER_TABLE, _INDEX, _TABLE = 2, 5, 10, 13
_POINTERS: Final = {_INNER_INDEX: 12, _INNER_TABLE: 12, _INDEX: 8, _TABLE: 8}
"""Where the pointers to the cells begin, by the kind of a page."""
_FIXED: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
"""How many bytes a value takes, by its serial type below 12 (10 and 11 are never used)."""

_DATA: Final = re.compile(rb'\{"axiom":1,"sum":"|AXE1\x02|\{"keyset":')
"""How what is stored under a key begins: a record, a sealed one, or the keys of an encrypted store."""
_HEADER_SIZE: Final = re.compile(rb"[\x04-\x0d]")
_SUM_AT, _BODY_AT = 18, 36

EARLIEST, _LATEST = 1_000_000_000_000_000, 4_000_000_000_000_000
"""Versions are microseconds: those of the years 2001 and 2096. Others were not read from where one was."""

_MOST_PICKS: Final = 1024

Value = int | bytes | None


class Image(NamedTuple):
    """One copy of a page: that of the database file, or one of those in its log."""

    number: int
    """Which page it is a copy of, from 1; 0: nobody can tell."""
    data: memoryview
    order: int
    """Copies of a later time have a greater one: negative are older logs, 0 the file, then the log."""
    whole: bool = True
    """False: its check failed, or nobody can tell what it is."""
    is_proven: bool = False
    """Its check holds. The database file has none, and in the log each frame needs the one before it."""


_Pick = Callable[[int, Sequence[Image]], Image]


class Read(NamedTuple):
    """A row, or what an index knows of one."""

    values: Sequence[Value]
    """Texts as their bytes."""
    found_by_chance: bool = False
    """It was found in the bytes of a destroyed page, and may have been moved or deleted before."""


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number at ``at``, and where it ends. Raises IndexError behind the end."""
    value = 0
    for end in range(at, at + 8):
        byte = data[end]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, end + 1
    return value << 8 | data[at + 8], at + 9


def _types(data: bytes | memoryview, at: int) -> tuple[list[int], list[int], int] | None:
    """The serial types in the header of a row at ``at``, the sizes of the values, and where they begin."""
    size, here = _varint(data, at)
    types, sizes = [], []
    while here < at + size:
        kind, here = _varint(data, here)
        types.append(kind)
        sizes.append(_FIXED[kind] if kind < 10 else (kind - 12) // 2)
        if kind in (10, 11) or len(types) > 5:
            return None
    return (types, sizes, here) if here == at + size else None


def _values(payload: bytes) -> list[Value] | None:
    """The values of a row. None: it is none."""
    try:
        found = _types(payload, 0)
    except IndexError:
        return None
    if found is None:
        return None
    types, sizes, at = found
    values: list[Value] = []
    for kind, size in zip(types, sizes, strict=True):
        part = payload[at : at + size]
        at += size
        if kind >= 12:
            values.append(part)
        elif kind == 7:
            return None  # a fraction, which no table of ours has
        else:
            values.append(None if kind == 0 else kind - 8 if kind > 7 else int.from_bytes(part, signed=True))
    return values if at == len(payload) else None


class Pages:
    """All copies of all pages, and how rows are read from them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.copies: dict[int, list[Image]] = {}
        """By the number of the page, the newest first."""
        self.strays: list[Image] = []
        """Copies of which nobody can tell what page they are."""

    def add(self, image: Image) -> None:
        """Of two copies of a page the newer one is added later."""
        if image.number:
            self.copies.setdefault(image.number, []).insert(0, image)
        else:
            self.strays.append(image)

    def newest(self, number: int) -> Image | None:
        return self.copies[number][0] if number in self.copies else None

    def read(self, image: Image) -> tuple[list[Read], bool]:
        """What a page holds; and whether that is all of it."""
        found, whole = [], image.whole
        try:
            cells = list(self._cells(image))
        except (IndexError, ValueError):
            cells, whole = [], False
        for at, size, is_table in cells:
            values = self._row(image, at, size, is_table)
            broken = values is None or (is_table and len(values) in (3, 4) and not is_record(values))
            whole = whole and not broken
            found += [] if values is None else [Read(values)]
        return found, whole

    def carve(self, image: Image) -> Iterator[Read]:
        """Rows of the table of records, and of that of generations before, wherever in the bytes they are."""
        data = bytes(image.data)
        for hit in _DATA.finditer(data):
            values = self._headed(image, data, hit.start()) or _bare(data, hit.start())
            if values is not None:
                yield Read(values, found_by_chance=True)

    def children(self, image: Image) -> list[int]:
        """The pages below one of a tree. Raises ValueError for any other page."""
        start = 100 if image.number == 1 else 0
        data = image.data
        pointers = self._pointers(data, start)
        if data[start] in (_INDEX, _TABLE):
            return []
        return [_number(data, at) for at in pointers] + [_number(data, start + 8)]

    def _pointers(self, data: memoryview, start: int) -> list[int]:
        """Where the cells of a page are. Raises ValueError for one that cannot be a page of a tree."""
        kind = data[start]
        first = start + _POINTERS.get(kind, self.size)
        end = first + 2 * int.from_bytes(data[start + 3 : start + 5])
        if kind not in _POINTERS or end > self.size:
            raise ValueError
        pointers = [int.from_bytes(data[at : at + 2]) for at in range(first, end, 2)]
        if any(not end <= at < self.size for at in pointers) or len({*pointers}) < len(pointers):
            raise ValueError
        return pointers

    def _cells(self, image: Image) -> Iterator[tuple[int, int, bool]]:
        """Of each cell: where its row begins, how long that is, and whether it is one of a table."""
        data, start = image.data, 100 if image.number == 1 else 0
        kind = data[start]
        for at in self._pointers(data, start):
            if kind == _INNER_TABLE:
                continue
            size, row = _varint(data, at + 4 if kind == _INNER_INDEX else at)
            if kind == _TABLE:
                _, row = _varint(data, row)
            yield row, size, kind == _TABLE

    def _row(self, image: Image, at: int, size: int, is_table: bool) -> list[Value] | None:
        """The row that begins at ``at``. Of what is in other pages, the copies of its own time come first."""
        usable, here = self.size, size
        most = usable - 35 if is_table else (usable - 12) * 64 // 255 - 23
        if size > most:
            least = (usable - 12) * 32 // 255 - 23
            here = least + (size - least) % (usable - 4)
            here = here if here <= most else least
        end = at + here + (4 if size > here else 0)
        if end > usable:
            return None
        local = bytes(image.data[at : at + here])
        if size == here:
            return _values(local)
        if size > self.size * (len(self.copies) + len(self.strays)):
            return None  # no number of ours
        first, rest = _number(image.data, end - 4), size - here
        for pick in self._picks(image.order, -(-rest // (usable - 4))):
            values = _values(local + self._chain(first, rest, pick))
            if values is not None and (not is_table or is_record(values)):
                return values
        return None

    def _picks(self, order: int, steps: int) -> Iterator[_Pick]:
        """Ways to choose a copy of each of ``steps`` pages behind each other, the likeliest first."""
        yield lambda _, copies: next((copy for copy in copies if copy.order <= order), copies[0])
        yield lambda _, copies: copies[0]
        yield lambda _, copies: copies[-1]
        if steps * len(self.strays) <= _MOST_PICKS:
            for stray, at in product(self.strays, range(steps)):
                yield partial(_stray_at, stray, at)

    def _chain(self, number: int, size: int, pick: _Pick) -> bytes:
        """What is left of a row in the pages behind each other from ``number``."""
        parts, length = [], self.size - 4
        seen: set[int] = set()
        for step in count():
            if size <= 0 or number in seen:
                break
            seen.add(number)
            try:
                data = pick(step, self.copies.get(number, ())).data
            except IndexError:
                break  # there is no such page
            parts.append(bytes(data[4 : 4 + min(size, length)]))
            number, size = _number(data, 0), size - length
        return b"".join(parts)

    def _headed(self, image: Image, data: bytes, hit: int) -> list[Value] | None:
        """The row whose data begins at ``hit``, by the header before its key."""
        for match in _HEADER_SIZE.finditer(data, max(0, hit - MAX_STORED_KEY_BYTES - 13), hit):
            at = match.start()
            try:
                found = _types(data, at)
            except IndexError:
                continue
            if found is None or len(found[0]) not in (3, 4) or found[2] + found[1][0] != hit:
                continue
            values = self._row(image, at, found[2] - at + sum(found[1]), is_table=True)
            if values is not None and is_record(values):
                return values
        return None


def _stray_at(stray: Image, at: int, step: int, copies: Sequence[Image]) -> Image:
    return stray if step == at else copies[0]


def is_record(values: Sequence[Value]) -> bool:
    """Whether it is a row of a table of records, with a record of its key that is whole."""
    if len(values) not in (3, 4) or not isinstance(values[0], bytes) or not isinstance(values[1], bytes):
        return False
    try:
        return is_whole(values[0].decode(), values[1])
    except UnicodeDecodeError:
        return False


def _bare(data: bytes, hit: int) -> list[Value] | None:
    """The row whose data begins at ``hit``, where its header is gone: the sum tells key and end."""
    end = hit
    while (end := data.find(b"}", end) + 1) > 0:
        version = int.from_bytes(data[end : end + 8])
        if not EARLIEST < version < _LATEST:
            continue
        body, told = data[hit + _BODY_AT : end], data[hit + _SUM_AT : hit + _BODY_AT - 2]
        for size in range(1, min(hit, MAX_STORED_KEY_BYTES) + 1):
            key = data[hit - size : hit]
            if b"%016x" % xxh3_64_intdigest(body, xxh3_64_intdigest(key)) == told:
                return [key, data[hit:end], version]
    return None


def _number(data: memoryview, at: int) -> int:
    return int.from_bytes(data[at : at + 4])
