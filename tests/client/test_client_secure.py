"""Secrets: kept in a confidential place or not at all, and shown nowhere."""

# ruff: noqa: SIM117

from __future__ import annotations

import asyncio
import io
import logging
import sys
import textwrap
import traceback
from contextlib import aclosing
from dataclasses import replace

import pytest

from axiom_persistence import AdapterBasedPersistence, SQLiteAdapter
from axiom_persistence.client import AutoSave, Client, ClientPhase, client_state
from axiom_persistence.errors import InsecureStorageError, PersistenceError
from axiom_persistence.opening.open import open_persistence
from axiom_persistence.storage import Layer
from axiom_persistence.testing import ConfidentialMemory
from support.client_worlds import Failing, full

SECRET = "s3cr3t-5f2b"


def refuses(value: str) -> bool:
    if value.endswith("!"):
        raise ValueError(f"{value} ends with an exclamation mark")
    return not value.endswith("?")


class Account(Client):
    name: str = client_state("me")
    token: str = client_state("", secure=True, validate=refuses)


async def test_no_confidential_place(store):
    """A secure field without a confidential place is an error when the client is built."""
    with pytest.raises(InsecureStorageError, match="secure="):
        Account(store)


async def test_it_goes_to_the_confidential_place_only(tmp_path):
    """The secret is stored in the confidential place, and in no file of the store."""
    vault = ConfidentialMemory()
    for name in ("s.db", "directory"):
        async with open_persistence(tmp_path / name, secure=vault) as persistence:
            async with Account(persistence) as account:
                account.token = SECRET + name
                account.name = "somebody"
                await account.persist_state("token")
                assert "token" not in account.pending
            async with Account(persistence) as account:
                assert (account.token, account.name) == (SECRET + name, "somebody")
                account.token = SECRET + "later"
        stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"somebody" in stored
        assert SECRET.encode() not in stored


async def test_it_is_saved_by_the_interval(clock):
    """A secret is saved by the interval, apart from the rest."""
    async with open_persistence("memory:", secure=ConfidentialMemory()) as persistence:
        async with Account(persistence, auto_save=AutoSave(0.5, 2, immediate=True, clock=clock)) as account:
            account.name = "x"
            account.token = SECRET
            assert account.pending == ("token",)
            await clock.advance(1)
            assert account.pending == ()
            assert await persistence.secure.load("Account/token", str) == SECRET


async def test_it_is_shown_nowhere(clock, caplog):
    """No repr, log or exception shows a secret, whatever goes wrong with it."""
    vault = Failing(ConfidentialMemory())
    heard = []
    shown = io.StringIO()
    caplog.set_level(logging.DEBUG)
    async with open_persistence("memory:", secure=vault) as persistence:
        account = Account(
            persistence,
            auto_save=AutoSave(0.5, 2, clock=clock),
            on_error=lambda client, error: heard.append(f"{client!r} {error!r} {error}"),
        )
        await account.restore_state()
        for wrong in (
            SECRET + "!",
            SECRET + "?",
            SECRET.encode(),
            [SECRET],
            SECRET + "\ud800",
            {SECRET: object()},
        ):
            with pytest.raises(PersistenceError) as caught:
                account.token = wrong
            shown.writelines(traceback.format_exception(caught.value))
        account.token = SECRET
        vault.error = full()
        await clock.advance(1)
        with pytest.raises(PersistenceError) as caught:
            await account.close()
        shown.writelines(traceback.format_exception(caught.value))
        vault.error = None
        await account.close()
        await persistence.secure.save("Account/token", [SECRET])
        async with Account(persistence) as account:
            assert account.phase is ClientPhase.DEGRADED
            print(account, repr(account), account.restore_report, file=shown)
            with pytest.raises(PersistenceError) as caught:
                await account.persist_state("token")
            shown.writelines(traceback.format_exception(caught.value))
    assert heard
    for text in (*heard, caplog.text, shown.getvalue()):
        assert "s3cr3t" not in text


async def test_a_default_is_not_shown():
    """A wrong default of a secure field is not quoted by the error."""
    with pytest.raises(PersistenceError) as caught:

        class Wrong(Client):
            token: int = client_state(SECRET, secure=True)

    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value)).replace(
        "client_state(SECRET", ""
    )


async def test_a_confidential_store_holds_both():
    """In a store that is confidential itself, secrets are fields like the others: stored at once, atomic."""
    async with open_persistence(ConfidentialMemory()) as persistence, Account(persistence) as account:
        account.token = SECRET
        assert account.pending == ()
        async with account.transaction():
            account.token, account.name = SECRET + "2", "n"
        assert "s3cr3t" not in repr(account)


class Vault(Layer):
    """A place that several processes share and that counts as confidential here."""

    @property
    def traits(self):
        return replace(self.inner.traits, confidential=True)


async def test_a_secret_that_another_process_changes_arrives(tmp_path):
    """A clean secure field takes the new value, with its origin, and a dirty one keeps its own."""
    program = """
        import asyncio, sys
        from axiom_persistence import AdapterBasedPersistence, SQLiteAdapter
        async def main():
            async with AdapterBasedPersistence(SQLiteAdapter(sys.argv[1])) as vault:
                await vault.save("Account/token", sys.argv[2])
        asyncio.run(main())
    """

    async def elsewhere(value):
        command = (sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "vault.db"), value)
        child = await asyncio.create_subprocess_exec(*command)
        assert await child.wait() == 0

    vault = Vault(SQLiteAdapter(tmp_path / "vault.db"))
    async with (
        asyncio.timeout(60),
        open_persistence(tmp_path / "plain.db", secure=vault) as persistence,
        Account(persistence, auto_save=AutoSave.OFF) as account,
        aclosing(account.state_stream()) as stream,
    ):
        await anext(stream)
        await elsewhere(SECRET)
        update = await anext(stream)
        assert (account.token, dict(update.changed)) == (SECRET, {"token": "process"})
        account.token = SECRET + "mine"
        await anext(stream)
        await elsewhere(SECRET + "theirs")
        while not (update := await anext(stream)).overwritten:
            pass
        assert (account.token, update.overwritten["token"]) == (SECRET + "mine", SECRET + "theirs")
        await account.persist_state()
        assert await persistence.secure.load("Account/token", str) == SECRET + "mine"


async def test_the_watch_of_secrets_ends_with_the_last_client(tmp_path):
    """A client that is closed and restored again sees changes again; without clients nobody looks."""
    vault = Vault(SQLiteAdapter(tmp_path / "vault.db"))
    async with (
        asyncio.timeout(60),
        open_persistence(tmp_path / "plain.db", secure=vault) as persistence,
        AdapterBasedPersistence(SQLiteAdapter(tmp_path / "vault.db")) as elsewhere,
    ):
        account = Account(persistence)
        for value in ("1", "2"):
            async with account:
                await elsewhere.save("Account/token", SECRET + value)
                while account.token != SECRET + value:
                    await asyncio.sleep(0.01)
