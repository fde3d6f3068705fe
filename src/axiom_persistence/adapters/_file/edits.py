"""Edits of keys: what is to be written, what is written beside the old, and what waits for a sync."""

from __future__ import annotations

import errno
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

__all__ = ["NOT_THERE", "NO_LINKS", "Edit", "Loose", "Staged", "folder_of"]

NO_LINKS: Final = {
    *(errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES),
    *(errno.EXDEV, errno.EINVAL),
}
"""What a file system answers that makes no second name for a file."""
NOT_THERE: Final = (FileNotFoundError, NotADirectoryError)


class Edit(NamedTuple):
    """What becomes of a key. ``revived``: it was deleted in between, so that nothing came before it."""

    data: bytes | None
    revived: bool = False


_SYNCED_MAX: Final = 1 << 16


@dataclass(slots=True)
class Loose:
    """What was written and not yet synced."""

    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)
    """Directories whose own entries, up to the root, are known to be durable or are in ``directories``."""
    synced: set[str] = field(default_factory=set)
    """Files that are on the disk as they are, since this process brought them there and nobody else wrote."""
    foreign: Hashable = None

    def look(self, foreign: Hashable) -> None:
        """Forget what is known of files if others have written since: their mark is another then."""
        if foreign != self.foreign or len(self.synced) > _SYNCED_MAX:
            self.synced.clear()
            self.foreign = foreign

    def replaced(self, name: str, *, durable: bool) -> None:
        """The file has other bytes, or the ones it had are synced."""
        (self.files.discard if durable else self.files.add)(name)
        (self.synced.add if durable else self.synced.discard)(name)

    def removed(self, name: str) -> None:
        self.files.discard(name)
        self.synced.discard(name)

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
            if name not in self.synced:
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
