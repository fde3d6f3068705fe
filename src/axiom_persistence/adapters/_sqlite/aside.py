"""A store that cannot be opened moves aside, whole, and another one takes its place.

A note takes the place of the database file first, so that whoever opens the store meanwhile, or after a
crash in between, is told; and whoever repairs it again goes on where this was.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ...errors import StorageLockedError
from ...platform.making import FILE_MODE, REFUSED, hand_over, make_directories, sync_directory
from .file import NOTE, create_file, creating
from .wal import is_present

__all__ = ["Aside", "aside"]

_MORE: Final = b"\nbeside it. Run `axiom-persistence verify --repair` again to go on.\n"
_LOCKED_AT: Final = 0x40000000
"""The bytes that SQLite locks: https://www.sqlite.org/src/file/src/os.h (PENDING_BYTE and what follows)."""
_LOCKED_BYTES: Final = 512
_ONE_NAME: Final = frozenset({*REFUSED, errno.EMLINK, errno.EXDEV, errno.EACCES})

if sys.platform != "win32":
    import fcntl


class Aside:
    """Where everything is while a store is repaired."""

    def __init__(self, path: str, directory: str) -> None:
        self.directory: str = directory
        self.original: str = os.path.join(directory, os.path.basename(path))
        self.rebuilt: str = os.path.join(directory, "rebuilt.db")
        self._path = path

    def clear(self) -> None:
        """Forget what an earlier attempt has built."""
        for end in ("", "-wal", "-shm", "-journal"):
            Path(self.rebuilt + end).unlink(missing_ok=True)

    def put_in_place(self) -> None:
        """The end: the store is what was built."""
        os.replace(self.rebuilt, self._path)
        sync_directory(os.path.dirname(self._path))


@contextmanager
def aside(path: str, adapter: object) -> Iterator[Aside]:
    """Move all files of the store at ``path`` into a directory beside it. Nobody else has it open meanwhile.

    Raises ``StorageLockedError`` where somebody has, and OSError.
    """
    create_file(path)  # where only the log is left
    with _alone(path, adapter) as head:
        if head.startswith(NOTE):
            name = os.fsdecode(head.removeprefix(NOTE).split(b"\n")[0])
            yield _move_rest(path, os.path.join(os.path.dirname(path), name))
            return
        directory = _begin(path)
        note = _write_note(directory)
        with _alone(note, adapter):
            os.replace(note, path)
            yield _move_rest(path, directory)


@contextmanager
def _alone(path: str, adapter: object) -> Iterator[bytes]:
    """Hold SQLite's own exclusive lock on a file, as any connection understands it; how the file begins."""
    locked = StorageLockedError(
        "the store is open in another place, so it was not repaired",
        adapter=adapter,
        hint="close the programs that use it, and run this again",
    )
    with creating:
        if is_present(path):
            raise locked  # and to open the file here would drop the locks that this process has on it
        descriptor = os.open(path, os.O_RDWR)
    try:
        if sys.platform != "win32":
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKED_BYTES, _LOCKED_AT)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                raise locked from None
            if not os.path.samestat(os.stat(path), os.fstat(descriptor)):
                raise locked  # another one has just repaired it
        head = os.read(descriptor, 4096)
        if sys.platform == "win32":  # where nobody can move a file that somebody has open
            os.close(descriptor)
            descriptor = -1
        yield head
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _begin(path: str) -> str:
    """The directory, a new one or that of a broken-off try, in which the database file has a second name."""
    name, beside = os.path.basename(path), os.path.dirname(path)
    for directory in sorted(os.listdir(beside or ".")):
        kept = os.path.join(beside, directory, name)
        if directory.startswith(f"{name}.damaged-") and os.path.exists(kept) and os.path.samefile(kept, path):
            return os.path.dirname(kept)
    made = f"{path}.damaged-{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%fZ}"
    make_directories(made)
    keep(path, os.path.join(made, name))
    sync_directory(made)
    return made


def keep(path: str, place: str) -> None:
    """Give a file a second name, or copy it where it can have but one. Raises OSError."""
    try:
        os.link(path, place)
    except OSError as error:
        if error.errno not in _ONE_NAME:
            raise
        with open(path, "rb") as source, open(place, "xb") as copy:
            hand_over(copy.fileno(), FILE_MODE, os.stat(os.path.dirname(place)))
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())


def _write_note(directory: str) -> str:
    note = os.path.join(directory, "note")
    create_file(note)
    with open(note, "r+b") as file:
        file.write(NOTE + os.fsencode(os.path.basename(directory)) + _MORE)
        file.flush()
        os.fsync(file.fileno())
    return note


def _move_rest(path: str, directory: str) -> Aside:
    """From now on nothing is left here but the note."""
    sync_directory(os.path.dirname(path))
    place = Aside(path, directory)
    for end in ("-wal", "-shm", "-journal"):
        if os.path.exists(path + end):
            os.replace(path + end, place.original + end)
    sync_directory(directory)
    sync_directory(os.path.dirname(path))
    return place
