"""What dconf keeps its values in: GVariant, and the file of them, GVDB.

https://docs.gtk.org/glib/gvariant-specification-1.0.html; the file's form is that of gvdb-format.h of GLib.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from .preferences import Native, Strange

__all__ = ["Database", "changeset", "value_in"]

_FIXED: Final = {
    b"b": "=?",
    b"y": "=B",
    b"n": "=h",
    b"q": "=H",
    b"i": "=i",
    b"u": "=I",
    b"x": "=q",
    b"t": "=Q",
    b"d": "=d",
}
_TEXT: Final = (b"s", b"o", b"g")
_HEAD: Final = struct.Struct("<8sIIII")
_TABLE: Final = struct.Struct("<II")
_ITEM: Final = struct.Struct("<IIIHcxII")
_NUMBER: Final = struct.Struct("<I")
_TOP: Final = 0xFFFFFFFF
"""The parent of an item that has none."""
_DEEPEST: Final = 64


def changeset(changes: Mapping[str, Native | None]) -> bytes:
    """New values of paths as ``a{smv}``, which dconf's service takes; None resets a path."""
    entries, ends = bytearray(), []
    for path, value in changes.items():
        _align(entries)
        entries += _entry(path.encode() + b"\0", None if value is None else _variant(value))
        ends.append(len(entries))
    return bytes(entries) + _offsets(len(entries), ends)


def value_in(variant: bytes) -> Native | Strange:
    """What a serialised variant holds."""
    data, _, kind = variant.rpartition(b"\0")
    form = _FIXED.get(kind)
    if form is not None and len(data) == struct.calcsize(form):
        value: bool | int | float = struct.unpack(form, data)[0]
        return value
    if kind == b"ay":
        return data
    if kind in _TEXT and data.endswith(b"\0"):
        try:
            return data[:-1].decode()
        except UnicodeDecodeError:
            pass  # GLib writes no such text
    return Strange(kind.decode("ascii", "replace"), data)


def _variant(value: Native) -> bytes:
    if isinstance(value, bytes):
        return value + b"\0ay"
    if isinstance(value, str):
        return value.encode() + b"\0\0s"
    if isinstance(value, bool):
        return bytes([value]) + b"\0b"
    if isinstance(value, float):
        return struct.pack("=d", value) + b"\0d"
    # As `dconf write` does: an integer has 32 bits where it fits.
    kind = b"i" if -(1 << 31) <= value < 1 << 31 else b"x"
    return struct.pack(_FIXED[kind], value) + b"\0" + kind


def _entry(path: bytes, variant: bytes | None) -> bytes:
    entry = bytearray(path)
    _align(entry)
    if variant is not None:
        entry += variant + b"\0"  # the end of a maybe that is there
    return bytes(entry) + _offsets(len(entry), [len(path)])


def _align(data: bytearray) -> None:
    data += bytes(-len(data) % 8)


def _offsets(size: int, ends: list[int]) -> bytes:
    """Where parts end, in numbers just wide enough for the whole, themselves included."""
    width = next(n for n in (1, 2, 4, 8) if size + n * len(ends) < 1 << 8 * n)
    return b"".join(end.to_bytes(width, "little") for end in ends)


class Database:
    """The values in the bytes of a dconf database. Raises ``ValueError`` where they are none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        if data[:8] != b"GVariant":
            raise ValueError("it does not begin like a dconf database")
        _, _, _, start, end = _HEAD.unpack_from(data)
        words, buckets = _TABLE.unpack_from(data, start)
        self._buckets = start + _TABLE.size + 4 * (words & 0x7FFFFFF)
        self._count = buckets
        self._items = self._buckets + 4 * buckets
        self._end = (end - self._items) // _ITEM.size

    def get(self, path: str) -> Native | Strange | None:
        """The value at ``path``, if there is one."""
        found = self._find(path.encode())
        return None if found is None else self._value(found)

    def below(self, directory: str) -> Iterator[tuple[str, Native | Strange]]:
        """The names and values directly in ``directory``, which ends with a slash."""
        found = self._find(directory.encode())
        if found is None:
            return
        kind, start, end = self._item(found)[4:]
        if kind != b"L":
            return
        for place in range(start, end, 4):
            (child,) = _NUMBER.unpack_from(self._data, place)
            value = self._value(child)
            if value is not None:
                yield self._own_name(child).decode(), value

    def _find(self, path: bytes) -> int | None:
        if not self._count:
            return None
        wanted = 5381
        for byte in path:
            wanted = (wanted * 33 + (byte - 256 if byte > 127 else byte)) & 0xFFFFFFFF
        bucket = wanted % self._count
        (first,) = _NUMBER.unpack_from(self._data, self._buckets + 4 * bucket)
        last = self._end
        if bucket + 1 < self._count:
            (last,) = _NUMBER.unpack_from(self._data, self._buckets + 4 * (bucket + 1))
        if not first <= last <= self._end:
            raise ValueError("its table of keys is damaged")
        for number in range(first, last):
            if self._item(number)[0] == wanted and self._name(number) == path:
                return number
        return None

    def _item(self, number: int) -> tuple[int, int, int, int, bytes, int, int]:
        hashed, parent, name, size, kind, start, end = _ITEM.unpack_from(
            self._data, self._items + number * _ITEM.size
        )
        return hashed, parent, name, size, kind, start, end

    def _own_name(self, number: int) -> bytes:
        _, _, name, size, _, _, _ = self._item(number)
        return self._data[name : name + size]

    def _name(self, number: int) -> bytes:
        parts: list[bytes] = []
        while number != _TOP and len(parts) < _DEEPEST:
            parts.append(self._own_name(number))
            number = self._item(number)[1]
        return b"".join(reversed(parts))

    def _value(self, number: int) -> Native | Strange | None:
        kind, start, end = self._item(number)[4:]
        return value_in(self._data[start:end]) if kind == b"v" else None
