"""What clients need of a persistence beyond what its users see, in one place."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import NamedTuple

from ..errors import ConfigurationError
from ..persistence.persistence import AdapterBasedPersistence
from ..records.corruption import CorruptionReport
from ..storage.adapter import Durability, StorageAdapter
from ..storage.layer import Layer
from ..store.store import Store

__all__ = [
    "Place",
    "change_mark",
    "commits_now",
    "evidence_of",
    "forget_refusal",
    "plain_place",
    "reports_of",
    "secure_place",
    "versions_of",
    "weakest",
]


class Place(NamedTuple):
    """Where records of a client go: a store, and what its keys there begin with."""

    store: Store
    prefix: str


def plain_place(persistence: AdapterBasedPersistence, path: str) -> Place:
    """Where the ordinary fields of the client at ``path`` are kept."""
    if not isinstance(persistence, AdapterBasedPersistence):
        raise ConfigurationError(
            f"a client is built over a persistence, not {persistence!r:.80}",
            hint="for example Preferences(open_persistence('notes'))",
        )
    return Place(persistence._root._opened, persistence._prefix + path)


def secure_place(persistence: AdapterBasedPersistence, path: str) -> Place:
    """Where the secure ones are. Raises ``InsecureStorageError`` where there is no such place."""
    return Place(persistence.secure._root._opened, persistence._prefix + path)


def commits_now(adapter: StorageAdapter) -> bool:
    """Whether ``adapter`` has a synchronous commit at all. That one may still be refused at times."""
    while isinstance(adapter, Layer):
        adapter = adapter.inner
    return type(adapter).commit_now is not StorageAdapter.commit_now


def weakest(store: Store) -> Durability:
    """What saves in the background ask for: to outlive the process, where the adapter can do that."""
    return min(Durability.PROCESS_EXIT, store.adapter.traits.durability)


def change_mark(store: Store) -> Hashable | None:
    """A value that differs once somebody has committed. None: the adapter cannot tell."""
    return store.adapter.change_mark()


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


def reports_of(store: Store) -> list[CorruptionReport]:
    """What the store found damaged so far."""
    return list(store.recovery.reports)


def forget_refusal(store: Store, key: str) -> None:
    """Let the next commit of ``key`` through although the store found its record too new or damaged."""
    store._too_new.pop(key, None)
    store.recovery.unreadable.pop(key, None)
