"""Where this machine's user keeps the data of applications, and documents."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..errors import AccessDeniedError, ConfigurationError, InsecureStorageError

__all__ = [
    "HOME_VARIABLE",
    "application_directory",
    "check_writable",
    "documents_directory",
    "preferences_directory",
    "refuse_shared",
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


def refuse_shared(directory: str | Path, what: str) -> None:
    """Raise ``InsecureStorageError`` where others may put files in place of ``what``, which is about secrets.

    That is a directory that its group or everybody may write to, one of another user, and a symbolic link to
    one. One that is not there yet is fine: it is made for its owner alone.
    """
    if os.name != "posix":
        return  # modes say nothing there
    try:
        status = os.lstat(directory)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise InsecureStorageError(
            f"{what} is behind a symbolic link, {directory}, and whoever made that can lead elsewhere",
            hint=f"name the directory itself: {os.path.realpath(directory)}",
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InsecureStorageError(
            f"{what} is in {directory}, where others may write",
            hint=f"chmod go-w {directory}, or give it a directory of its own",
        )
    if os.geteuid() not in (0, status.st_uid) and status.st_uid != 0:
        raise InsecureStorageError(
            f"{what} is in {directory}, which belongs to another user", hint="give it a directory of your own"
        )


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
