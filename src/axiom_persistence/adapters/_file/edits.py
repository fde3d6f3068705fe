"""Edits of keys: what is to be written, what is written beside the old, and what waits for a sync."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

__all__ = ["NO_LINKS", "Edit", "Loose", "Staged", "folder_of"]

NO_LINKS: Final = {
    *(errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES),
    *(errno.EXDEV, errno.EINVAL),
}
"""What a file system answers that makes no second name for a file."""


class Edit(NamedTuple):
    """What becomes of a key. ``revived``: it was deleted in between, so that nothing came before it."""

    data: bytes | None
    revived: bool = False


@dataclass(slots=True)
class Loose:
    """What was written and not yet synced."""

    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)
    """Directories whose own entries, up to the root, are known to be durable or are in ``directories``."""

    def touch(self, folder: str, *, durable: bool) -> None:
        """A file in ``folder`` was replaced or removed."""
        self.directories.add(folder)
        while durable and folder not in self.settled:
            # Whoever made this directory may have been killed before its entry was durable.
            self.settled.add(folder)
            folder = folder_of(folder)
            self.directories.add(folder)

    def rely_on(self, names: Iterable[str]) -> None:
        """Whether somebody wrote these files or removed them: what is there, or not, is to be synced."""
        for name in names:
            self.files.add(name)
            self.touch(folder_of(name), durable=True)

    def __bool__(self) -> bool:
        return bool(self.files or self.directories)


@dataclass(slots=True)
class Staged:
    """Edits whose new bytes are in temporary files: nothing that counts has changed yet."""

    edits: Mapping[str, Edit]
    durable: bool
    loose: Loose
    fresh: dict[str, str] = field(default_factory=dict)
    """The temporary file of each key's new value."""


def folder_of(name: str) -> str:
    return name.rpartition("/")[0]
