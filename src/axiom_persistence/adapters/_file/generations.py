"""Putting back what a file store kept before its current values."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .edits import folder_of
from .names import PREVIOUS, file_name
from .tree import FileTree

__all__ = ["set_previous"]


def set_previous(tree: FileTree, generations: Mapping[str, bytes | None]) -> None:
    """Make these the generations before, on the disk; inside ``writing()``. Of an absent key none counts."""
    folders = set()
    with tree.failing("putting back what was there before the value") as attempt:
        for attempt.key, data in generations.items():
            name = file_name(attempt.key)
            if tree.current(attempt.key) is None:
                continue
            if data is None:
                try:
                    tree.files.unlink(name + PREVIOUS)
                except FileNotFoundError:
                    continue
            else:
                tree.files.replace(_written(tree, folder_of(name), data), name + PREVIOUS)
            folders.add(folder_of(name))
        for folder in folders:
            tree.sync_directory(folder)


def _written(tree: FileTree, folder: str, data: bytes) -> str:
    """A new file in ``folder``. One that a failure leaves is removed at the next opening."""
    name = f".{os.urandom(8).hex()}.tmp"
    name = f"{folder}/{name}" if folder else name
    handle = tree.files.create(name)
    try:
        tree.files.write(handle, data)
        tree.sync(handle)
    finally:
        tree.files.close(handle)
    return name
