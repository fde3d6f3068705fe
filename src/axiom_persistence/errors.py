"""Every error of the library, under one base.

::

    PersistenceError
    ├── InvalidKeyError (ValueError)             a key that no store could keep
    ├── ConfigurationError (ValueError)          an address, option or ability that cannot be
    ├── EncodingError (ValueError)               a value that cannot be written; the stored one stays
    ├── TypeMismatchError (TypeError)            the stored value is not of the asked type
    ├── CorruptedDataError                       stored bytes failed their check
    ├── ConflictError                            somebody else committed first; nothing was changed
    ├── SchemaTooNewError                        written by a newer version of the application
    ├── ValidationError (ValueError)             a client's field refuses a value
    ├── ClientsFailedError                       clients that could not be saved at the end
    ├── MigrationError                           a step failed; every record is as it was
    ├── InsecureStorageError                     a secret with no confidential place to go
    ├── KeyUnavailableError                      the key of an encrypted store is missing or another
    ├── CapabilityUnavailableError (RuntimeError)  not open, closed, or not usable here
    └── StorageError (OSError)                   the medium refused
        ├── StorageFullError
        ├── StorageUnavailableError
        ├── StorageLockedError
        ├── StoreNotFoundError (FileNotFoundError)
        ├── ForeignStoreError                    something is there, and it is not ours
        └── AccessDeniedError (PermissionError)
            └── AuthenticationError          the person was not recognised, or could not be asked

Nothing stands for "missing": ``load`` returns None. A save that raised a ``StorageError`` is
indeterminate (the new value may still appear); every other error means nothing was changed.

Messages end up in logs, so they show no value, stored or passed, and no credentials of an address. With
``AXIOM_PERSISTENCE_SHOW_VALUES=1`` in the environment they show the beginning of values.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping
from typing import Final, Self, TypedDict, Unpack

import msgspec

__all__ = [
    "AccessDeniedError",
    "AuthenticationError",
    "CapabilityUnavailableError",
    "ClientsFailedError",
    "ConfigurationError",
    "ConflictError",
    "CorruptedDataError",
    "EncodingError",
    "ForeignStoreError",
    "InsecureStorageError",
    "InvalidKeyError",
    "KeyUnavailableError",
    "MigrationError",
    "PersistenceError",
    "SchemaTooNewError",
    "StorageError",
    "StorageFullError",
    "StorageLockedError",
    "StorageUnavailableError",
    "StoreNotFoundError",
    "TypeMismatchError",
    "ValidationError",
    "counted",
    "cut",
    "from_os_error",
    "nearest",
    "refused_by",
    "shown",
    "values_are_shown",
    "way_out_of_ruin",
    "without_credentials",
]


class _Where(TypedDict, total=False):
    key: str | None
    adapter: object
    hint: str


class _Medium(_Where, total=False):
    code: int | None


class PersistenceError(Exception):
    """Base of all errors here. ``key`` and ``adapter`` name where it happened, when that is known."""

    def __init__(
        self, message: str = "", *, key: str | None = None, adapter: object = None, hint: str = ""
    ) -> None:
        message = without_credentials(message)
        super().__init__(message)
        self.message: str = message
        self.key: str | None = key
        self.adapter: str | None = None if adapter is None else without_credentials(str(adapter))
        self.hint: str = without_credentials(hint)

    def __str__(self) -> str:
        key = "" if self.key is None else f" [key {self.key!r}]"
        adapter = "" if self.adapter is None else f" [in {self.adapter}]"
        return f"{self.message}{key}{adapter}{'; ' + self.hint if self.hint else ''}"

    def naming(self, *, key: str | None = None, adapter: object = None) -> Self:
        """The same error, with the key and adapter filled in where they were not yet known."""
        if self.key is None:
            self.key = key
        if self.adapter is None and adapter is not None:
            self.adapter = without_credentials(str(adapter))
        return self


class InvalidKeyError(PersistenceError, ValueError):
    """The key cannot be used: empty, too long, or with a character no store could keep."""


class ConfigurationError(PersistenceError, ValueError):
    """What was asked for cannot be built: an address, an option, an ability the adapter lacks."""


class EncodingError(PersistenceError, ValueError):
    """The value cannot be written as a record. Nothing was stored; the earlier value stays."""


class TypeMismatchError(PersistenceError, TypeError):
    """The stored value is intact, but not of the asked type. ``path`` says where inside the value."""

    def __init__(self, message: str = "", *, path: str = "$", **where: Unpack[_Where]) -> None:
        super().__init__(message, **where)
        self.path = path


class CorruptedDataError(PersistenceError):
    """Stored bytes failed their check. They are kept: in place, or in quarantine."""


class ConflictError(PersistenceError):
    """A key no longer has the version it was expected to have. Nothing was changed."""


class SchemaTooNewError(PersistenceError):
    """The data was written by a newer version of the application. It is not touched."""


class ValidationError(PersistenceError, ValueError):
    """The value is of the right type, and the field's ``validate`` refused it. Nothing was changed."""


class ClientsFailedError(PersistenceError):
    """Some clients could not be stopped. ``failures`` has the error of each, by its key."""

    def __init__(self, failures: Mapping[str, Exception]) -> None:
        said = "; ".join(f"{key}: {error}" for key, error in failures.items())
        super().__init__(f"{len(failures)} of the clients could not be saved at the end: {said}")
        self.failures: dict[str, Exception] = dict(failures)

    def __reduce__(self) -> tuple[type[ClientsFailedError], tuple[dict[str, Exception]]]:
        return type(self), (self.failures,)


class MigrationError(PersistenceError):
    """A migration is not possible, not finished, or failed: then every record is as it was.

    ``step`` names the step that failed, if one did; ``key`` names the record.
    """

    def __init__(self, message: str = "", *, step: str | None = None, **where: Unpack[_Where]) -> None:
        super().__init__(message, **where)
        self.step = step


class InsecureStorageError(PersistenceError):
    """A secret would have gone to a place that is not confidential."""


class KeyUnavailableError(PersistenceError):
    """The key that a store is encrypted with is missing, locked or another one. Nothing was changed."""


class CapabilityUnavailableError(PersistenceError, RuntimeError):
    """The capability is not active: not opened yet, closed, forked away, or failed for good."""


class StorageError(PersistenceError, OSError):
    """The medium refused. What was being saved is indeterminate: it may still appear."""

    def __init__(self, message: str = "", *, code: int | None = None, **where: Unpack[_Where]) -> None:
        super().__init__(message, **where)
        self.errno = code


class StorageFullError(StorageError):
    """No room is left: disk, quota, or a size limit of the store."""


class StorageUnavailableError(StorageError):
    """The medium cannot be reached now. ``indeterminate`` False: nothing of what was asked has happened."""

    def __init__(self, message: str = "", *, indeterminate: bool = True, **options: Unpack[_Medium]) -> None:
        super().__init__(message, **options)
        self.indeterminate: bool = indeterminate


class StorageLockedError(StorageError):
    """Somebody else holds the store's lock and did not let go in time."""


class StoreNotFoundError(StorageError, FileNotFoundError):
    """There is no store at this place, and it was opened in a mode that creates none."""


class ForeignStoreError(StorageError):
    """Something is at this place that this library did not make. It is left alone."""


class AccessDeniedError(StorageError, PermissionError):
    """The operating system does not allow it."""


class AuthenticationError(AccessDeniedError):
    """The person was not recognised, or nobody could be asked. Nothing was read or changed.

    ``outcome`` is ``"denied"`` (somebody else), ``"cancelled"`` (the person or the program broke it off),
    ``"locked_out"`` (too many failures) or ``"unavailable"`` (there is no reader, no service, no session).
    """

    def __init__(self, message: str = "", *, outcome: str = "denied", **where: Unpack[_Where]) -> None:
        super().__init__(message, **where)
        self.outcome: str = outcome


# -- what messages show of values, of errors that are not ours, and of addresses ------------------------

SHOW_VALUES: Final = "AXIOM_PERSISTENCE_SHOW_VALUES"
"""The environment variable that has messages show values. For development: values may be secrets."""
_SHOWN_MAX: Final = 80
_UNITS: Final[dict[type, str]] = {
    str: "characters",
    **dict.fromkeys((bytes, bytearray, memoryview), "bytes"),
    **dict.fromkeys((dict, list, tuple, set, frozenset), "items"),
}
_NOT_THEIRS: Final = (os.path.dirname(__file__), os.path.dirname(msgspec.__file__))
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s'\"]+@")


def values_are_shown() -> bool:
    """Whether messages may show values. Looked at each time: a running program can be asked to."""
    return os.environ.get(SHOW_VALUES) == "1"


def shown(value: object) -> str:
    """``value`` in a message: its kind and size, or the beginning of it where values are shown."""
    if value is None:
        return "None"
    if values_are_shown():
        try:
            return cut(repr(value))
        except Exception as error:  # the message is about something else, and has to be made all the same
            return f"<{type(value).__qualname__} whose repr raised {type(error).__qualname__}>"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    unit = _UNITS.get(type(value))
    size = f" of {counted(len(value), unit)}" if unit else ""  # type: ignore[arg-type]  # units are of sizes
    return f"<{type(value).__qualname__}{size}>"


def counted(number: int, things: str) -> str:
    """``3 items``, ``1 item``."""
    return f"{number:,} {things.removesuffix('s') if number == 1 else things}"


def cut(text: str, most: int = _SHOWN_MAX) -> str:
    """``text``, its end left out where it is long."""
    return text if len(text) <= most else text[: most - 1] + "…"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that was probably meant: in other case, without what is before it, or misspelt."""
    import difflib  # takes longer than everything else here together

    folded, wanted = {name.casefold(): name for name in known}, word.casefold()
    if wanted in folded:
        return folded[wanted]
    for name in folded:
        if name.endswith("/" + wanted):
            return folded[name]
    near = difflib.get_close_matches(wanted, folded, n=1)
    return folded[near[0]] if near else None


def refused_by(error: BaseException) -> str:
    """Who raised ``error``, a check of the user's, and its class. Its text may quote the value."""
    trace, name = error.__traceback__, ""
    while trace is not None and not name:
        code = trace.tb_frame.f_code
        name = "" if code.co_filename.startswith(_NOT_THEIRS) else f"{code.co_qualname} "
        trace = trace.tb_next
    said = f": {cut(str(error))}" if values_are_shown() else ""
    return f"{name}raised {type(error).__qualname__}{said}"


def without_credentials(text: str) -> str:
    """``text`` without the users and passwords of addresses in it: ``redis://…@host``."""
    return _CREDENTIALS.sub("…@", text) if "://" in text else text


def way_out_of_ruin(path: str) -> str:
    """What to do about a store that cannot be opened, for a hint: it names the command."""
    from shlex import quote  # few programs ever need it

    return (
        f"restore a backup, or run `axiom-persistence verify {quote(path)} --repair`, which moves everything "
        "aside and makes a store of what can still be read"
    )


# -- errors of the operating system ---------------------------------------------------------------------

_REFUSED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK}
_AWAY = {errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE}


def from_os_error(
    error: OSError, doing: str, *, key: str | None = None, adapter: object = None
) -> StorageError:
    """The error of our tree for an ``OSError``; raise it ``from`` the original."""
    if isinstance(error, StorageError):
        return error.naming(key=key, adapter=adapter)
    kind, hint = StorageError, "the medium may be failing: check it before trusting it again"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            kind, hint = StorageFullError, "free some space and save again"
        case errno.EIO:
            hint = "nothing is known to be lost: check the disk, close the store and open it again"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            kind, hint = AccessDeniedError, "check the owner and mode of the place, or choose another"
        case errno.EAGAIN | errno.EBUSY | errno.EDEADLK | errno.ETXTBSY:
            kind, hint = StorageLockedError, "another process holds it; try again"
        case errno.ENAMETOOLONG:
            hint = "the path is too long for this file system: choose a shorter one"
        case errno.ELOOP:
            hint = "move away what is in its place, such as a symbolic link"
        case errno.ENOENT | errno.ENOTDIR | errno.EISDIR | errno.ESPIPE:
            hint = "check the path: it cannot be made here, or something on it was moved away"
        case code if code in _REFUSED:
            hint = "this file system does not offer what a store needs: choose a place on another one"
        case code if code in _AWAY:
            kind, hint = StorageUnavailableError, "the place cannot be reached now"
    reason = error.strerror or str(error) or type(error).__name__
    return kind(f"{doing}: {reason}", key=key, adapter=adapter, hint=hint, code=error.errno)
