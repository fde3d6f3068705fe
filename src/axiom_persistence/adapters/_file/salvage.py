"""A directory of values that lost its mark: a copy of it goes aside, and it is a store again."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime

from ...errors import StorageLockedError, from_os_error
from ...platform.filesystem import FileKind
from ...platform.making import FILE_MODE, hand_over, make_directories, sync_directory
from ...storage._salvage import Fate, SalvageReport, is_whole, write_report
from .names import PREVIOUS, SUFFIX, key_of
from .place import MARKER, MARKER_TEXT
from .values import FileValues

__all__ = ["repair"]

_PART = ".part"


def repair(values: FileValues, lock_timeout: float) -> SalvageReport:
    """Copy everything beside, and mark the directory. Under the exclusive lock of what is its mark then.

    Broken off at any moment, the next call does all of it: the mark is written last. Raises
    ``StorageLockedError`` and others of our tree.
    """
    files = values.files
    try:
        files.attach(create=False)
        try:
            was_there = os.path.lexists(files.root / MARKER)
            mark = files.open(MARKER, write=True, create=True)
            files.lock(mark, exclusive=True, deadline=time.monotonic() + lock_timeout)
            report = SalvageReport(_copy(str(files.root), was_there), _fates(values))
            write_report(report)
            _write_mark(values)
        finally:
            files.detach()
    except BlockingIOError as error:
        raise StorageLockedError(
            "the store is open in another place, so it was not repaired",
            adapter=values.label,
            hint="close the programs that use it, and run this again",
        ) from error
    except OSError as error:
        raise from_os_error(error, "cannot repair the store", adapter=values.label) from error
    return report


def _copy(root: str, was_marked: bool) -> str:
    """Copy all files below ``root``, hidden ones too, into a directory beside it that has its name.

    No links: whoever edits a file in its place must not reach the copy.
    """
    final = f"{root}.damaged-{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%fZ}"
    beside, name = os.path.split(root)
    for left in os.listdir(beside):  # of a try that was broken off: copies of what is still here
        if left.startswith(f"{name}.damaged-") and left.endswith(_PART):
            shutil.rmtree(os.path.join(beside, left))
    target = os.path.join(final + _PART, name)
    for folder, _, names in os.walk(root):
        place = os.path.join(target, os.path.relpath(folder, root))
        make_directories(os.path.normpath(place))
        for one in names:
            source = os.path.join(folder, one)
            if os.path.isfile(source) and not os.path.islink(source) and (was_marked or one != MARKER):
                _copy_file(source, os.path.join(place, one))
        sync_directory(place)
    os.replace(final + _PART, final)
    sync_directory(beside)
    return final


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb") as file, open(target, "xb") as copy:
        hand_over(copy.fileno(), FILE_MODE, os.stat(os.path.dirname(target)))
        shutil.copyfileobj(file, copy)
        copy.flush()
        os.fsync(copy.fileno())


def _fates(values: FileValues) -> dict[str, Fate]:
    """What reading each key will give: of one that is damaged, the generation before, where that is whole."""
    fates = {}
    for name, entry in values.walk(""):
        key = key_of(name.removesuffix(PREVIOUS))
        if key is None or entry.kind is not FileKind.FILE or not name.endswith(SUFFIX):
            continue
        if _is_whole(values, name, key):
            fates[key] = Fate.RECOVERED
        else:
            fates[key] = Fate.PREVIOUS if _is_whole(values, name + PREVIOUS, key) else Fate.LOST
    return fates


def _is_whole(values: FileValues, name: str, key: str) -> bool:
    try:
        return is_whole(key, values.files.read(name))
    except OSError:
        return False  # not there, or not to be read: in either case no value


def _write_mark(values: FileValues) -> None:
    files = values.files
    spare = f".{os.urandom(8).hex()}.tmp"
    handle = files.create(spare)
    try:
        files.write(handle, MARKER_TEXT)
        files.sync(handle)
    finally:
        files.close(handle)
    files.replace(spare, MARKER)
    files.sync_directory("")
