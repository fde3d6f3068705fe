"""A stored value that cannot be read is told: in the log, to ``on_error``, and where its reason is kept."""

# ruff: noqa: PT012

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import replace

import pytest

from axiom_persistence import AdapterBasedPersistence, SQLiteAdapter, blocking
from axiom_persistence.client import AutoSave, Client, ClientPhase, action, client_state
from axiom_persistence.errors import ConflictError, SchemaTooNewError, TypeMismatchError
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.records.record import seal_record
from axiom_persistence.storage import Layer
from support.client_worlds import Counter, Preferences

SECRET = "s3cr3t-5f2b"


@pytest.fixture(params=["state.db", "directory"])
def place(request, tmp_path):
    return tmp_path / request.param


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_a_restore_tells_each_field_once(store, caplog):
    """Each unreadable field is one warning and one call, however often the client is restored."""
    await store.save("Preferences/theme", "neon")
    heard = []
    preferences = Preferences(store, on_error=lambda client, error: heard.append(error))
    await preferences.restore_state()
    await preferences.restore_state()
    (error,) = heard
    assert isinstance(error, TypeMismatchError)
    assert [text for text in warnings_of(caplog) if "Preferences.theme" in text] == warnings_of(caplog)
    assert len(warnings_of(caplog)) == 1
    await store.save("Preferences/volume", "loud")
    await preferences.restore_state()
    assert len(heard) == len(warnings_of(caplog)) == 2
    assert set(preferences.restore_report.unreadable) == {"theme", "volume"}
    await preferences.accept("theme")
    assert set(preferences.restore_report.unreadable) == {"volume"}
    await preferences.close()


@pytest.mark.parametrize("kind", ["type", "too new"])
async def test_what_another_process_stores_is_told(place, caplog, kind):
    """While it runs: one warning, one call, the reason in the report; the next good value ends it."""
    heard = []
    async with (
        open_persistence(place) as here,
        open_persistence(place) as there,
        Counter(here, on_error=lambda client, error: heard.append(error)) as counter,
    ):
        assert counter.restore_report.unreadable == {}
        if kind == "type":
            await there.save("Counter/a", "seven")
        else:
            await there.adapter.commit({"Counter/a": seal_record("Counter/a", b"1", "9.0")})
        await until(lambda: counter.phase is ClientPhase.DEGRADED)
        await there.save("Counter/b", 5)  # and it is looked at again
        await until(lambda: counter.b == 5)
        (error,) = heard
        assert isinstance(error, TypeMismatchError if kind == "type" else SchemaTooNewError)
        assert list(counter.restore_report.unreadable) == ["a"]
        assert str(counter.restore_report.unreadable["a"]) == str(error)
        assert len(warnings_of(caplog)) == 1
        assert "Counter.a" in caplog.text
        await there.delete("Counter/a")
        await there.save("Counter/a", 8)
        await until(lambda: counter.a == 8)
        assert counter.phase is ClientPhase.READY
        assert counter.restore_report.unreadable == {}


async def test_a_conflict_with_an_unreadable_value_is_told(place, caplog):
    """A transaction that lost against a value of another type says so as well."""
    heard = []
    async with open_persistence(place) as here, open_persistence(place) as there:
        counter = Counter(here, auto_save=AutoSave.OFF, on_error=lambda client, error: heard.append(error))
        await counter.restore_state()
        with pytest.raises(ConflictError):
            async with counter.transaction():
                counter.a = 1
                await there.save("Counter/a", "seven")
        await until(lambda: counter.phase is ClientPhase.DEGRADED)
        assert isinstance(counter.restore_report.unreadable["a"], TypeMismatchError)
        assert len(heard) == len(warnings_of(caplog)) == 1
        await counter.close()


class Vault(Layer):
    @property
    def traits(self):
        return replace(self.inner.traits, confidential=True)


class Account(Client):
    token: str = client_state("", secure=True)


async def test_a_secret_is_told_without_its_value(tmp_path, caplog):
    """Of a secure field the log and the error name the field, and nothing of what is stored."""
    caplog.set_level(logging.DEBUG)
    heard = []
    async with (
        open_persistence(tmp_path / "plain.db", secure=Vault(SQLiteAdapter(tmp_path / "vault.db"))) as here,
        AdapterBasedPersistence(Vault(SQLiteAdapter(tmp_path / "vault.db"))) as there,
        Account(here, on_error=lambda client, error: heard.append(error)) as account,
    ):
        await there.save("Account/token", [SECRET])
        await until(lambda: account.phase is ClientPhase.DEGRADED)
        assert len(heard) == 1
        assert "Account.token" in caplog.text
        for text in (caplog.text, repr(heard), repr(account.restore_report)):
            assert "s3cr3t" not in text


class Lists(Client):
    items: list[int] = client_state(default_factory=list)

    @action
    def add(self):
        self.items.append(1)


async def test_no_transaction_overwrites_what_cannot_be_read(store):
    """A list that was changed in place in a transaction is refused like an assignment, and undone."""
    await store.save("Lists/items", "another type")
    lists = Lists(store)
    await lists.restore_state()
    with pytest.raises(TypeMismatchError):
        async with lists.transaction():
            lists.items.append(1)
    with pytest.raises(TypeMismatchError):
        lists.add()
    assert lists.items == []
    await lists.close()
    assert await store.load("Lists/items", str) == "another type"


async def test_the_stream_goes_on_after_a_callback_that_raises(place):
    """An ``on_error`` that raises ends neither the watch nor the client."""

    def raises(client, error):
        raise RuntimeError("from the callback")

    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    async with (
        open_persistence(place) as here,
        open_persistence(place) as there,
        Counter(here, on_error=raises) as counter,
        aclosing(counter.state_stream()) as stream,
    ):
        await anext(stream)
        await there.save("Counter/a", "seven")
        await until(lambda: told)
        assert str(told[0]) == "from the callback"
        await there.save("Counter/b", 5)
        assert (await anext(stream))["b"] == 5


def test_the_blocking_face_tells_it(tmp_path, caplog):
    """A blocking client, too, at its start and while it runs."""

    class Settings(blocking.Client):
        volume: int = client_state(5)

    heard = []
    with blocking.open_persistence(tmp_path / "s.db") as persistence:
        persistence.save("Settings/volume", "loud")
        with Settings(persistence, on_error=lambda client, error: heard.append((client, error))) as settings:
            assert [client for client, _ in heard] == [settings]
            assert settings.restore_report.unreadable == {"volume": heard[0][1]}
            settings.accept("volume")
            assert settings.restore_report.unreadable == {}
    assert len(warnings_of(caplog)) == 1
