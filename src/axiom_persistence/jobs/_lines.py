"""The lines of an archive, each a JSON object that proves itself.

::

    {"sum":"9f86d081884c7d65","axiom_archive":1,"prefix":"","pattern":null}
    {"sum":"…","key":"window","schema":"1.0","value":{"width":800}}
    {"sum":"…","end":1,"sums":"…"}

``sum`` is XXH3-64 over the rest of the line behind ``","``, without the newline. The last line has the number
of records and the XXH3-64 over the sums of all lines before it, in their order. What a line says of a value
is, byte for byte, what the store keeps of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from io import BufferedReader
from typing import Final, NamedTuple

import msgspec
from xxhash import xxh3_64, xxh3_64_hexdigest

from ..errors import SchemaTooNewError
from ._packing import Lost, packing_of

__all__ = ["ArchiveFault", "Entry", "Reader", "Sums", "Whole", "header_line", "record_line"]

FORMAT: Final = 1
_START: Final = b'{"sum":"'
_HEAD: Final = _START + b'%b",'
_LINE: Final = _HEAD + b"%b\n"
_SUM: Final = slice(len(_START), len(_START) + 16)
_REST: Final = len(_START) + 16 + 2
_OPENING: Final = re.compile(
    rb'"key":"[^"\\]*(?:\\.[^"\\]*)*",(?:"secure":true,)?(?:"saved":[^",]*,)?(?="schema":|"subject":)'
)
"""What stands before the body of a record, as ``_opening`` writes it."""
_KEY: Final = re.compile(rb'"key":("(?:[^"\\]|\\.)*")')
_JOINED: Final = re.compile(rb'(?<=\}).(?=\{"sum":")', re.DOTALL)


class ArchiveFault(NamedTuple):
    """Something in an archive that could not be used, or a record that did not get into it."""

    line: int | None
    """Counted from 1; None: in no line."""
    key: str | None
    """As far as it can be read."""
    reason: str


class Entry(msgspec.Struct, gc=False):
    """A record in an archive."""

    key: str
    secure: bool = False
    """It came from the confidential store beside the plain one."""
    saved: float | None = None
    """When it was saved, in seconds since 1970 UTC, where the export was asked for that."""
    body: bytes = b""
    """Of the record, as ``records.record.body_of`` gives it."""
    line: int = 0


class _Header(msgspec.Struct, frozen=True):
    axiom_archive: int
    prefix: str = ""
    pattern: str | None = None


class _End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    end: int
    sums: str


_decode_header: Final = msgspec.json.Decoder(_Header).decode
_decode_entry: Final = msgspec.json.Decoder(Entry).decode
_decode_end: Final = msgspec.json.Decoder(_End).decode
_encode: Final = msgspec.json.encode


class _Damaged(Exception):
    """Why a line is none of ours."""


_NOT_OURS: Final = (_Damaged, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Sums:
    """What the last line says of those before it."""

    def __init__(self) -> None:
        self.records: int = 0
        self._sums = xxh3_64()

    def add(self, line: bytes, *, records: int) -> None:
        self._sums.update(line[_SUM])
        self.records += records

    def digest(self) -> str:
        return self._sums.hexdigest()

    def copy(self) -> Sums:
        other = Sums()
        other.records, other._sums = self.records, self._sums.copy()
        return other

    def line(self) -> bytes:
        """The last line of an archive."""
        return _sealed(b'"end":%d,"sums":"%b"}' % (self.records, self.digest().encode()))


def header_line(prefix: str, pattern: str | None) -> bytes:
    """The first line. It names no store and no time: equal records make equal archives."""
    fields = b'"axiom_archive":%d,"prefix":%b,"pattern":%b}'
    return _sealed(fields % (FORMAT, _encode(prefix), _encode(pattern)))


def record_line(key: str, body: bytes, *, secure: bool = False, saved: float | None = None) -> bytes:
    """The line of a record with this ``body``."""
    if b"\n" in body:  # white space in a value that somebody encoded himself
        return _sealed(b'%b"body":%b}' % (_opening(key, secure, saved), _encode(body)))
    return _sealed(_opening(key, secure, saved) + body)


def _opening(key: str, secure: bool, saved: float | None) -> bytes:
    opening = b'"key":%b,' % _encode(key)
    if secure:
        opening += b'"secure":true,'
    if saved is not None:
        opening += b'"saved":%b,' % _encode(saved)
    return opening


def _sealed(rest: bytes) -> bytes:
    return _LINE % (xxh3_64_hexdigest(rest).encode(), rest)


def _checked(line: bytes) -> bytes:
    """What stands behind the sum of ``line``, which has no newline. Raises ``_Damaged``."""
    rest = line[_REST:]
    if line.startswith(_HEAD % xxh3_64_hexdigest(rest).encode()):
        return rest
    if line.startswith(_START):
        raise _Damaged("its sum is not that of its bytes: changed, or cut off")
    raise _Damaged("it does not begin like a line of an archive")


def _entry(line: bytes, number: int) -> Entry:
    entry = _decode_entry(line)
    entry.line = number
    if not entry.body:
        opening = _OPENING.match(line, _REST)
        if opening is None:
            raise _Damaged("what stands before its schema is not understood")
        entry.body = line[opening.end() :]
    return entry


class Whole(NamedTuple):
    """How far an archive that is being written is whole."""

    offset: int
    sums: Sums
    last: Entry | None


class Reader:
    """Reads an archive to its end, whatever is damaged in it. ``faults`` has what could not be used."""

    def __init__(self, file: BufferedReader, name: str) -> None:
        self._file = file
        self._name = name
        self._number = 0
        self._ended = False
        self._last: Entry | None = None
        self._sums = Sums()
        self.faults: list[ArchiveFault] = []
        self.whole: Whole = Whole(0, Sums(), None)
        """Behind the last block before anything damaged, and before the last line."""

    def entries(self) -> Iterator[Entry]:
        """Every record that is whole. Raises ``SchemaTooNewError`` for a later format of archives."""
        packing = packing_of(self._file.peek(16)[:16])
        begun: list[bytes] = []
        for piece in packing.unpack(self._file):
            if isinstance(piece, int):
                if not (self.faults or self._ended):
                    self.whole = Whole(piece, self._sums.copy(), self._last)
            elif isinstance(piece, Lost):
                if begun:
                    yield from self._lines((b"".join(begun),), reason=piece.reason)
                else:
                    self._fault(b"", piece.reason, ahead=1)
                begun = []
            elif b"\n" in piece:
                first, *lines, rest = piece.split(b"\n")
                yield from self._lines((b"".join((*begun, first)), *lines))
                begun = [rest] if rest else []
            else:
                begun.append(piece)
        if begun:
            yield from self._lines(
                (b"".join(begun),), reason="its newline is missing: the archive is cut off"
            )
        if self._number == 0 and not self.faults:
            self._fault(b"", "the archive is empty", ahead=1)
        elif not self._ended:
            self._fault(b"", "the last line is missing: the archive was not finished, or is cut off", ahead=1)

    def _lines(self, lines: Iterable[bytes], *, reason: str = "") -> Iterator[Entry]:
        """The records in ``lines``, one in each, or those in two that were joined.

        ``reason``: what ails their end.
        """
        for line in lines:
            self._number += 1
            try:
                entry = self._read(line)
            except _NOT_OURS as error:
                self._fault(line, str(error))
                if _JOINED.search(line):  # a newline was changed; both lines are whole without it
                    yield from self._parts(line)
                continue
            if reason:
                self._fault(line, reason)
            if entry is not None:
                yield entry

    def _parts(self, line: bytes) -> Iterator[Entry]:
        for part in _JOINED.split(line):
            try:
                entry = self._read(part)
            except _NOT_OURS:
                continue  # it is told already that this line is damaged
            if entry is not None:
                yield entry

    def _read(self, line: bytes) -> Entry | None:
        rest = _checked(line)
        if self._ended:
            raise _Damaged("it stands behind the last line of the archive")
        if rest.startswith(b'"key":'):
            entry = self._last = _entry(line, self._number)
            self._sums.add(line, records=1)
            return entry
        if rest.startswith(b'"end":'):
            end = _decode_end(b"{" + rest)
            self._ended = True
            if not self.faults and (end.end, end.sums) != (self._sums.records, self._sums.digest()):
                raise _Damaged(
                    f"{end.end:,} records were written, {self._sums.records:,} are here: lines are missing, "
                    "or in another order"
                )
            return None
        header = _decode_header(b"{" + rest)
        if header.axiom_archive > FORMAT:
            raise SchemaTooNewError(
                f"the archive has format {header.axiom_archive}; this version knows {FORMAT}",
                adapter=self._name,
                hint="update axiom-persistence; nothing was changed",
            )
        self._sums.add(line, records=0)
        return None

    def _fault(self, line: bytes, reason: str, *, ahead: int = 0) -> None:
        named = _KEY.search(line)
        key = None
        if named is not None:
            try:
                key = msgspec.json.decode(named[1], type=str)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                pass  # the key itself is damaged
        self.faults.append(ArchiveFault(self._number + ahead, key, reason))
