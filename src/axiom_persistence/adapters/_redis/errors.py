"""What redis-py raises, in terms of the library."""

from __future__ import annotations

import ssl
from typing import Final

from redis import exceptions

from ...errors import (
    AccessDeniedError,
    ConfigurationError,
    ForeignStoreError,
    PersistenceError,
    StorageError,
    StorageFullError,
    StoreNotFoundError,
)
from .._networked.settle import Unreachable

__all__ = ["explained", "gone", "is_refusal", "unreachable"]

_BROKEN: Final = (
    exceptions.ReadOnlyError,  # it has become a replica
    exceptions.NoScriptError,  # it was started anew, or somebody has thrown the script away
    exceptions.AskError,  # and MovedError: the store lies on another node
    exceptions.TryAgainError,
    exceptions.ClusterDownError,  # and MasterDownError
)
_BUSY: Final = ("BUSY", "NOREPLICAS", "ERR max number of clients")
"""How the errors begin that another attempt may not meet. Nothing was done."""


def is_refusal(error: BaseException) -> bool:
    """Whether it is an answer to one command, and the connection goes on."""
    if not isinstance(error, exceptions.ResponseError) or isinstance(error, _BROKEN):
        return False
    return not str(error).startswith(_BUSY)


def unreachable(error: BaseException) -> Unreachable:
    """Says why, without what the server or the system says, which may quote names and values."""
    for cause in (error, error.__cause__, error.__context__):
        if isinstance(cause, ConnectionRefusedError | FileNotFoundError):
            return Unreachable("nothing listens there")
    if isinstance(error, exceptions.TimeoutError):
        return Unreachable("no answer to a connection")
    if isinstance(error, exceptions.BusyLoadingError):
        return Unreachable("it is starting")
    if isinstance(error, exceptions.ReadOnlyError):
        return Unreachable("it takes no writes")
    if isinstance(error, exceptions.ClusterDownError):
        return Unreachable("the cluster is not complete")
    if str(error).startswith("NOREPLICAS"):
        return Unreachable("it has fewer replicas than it wants to have")
    return Unreachable(type(error).__name__)


def explained(error: BaseException, adapter: object) -> PersistenceError | None:
    """The error of ours for one that trying again does not help. None: trying again may help."""
    refused = error.__context__ if isinstance(error.__context__, ssl.SSLError) else error
    if isinstance(refused, ssl.SSLError):
        return _no_tls(refused, adapter)
    if isinstance(error, exceptions.AuthenticationError):
        return AccessDeniedError(
            "the server does not let us in: user or password are wrong",
            adapter=adapter,
            hint="check the user and password in the address, and the server's ACL LIST or requirepass",
        )
    return _refused(error, adapter) if is_refusal(error) else None


def _refused(error: BaseException, adapter: object) -> PersistenceError:
    kind = str(error).partition(" ")[0]  # the rest may quote names and values
    if isinstance(error, exceptions.NoPermissionError):
        return AccessDeniedError(
            "the user may not do this on the server",
            adapter=adapter,
            hint="grant it the commands and keys that the page Redis of the documentation names",
        )
    if isinstance(error, exceptions.OutOfMemoryError):
        return StorageFullError(
            "the server's memory is full", adapter=adapter, hint="raise its maxmemory, or delete something"
        )
    if kind == "MISCONF":
        return StorageFullError(
            "the server cannot write to its disk, and takes no commits",
            adapter=adapter,
            hint="see its log; free some space there and save again",
        )
    if kind == "WRONGTYPE":
        return ForeignStoreError(
            "somebody else keeps a value of another kind under a name of this store",
            adapter=adapter,
            hint="name another one in the address: store=...",
        )
    if kind == "SELECT" or "DB index" in str(error):
        return ConfigurationError(
            "the server has no database of that number",
            adapter=adapter,
            hint="correct the address; in a cluster there is only 0",
        )
    return StorageError(
        f"the server refused: {kind}",
        adapter=adapter,
        hint="see the cause of this error, and the server's log",
    )


def _no_tls(error: ssl.SSLError, adapter: object) -> ConfigurationError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError(
            f"no trusted TLS connection: {error.verify_message}",
            adapter=adapter,
            hint="name the authority in sslrootcert=, or correct the host's name",
        )
    return ConfigurationError(
        f"no TLS connection: {error.reason or type(error).__name__}",
        adapter=adapter,
        hint="is that the server's TLS port (tls-port)? without one, write redis:// on a network you trust",
    )


def gone(adapter: object) -> StoreNotFoundError:
    """The mark is not there any more."""
    return StoreNotFoundError(
        "the store is gone: the server lost or deleted it",
        adapter=adapter,
        hint="restore it, or open the store again to begin anew",
    )
