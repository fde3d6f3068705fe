"""Property lists, XML and binary, such as the UserDefaults of an application that were exported."""

from __future__ import annotations

import plistlib
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from ._legacy import Found, Refused, why

__all__ = ["looks_like", "read"]

_BINARY: Final = b"bplist00"
_EPOCH: Final = datetime(2001, 1, 1, tzinfo=UTC)


def looks_like(head: bytes) -> bool:
    return head.startswith(_BINARY) or b"<!DOCTYPE plist" in head or b"<plist" in head


def read(path: Path) -> Iterator[Found]:
    """The values of the dictionary that a list is; of another one, one value with the file's name."""
    data = path.read_bytes()
    try:
        value = plistlib.loads(data)
    except Exception as error:  # of the parser, of dates, of numbers: it is damaged somewhere
        binary = data.startswith(_BINARY)
        yield from _rescued_binary(data, path.stem) if binary else _rescued(data, path.stem, why(error))
        return
    if not isinstance(value, dict):
        value = {path.stem: value}
    for name, member in value.items():
        yield _found(name, member)


def _found(name: str, value: Any) -> Found:
    try:
        return Found(name, _plain(value))
    except ValueError as error:
        return Found(name, problem=why(error))


def _plain(value: Any) -> Any:
    """The same, with dates that know their zone: a list has UTC."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, plistlib.UID):
        raise Refused("it is a part of an archive of objects (NSKeyedArchiver), which is not opened")
    return value


def _rescued(data: bytes, stem: str, reason: str) -> Iterator[Found]:
    """The whole members of an XML list that is damaged further behind."""
    if b"<!ENTITY" in data:
        yield Found(stem, problem="it declares entities, which are not read")
        return
    parser, depth, name = ElementTree.XMLPullParser(("start", "end")), 0, ""
    error: Exception | None = None
    try:
        parser.feed(data)
        parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as damage:
        error = damage
    for event, element in _until_the_damage(parser):
        depth += 1 if event == "start" else -1
        if event == "start" or depth != 2:  # what is in <plist><dict>
            continue
        if element.tag == "key":
            name = element.text or ""
            continue
        whole = b"<plist>" + ElementTree.tostring(element) + b"</plist>"
        try:
            yield _found(name, plistlib.loads(whole))
        except Exception as bad:  # a number or date that is none
            yield Found(name, problem=f"its value is damaged: {why(bad)}")
        name = ""
    if name:
        yield Found(name, problem=f"its value is damaged: {reason}")
    if error is not None:
        yield Found(stem, problem=f"what is behind the damage cannot be read: {why(error)}")


def _until_the_damage(parser: ElementTree.XMLPullParser) -> Iterator[tuple[str, Any]]:
    events: Iterator[Any] = parser.read_events()
    while True:
        try:
            yield next(events)
        except (StopIteration, ElementTree.ParseError, ValueError, LookupError):
            return


def _rescued_binary(data: bytes, stem: str) -> Iterator[Found]:
    """The members of a binary list of which some parts are damaged."""
    try:
        parts = _Parts(data)
        names, values = parts.members()
    except (ValueError, struct.error, RecursionError) as error:
        yield Found(stem, problem=f"its table of contents is damaged: {why(error)}")
        return
    for place, (at, value) in enumerate(zip(names, values, strict=True)):
        name = f"{stem}[{place}]"
        try:
            name = str(parts.value(at))
            yield _found(name, parts.value(value))
        except (ValueError, struct.error, RecursionError, OverflowError) as error:
            yield Found(name, problem=f"its value is damaged: {why(error)}")


class _Parts:
    """The objects of a binary list, each read by itself."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 40:
            raise Refused("its end is missing")
        self.data = data
        width, self.wide, count, self.top, table = struct.unpack(">6xBBQQQ", data[-32:])
        if width not in (1, 2, 3, 4, 8) or self.wide not in (1, 2, 4, 8) or count > len(data):
            raise Refused("its last 32 bytes are not those of a list")
        if table + count * width > len(data) - 32 or self.top >= count:
            raise Refused("its last 32 bytes are not those of a list")
        places = data[table : table + count * width]
        self.left = 100 * len(data)
        """How many objects may still be read: shared ones could stand for more than fits anywhere."""
        self.places = [int.from_bytes(places[at : at + width]) for at in range(0, len(places), width)]

    def take(self, at: int, size: int) -> bytes:
        part = self.data[at : at + size]
        if len(part) < size:
            raise Refused("it reaches beyond the end")
        return part

    def head(self, number: int) -> tuple[int, int, int]:
        """Kind and size of an object, and where its content begins."""
        if number >= len(self.places):
            raise Refused("it refers to what is not there")
        at = self.places[number]
        token = self.take(at, 1)[0]
        kind, size, at = token >> 4, token & 15, at + 1
        if size == 15 and kind in (4, 5, 6, 10, 13):
            width = 1 << (self.take(at, 1)[0] & 3)
            size, at = int.from_bytes(self.take(at + 1, width)), at + 1 + width
        return kind, size, at

    def numbers(self, at: int, count: int) -> list[int]:
        data = self.take(at, count * self.wide)
        return [int.from_bytes(data[i : i + self.wide]) for i in range(0, len(data), self.wide)]

    def members(self) -> tuple[list[int], list[int]]:
        kind, size, at = self.head(self.top)
        if kind != 13:
            raise Refused("it is no dictionary")
        numbers = self.numbers(at, 2 * size)
        return numbers[:size], numbers[size:]

    def value(self, number: int) -> Any:
        kind, size, at = self.head(number)
        self.left -= 1
        if self.left < 0:
            raise Refused("its parts refer to each other too often")
        match kind:
            case 0 if size in (0, 8, 9):
                return {0: None, 8: False, 9: True}[size]
            case 1:
                return int.from_bytes(self.take(at, 1 << size), signed=size >= 3)
            case 2 if size in (2, 3):
                return struct.unpack(">f" if size == 2 else ">d", self.take(at, 1 << size))[0]
            case 3:
                return _EPOCH + timedelta(seconds=struct.unpack(">d", self.take(at, 8))[0])
            case 4:
                return self.take(at, size)
            case 5:
                return self.take(at, size).decode("ascii")
            case 6:
                return self.take(at, 2 * size).decode("utf-16-be")
            case 10:
                return [self.value(each) for each in self.numbers(at, size)]
            case 13:
                names, values = self.numbers(at, size), self.numbers(at + size * self.wide, size)
                return {str(self.value(a)): self.value(b) for a, b in zip(names, values, strict=True)}
        raise Refused(f"it has an object of kind {kind}, which is not known here")
