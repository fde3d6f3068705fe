"""Not run: judged by mypy and pyright. An ignore that is not needed is an error of its own in both."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from enum import Enum
from typing import Any, assert_type

from axiom_persistence.client import (
    AutoSave,
    Client,
    ClientManager,
    ClientPhase,
    ClientUpdate,
    Persistable,
    RestoreReport,
    action,
    client_state,
)
from axiom_persistence.errors import PersistenceError
from axiom_persistence.persistence.persistence import AdapterBasedPersistence
from axiom_persistence.records._secret import Secret


class Theme(Enum):
    SYSTEM = "system"
    DARK = "dark"


class Preferences(Client, name="prefs"):
    theme: Theme = client_state(Theme.SYSTEM)
    notifications_enabled: bool = client_state(True, key="notifications")
    recent_files: list[str] = client_state(default_factory=list)
    bookmarks: dict[str, int] = client_state(factory=dict)
    last: str | None = client_state(None)
    volume: int = client_state(5, validate=lambda volume: 0 <= volume <= 100)
    api_token: str = client_state("", secure=True)
    password: Secret[str] = client_state(Secret(""))
    draft: str = client_state("", persisted=False)

    @action
    def clear(self, keep: int = 0) -> int:
        del self.recent_files[keep:]
        return len(self.recent_files)

    @action
    async def rename(self, last: str) -> None:
        self.last = last


class Wrong(Client):
    theme: Theme = client_state("system")  # type: ignore[assignment]
    count: int = client_state(default_factory=list)  # type: ignore[assignment]
    neither: int = client_state()  # type: ignore[call-overload]
    both: int = client_state(1, default_factory=int)  # type: ignore[call-overload]


async def use(persistence: AdapterBasedPersistence) -> None:
    preferences = Preferences(persistence, instance="user-42", auto_save=AutoSave(0.5, 2))
    assert_type(preferences.theme, Theme)
    assert_type(preferences.password, Secret[str])
    assert_type(preferences.password.reveal(), str)
    preferences.password = "in clear"  # type: ignore[assignment]
    assert_type(preferences.notifications_enabled, bool)
    assert_type(preferences.recent_files, list[str])
    assert_type(preferences.bookmarks, dict[str, int])
    assert_type(preferences.last, str | None)
    assert_type(preferences.phase, ClientPhase)
    assert_type(preferences.pending, tuple[str, ...])
    assert_type(preferences.last_error, PersistenceError | None)
    assert_type(Preferences.persisted_keys, tuple[str, ...])

    preferences.theme = Theme.DARK
    preferences.last = "a"
    preferences.theme = "dark"  # type: ignore[assignment]
    preferences.volume = None  # type: ignore[assignment]
    preferences.recent_files = [1]  # type: ignore[list-item]
    preferences.phase = ClientPhase.READY  # type: ignore[misc]
    Preferences()  # type: ignore[call-arg]
    Preferences(persistence, theme=Theme.DARK)  # type: ignore[call-arg]

    async with preferences as entered:
        assert_type(entered, Preferences)
    assert_type(await preferences.restore_state(), RestoreReport)
    assert_type(preferences.state_stream("theme"), AsyncIterator[ClientUpdate])
    async with preferences.transaction(durability="power_loss"):
        preferences.volume = 7

    assert_type(preferences.clear(), int)
    assert_type(preferences.clear(keep=2), int)
    renaming: Coroutine[Any, Any, None] = preferences.rename("x")
    await renaming
    preferences.clear("all")  # type: ignore[arg-type]
    await preferences.rename(1)  # type: ignore[arg-type]


def told(client: Preferences, error: PersistenceError) -> None:
    print(client.theme, error)


def told_wrongly(client: Wrong, error: PersistenceError) -> None: ...


def errors(persistence: AdapterBasedPersistence) -> None:
    Preferences(persistence, on_error=told)
    Preferences(persistence, on_error=told_wrongly)  # type: ignore[arg-type]


class ByHand:
    persisted_keys = ("by-hand",)

    def __init__(self, persistence: AdapterBasedPersistence) -> None:
        self.persistence = persistence

    async def persist_state(self) -> None: ...
    async def restore_state(self) -> None: ...


def manage(persistence: AdapterBasedPersistence) -> None:
    manager = ClientManager()
    assert_type(manager.register(Preferences(persistence)), Preferences)
    assert_type(manager.register(ByHand(persistence), "by hand"), ByHand)
    assert_type(manager.client("Preferences", Preferences), Preferences)
    driven: Persistable = Preferences(persistence)
    driven = ByHand(persistence)
    driven = object()  # type: ignore[assignment]
    print(driven)
