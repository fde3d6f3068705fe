"""Settings that Qt's QSettings wrote as an INI file, of Qt 4, 5 and 6.

What is text there stays text: QSettings writes 5 and "5" alike. ``types`` says what it is.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from ._legacy import Found, Refused, why

__all__ = ["looks_like", "read"]

_MARKS: Final = re.compile(
    rb"^\[%?General\]\r?$|=\"?@(?:Variant|ByteArray|DateTime|Invalid|Size|Point|Rect)\(", re.M
)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]+)|([0-7]{1,3})|(\r\n|.))", re.S)
_ESCAPED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_KEY_ESCAPE: Final = re.compile(r"%U([0-9a-fA-F]{4})|%([0-9a-fA-F]{2})|\\")
_CALL: Final = re.compile(r"@(\w+)\((.*)\)\Z", re.S)
_NUMBERS: Final = {"Size": 2, "Point": 2, "Rect": 4}
_LIST: Final = 9
_PYTHON: Final = "it is an object of Python's own, kept as a pickle, which is not opened"


def looks_like(head: bytes) -> bool:
    return _MARKS.search(head) is not None


def read(path: Path) -> Iterator[Found]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:  # Qt 4 and 5: everything beyond Latin-1 is escaped
        text = data.decode("latin-1")
    group = ""
    for number, line in enumerate(_lines(text), 1):
        if line.startswith("["):
            section, bracket, _ = line[1:].partition("]")
            if not bracket:
                yield Found(f"line {number}", problem="the name of a group is not closed")
                continue
            named = _key(section)
            general = section.lower() == "general"
            group = "" if general else (named[1:] if section.lower() == "%general" else named) + "/"
            continue
        name, sign, value = line.partition("=")
        if not sign or not name.strip():
            yield Found(f"line {number}", problem="it is neither a group nor a name with a value")
            continue
        key = group + _key(name.strip())
        try:
            yield Found(key, _value(value))
        except (ValueError, struct.error, OverflowError, RecursionError) as error:
            yield Found(key, problem=f"its value is not understood: {why(error)}")


def _lines(text: str) -> Iterator[str]:
    """The lines that say something; quoted text may go on over several."""
    pending = ""
    for line in re.split(r"\r\n|\n|\r", text):
        if not pending and (not line.strip() or line.lstrip().startswith(";")):
            continue
        pending += line
        if pending.endswith("\\") and not pending.endswith("\\\\"):
            pending = pending[:-1]
            continue
        yield pending.lstrip()
        pending = ""
    if pending:
        yield pending.lstrip()


def _key(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        wide, narrow = match.groups()
        return chr(int(wide or narrow, 16)) if wide or narrow else "/"

    return _joined(_KEY_ESCAPE.sub(plain, text))


def _value(text: str) -> Any:
    parts = [_meaning(part) for part in _parts(text)]
    return parts[0] if len(parts) == 1 else parts


def _parts(text: str) -> list[str]:
    """The texts that commas outside of quotes divide."""
    parts, quoted, plain, place = [""], False, 0, 0
    text = text.strip()
    while place < len(text):
        letter = text[place]
        if letter == "\\":
            match = _ESCAPE.match(text, place)
            if match is None:
                raise Refused("it ends in the middle of an escape")
            digits, octal, other = match.groups()
            if digits or octal:
                parts[-1] += chr(int(digits, 16) & 0xFFFF) if digits else chr(int(octal, 8))
            else:
                parts[-1] += _ESCAPED.get(other, "" if other in "\r\n" else other)
            place = match.end()
            plain = len(parts[-1])
            continue
        if letter == '"':
            quoted = not quoted
            plain = len(parts[-1])
        elif letter == "," and not quoted:
            parts[-1] = parts[-1][:plain] + parts[-1][plain:].rstrip()
            parts.append("")
            plain = 0
        elif quoted or letter not in " \t" or parts[-1]:
            parts[-1] += letter
            plain = len(parts[-1]) if quoted else plain
        place += 1
    if quoted:
        raise Refused("its quotes are not closed")
    parts[-1] = parts[-1][:plain] + parts[-1][plain:].rstrip()
    return [_joined(part) for part in parts]


def _joined(text: str) -> str:
    """Halves of characters that were written one by one, as one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def _meaning(text: str) -> Any:
    if not text.startswith("@"):
        return text
    if text.startswith("@@"):
        return text[1:]
    match = _CALL.match(text)
    if match is None:
        return text
    kind, inside = match.groups()
    if kind == "Invalid":
        return None
    if kind == "String":
        return inside
    if kind in _NUMBERS:
        numbers = [int(part) for part in inside.split()]
        if len(numbers) != _NUMBERS[kind]:
            raise Refused(f"a {kind} of {len(numbers)} numbers")
        return numbers
    if kind in ("ByteArray", "Variant", "DateTime"):
        data = inside.encode("latin-1")
        return data if kind == "ByteArray" else _Stream(data, kind == "DateTime").all()
    return text


class _Stream:
    """Values as Qt streams them: big-endian, each with the number of its type before it."""

    def __init__(self, data: bytes, recent: bool) -> None:
        self.data = data
        self.place = 0
        self.recent = recent
        """Of a later version of the stream, which writes dates otherwise."""

    def all(self) -> Any:
        value = self.variant()
        if self.place != len(self.data):
            raise Refused("more is behind its end")
        return value

    def take(self, size: int) -> bytes:
        part = self.data[self.place : self.place + size]
        if len(part) < size:
            raise Refused("its end is missing")
        self.place += size
        return part

    def number(self, form: str) -> Any:
        return struct.unpack(f">{form}", self.take(struct.calcsize(f">{form}")))[0]

    def numbers(self, form: str) -> list[Any]:
        return list(struct.unpack(f">{form}", self.take(struct.calcsize(f">{form}"))))

    def variant(self) -> Any:
        kind = self.number("I")
        if self.recent:
            self.take(1)  # whether it is null; what follows is there in any case
        reader = _READERS.get(kind)
        if reader is None:
            raise Refused(f"it is of type {kind} of Qt, which is not known here")
        return reader(self)

    def bytes(self) -> bytes:
        size = self.number("I")
        return b"" if size == 0xFFFFFFFF else self.take(size)

    def text(self) -> str:
        return self.bytes().decode("utf-16-be")

    def items(self) -> list[Any]:
        return [self.variant() for _ in range(self.count())]

    def texts(self) -> list[str]:
        return [self.text() for _ in range(self.count())]

    def count(self) -> int:
        count: int = self.number("I")
        if count > len(self.data):
            raise Refused("more items than there are bytes")
        return count

    def mapping(self) -> dict[str, Any]:
        return {self.text(): self.variant() for _ in range(self.count())}

    def day(self) -> date:
        days = self.number("q" if self.recent else "I")
        return date.fromordinal(days - 1721425)  # from the Julian day

    def clock(self) -> time:
        seconds, milliseconds = divmod(self.number("I"), 1000)
        return time(seconds // 3600, seconds // 60 % 60, seconds % 60, milliseconds * 1000)

    def moment(self) -> datetime:
        moment = datetime.combine(self.day(), self.clock())
        match self.number("b"):
            case 1:
                return moment.replace(tzinfo=UTC)
            case 2 if self.recent:
                return moment.replace(tzinfo=timezone(timedelta(seconds=self.number("i"))))
            case 0 | 255 | -1:
                return moment
        raise Refused("its time zone is not known here")

    def user(self) -> Any:
        name = self.bytes().rstrip(b"\0")
        if name == b"QUuid":
            return UUID(bytes=self.take(16))
        if name.startswith(b"PyQt"):
            raise Refused(_PYTHON)
        raise Refused(f"it is of the type {name.decode(errors='replace')}, which is not known here")


_READERS: Final[dict[int, Callable[[_Stream], Any]]] = {
    1: lambda stream: bool(stream.number("b")),
    2: lambda stream: stream.number("i"),
    3: lambda stream: stream.number("I"),
    4: lambda stream: stream.number("q"),
    5: lambda stream: stream.number("Q"),
    6: lambda stream: stream.number("d"),
    7: lambda stream: chr(stream.number("H")),
    8: _Stream.mapping,
    _LIST: _Stream.items,
    10: _Stream.text,
    11: _Stream.texts,
    12: _Stream.bytes,
    14: _Stream.day,
    15: _Stream.clock,
    16: _Stream.moment,
    17: lambda stream: stream.bytes().decode(),
    19: lambda stream: _corner(stream.numbers("4i")),
    20: lambda stream: stream.numbers("4d"),
    21: lambda stream: stream.numbers("2i"),
    22: lambda stream: stream.numbers("2d"),
    25: lambda stream: stream.numbers("2i"),
    26: lambda stream: stream.numbers("2d"),
    28: _Stream.mapping,
    30: lambda stream: UUID(bytes=stream.take(16)),
    127: _Stream.user,
    135: lambda stream: stream.number("f"),
}


def _corner(edges: list[int]) -> list[int]:
    """A rectangle as QSettings spells it: its corner, its width and its height."""
    left, top, right, bottom = edges
    return [left, top, right - left + 1, bottom - top + 1]
