"""A verb that finds nothing to store makes durable what it relies on, whoever stored that."""

from dataclasses import replace

import pytest

from axiom_persistence import Client, SQLiteAdapter, client_state, open_persistence
from axiom_persistence.errors import StorageError
from axiom_persistence.storage import Layer


class Vault(Layer):
    """A place that counts as confidential here, and whose disk may break."""

    broken = False

    @property
    def traits(self):
        return replace(self.inner.traits, confidential=True)

    async def commit(self, changes, *, expect=None, durability=None):
        if self.broken:
            raise StorageError("the disk is gone")
        return await self.inner.commit(changes, expect=expect, durability=durability)


class Account(Client):
    name: str = client_state("")
    token: str = client_state("", secure=True)


@pytest.fixture
async def persistence(tmp_path):
    vault = Vault(SQLiteAdapter(tmp_path / "vault.db"))
    async with open_persistence(tmp_path / "plain.db", secure=vault) as persistence:
        yield persistence


def syncs(persistence):
    return persistence.stats()["syncs"], persistence.secure.stats()["syncs"]


async def persist(account):
    await account.persist_state()


async def close(account):
    await account.close()


async def empty(account):
    async with account.transaction():
        pass


@pytest.mark.parametrize("verb", [persist, close, empty])
async def test_both_stores_are_synced(persistence, verb):
    """What was stored with less before the client began is durable, in both places, when the verb returns."""
    await persistence.save("Account/name", "weak", durability="process_exit")
    await persistence.secure.save("Account/token", "weak", durability="process_exit")
    account = Account(persistence)
    await account.restore_state()
    assert (account.name, account.token, account.pending) == ("weak", "weak", ())
    before = syncs(persistence)
    await verb(account)
    assert all(now > then for now, then in zip(syncs(persistence), before, strict=True))
    await account.close()


async def test_a_transaction_that_assigns_what_is_stored(persistence):
    """The assignment before it promised less than the transaction does."""
    async with Account(persistence) as account:
        account.name = "same"
        before, _ = syncs(persistence)
        async with account.transaction():
            account.name = "same"
        assert syncs(persistence)[0] > before


async def test_only_where_the_fields_are_kept(persistence):
    """``persist_state`` of one field syncs the place of that field, also beside a change in the other one."""
    async with Account(persistence) as account:
        plain, secret = syncs(persistence)
        await account.persist_state("token")
        assert syncs(persistence) == (plain, secret + 1)
        await account.persist_state("name")
        assert syncs(persistence) == (plain + 1, secret + 1)
        account.token = "new"
        await account.persist_state()
        assert syncs(persistence) == (plain + 2, secret + 2)


async def test_a_sync_that_fails_is_raised(persistence):
    """The error of a sync without changes is raised where it was relied on, and nowhere else."""
    vault = persistence.secure.adapter.find(Vault)
    async with Account(persistence) as account:
        vault.broken = True
        with pytest.raises(StorageError, match="gone"):
            await account.persist_state()
        await account.persist_state("name")
        vault.broken = False
