"""Generations before that have been kept for long, removed."""

from __future__ import annotations

from .edits import NOT_THERE, folder_of
from .names import PREVIOUS, SUFFIX
from .tree import FileTree

__all__ = ["tidy"]

_AT_ONCE = 64
"""Files that writers wait for together."""


def tidy(tree: FileTree, kept_before: float) -> int:
    """Remove the generations that were kept before this time; how many there were.

    One is as old as the value that took its place.
    """
    with tree.failing("looking for earlier values"):
        names = [name for name, _ in tree.walk("") if name.endswith(SUFFIX + PREVIOUS)]
    count, folders = 0, set()
    for first in range(0, len(names), _AT_ONCE):
        with tree.place.reading(exclusive=True), tree.failing("removing earlier values"):
            for name in names[first : first + _AT_ONCE]:
                try:
                    if tree.files.status(name.removesuffix(PREVIOUS)).modified < kept_before:
                        tree.files.unlink(name)
                        count += 1
                        folders.add(folder_of(name))
                except NOT_THERE:
                    continue  # it was deleted meanwhile
    with tree.failing("removing earlier values"):
        for folder in sorted(folders):
            tree.sync_directory(folder)
    return count
