"""A copy of a file store while it is in use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from ...errors import from_os_error
from ...platform.filesystem import FileKind, FileSystem
from ...platform.local import local_filesystem
from ...storage.adapter import Told
from .names import PREVIOUS, SUFFIX, file_name
from .place import MARKER
from .values import FileValues

__all__ = ["copy"]

_STEPS: Final = 32


def copy(values: FileValues, place: str, told: Told | None = None) -> None:
    """Copy every value, and the generation before it, into a new directory at ``place``.

    Writers wait while the files are copied, and no longer while the copies are brought to the disk. Copies
    and no links: what damages a file, or edits it in place, must not reach its copy.
    """
    target = local_filesystem(place)
    try:
        target.attach(create=True)
        try:
            folders = {""}
            with values.settled() as interrupted, values.failing("copying the store"), values.files.steady():
                names = _copy_all(values, target, interrupted, folders)
            for number, name in enumerate(names, 1):
                _sync(target, name)  # which is what takes long
                if told is not None and (number % max(1, len(names) // _STEPS) == 0 or number == len(names)):
                    told(number, len(names))
            for folder in sorted(folders, reverse=True):
                target.sync_directory(folder)
        finally:
            target.detach()
    except OSError as error:
        raise from_os_error(
            error, f"cannot write a copy in {os.path.dirname(place)}", adapter=values.label
        ) from error


def _copy_all(
    values: FileValues, target: FileSystem, interrupted: Mapping[str, bytes | None], folders: set[str]
) -> list[str]:
    """What was copied. Under the lock."""
    pending = {file_name(key): data for key, data in interrupted.items()}
    written = []
    for name, entry in values.walk(""):
        wanted = name.endswith((SUFFIX, SUFFIX + PREVIOUS)) and entry.kind is FileKind.FILE
        if wanted and name.removesuffix(PREVIOUS) not in pending:
            _write(target, name, values.files.read(name), folders)
            written.append(name)
    for name, data in pending.items():
        if data is not None:
            _write(target, name, data, folders)
            written.append(name)
    # Last: a directory without it is no store.
    _write(target, MARKER, values.files.read(MARKER), folders)
    return [*written, MARKER]


def _write(target: FileSystem, name: str, data: bytes, folders: set[str]) -> None:
    at = name.find("/")
    while at >= 0:
        if name[:at] not in folders:
            target.mkdir(name[:at])
            folders.add(name[:at])
        at = name.find("/", at + 1)
    handle = target.create(name)
    try:
        target.write(handle, data)
    finally:
        target.close(handle)


def _sync(target: FileSystem, name: str) -> None:
    handle = target.open(name, write=True)
    try:
        target.sync(handle)
    finally:
        target.close(handle)
