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
_HOMES = {
    "AdapterBasedPersistence": "persistence.persistence",
    "AutoSave": "client",
    "BasicAdapter": "storage.basic",
    "CachePolicy": "layers.cached",
    "Capability": "persistence.capability",
    "CapabilityState": "persistence.capability",
    "Client": "client",
    "ClientManager": "client",
    "Corruption": "records.corruption",
    "CorruptionReport": "records.corruption",
    "Durability": "storage.adapter",
    "FileStorageAdapter": "adapters.file",
    "Key": "keys",
    "MISSING": "keys",
    "MemoryAdapter": "adapters.memory",
    "Persistable": "client",
    "PersistenceCapability": "persistence.protocol",
    "PersistenceError": "errors",
    "SQLiteAdapter": "adapters.sqlite",
    "StorageAdapter": "storage.adapter",
    "action": "client",
    "client_state": "client",
    "open_persistence": "opening.open",
    "register": "records.codec",
}

if TYPE_CHECKING:
    from .adapters.file import FileStorageAdapter as FileStorageAdapter
    from .adapters.memory import MemoryAdapter as MemoryAdapter
    from .adapters.sqlite import SQLiteAdapter as SQLiteAdapter
    from .client import AutoSave as AutoSave
    from .client import Client as Client
    from .client import ClientManager as ClientManager
    from .client import Persistable as Persistable
    from .client import action as action
    from .client import client_state as client_state
    from .errors import PersistenceError as PersistenceError
    from .keys import MISSING as MISSING
    from .keys import Key as Key
    from .layers.cached import CachePolicy as CachePolicy
    from .opening.open import open_persistence as open_persistence
    from .persistence.capability import Capability as Capability
    from .persistence.capability import CapabilityState as CapabilityState
    from .persistence.persistence import AdapterBasedPersistence as AdapterBasedPersistence
    from .persistence.protocol import PersistenceCapability as PersistenceCapability
    from .records.codec import register as register
    from .records.corruption import Corruption as Corruption
    from .records.corruption import CorruptionReport as CorruptionReport
    from .storage.adapter import Durability as Durability
    from .storage.adapter import StorageAdapter as StorageAdapter
    from .storage.basic import BasicAdapter as BasicAdapter

__all__ = [
    "MISSING",
    "AdapterBasedPersistence",
    "AutoSave",
    "BasicAdapter",
    "CachePolicy",
    "Capability",
    "CapabilityState",
    "Client",
    "ClientManager",
    "Corruption",
    "CorruptionReport",
    "Durability",
    "FileStorageAdapter",
    "Key",
    "MemoryAdapter",
    "Persistable",
    "PersistenceCapability",
    "PersistenceError",
    "SQLiteAdapter",
    "StorageAdapter",
    "action",
    "client_state",
    "open_persistence",
    "register",
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
