"""What clients need of a persistence beyond what its users see, in one place."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any, NamedTuple

from ..errors import ConfigurationError, shown
from ..persistence.persistence import AdapterBasedPersistence
from ..store.store import Store

__all__ = [
    "Place",
    "change_mark",
    "evidence_of",
    "is_remote",
    "plain_place",
    "secure_place",
    "versions_of",
]


class Place(NamedTuple):
    """Where records of a client go: a store, and what its keys there begin with."""

    store: Store
    prefix: str


def plain_place(persistence: AdapterBasedPersistence, path: str) -> Place:
    """Where the ordinary fields of the client at ``path`` are kept."""
    if not isinstance(persistence, AdapterBasedPersistence):
        raise _no_persistence(persistence)
    return Place(*persistence.place(path))


def _no_persistence(given: Any) -> ConfigurationError:
    if isinstance(getattr(given, "inner", None), AdapterBasedPersistence):
        return ConfigurationError(
            "an asynchronous client is built over a persistence of axiom_persistence.blocking",
            hint="declare it as an `axiom_persistence.blocking.Client`, or open the store with "
            "`axiom_persistence.open_persistence`",
        )
    return ConfigurationError(
        f"a client is built over a persistence, not {shown(given)}",
        hint="for example Preferences(open_persistence('notes'))",
    )


def secure_place(persistence: AdapterBasedPersistence, path: str) -> Place:
    """Where the secure ones are. Raises ``InsecureStorageError`` where there is no such place."""
    return Place(*persistence.secure.place(path))


def change_mark(store: Store) -> Hashable | None:
    """A value that differs once somebody has committed. None: the adapter cannot tell."""
    return store.adapter.change_mark()


def is_remote(store: Store, key: str, version: str | None) -> bool:
    """Whether this version came from another device."""
    return store.adapter.is_remote(key, version)


async def versions_of(store: Store, keys: Collection[str]) -> dict[str, str]:
    """The versions of ``keys`` as they are now, absent ones left out. Nothing is checked or decoded."""
    found = await store.adapter.fetch(keys)
    return {key: stored.version for key, stored in found.items()}


async def evidence_of(store: Store, key: str, reason: str) -> tuple[Mapping[str, bytes], str | None]:
    """A quarantine record of the bytes under ``key``, and the version they have. Nothing is written."""
    stored = (await store.adapter.fetch((key,))).get(key)
    if stored is None:
        return {}, None
    return store.recovery.quarantined(key, stored._replace(damage=reason)), stored.version
