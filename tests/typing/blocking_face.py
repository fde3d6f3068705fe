"""Not run: judged by mypy and pyright. An ignore that is not needed is an error of its own in both."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, Literal, assert_type

from axiom_persistence.blocking import (
    MISSING,
    Client,
    Collection,
    Key,
    Persistence,
    PersistentMapping,
    Stream,
    Transaction,
    client_state,
    open_persistence,
    run,
)
from axiom_persistence.client import ClientUpdate, RestoreReport
from axiom_persistence.jobs.verify import VerifyReport
from axiom_persistence.keys import Missing
from axiom_persistence.layers.observed import Change
from axiom_persistence.persistence.capability import CapabilityState
from axiom_persistence.persistence.collection import Collection as AsyncCollection
from axiom_persistence.persistence.persistence import AdapterBasedPersistence
from axiom_persistence.store.describe import About, RecordInfo

LAST = Key("last", datetime, default=datetime(2024, 1, 1))
VOLUME = Key("volume", int, default=5)


def later(value: datetime) -> datetime:
    return value + timedelta(days=1)


def longer(value: str) -> int:
    return len(value)


def one_value(persistence: Persistence) -> None:
    assert_type(persistence.load(LAST), datetime)
    assert_type(persistence.load("count", int), int | None)
    assert_type(persistence.load("count", int, default=0), int)
    assert_type(persistence.load("count", int, default="none"), int | str)
    assert_type(persistence.load("count", int, default=MISSING), int | Missing)
    assert_type(persistence.load("names", list[str]), list[str] | None)
    persistence.save(VOLUME, 7)
    persistence.save("typed", [1], type=list[int], ttl=timedelta(hours=1), durability="power_loss")
    assert_type(persistence.update("count", int, lambda n: n + 1, default=0), int)
    assert_type(persistence.update(LAST, later), datetime)
    assert_type(persistence.delete("k", durability="memory"), bool)
    assert_type(persistence.exists(VOLUME), bool)
    persistence.save(VOLUME, "x")  # type: ignore[misc]
    persistence.save("k", 1, ttl="5")  # type: ignore[call-overload]
    persistence.load("count", "int", 0)  # type: ignore[call-overload]
    persistence.load(5, int)  # type: ignore[call-overload]
    persistence.update(VOLUME, longer)  # type: ignore[arg-type]
    persistence.delete(5)  # type: ignore[arg-type]
    persistence.delete("k", durable=True)  # type: ignore[call-arg]
    persistence.exists()  # type: ignore[call-arg]


def several_values(persistence: Persistence) -> None:
    persistence.save_many({"a": 1, "b": "x"}, ttl=timedelta(hours=1))
    assert_type(persistence.load_many(["a", "b"], int), dict[str, int])
    assert_type(persistence.load_many({"a"}, list[datetime]), dict[str, list[datetime]])
    assert_type(persistence.delete_many(["k"]), int)
    assert_type([*persistence.keys("a")], list[str])
    found: dict[str, str] = persistence.load_many(["a"], int)  # type: ignore[arg-type]
    del found
    persistence.load_many(["a"])  # type: ignore[call-arg]
    persistence.delete_many(5)  # type: ignore[arg-type]


def the_store(persistence: Persistence) -> None:
    assert_type(persistence.inner, AdapterBasedPersistence)
    assert_type(persistence.is_supported(), bool)
    persistence.request_permission()
    assert_type(persistence.describe("k"), RecordInfo | None)
    assert_type(persistence.verify(repair=True, progress=print), VerifyReport)
    persistence.migrate("1", "2")
    persistence.flush()
    assert_type(persistence.stats(), dict[str, int])
    assert_type(persistence.namespace("n"), Persistence)
    assert_type(persistence.changes(timeout=1), Stream[Change])
    assert_type(persistence.state_stream(), Stream[CapabilityState])
    persistence.verify(True)  # type: ignore[misc]
    persistence.migrate("1")  # type: ignore[call-arg]


def items(persistence: Persistence) -> None:
    numbers = persistence.collection("numbers", int)
    assert_type(numbers, Collection[int])
    assert_type(numbers.inner, AsyncCollection[int])
    assert_type(numbers.get("a"), int | None)
    assert_type(numbers.get("a", 0), int | None)
    numbers.put("a", 1)
    assert_type(numbers.delete("a"), bool)
    assert_type(numbers.load_all(), dict[str, int])
    assert_type(numbers.save_all({"a": 1}, replace=True), int)
    assert_type([*numbers.items(after="a")], list[tuple[str, int]])
    for each in numbers:
        assert_type(each, tuple[str, int])
    assert_type([*numbers.ids()], list[str])
    assert_type(numbers.count(), int)
    numbers.put("a", "x")  # type: ignore[arg-type]
    numbers.save_all({"a": "x"})  # type: ignore[dict-item]
    numbers.get(5)  # type: ignore[arg-type]


def transacting(persistence: Persistence) -> None:
    with persistence.transaction(durability="memory") as tx:
        assert_type(tx, Transaction)
        assert_type(tx.load(LAST), datetime)
        assert_type(tx.load("a", int), int | None)
        assert_type(tx.load("a", int, default=0), int)
        assert_type(tx.exists("a"), bool)
        assert_type(tx.delete(VOLUME), bool)
        tx.save(VOLUME, 1)
        tx.save("a", [1], type=list[int], ttl=timedelta(hours=1))
        tx.load(5)  # type: ignore[call-overload]
        tx.exists(5)  # type: ignore[arg-type]

    def body(tx: Transaction) -> str:
        return tx.load("name", str, default="")

    assert_type(persistence.run_transaction(body), str)
    persistence.run_transaction(longer)  # type: ignore[arg-type]


class Quiet(Persistence):
    def silence(self) -> bool:
        self.save(VOLUME, 0)
        assert_type(self.load(VOLUME), int)
        return self.delete("volume")


class Preferences(Client):
    theme: str = client_state("system")


def clients(persistence: Persistence) -> None:
    with Preferences(persistence) as preferences:
        assert_type(preferences, Preferences)
        assert_type(preferences.restore_state(), RestoreReport)
        preferences.persist_state("theme")
        preferences.accept("theme")
        preferences.reset("theme")
        assert_type(preferences.transaction(), AbstractContextManager[None])
        assert_type(preferences.state_stream("theme", timeout=1), Stream[ClientUpdate])
        preferences.accept(5)  # type: ignore[arg-type]
        preferences.close(discard=1)  # type: ignore[arg-type]


def opening(mode: Literal["normal", "inspect"]) -> None:
    with open_persistence("notes", mode=mode) as persistence:
        assert_type(persistence, Persistence)
        assert_type(run(persistence.inner.exists("k")), bool)
    value: Any = persistence.load("either", int | str)  # any type form is allowed
    del value
    open_persistence(5)  # type: ignore[arg-type]


def pages_and_expiry(persistence: Persistence) -> None:
    assert_type(list(persistence.keys("a", after="b", limit=5, reverse=True)), list[str])
    assert_type(list(persistence.namespaces()), list[str])
    assert_type(persistence.count("a"), int)
    assert_type(persistence.delete_prefix("a"), int)
    assert_type(persistence.touch(VOLUME, ttl=5), bool)
    assert_type(persistence.expires_at("k"), float | None)
    assert_type(persistence.load_with_expiry(VOLUME), tuple[int, float | None])
    assert_type(persistence.load_with_expiry("k", int), tuple[int | None, float | None])
    assert_type(persistence.about(), About)
    persistence.touch("k")  # type: ignore[call-arg]


def streams_of_values(persistence: Persistence) -> None:
    assert_type(persistence.observe(LAST, timeout=1), Stream[datetime])
    assert_type(persistence.observe("k", int), Stream[int | None])
    assert_type(persistence.observe("k", int, default=0), Stream[int])
    assert_type(persistence.observe_prefix("k", int, timeout=1), Stream[tuple[str, int | None]])
    assert_type(persistence.collection("c", int).observe(timeout=1), Stream[tuple[str, int | None]])


def a_dict_that_stays(persistence: Persistence) -> None:
    assert_type(persistence.mapping("settings"), PersistentMapping[Any])
    numbers = persistence.mapping("numbers", int)
    assert_type(numbers, PersistentMapping[int])
    assert_type(numbers["a"], int)
    numbers["a"] = "x"  # type: ignore[assignment]


class Settings(Client):
    theme: str = client_state("light")


def clients_together(persistence: Persistence, settings: Settings) -> None:
    with persistence.transaction(settings) as tx:
        assert_type(tx, Transaction)
        assert_type(tx.update("count", int, lambda n: n + 1, default=0), int)
        assert_type(tx.load_many(["a"], int), dict[str, int])
        assert_type(list(tx.keys("a", limit=1)), list[str])
        items = tx.collection("c", int)
        assert_type(items.get("1"), int | None)
        assert_type(list(items.ids(reverse=True)), list[str])
    assert_type(settings.observe("theme"), Stream[Any])
    assert_type(settings.snapshot(), dict[str, Any])
    persistence.transaction("settings")  # type: ignore[arg-type]
