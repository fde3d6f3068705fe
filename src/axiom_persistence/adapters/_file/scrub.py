"""What a file store still has of earlier records, removed."""

from __future__ import annotations

from .edits import folder_of
from .names import PREVIOUS, SUFFIX
from .place import TEMPORARY
from .tree import FileTree

__all__ = ["scrub"]


def scrub(tree: FileTree) -> None:
    """Remove every generation before, and what interrupted saves have left. Writers wait meanwhile.

    Not overwritten: a generation may be a second name of the file that is there now.
    """
    folders = set()
    with tree.place.reading(exclusive=True), tree.failing("removing earlier values"), tree.files.steady():
        for name, entry in list(tree.walk("")):
            if name.endswith(SUFFIX + PREVIOUS) or TEMPORARY.fullmatch(entry.name):
                tree.files.unlink(name)
                folders.add(folder_of(name))
        for folder in sorted(folders):
            tree.sync_directory(folder)
