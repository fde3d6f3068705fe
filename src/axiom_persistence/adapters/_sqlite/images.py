"""The bytes of a store's files as copies of pages."""

from __future__ import annotations

import mmap
import os
import sys
from typing import Final

from .frames import Frames, page_size_in, read_frames
from .pages import Image, Pages, is_record

__all__ = ["copies_of", "holds_records"]

_MAGIC: Final = b"SQLite format 3\0"
_USUAL_PAGE: Final = 4096
_CHUNK_BYTES: Final = 1 << 20
_EXAMINED_BYTES: Final = 1 << 26
"""What is looked at of a file that may be anybody's."""


def holds_records(path: str) -> bool:
    """Whether a record of ours is in a file that is no database, or in its log. Raises OSError."""
    pages, _ = copies_of(path, _EXAMINED_BYTES)
    for image, *_ in pages.copies.values():
        rows = pages.read(image)[0]
        if any(is_record(row.values) for row in rows) or next(pages.carve(image), None) is not None:
            return True
    return False


def _mapped(path: str, most: int) -> memoryview:
    """The first bytes of a file; none where it is missing. Raises OSError where the disk refuses."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return memoryview(b"")
    try:
        size = min(os.fstat(descriptor).st_size, most)
        if not size:
            return memoryview(b"")
        for _ in range(
            0, size, _CHUNK_BYTES
        ):  # of memory that is mapped, what cannot be read ends the process
            os.read(descriptor, _CHUNK_BYTES)
        memory = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    return memoryview(memory)


def copies_of(path: str, most: int = sys.maxsize) -> tuple[Pages, Frames]:
    """Every copy of every page in the database and its log, of ``most`` bytes of each. Raises OSError."""
    database, log, index = (_mapped(path + end, most) for end in ("", "-wal", "-shm"))
    size = page_size_in(log)
    if size is None and bytes(database[:16]) == _MAGIC:
        told = int.from_bytes(database[16:18])
        told = 65_536 if told == 1 else told
        if told >= 512 and told & (told - 1) == 0:
            size = told
    pages = Pages(size or _USUAL_PAGE)
    frames = read_frames(log, pages.size, bytes(index[:48]))
    for image in frames.images:
        if image.order < 0:
            pages.add(image)
    for number, at in enumerate(range(0, len(database), pages.size), 1):
        data = database[at : at + pages.size]
        if len(data) < pages.size:  # the file was cut within this page
            data = memoryview(bytes(data).ljust(pages.size, b"\0"))
        pages.add(Image(number, data, 0))
    for image in frames.images:
        if image.order > 0:
            pages.add(image)
    return pages, frames
