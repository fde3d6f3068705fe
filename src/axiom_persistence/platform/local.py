"""Which file system object, which keychain and which preferences are those of the machine we are on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigurationError, StorageUnavailableError
from .filesystem import FileSystem
from .places import HOME_VARIABLE, preferences_directory
from .preferences import Preferences
from .secrets import Secrets
from .ubiquitous import Ubiquitous

if TYPE_CHECKING:
    from ._preferences_file import PreferencesFile

__all__ = [
    "local_filesystem",
    "local_preferences",
    "local_secrets",
    "local_ubiquitous",
    "preference_kinds",
    "preferences_file",
]


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


def local_ubiquitous() -> Ubiquitous:
    """The key-value store that this program has in iCloud, not opened yet.

    Raises ``ConfigurationError`` on other systems than macOS, and where a package is not installed.
    """
    if sys.platform == "darwin":
        from ._mac_ubiquitous import MacUbiquitous

        return MacUbiquitous()
    else:
        raise ConfigurationError(
            "only macOS has a key-value store in iCloud",
            hint="elsewhere, give the adapter a device of testing.ICloudSimulator",
        )


def preference_kinds() -> tuple[str, ...]:
    """What preferences may be kept in on this system, the usual one first."""
    own = {"darwin": "NSUserDefaults", "win32": "registry"}.get(sys.platform, "dconf")
    return own, "file"


def preferences_file(suite: str) -> PreferencesFile:
    """The file that notes where the preferences of ``suite`` are, or has them."""
    from ._preferences_file import PreferencesFile

    return PreferencesFile(preferences_directory(suite), local_filesystem)


def local_preferences(suite: str, asked: str | None, file: PreferencesFile) -> Preferences:
    """The opened preferences of ``suite``: those that ``file`` notes, or are asked for, or are usual here.

    Raises ``ConfigurationError`` where other ones are asked for than are in use, or a package is missing.
    """
    noted = file.recorded()
    if noted is not None and noted != (asked or noted):
        raise ConfigurationError(
            f"the preferences of {suite!r} are kept in {noted!r}, and {asked!r} was asked for",
            hint=f"export them, remove {file.directory}, and import them into the other",
        )
    kind = asked or noted
    if kind is None and os.environ.get(HOME_VARIABLE):
        kind = "file"
    preferences = _usual(suite, file) if kind is None else _preferences(kind, suite, file)
    try:
        preferences.open()
    except BaseException:
        preferences.close()
        raise
    return preferences


def _usual(suite: str, file: PreferencesFile) -> Preferences:
    kind = preference_kinds()[0]
    if kind != "dconf":
        return _preferences(kind, suite, file)
    try:
        from ._dconf import Dconf

        dconf = Dconf(suite)
    except (ConfigurationError, StorageUnavailableError):
        return file  # jeepney is not installed, or the profile has no database of the user
    # What is there is used even where nobody would take changes now, as without a session.
    if dconf.is_offered() or dconf.read(None):
        return dconf
    dconf.close()
    return file


def _preferences(kind: str, suite: str, file: PreferencesFile) -> Preferences:
    if kind == "file":
        return file
    if kind not in preference_kinds():
        raise ConfigurationError(
            f"the preferences of {suite!r} are kept in {kind!r}, which this system does not have",
            hint="open them on the system where they were made, and export them there",
        )
    if sys.platform == "darwin":
        from ._mac_preferences import MacPreferences

        return MacPreferences(suite)
    elif sys.platform == "win32":
        from ._windows_preferences import WindowsPreferences

        return WindowsPreferences(suite)
    else:
        from ._dconf import Dconf

        return Dconf(suite)
