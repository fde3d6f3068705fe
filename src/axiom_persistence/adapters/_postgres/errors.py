"""What asyncpg raises, in terms of the library."""

from __future__ import annotations

import ssl
from typing import Final

import asyncpg

from ...errors import (
    AccessDeniedError,
    ConfigurationError,
    PersistenceError,
    StorageError,
    StorageFullError,
    StoreNotFoundError,
)
from .._networked.settle import Unreachable

__all__ = ["AGAIN", "explained", "is_broken", "no_tls", "unreachable"]

AGAIN: Final = (
    asyncpg.DivisionByZeroError,  # our own: somebody inserted a row in the same moment
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
"""Nothing was done, and the next attempt may succeed."""

_BROKEN: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, crashed, starting, cancelled by a timeout
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,  # it has become a standby
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,
    OSError,
)


def is_broken(error: BaseException) -> bool:
    """Whether the connection is of no use any more, and another one may be."""
    return isinstance(error, _BROKEN) and not isinstance(error, PersistenceError | ssl.SSLError)


def unreachable(error: BaseException) -> Unreachable:
    """Says why without what the server or the system says, which may quote names and values."""
    if isinstance(error, ConnectionRefusedError):
        return Unreachable("nothing listens there")
    if isinstance(error, asyncpg.CannotConnectNowError):
        return Unreachable("it is starting or shutting down")
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return Unreachable("it has too many connections already")
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError | asyncpg.TargetServerAttributeNotMatched):
        return Unreachable("it takes no writes")
    return Unreachable(f"{type(error).__name__}")


def explained(error: BaseException, adapter: object) -> PersistenceError:
    """The error of ours for one that trying again does not help."""
    state = getattr(error, "sqlstate", None)
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return AccessDeniedError(
            "the server does not let us in: user or password are wrong, or it wants another way to log in",
            adapter=adapter,
            hint="check the user and password in the address, and the server's pg_hba.conf",
        )
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return StoreNotFoundError(
            "there is no database of that name", adapter=adapter, hint="create it, or correct the address"
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return AccessDeniedError(
            "the user may not do this in the database",
            adapter=adapter,
            hint="grant it the rights that the page PostgreSQL of the documentation names, or have the "
            "database's owner create the tables",
        )
    if isinstance(error, asyncpg.DiskFullError):
        return StorageFullError(
            "the server's disk is full", adapter=adapter, hint="free some space there and save again"
        )
    if isinstance(error, ssl.SSLError):
        return ConfigurationError(
            f"no trusted TLS connection: {getattr(error, 'verify_message', None) or error.reason}",
            adapter=adapter,
            hint="name the authority in sslrootcert=, or correct the host's name",
        )
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError):
        return StoreNotFoundError(
            "the tables of the store are gone", adapter=adapter, hint="restore them, or open the store again"
        )
    return StorageError(
        f"the server refused: {type(error).__name__}" + (f" ({state})" if state else ""),
        adapter=adapter,
        hint="see the cause of this error, and the server's log",
    )


def no_tls(adapter: object) -> ConfigurationError:
    """A server without TLS, where it is asked for."""
    return ConfigurationError(
        "the server offers no TLS, and what is saved would cross the network in plain text",
        adapter=adapter,
        hint="turn on ssl at the server, or write sslmode=disable into the address of a network you trust",
    )
