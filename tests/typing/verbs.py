"""Not run: judged by mypy and pyright. An ignore that is not needed is an error of its own in both."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from axiom_persistence import (
    MISSING,
    AdapterBasedPersistence,
    Client,
    Corruption,
    CorruptionReport,
    Key,
    MemoryAdapter,
    PersistenceCapability,
    Secret,
    StorageAdapter,
    adapter_for,
    client_state,
    is_key,
    join_key,
    open_persistence,
    register,
    split_key,
)
from axiom_persistence.keys import Missing
from axiom_persistence.persistence.transaction import Transaction
from axiom_persistence.store.describe import About


@dataclass
class Window:
    width: int


LAST = Key("last", datetime, default=datetime(2024, 1, 1, tzinfo=UTC))
VOLUME = Key("volume", int, default=5)
NAME = Key("name", str)
NAMES = Key("names", list[str], default_factory=list)
EITHER = Key("either", int | None)


def keys_know_their_types() -> None:
    assert_type(LAST, Key[datetime])
    assert_type(VOLUME, Key[int])
    assert_type(NAME, Key[str | None])
    assert_type(NAMES, Key[list[str]])
    assert_type(VOLUME.default, int)
    assert_type(NAMES.default, list[str])
    assert_type(Key("window", Window, default_factory=lambda: Window(1)), Key[Window])
    assert_type(Key("either", int | str, default_factory=int), Key[Any])
    Key("volume", int, default=None)
    Key(5, int)  # type: ignore[call-overload]


async def loading(persistence: AdapterBasedPersistence) -> None:
    assert_type(await persistence.load(LAST), datetime)
    assert_type(await persistence.load(NAME), str | None)
    assert_type(await persistence.load("window", Window), Window | None)
    assert_type(await persistence.load("count", int, default=0), int)
    assert_type(await persistence.load("count", int, default=None), int | None)
    assert_type(await persistence.load("count", int, default="none"), int | str)
    assert_type(await persistence.load("count", int, default=MISSING), int | Missing)
    assert_type(await persistence.load("names", list[str]), list[str] | None)
    assert_type(await persistence.load("token", Secret[str]), Secret[str] | None)
    assert_type(Secret([1]).reveal(), list[int])
    assert_type(await persistence.load_many(["a", "b"], int), dict[str, int])
    either: int | str | None = await persistence.load("either", int | str)  # any type form is allowed
    del either
    await persistence.load("count", "int", 0)  # type: ignore[call-overload]
    await persistence.load(5, int)  # type: ignore[call-overload]


async def a_missing_value_can_be_told_apart(persistence: AdapterBasedPersistence) -> None:
    found = await persistence.load("name", str, default=MISSING)
    if found is MISSING:
        return
    assert_type(found, str)


async def saving(persistence: AdapterBasedPersistence) -> None:
    await persistence.save(VOLUME, 7)
    await persistence.save(NAME, None)
    await persistence.save("anything", {"at": "all"}, ttl=timedelta(hours=1), durability="power_loss")
    await persistence.save("typed", [1], type=list[int])
    await persistence.save_many({"a": 1, "b": "x"})
    await persistence.save(VOLUME, "x")  # type: ignore[misc]
    await persistence.save(LAST, 5)  # type: ignore[misc]
    await persistence.save("k")  # type: ignore[call-overload]
    await persistence.save("k", 1, ttl="5")  # type: ignore[call-overload]


def longer(value: str) -> int:
    return len(value)


def later(value: datetime) -> datetime:
    return value + timedelta(days=1)


def more(value: int) -> int:
    return value + 1


async def updating(persistence: AdapterBasedPersistence) -> None:
    assert_type(await persistence.update("count", int, lambda n: n + 1, default=0), int)
    assert_type(await persistence.update("count", int, more, default=0), int)
    assert_type(await persistence.update(VOLUME, more), int)
    assert_type(await persistence.update(LAST, later), datetime)
    await persistence.update(VOLUME, longer)  # type: ignore[arg-type]
    await persistence.update(VOLUME)  # type: ignore[call-overload]


async def the_rest(persistence: AdapterBasedPersistence) -> None:
    assert_type(await persistence.delete("k"), bool)
    assert_type(await persistence.exists(VOLUME), bool)
    assert_type(await persistence.delete_many(["k"]), int)
    assert_type([key async for key in persistence.keys()], list[str])  # noqa: SIM118
    assert_type(persistence.namespace("n"), AdapterBasedPersistence)
    assert_type(bool(await persistence.verify(repair=True)), bool)
    await persistence.delete(5)  # type: ignore[arg-type]


async def pages_and_expiry(persistence: AdapterBasedPersistence) -> None:
    keys = [key async for key in persistence.keys("a", after="b", limit=5, reverse=True)]
    assert_type(keys, list[str])
    assert_type([name async for name in persistence.namespaces()], list[str])
    assert_type(await persistence.count("a"), int)
    assert_type(await persistence.delete_prefix("a"), int)
    assert_type(await persistence.touch(VOLUME, ttl=5), bool)
    assert_type(await persistence.touch("k", ttl=None), bool)
    assert_type(await persistence.expires_at("k"), float | None)
    assert_type(await persistence.load_with_expiry(VOLUME), tuple[int, float | None])
    assert_type(await persistence.load_with_expiry("k", int), tuple[int | None, float | None])
    assert_type(await persistence.load_with_expiry("k", int, default=0), tuple[int, float | None])
    assert_type(await persistence.about(), About)
    await persistence.touch("k")  # type: ignore[call-arg]
    await persistence.touch("k", ttl="5")  # type: ignore[arg-type]


async def watching(persistence: AdapterBasedPersistence) -> None:
    async for last in persistence.observe(LAST):
        assert_type(last, datetime)
    async for count in persistence.observe("count", int):
        assert_type(count, int | None)
    async for given in persistence.observe("count", int, default=0):
        assert_type(given, int)
    async for pair in persistence.observe_prefix("w/", Window):
        assert_type(pair, tuple[str, Window | None])
    async for item in persistence.collection("w", Window).observe():
        assert_type(item, tuple[str, Window | None])
    persistence.observe(5, int)  # type: ignore[call-overload]


async def collecting(persistence: AdapterBasedPersistence) -> None:
    windows = persistence.collection("windows", Window, ttl=60)
    await windows.put("1", Window(1), ttl=timedelta(hours=1))
    await windows.put("1", Window(1), ttl=None)
    assert_type(await windows.update("1", lambda window: Window(window.width + 1), default=Window(0)), Window)
    assert_type(await windows.exists("1"), bool)
    assert_type(await windows.clear(), int)
    assert_type([item async for item in windows.items(reverse=True, limit=3)], list[tuple[str, Window]])
    await windows.put("1", 5)  # type: ignore[arg-type]


def keys_of_names() -> None:
    assert_type(join_key("a", "b"), str)
    assert_type(split_key("a/b"), tuple[str, ...])
    assert_type(is_key(5), bool)
    assert_type(adapter_for("notes.db"), StorageAdapter)
    join_key(5)  # type: ignore[arg-type]


class Settings(Client):
    theme: str = client_state("light")


async def clients_together(persistence: AdapterBasedPersistence, settings: Settings) -> None:
    async with persistence.transaction(settings, durability="process_exit") as tx:
        settings.theme = "dark"
        assert_type(tx, Transaction)
    assert_type(settings.snapshot(), dict[str, Any])

    async def body(tx: Transaction) -> int:
        return await tx.count()

    assert_type(await persistence.run_transaction(body, settings, attempts=3), int)
    persistence.transaction("settings")  # type: ignore[arg-type]


async def in_a_transaction(tx: Transaction) -> None:
    assert_type(await tx.update("count", int, more, default=0), int)
    assert_type(await tx.update(VOLUME, more), int)
    assert_type(await tx.load_many(["a"], int), dict[str, int])
    assert_type(await tx.load_with_expiry(VOLUME), tuple[int, float | None])
    assert_type([key async for key in tx.keys("a", limit=1)], list[str])
    assert_type(await tx.delete_prefix("a"), int)
    windows = tx.collection("windows", Window)
    assert_type(await windows.get("1"), Window | None)
    assert_type(await windows.load_all(), dict[str, Window])
    await windows.put("1", 5)  # type: ignore[arg-type]
    await tx.update(VOLUME, longer)  # type: ignore[arg-type]


async def transacting(persistence: AdapterBasedPersistence) -> None:
    async with persistence.transaction() as tx:
        assert_type(tx, Transaction)
        assert_type(await tx.load(LAST), datetime)
        assert_type(await tx.load("a", int), int | None)
        assert_type(await tx.load("a", int, default=0), int)
        assert_type(await tx.load("a", int, default=MISSING), int | Missing)
        assert_type(await tx.delete("a"), bool)
        await tx.save(VOLUME, 1)

    async def body(tx: Transaction) -> str:
        return await tx.load("name", str, default="")

    assert_type(await persistence.run_transaction(body), str)
    await persistence.run_transaction(longer)  # type: ignore[arg-type]


def decide(report: CorruptionReport) -> Corruption:
    return Corruption.RECOVER if report.recovered else Corruption.RAISE


async def opening() -> None:
    async with open_persistence("notes") as persistence:
        assert_type(persistence, AdapterBasedPersistence)
    assert_type(await open_persistence(Path("notes.db")), AdapterBasedPersistence)
    open_persistence(MemoryAdapter(), on_corruption="raise", durability="memory", mode="inspect")
    open_persistence("notes", on_corruption=decide)
    open_persistence(5)  # type: ignore[arg-type]
    open_persistence("notes", mode="ro")  # type: ignore[arg-type]
    open_persistence("notes", on_corruption="explode")  # type: ignore[arg-type]


def as_capability(persistence: AdapterBasedPersistence) -> PersistenceCapability:
    return persistence


async def through_the_protocol(capability: PersistenceCapability) -> None:
    await capability.save("k", 1)
    assert_type(await capability.load("k", int), int | None)
    assert_type(await capability.load_many(["k"], int), dict[str, int])
    assert_type(await capability.exists("k"), bool)


def registering() -> None:
    register(Window, lambda window: window.width, lambda data: Window(data))
    register(Window, lambda window: window.height, Window)  # type: ignore[attr-defined]
    register(5, str, str)  # type: ignore[arg-type]
