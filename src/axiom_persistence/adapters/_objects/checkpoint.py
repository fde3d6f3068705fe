"""Taking what is still needed out of the log, so that the rest can go.

A checkpoint says where every value lies as of one number of the log. Its values lie in parts, none in the
log. Checkpoints are a chain: each is made by one who has begun with the one before, and its number is taken
by whoever is first. So nothing that it removes can be needed by another one:

* the log up to its number: every value was moved;
* the parts that were there *before* it was created, and that it does not name: who was making another
  checkpoint then, and has put values into them, finds the number taken and gives up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from typing import Final
from uuid import uuid4

from .entry import (
    CHECKPOINTS,
    PARTS,
    SUPERSEDED,
    Checkpoint,
    checkpoint_name,
    checkpoint_number,
    cleared,
    entry_name,
    packed_checkpoint,
)
from .log import Log, Moved

__all__ = ["make_checkpoint"]

_PART_BYTES: Final = 16 << 20
_LOOK: Final = 1 << 16

Row = tuple[str, str, str, int, int, int]


def make_checkpoint(log: Log, is_closed: Callable[[], bool], *, everything: bool = False) -> bool:
    """Whether one was made; else somebody else was first, or nothing is to be done.

    ``everything``: leave no byte that is not needed.
    """
    bucket = log.bucket
    index = log.refresh()
    newest = bucket.names(CHECKPOINTS, 1)
    if newest and checkpoint_number(newest[0]) > index.number:
        log.reload(index)
        return False
    parts = bucket.names(PARTS)
    with index.lock:
        last, rows = index.last, index.rows()
    if last == index.base and not everything:
        return False
    if index.number and not _is_cleared(log, index.base):
        # Whoever made that checkpoint did not come to it.
        _clear(log, is_closed, range(index.cleared + 1, index.base + 1))
    moving = _worth_moving(rows, everything)
    kept = [row for row in rows if row[2] not in moving]
    try:
        moved = list(_move(log, [row for row in rows if row[2] in moving]))
    except Moved:  # somebody else's checkpoint has
        log.reload(index)
        return False
    number = index.number + 1
    checkpoint = Checkpoint(last, index.base, kept + moved)
    if not bucket.create(checkpoint_name(number), packed_checkpoint(checkpoint)):
        log.reload(index)
        return False
    old = index.number
    index.rebase(number, checkpoint)
    if old:
        bucket.put(checkpoint_name(old), SUPERSEDED)
    _clear(log, is_closed, range(checkpoint.cleared + 1, last + 1))
    needed = {row[2] for row in checkpoint.rows}
    bucket.delete(name for name in parts if name not in needed)
    return True


def _worth_moving(rows: Collection[Row], everything: bool) -> set[str]:
    """The objects whose values are to be moved: all of the log, and parts of which half is not needed."""
    live: dict[str, int] = defaultdict(int)
    sizes = {}
    for _, _, name, _, length, size in rows:
        live[name] += length
        sizes[name] = size
    return {
        name
        for name, size in sizes.items()
        if not name.startswith(PARTS) or 2 * live[name] < size or (everything and live[name] < size)
    }


def _move(log: Log, rows: list[Row]) -> Iterator[Row]:
    """Write the values of ``rows`` into parts; the rows as they are then."""
    while rows:
        some: list[Row] = []
        size = 0
        while rows and (not some or size + rows[-1][4] <= _PART_BYTES):
            some.append(rows.pop())
            size += some[-1][4]
        values = log.values_of(some)
        name, start = f"{PARTS}{uuid4()}", 0
        if size:
            log.bucket.put(name, b"".join(values))
        for (key, version, *_), value in zip(some, values, strict=True):
            yield key, version, name, start, len(value), size
            start += len(value)


def _is_cleared(log: Log, number: int) -> bool:
    part = log.bucket.read(entry_name(number), 0, _LOOK)
    return part is None or log.entry(number, part)[0].is_cleared


def _clear(log: Log, is_closed: Callable[[], bool], numbers: Collection[int]) -> None:
    """Leave only the ids of these entries, from the first to the last."""
    for number in numbers:
        if is_closed():
            return  # whoever makes the next checkpoint goes on
        part = log.bucket.read(entry_name(number), 0, _LOOK)
        if part is None:
            continue
        entry, _ = log.entry(number, part)
        if not entry.is_cleared:
            log.bucket.put(entry_name(number), cleared(entry))
