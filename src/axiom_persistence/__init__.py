"""State that stays: typed, durable values under string keys, and objects that keep themselves.

::

    async with open_persistence("notes") as persistence:
        await persistence.save("window", Window(800, 600))
        window = await persistence.load("window", Window)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

# Names are imported when they are first used: a program pays only for what it touches.
_NAMES = {
    "adapters.file": ("FileStorageAdapter",),
    "adapters.memory": ("MemoryAdapter",),
    "adapters.objects": ("ObjectStoreAdapter",),
    "adapters.postgres": ("PostgresAdapter",),
    "adapters.redis": ("RedisAdapter",),
    "adapters.sqlite": ("SQLiteAdapter",),
    "client": ("AutoSave", "Client", "ClientManager", "Persistable", "action", "client_state"),
    "errors": (
        *("AccessDeniedError", "AuthenticationError", "CapabilityUnavailableError", "ClientsFailedError"),
        "ConfigurationError",
        *("ConflictError", "CorruptedDataError", "EncodingError", "ForeignStoreError"),
        *(
            "InsecureStorageError",
            "InvalidKeyError",
            "KeyUnavailableError",
            "MigrationError",
            "PersistenceError",
        ),
        *("SchemaTooNewError", "StorageError", "StorageFullError", "StorageLockedError"),
        *("StorageUnavailableError", "StoreNotFoundError", "TypeMismatchError", "ValidationError"),
    ),
    "jobs._schedule": ("Every",),
    "keys": ("Key", "MISSING", "is_key", "join_key", "split_key"),
    "opening.addresses": ("adapter_for",),
    "layers.cached": ("CachePolicy",),
    "opening.open": ("open_persistence",),
    "persistence.capability": ("Capability", "CapabilityState"),
    "persistence.persistence": ("AdapterBasedPersistence",),
    "persistence.protocol": ("PersistenceCapability",),
    "records.codec": ("register",),
    "records.corruption": ("Corruption", "CorruptionReport"),
    "records.migrations": ("Migrations",),
    "records._secret": ("Secret",),
    "storage.adapter": ("Durability", "StorageAdapter"),
    "storage.basic": ("BasicAdapter",),
    "sync._options": ("Sync",),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

if TYPE_CHECKING:
    from .adapters.file import FileStorageAdapter
    from .adapters.memory import MemoryAdapter
    from .adapters.objects import ObjectStoreAdapter
    from .adapters.postgres import PostgresAdapter
    from .adapters.redis import RedisAdapter
    from .adapters.sqlite import SQLiteAdapter
    from .client import AutoSave, Client, ClientManager, Persistable, action, client_state
    from .errors import (
        AccessDeniedError,
        AuthenticationError,
        CapabilityUnavailableError,
        ClientsFailedError,
        ConfigurationError,
        ConflictError,
        CorruptedDataError,
        EncodingError,
        ForeignStoreError,
        InsecureStorageError,
        InvalidKeyError,
        KeyUnavailableError,
        MigrationError,
        PersistenceError,
        SchemaTooNewError,
        StorageError,
        StorageFullError,
        StorageLockedError,
        StorageUnavailableError,
        StoreNotFoundError,
        TypeMismatchError,
        ValidationError,
    )
    from .jobs._schedule import Every
    from .keys import MISSING, Key, is_key, join_key, split_key
    from .layers.cached import CachePolicy
    from .opening.addresses import adapter_for
    from .opening.open import open_persistence
    from .persistence.capability import Capability, CapabilityState
    from .persistence.persistence import AdapterBasedPersistence
    from .persistence.protocol import PersistenceCapability
    from .records._secret import Secret
    from .records.codec import register
    from .records.corruption import Corruption, CorruptionReport
    from .records.migrations import Migrations
    from .storage.adapter import Durability, StorageAdapter
    from .storage.basic import BasicAdapter
    from .sync._options import Sync

__all__ = [
    "MISSING",
    "AccessDeniedError",
    "AdapterBasedPersistence",
    "AuthenticationError",
    "AutoSave",
    "BasicAdapter",
    "CachePolicy",
    "Capability",
    "CapabilityState",
    "CapabilityUnavailableError",
    "Client",
    "ClientManager",
    "ClientsFailedError",
    "ConfigurationError",
    "ConflictError",
    "CorruptedDataError",
    "Corruption",
    "CorruptionReport",
    "Durability",
    "EncodingError",
    "Every",
    "FileStorageAdapter",
    "ForeignStoreError",
    "InsecureStorageError",
    "InvalidKeyError",
    "Key",
    "KeyUnavailableError",
    "MemoryAdapter",
    "MigrationError",
    "Migrations",
    "ObjectStoreAdapter",
    "Persistable",
    "PersistenceCapability",
    "PersistenceError",
    "PostgresAdapter",
    "RedisAdapter",
    "SQLiteAdapter",
    "SchemaTooNewError",
    "Secret",
    "StorageAdapter",
    "StorageError",
    "StorageFullError",
    "StorageLockedError",
    "StorageUnavailableError",
    "StoreNotFoundError",
    "Sync",
    "TypeMismatchError",
    "ValidationError",
    "action",
    "adapter_for",
    "client_state",
    "is_key",
    "join_key",
    "open_persistence",
    "register",
    "split_key",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        if name == "__version__":
            from importlib.metadata import version

            return version("axiom-persistence")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
