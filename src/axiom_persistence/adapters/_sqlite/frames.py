"""The frames of a write-ahead log read without SQLite, past what is destroyed in it.

Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from .pages import Image

__all__ = ["Frames", "page_size_in", "read_frames"]

_MAGIC: Final = 0x377F0682
"""Its last bit says that sums are made of big-endian words."""
_HEAD, _FRAME = 32, 24
_WORD: Final = 0xFFFFFFFF
_OLDER_LOGS: Final = 1 << 16
"""The first salt grows by one with each log: a smaller one is that of an older log, by less than this."""
_OLD: Final = -(1 << 40)
"""The order of the first frame of an older log: before the database file, which is 0."""

Sum = tuple[int, int]


class Frames(NamedTuple):
    """What is in a log."""

    images: list[Image]
    """The older ones first."""
    gap: int
    """The order of the last frame of which nothing can be told; 0: there is none."""
    finished: int
    """The order of the last frame of a commit. Those behind it are of one whose end is not there."""


class _Frame(NamedTuple):
    slot: int
    number: int
    commits: bool
    salts: bytes
    told: Sum
    head: bytes
    data: memoryview


def page_size_in(log: memoryview) -> int | None:
    """The size of a page, as the log says it. None: its header is destroyed."""
    return int.from_bytes(log[8:12]) if _header_sum(log) is not None else None


def read_frames(log: memoryview, size: int, index: bytes) -> Frames:
    """All frames of ``log`` with pages of ``size`` bytes; ``index`` is what is left of the -shm file."""
    frames = list(_frames(log, size))
    start = _header_sum(log)
    big = bool(log[3] & 1) if start is not None else sys.byteorder == "big"
    salts = bytes(log[16:24]) if start is not None else _salts(frames, big)
    live = [frame.slot for frame in frames if frame.salts == salts and frame.number]
    last = max(live, default=-1)
    images, gap, finished = [], 0, 0
    before: Sum | None = start
    for frame in frames:
        slot, order = frame.slot, frame.slot + 1
        is_live = frame.salts == salts and frame.number > 0
        if is_live:
            is_proven = before is not None and _sum(frame, before, big) == frame.told
            whole = is_proven or before is None
            images.append(Image(frame.number, frame.data, order, whole, is_proven))
            finished = order if frame.commits else finished
        elif slot > last and _is_older(frame.salts, salts) and frame.number:
            images.append(Image(frame.number, frame.data, _OLD + slot))
        elif slot < last or any(frame.head) or any(frame.data):
            images.append(Image(0, frame.data, order, whole=False))
            gap = order
        before = frame.told if is_live else None
    if index[32:40] == salts and int.from_bytes(index[16:20], sys.byteorder) > last + 1:
        gap = max(gap, last + 2)  # the log was longer than what is left
    if start is None and frames and frames[0].salts != salts:
        gap = max(gap, last + 1)  # what is taken for the log may be an older one
    images.sort(key=lambda image: image.order)
    return Frames(images, gap, finished)


def _frames(log: memoryview, size: int) -> Iterator[_Frame]:
    for slot, at in enumerate(range(_HEAD, len(log) - _FRAME, _FRAME + size)):
        head = bytes(log[at : at + _FRAME])
        number, commits, one, other = struct.unpack(">II8xII", head)
        data = log[at + _FRAME : at + _FRAME + size]
        if len(data) < size:  # it was cut here
            data = memoryview(bytes(data).ljust(size, b"\0"))
        yield _Frame(slot, number, commits > 0, head[8:16], (one, other), head, data)


def _salts(frames: list[_Frame], big: bool) -> bytes:
    """Those of the log, where its header is gone: the latest of the frames that follow from those before."""
    if not frames:
        return b""
    first = frames[0]
    proven = {
        frame.salts
        for before, frame in pairwise(frames)
        if frame.number and before.salts == frame.salts and _sum(frame, before.told, big) == frame.told
    }
    if first.number and any(_is_older(salts, first.salts) for salts in proven):
        return first.salts
    return max(proven, default=first.salts)


def _is_older(salts: bytes, now: bytes) -> bool:
    return 0 < (int.from_bytes(now[:4]) - int.from_bytes(salts[:4])) % (_WORD + 1) < _OLDER_LOGS


def _header_sum(log: memoryview) -> Sum | None:
    """The sum in the header of the log, from which those of its frames go on. None: it is destroyed."""
    if len(log) < _HEAD or int.from_bytes(log[:4]) & ~1 != _MAGIC:
        return None
    told = struct.unpack(">II", log[24:32])
    return told if _add(bytes(log[:24]), (0, 0), bool(log[3] & 1)) == told else None


def _sum(frame: _Frame, before: Sum, big: bool) -> Sum:
    return _add(bytes(frame.data), _add(frame.head[:8], before, big), big)


def _add(data: bytes, before: Sum, big: bool) -> Sum:
    one, other = before
    words = struct.unpack(f"{'>' if big else '<'}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + other) & _WORD
        other = (other + second + one) & _WORD
    return one, other
