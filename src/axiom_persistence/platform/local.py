"""Which file system object and which keychain are those of the machine we are on."""

from __future__ import annotations

import sys
from pathlib import Path

from .filesystem import FileSystem
from .secrets import Secrets

__all__ = ["local_filesystem", "local_secrets"]


def local_filesystem(root: str | Path) -> FileSystem:
    """The real file system of this machine, at ``root``."""
    if sys.platform == "win32":
        from ._windows_files import WindowsFileSystem

        return WindowsFileSystem(root)
    else:
        from ._posix_files import PosixFileSystem

        return PosixFileSystem(root)


def local_secrets(service: str, *, allow_prompt: bool) -> Secrets:
    """The keychain of this machine, not opened yet.

    ``allow_prompt``: it may ask a person to unlock it. Raises ``ConfigurationError`` where a package that it
    needs is not installed.
    """
    if sys.platform == "darwin":
        from ._mac_secrets import MacSecrets

        return MacSecrets(service)
    elif sys.platform == "win32":
        from ._windows_secrets import WindowsSecrets

        return WindowsSecrets(service)
    else:
        from ._secret_service import SecretService

        return SecretService(service, allow_prompt=allow_prompt)
