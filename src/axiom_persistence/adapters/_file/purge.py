"""Values that are removed for good, one file after the other."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain

from .edits import NOT_THERE, folder_of
from .names import PREVIOUS, file_name
from .shred import shred
from .tree import FileTree

__all__ = ["purge"]


def purge(tree: FileTree, keys: Collection[str], previous_of: Collection[str]) -> None:
    """Overwrite and remove the values of ``keys``, all generations before, and those before ``previous_of``.

    Inside ``writing()``, on the thread that writes. A file gets the name of an interrupted save first: so a
    key is there or gone at every moment, and what a crash leaves is overwritten at the next opening.
    """
    names = chain(
        (file_name(key) + PREVIOUS for key in previous_of),
        *((file_name(key) + PREVIOUS, file_name(key)) for key in keys),
    )
    tree.refuse_blocked([*keys, *previous_of])
    spares: list[str] = []
    with tree.failing("removing the value", next(iter(keys), None)):
        mark = tree.place.open_mark
        mark.begin()
        try:
            for name in names:
                spare = tree.beside(folder_of(name))
                try:
                    tree.files.replace(name, spare)
                except NOT_THERE:
                    continue
                spares.append(spare)
                tree.forget(name.removesuffix(PREVIOUS))
        finally:
            mark.end()
        folders = sorted({folder_of(spare) for spare in spares})
        for folder in folders:
            tree.sync_directory(folder)
        for spare in spares:
            shred(tree.files, spare, tree.sync)
        for folder in folders:
            tree.sync_directory(folder)
