"""The stored form of a value: one JSON object that proves it is whole and in its place.

::

    {"axiom":1,"sum":"9f86d081884c7d65","schema":"1.0","expires":1767225600000,"value":...}

A record about a subject has ``"subject":"<tag>",`` behind the sum.

``sum`` is XXH3-64 (seeded with the XXH3-64 of the key) over every byte after ``","`` behind it, in 16
lower-case hex digits. So a flipped byte, a cut end and a record under another key are all detected. No
empty and no all-zero bytes ever parse as a record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from ._subject import tag_in

__all__ = [
    "FIRST_SCHEMA",
    "FORMAT",
    "INTERNAL_SCHEMA",
    "Damage",
    "NewerFormat",
    "Record",
    "body_of",
    "body_with",
    "is_plain",
    "look_at",
    "major",
    "open_met",
    "open_record",
    "plain_value",
    "seal_about",
    "seal_body",
    "seal_record",
    "sealer",
    "value_of",
    "whole_body",
]

FORMAT: Final = 1

FIRST_SCHEMA: Final = "1.0"
"""The schema of values in a program that has never named one."""

INTERNAL_SCHEMA: Final = "1.0"
"""The schema of the library's own records, whatever the application's is."""

_START: Final = b'{"axiom":1,"sum":"'
_SUM: Final = len(_START)
_HEAD: Final = _START + b'%b",'
_WHOLE: Final = _HEAD + b"%b"
_BODY: Final = _SUM + 16 + 2  # behind the sum and `",`
_SUBJECT: Final = len('"subject":"",') + 49
_VALUE: Final = b',"value":'
"""What a sealed record has before its value, and nowhere before that."""
_PLAIN: Final = re.compile(rb'"schema":"(\d[\d.]*)","value":')
"""How the body of a record begins that neither expires nor has another form beside its value."""
_ANY_FORMAT: Final = re.compile(rb'\{"axiom":(\d{1,6})(?:,|$)')


class Damage(Exception):
    """Why bytes are not a whole record of this key. Caught by the store, never seen by users."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A checked record: its schema, its value still as JSON, and when it stops being there."""

    schema: str
    value: bytes
    expires: int | None = None  # milliseconds since 1970 UTC
    compat: bytes | None = None  # the same value as older versions of the application read it
    subject: str | None = None  # the tag of whom it is about


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    schema: str
    value: msgspec.Raw
    expires: int | None = None
    compat: msgspec.Raw = msgspec.Raw(b"")
    clock: str | None = None
    subject: str | None = None


_decode_body: Final = msgspec.json.Decoder(_Body).decode


@lru_cache(maxsize=16384)
def _parts(key: str, schema: str) -> tuple[int, bytes, bytes]:
    """The seed of the key's sums; what the body of a plain record begins with; and that with its head."""
    return xxh3_64_intdigest(key.encode()), *_openings(schema)


@lru_cache(maxsize=64)
def _openings(schema: str) -> tuple[bytes, bytes]:
    opening = b'"schema":' + msgspec.json.encode(schema) + b',"value":'
    return opening, _HEAD + opening.replace(b"%", b"%%")


def seal_record(
    key: str, value: bytes, schema: str, *, expires: int | None = None, compat: bytes | None = None
) -> bytes:
    """The record bytes for ``value`` (JSON already) under ``key``."""
    seed, opening, _ = _parts(key, schema)
    if expires is None and compat is None:
        body = b"%b%b}" % (opening, value)
    else:
        body = body_with(value, schema, expires=expires, compat=compat)
    return _WHOLE % (xxh3_64_hexdigest(body, seed).encode(), body)


def sealer(key: str, schema: str) -> Callable[[bytes], bytes]:
    """``seal_record`` of values under ``key`` that never expire, for who seals many."""
    seed, opening, _ = _parts(key, schema)

    def sealed(value: bytes) -> bytes:
        body = b"%b%b}" % (opening, value)
        return _WHOLE % (xxh3_64_hexdigest(body, seed).encode(), body)

    return sealed


def body_with(value: bytes, schema: str, *, expires: int | None = None, compat: bytes | None = None) -> bytes:
    """The body of a record of ``value``, for ``seal_body``. The two remember no key, for walks."""
    opening, _ = _openings(schema)
    if expires is None and compat is None:
        return b"%b%b}" % (opening, value)
    body = opening.removesuffix(_VALUE)
    if expires is not None:
        body += b',"expires":%d' % expires
    if compat is not None:
        body += b',"compat":%b' % compat
    return b"%b%b%b}" % (body, _VALUE, value)


def plain_value(key: str, data: bytes, schema: str) -> bytes | None:
    """The value in a whole record of this ``schema`` that never expires; None: ``open_record`` must tell."""
    seed, opening, beginning = _parts(key, schema)
    if not data.startswith(beginning % xxh3_64_hexdigest(data[_BODY:], seed).encode()):
        return None
    return data[_BODY + len(opening) : -1]


def value_of(data: bytes) -> bytes:
    """The value in a record that was just sealed, unchecked."""
    return data[data.index(_VALUE) + len(_VALUE) : -1]


def body_of(data: bytes) -> bytes:
    """What a whole record holds behind its sum: the same under every key. Unchecked."""
    return data[_BODY:]


def is_plain(body: bytes) -> bool:
    """Whether a body is that of nearly all: it never expires, is about nobody, and has one form."""
    return _PLAIN.match(body) is not None


def whole_body(key: str, data: bytes) -> bytes | None:
    """``body_of`` a record whose sum is right. None: ``open_record`` must tell why it is not.

    For walks, which meet each key once: it remembers nothing.
    """
    body = data[_BODY:]
    whole = data.startswith(_HEAD % xxh3_64_hexdigest(body, xxh3_64_intdigest(key.encode())).encode())
    return body if whole else None


def seal_body(key: str, body: bytes) -> bytes:
    """The record of ``key`` with a body that ``body_of`` gave, byte for byte."""
    return _WHOLE % (xxh3_64_hexdigest(body, xxh3_64_intdigest(key.encode())).encode(), body)


def seal_about(key: str, data: bytes, tag: str | None) -> bytes:
    """The sealed record ``data`` of ``key``, as one about the subject with this tag; None: as it is."""
    if tag is None:
        return data
    body = body_of(data)
    if tag_in(data) is not None:
        body = body[_SUBJECT:]
    return seal_body(key, b'"subject":"%b",%b' % (tag.encode(), body))


def open_record(key: str, data: bytes, schema: str = "1.0") -> Record:
    """The record in ``data``, checked against ``key``. ``schema`` is the likely one: a fast path.

    Raises ``Damage`` with the reason in words. A newer format of this library is no damage: it raises
    ``NewerFormat``.
    """
    seed, opening, _ = _parts(key, schema)
    body = data[_BODY:]
    if not data.startswith(_HEAD % xxh3_64_hexdigest(body, seed).encode()):
        raise _diagnose(key, data)
    if body.startswith(opening):
        return Record(schema, body[len(opening) : -1])
    return _record_in(body)


def open_met(key: str, data: bytes, schema: str = "1.0") -> Record:
    """``open_record`` for walks, which meet each key once: it remembers nothing."""
    body = whole_body(key, data)
    if body is None:
        raise _diagnose(key, data)
    opening, _ = _openings(schema)
    if body.startswith(opening):
        return Record(schema, body[len(opening) : -1])
    return _record_in(body)


def _record_in(body: bytes) -> Record:
    plain = _PLAIN.match(body)
    if plain is not None:
        return Record(plain[1].decode(), body[plain.end() : -1])
    try:
        parsed = _decode_body(b"{" + body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        # The sum is right, so a program wrote exactly this: a writer that is not ours, or newer.
        raise Damage(f"the record is whole but not understood: {error}") from error
    return Record(
        parsed.schema, bytes(parsed.value), parsed.expires, bytes(parsed.compat) or None, parsed.subject
    )


def look_at(key: str, data: bytes, schema: str) -> tuple[Record | None, str | None, bool]:
    """The record in ``data``; or None, why, and whether that is since it has a newer format."""
    try:
        return open_record(key, data, schema), None, False
    except (Damage, NewerFormat) as error:
        return None, str(error), isinstance(error, NewerFormat)


def _diagnose(key: str, data: bytes) -> Exception:
    """The most helpful words for bytes that failed the check."""
    if not data:
        return Damage("it is empty")
    if not any(data[:4096]) and not any(data):
        return Damage(f"it is {len(data):,} zero bytes")
    if data[:_SUM] != _START:
        said = _ANY_FORMAT.match(data)
        # A newer format has another sum; with ours still right, only the digit was flipped.
        seed = _parts(key, FIRST_SCHEMA)[0]
        ours = data[_SUM : _BODY - 2] == xxh3_64_hexdigest(data[_BODY:], seed).encode()
        if said and int(said[1]) > FORMAT and not ours:
            return NewerFormat(int(said[1]))
        # Not quoted: the bytes may be a secret, and the reason goes to logs and reports.
        return Damage(f"it does not begin like a record; {len(data):,} bytes are there")
    if not data.endswith(b"}"):
        return Damage(f"its end is missing: {len(data):,} bytes are there")
    return Damage(f"its checksum is not that of its bytes under the key {key!r}: changed, or moved here")


class NewerFormat(Exception):
    """The record says it has a format this version of the library does not know."""

    def __init__(self, number: int) -> None:
        super().__init__(f"record format {number}; this version knows {FORMAT}")
        self.number = number


def major(schema: str) -> tuple[int, str]:
    """The major version to compare by: numbers as numbers, anything else before them, as text."""
    head = schema.split(".", 1)[0]
    return (int(head), "") if head.isdecimal() else (-1, head)
