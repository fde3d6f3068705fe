"""How a command ends: exit codes, and what is said of an error."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final, Self

import click

from ..errors import (
    ConfigurationError,
    CorruptedDataError,
    EncodingError,
    InvalidKeyError,
    KeyUnavailableError,
    PersistenceError,
    SchemaTooNewError,
    StorageLockedError,
    StoreNotFoundError,
)
from ..keys import INTERNAL

__all__ = ["Ending", "ExitCode", "ending_of", "message_of"]


class ExitCode(IntEnum):
    """How a command ends. Unknown codes are failures; more may be added."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        self = int.__new__(cls, code)
        self._value_ = code
        self.meaning = meaning
        return self

    DONE = 0, "done"
    FAILED = 1, "failed"
    USAGE = 2, "the command, its address, key or value cannot be"
    FOUND = 3, "damage was found: by `verify`, or by a command that it kept from its work"
    NO_SUCH_KEY = 4, "no such key"
    NO_SUCH_STORE = 10, "no such store"
    LOCKED = 11, "locked or busy: another process holds it"
    WRONG_KEY = 12, "wrong key or passphrase, none, or one that cannot be had now"
    SCHEMA_TOO_NEW = 13, "written by a newer version of the program"
    NOT_WRITTEN = 14, "the output cannot be written"
    INTERRUPTED = 130, "interrupted, as a shell reports it (128 + SIGINT)"
    NO_READER = 141, "whoever read the output had enough (128 + SIGPIPE)"

    @property
    def label(self) -> str:
        """What JSON calls it."""
        return self.name.lower()


class Ending(Exception):
    """A command's end with a message for the person who gave it."""

    def __init__(self, code: ExitCode, message: str = "", *, key: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.key = key
        self.hint = hint


def ending_of(error: BaseException) -> Ending | None:
    """How a command ends that raised ``error``. None: that is a bug, and wants its traceback."""
    if isinstance(error, Ending):
        return error
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Ending(ExitCode.INTERRUPTED, "interrupted")
    if isinstance(error, click.UsageError):
        context = error.ctx
        hint = f"see {context.command_path} --help" if context is not None else ""
        return Ending(ExitCode.USAGE, " ".join(error.format_message().split()), hint=hint)
    if isinstance(error, click.ClickException):
        return Ending(ExitCode.FAILED, error.format_message())
    if isinstance(error, BrokenPipeError) and not isinstance(error, PersistenceError):
        return Ending(ExitCode.NO_READER)
    if isinstance(error, PersistenceError):
        return Ending(_code_of(error), message_of(error), key=error.key, hint=_spelt(error.hint))
    return None


def _code_of(error: PersistenceError) -> ExitCode:
    for kind, code in (
        (StoreNotFoundError, ExitCode.NO_SUCH_STORE),
        (StorageLockedError, ExitCode.LOCKED),
        (CorruptedDataError, ExitCode.FOUND),
        (SchemaTooNewError, ExitCode.SCHEMA_TOO_NEW),
        (KeyUnavailableError, ExitCode.WRONG_KEY),
        ((ConfigurationError, InvalidKeyError, EncodingError), ExitCode.USAGE),
    ):
        if isinstance(error, kind):
            return code
    return ExitCode.FAILED


def message_of(error: PersistenceError) -> str:
    place = "" if error.adapter is None or error.adapter in error.message else f" (in {error.adapter})"
    known = not error.key or error.key[0] == INTERNAL or repr(error.key) in error.message
    key = "" if known else f"{error.key}: "
    return f"{key}{error.message}{place}"


_SPELLINGS: Final = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"Path\('(.+?)'\) is", r"'./\1' is"),
        (r"pass options .*; a Path may contain '\?'", "'./a?b.db' is a path"),
        (r"raise activation_timeout, or find", "find"),
        (r"keys=KeychainKey\('name'\)", "--keys keychain:NAME"),
        (r"without keys=", "without --keys"),
        (r"open it with keys=;", "--keys says who has the key;"),
        (r"mode='encrypt', or `axiom-persistence encrypt`", "`axiom-persistence encrypt`"),
        (r", or FileStorageAdapter\.in_documents\('notes'\)", ""),
    )
)


def _spelt(hint: str) -> str:
    """A hint of the library in the words of the command line."""
    for pattern, ours in _SPELLINGS:
        hint = pattern.sub(ours, hint)
    return hint
