"""Removing files for good: those of purged values, and what a crash has left of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...platform.filesystem import FileKind, FileSystem
from .names import PREVIOUS, SUFFIX
from .place import TEMPORARY
from .values import FileValues

__all__ = ["clean", "shred"]

_AT_ONCE: Final = 1 << 20
"""Bytes overwritten in one step."""


def shred(files: FileSystem, name: str, sync: Callable[[int], None] | None = None) -> None:
    """Overwrite a file, bring that to the disk, and remove it. Raises OSError.

    What is no file, or has another name that it keeps its bytes under, is only removed.
    """
    status = files.status(name)
    if status.kind is FileKind.FILE and status.links == 1:
        handle = files.open(name, write=True)
        try:
            for at in range(0, status.size, _AT_ONCE):
                files.write(handle, bytes(min(_AT_ONCE, status.size - at)))
            (sync or files.sync)(handle)
        finally:
            files.close(handle)
    files.unlink(name)


def clean(values: FileValues) -> None:
    """Remove what interrupted saves, deletions and purges left. Only under the exclusive lock."""
    current, previous = set(), []
    for name, entry in values.walk(""):
        if TEMPORARY.fullmatch(entry.name):
            shred(values.files, name)
        elif name.endswith(SUFFIX):
            current.add(name)
        elif name.endswith(SUFFIX + PREVIOUS):
            previous.append(name)
    for name in previous:
        if name.removesuffix(PREVIOUS) not in current:
            shred(values.files, name)
