"""The journal: several changes as one run of bytes, which is either whole or nothing.

Written before the first of the changes is applied and cleared after the last, it lets whoever opens
a store next finish what a crash interrupted.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from xxhash import xxh3_128_hexdigest

from .adapter import Changes

__all__ = ["decode_journal", "encode_journal"]

_HEADER: Final = re.compile(rb"axiom-journal 1 ([0-9a-f]{32}) ([0-9]{1,19})\n")
_HEADER_BYTES_MAX: Final = 68


def encode_journal(changes: Changes) -> bytes:
    """``changes`` behind a line of text: name, format, XXH3 (128 bits) of what follows, its length.

    What follows is a MessagePack list of [key, bytes or nil]. The line makes sure that neither an
    empty file nor one of zeros is ever valid, whatever their checksum may be.
    """
    body = msgspec.msgpack.encode([(key, data) for key, data in changes.items()])
    return b"axiom-journal 1 %s %d\n%s" % (xxh3_128_hexdigest(body).encode(), len(body), body)


def decode_journal(data: bytes) -> dict[str, bytes | None] | None:
    """The changes, or None of a journal that is torn or damaged: nothing of it was applied then."""
    header = _HEADER.match(data[:_HEADER_BYTES_MAX])
    if header is None:
        return None
    body = data[header.end() :]
    if len(body) != int(header[2]) or xxh3_128_hexdigest(body).encode() != header[1]:
        return None
    try:
        return dict(msgspec.msgpack.decode(body, type=list[tuple[str, bytes | None]]))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
