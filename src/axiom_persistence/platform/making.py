"""How a file or directory comes to be: whose it is, who may read it, and that its name is on the disk.

File systems that lack one of these calls (CIFS, exFAT and FUSE have no modes or no sync of a directory)
answer with one of ``REFUSED``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = [
    "FILE_MODE",
    "REFUSED",
    "hand_over",
    "make_directories",
    "make_directory",
    "sync_directory",
    "unless_refused",
]

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
REFUSED: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

_DIRECTORY: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def unless_refused() -> Iterator[None]:
    """Go on where the file system does not have the call that is made inside."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise


def hand_over(descriptor: int, mode: int, owner: os.stat_result | None) -> None:
    """Set the mode under any umask and, as root, let it belong to ``owner``'s owner and group.

    So one run with ``sudo`` leaves nothing that the user of the store cannot read. Where the file system
    keeps no modes and owners of its own, those of its mount stay.
    """
    if os.name != "posix":
        return
    if owner is not None and os.geteuid() == 0:
        with unless_refused():
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    with unless_refused():
        os.fchmod(descriptor, mode)


def make_directory(name: str, owner: os.stat_result | None, *, within: int | None = None) -> None:
    """Make ``name``, below the descriptor ``within``, for its owner alone. Raises ``FileExistsError``."""
    os.mkdir(name, DIRECTORY_MODE, dir_fd=within)
    if os.name != "posix":
        return
    try:
        made = os.open(name, _DIRECTORY | _NO_LINK, dir_fd=within)
    except PermissionError:  # the umask took the owner's own bits
        os.chmod(name, DIRECTORY_MODE, dir_fd=within)
        made = os.open(name, _DIRECTORY | _NO_LINK, dir_fd=within)
    try:
        hand_over(made, DIRECTORY_MODE, owner)
    finally:
        os.close(made)


def make_directories(directory: str) -> None:
    """Make ``directory`` and what is missing above it, durably where the file system can do that."""
    missing = []
    while directory and not os.path.isdir(directory):
        missing.append(directory)
        above = os.path.dirname(directory)
        directory = above if above != directory else ""
    for name in reversed(missing):
        above = os.path.dirname(name) or "."
        try:
            make_directory(name, os.stat(above))
        except FileExistsError:
            pass  # another process was faster; it must be on the disk all the same
        sync_directory(above)


def sync_directory(directory: str) -> None:
    """Bring the names in ``directory`` to the disk, if the file system can be asked for it."""
    if os.name != "posix":
        return
    descriptor = os.open(directory or ".", _DIRECTORY)
    try:
        with unless_refused():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
