"""A blocking call that would hold up what it waits for is refused."""

import pytest

from axiom_persistence import Client, blocking, client_state, open_persistence
from axiom_persistence.client import action
from axiom_persistence.errors import CapabilityUnavailableError


class Settings(Client):
    volume: int = client_state(0)

    @action
    async def louder(self, call):
        self.volume += 1
        call()


class BlockingSettings(blocking.Client):
    volume: int = blocking.client_state(0)

    @blocking.action
    def louder(self, call):
        self.volume += 1
        call()


@pytest.fixture
async def settings(tmp_path):
    async with open_persistence(tmp_path / "a.db") as persistence, Settings(persistence) as settings:
        yield settings


async def test_in_an_asynchronous_transaction_of_a_client(settings, tmp_path):
    """Of the same event loop, be it a transaction or an action; after it, calls are taken again."""
    with blocking.open_persistence(tmp_path / "b.db") as other:

        def call():
            with pytest.raises(CapabilityUnavailableError, match="would hold up its end"):
                other.save("a", 1)

        async with settings.transaction():
            call()
            async with settings.transaction():
                call()
        await settings.louder(call)
        other.save("a", 1)


async def test_not_in_what_nobody_waits_for(tmp_path):
    """A blocking client's transaction, and its actions, beside a running event loop."""
    with (
        blocking.open_persistence(tmp_path / "b.db") as persistence,
        BlockingSettings(persistence) as settings,
    ):
        with settings.transaction():
            settings.volume = 1
            persistence.save("a", 1)
        settings.louder(lambda: persistence.save("a", 2))
        assert persistence.load("a", int) == 2
