"""A save that a migration overtakes is part of it, or is not acknowledged."""

import threading

import pytest

from axiom_persistence import Client, Migrations, blocking, client_state, open_persistence
from axiom_persistence.errors import SchemaTooNewError
from axiom_persistence.storage import Layer


class Settings(Client):
    colour: str = client_state("red")


async def moved(tx):
    await tx.rename("colour", "tint")
    await tx.rename("Settings/colour", "Settings/tint")


def migrations():
    made = Migrations("2.0")
    made.store("1.0", "2.0")(moved)
    return made


class Overtaken(Layer):
    """Lets a newer program migrate the store when a save has looked and is about to write."""

    def __init__(self, inner, path):
        super().__init__(inner)
        self.path, self.is_due = path, False

    def _migrate(self):
        with blocking.open_persistence(self.path, migrations=migrations()) as new:
            new.migrate("1.0", "2.0")

    def overtake(self):
        if self.is_due:
            self.is_due = False
            other = threading.Thread(target=self._migrate)
            other.start()
            other.join()

    async def commit(self, changes, *, expect=None, durability=None):
        self.overtake()
        return await self.inner.commit(changes, expect=expect, durability=durability)

    def commit_now(self, changes):
        self.overtake()
        return self.inner.commit_now(changes)


@pytest.fixture
async def opened(tmp_path):
    """A store of the old program whose next save is overtaken."""
    path = tmp_path / "a.db"
    async with open_persistence(path) as old:
        layer = Overtaken(old.adapter, path)
        old._store.adapter = layer
        await old.save("colour", "red")
        yield old, layer, path


@pytest.mark.parametrize("durability", ["process_exit", "power_loss"])
async def test_an_overtaken_save_is_not_acknowledged(opened, durability):
    """It wrote under a key that is another one by now: so it raises, and what was moved stays."""
    old, layer, path = opened
    layer.is_due = True
    with pytest.raises(SchemaTooNewError):
        await old.save("colour", "blue", durability=durability)
    async with open_persistence(path, migrations=migrations()) as new:
        assert await new.load("tint", str) == "red"


async def test_an_overtaken_assignment_stays_pending(opened):
    """The client says that it is not stored."""
    old, layer, path = opened
    async with Settings(old) as settings:
        settings.colour = "green"
        await settings.persist_state()
        layer.is_due = True
        settings.colour = "blue"
        assert "colour" in settings.pending
        with pytest.raises(SchemaTooNewError):
            await settings.persist_state()
        await settings.close(discard=True)
    async with open_persistence(path, migrations=migrations()) as new:
        assert await new.load("Settings/tint", str) == "green"
