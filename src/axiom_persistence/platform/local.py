"""Which file system object is that of the machine we are on."""

from __future__ import annotations

import sys
from pathlib import Path

from .filesystem import FileSystem

__all__ = ["local_filesystem"]


def local_filesystem(root: str | Path) -> FileSystem:
    """The real file system of this machine, at ``root``."""
    if sys.platform == "win32":
        from ._windows_files import WindowsFileSystem

        return WindowsFileSystem(root)
    else:
        from ._posix_files import PosixFileSystem

        return PosixFileSystem(root)
