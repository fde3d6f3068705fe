"""Where this machine's user keeps the data of applications, and documents."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..errors import AccessDeniedError, ConfigurationError

__all__ = [
    "HOME_VARIABLE",
    "application_directory",
    "check_writable",
    "documents_directory",
    "preferences_directory",
]

HOME_VARIABLE: Final = "AXIOM_PERSISTENCE_HOME"
"""Moves the stores of all applications: tests, containers, portable programs."""


def application_directory(name: str) -> Path:
    """Where the store of an application is: its user data directory, or below ``AXIOM_PERSISTENCE_HOME``.

    Raises ``ConfigurationError`` for an account without a home directory.
    """
    from platformdirs import user_data_path

    return _directory(name, user_data_path)


def preferences_directory(suite: str) -> Path:
    """Where the preferences of a suite are, or the note of where: among the user's configuration.

    Below ``AXIOM_PERSISTENCE_HOME`` where that is set. Raises ``ConfigurationError`` for an account without a
    home directory.
    """
    from platformdirs import user_config_path

    return _directory(suite, user_config_path)


def _directory(name: str, find: Callable[..., Path]) -> Path:
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(home).expanduser() / name
    try:
        place = find(name, appauthor=False)
    except RuntimeError:  # what pathlib raises without a home, and platformdirs too
        place = Path("~")
    if not place.is_absolute() or str(place).startswith("~"):
        raise ConfigurationError(
            f"this account has no home directory, so there is no place for the application {name!r}",
            hint=f"set {HOME_VARIABLE} to a directory, or open a path",
        )
    return place


def check_writable(directory: Path, name: str) -> None:
    """Say early, and in the user's terms, that there is no place for the application ``name``.

    Raises ``AccessDeniedError`` where ``directory`` cannot be made or written to.
    """
    nearest = next(place for place in (directory, *directory.parents) if os.path.lexists(place))
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return
    why = "may not be written to" if nearest.is_dir() else "is no directory"
    raise AccessDeniedError(
        f"there is no place for the application {name!r}: {nearest} {why}",
        hint=f"set {HOME_VARIABLE} to a directory that can be written to, or open a path",
    )


def documents_directory(name: str) -> Path:
    """The directory ``name`` among the user's documents.

    Raises ``ConfigurationError`` for what is no plain name on every system, and for an account without a
    home directory.
    """
    if not name or name in (".", "..") or any(c in '/\\:*?"<>|\0' or c < " " for c in name):
        raise ConfigurationError(
            f"{name!r} is no plain name for a directory of documents",
            hint="for example 'notes': file+documents:notes, or FileStorageAdapter.in_documents('notes')",
        )
    import platformdirs

    try:
        return platformdirs.user_documents_path() / name
    except RuntimeError as error:
        raise ConfigurationError(
            f"this account has no home directory, so there are no documents for {name!r}",
            hint="set HOME, or open a path",
        ) from error
