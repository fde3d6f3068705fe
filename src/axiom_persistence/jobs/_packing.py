"""How an archive's bytes are packed: as they are, or in compressed blocks that are read one by one.

Every block holds whole lines, so a damaged one costs its own records and no others, and an export that was
interrupted goes on behind the last whole block. Encryption with a passphrase has its place here: one more
``Packing`` around one of these.
"""

from __future__ import annotations

import struct
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple

from xxhash import xxh3_64_intdigest

from ..errors import CapabilityUnavailableError, ConfigurationError, shown

__all__ = ["BLOCK_BYTES", "Lost", "Packing", "packing_for", "packing_of"]

BLOCK_BYTES: Final = 1 << 16
"""A block ends with the line that makes it at least so large: where it ends depends on the lines alone."""

_CHUNK: Final = 1 << 16
_SIZES: Final = struct.Struct("<IIQ")
"""Of a compressed block: its length, the same with every bit turned over, and its XXH3-64."""
_TURNED: Final = 0xFFFFFFFF


class Lost(NamedTuple):
    """Bytes that could not be read stood here."""

    reason: str


class Packing(ABC):
    """One way to pack."""

    @abstractmethod
    def pack(self, lines: bytes) -> bytes:
        """Whole lines as one block."""

    @abstractmethod
    def unpack(self, file: BinaryIO) -> Iterator[bytes | int | Lost]:
        """What was packed, in pieces; after each block the offset in ``file`` where it ends."""


class _Plain(Packing):
    def pack(self, lines: bytes) -> bytes:
        return lines

    def unpack(self, file: BinaryIO) -> Iterator[bytes | int | Lost]:
        offset = 0
        while lines := file.readlines(_CHUNK):
            unfinished = [] if lines[-1].endswith(b"\n") else [lines.pop()]
            whole = b"".join(lines)
            yield whole
            offset += len(whole)
            yield offset
            yield from unfinished


class _Compressed(Packing):
    """Blocks behind a header, which other programs skip, with the length and the sum of each."""

    header: bytes
    """What every block begins with."""

    @abstractmethod
    def compress(self, lines: bytes) -> bytes: ...

    @abstractmethod
    def decompress(self, packed: bytes) -> bytes:
        """Of what ``compress`` gave: its sum is right."""

    def pack(self, lines: bytes) -> bytes:
        packed = self.compress(lines)
        length = len(packed)
        return self.header + _SIZES.pack(length, length ^ _TURNED, xxh3_64_intdigest(packed)) + packed

    def unpack(self, file: BinaryIO) -> Iterator[bytes | int | Lost]:
        size = len(self.header) + _SIZES.size
        offset, held = 0, file.read(size)
        while held:
            length = self._length(held)
            held += file.read(max(0, size + length - len(held)))
            packed = held[size : size + length]
            if not length or len(packed) < length or self._sum(held) != xxh3_64_intdigest(packed):
                yield Lost("a compressed block is damaged, cut off, or was made by another program")
                held = self._next(held[1:], file)
                continue  # offsets are wrong from here on; who needs them stops at what is lost
            yield self.decompress(packed)
            offset += size + length
            yield offset
            held = held[size + length :]
            held += file.read(max(0, size - len(held)))

    def _length(self, held: bytes) -> int:
        """How long the block is behind its header; 0 where that cannot be read."""
        if not held.startswith(self.header) or len(held) < len(self.header) + _SIZES.size:
            return 0
        length, turned, _ = _SIZES.unpack_from(held, len(self.header))
        return int(length) if length ^ turned == _TURNED else 0

    def _sum(self, held: bytes) -> int:
        return int(_SIZES.unpack_from(held, len(self.header))[2])

    def _next(self, held: bytes, file: BinaryIO) -> bytes:
        """What begins with the first header from here on; nothing where there is none."""
        while (found := held.find(self.header)) < 0:
            more = file.read(_CHUNK)
            if not more:
                return b""
            held = held[max(0, len(held) - len(self.header) + 1) :] + more
        return held[found:]


class _Deflate(_Compressed):
    """A gzip file of one member for each block."""

    # Deflate, with an extra field, no name, no time, no system: equal lines make equal bytes.
    header = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H2sH", 4 + _SIZES.size, b"Ax", _SIZES.size)

    def compress(self, lines: bytes) -> bytes:
        packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        end = struct.pack("<II", zlib.crc32(lines), len(lines) & 0xFFFFFFFF)
        return packer.compress(lines) + packer.flush() + end

    def decompress(self, packed: bytes) -> bytes:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed)


class _Zstandard(_Compressed):
    """A zstd file of one frame for each block, each behind a frame to be skipped."""

    header = struct.pack("<II", 0x184D2A50, _SIZES.size)

    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd

            self._compress: Any = zstd.compress
            self._decompress: Any = zstd.decompress
            return
        try:
            import zstandard
        except ModuleNotFoundError as error:
            raise CapabilityUnavailableError(
                "zstd needs the package zstandard, or Python 3.14",
                hint="pip install 'axiom-persistence[zstd]', or choose compression='deflate'",
            ) from error
        self._compress = zstandard.ZstdCompressor().compress
        self._decompress = zstandard.ZstdDecompressor().decompress

    def compress(self, lines: bytes) -> bytes:
        return bytes(self._compress(lines))

    def decompress(self, packed: bytes) -> bytes:
        return bytes(self._decompress(packed))


_FRAME: Final = b"\x28\xb5\x2f\xfd"


def packing_for(compression: str | None) -> Packing:
    """The packing that an export asked for. Raises ``ConfigurationError`` for one that is not known."""
    if compression is None:
        return _Plain()
    if compression == "deflate":
        return _Deflate()
    if compression == "zstd":
        return _Zstandard()
    raise ConfigurationError(
        f"compression is 'deflate', 'zstd' or None, not {shown(compression)}",
        hint="leave compression out for plain JSON Lines",
    )


def packing_of(head: bytes) -> Packing:
    """The packing of an archive that begins with ``head``."""
    if head.startswith(_FRAME) or _like(head, _Zstandard.header):
        return _Zstandard()
    return _Deflate() if _like(head, _Deflate.header) else _Plain()


def _like(head: bytes, header: bytes) -> bool:
    """Whether most of the bytes are right: one that is damaged must not hide what all others are."""
    return 2 * sum(map(int.__eq__, head, header)) > len(header)
