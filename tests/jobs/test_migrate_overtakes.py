"""A save that a migration overtakes is part of it, or is not acknowledged."""

import threading

import pytest

from axiom_persistence import (
    Client,
    Migrations,
    SQLiteAdapter,
    blocking,
    client_state,
    open_persistence,
)
from axiom_persistence.errors import SchemaTooNewError, StorageLockedError
from axiom_persistence.storage import NOT_NOW, Layer


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


class Busy(Layer):
    """After a commit, somebody else commits, and another thread is reading for a while."""

    def __init__(self, inner):
        super().__init__(inner)
        self.other, self.commits, self.refusals, self.longer = None, 0, 0, 3

    async def commit(self, changes, *, expect=None, durability=None):
        versions = await self.inner.commit(changes, expect=expect, durability=durability)
        self.commits += 1
        return versions

    def commit_now(self, changes):
        versions = self.inner.commit_now(changes)
        if versions is not None and self.other is not None:
            self.commits += 1
            self.other.save("colour", "somebody else's", durability="process_exit")
            self.refusals = self.longer
        return versions

    def fetch_now(self, key):
        if self.refusals:
            self.refusals -= 1
            return NOT_NOW
        return self.inner.fetch_now(key)


@pytest.fixture
async def busy(tmp_path):
    """A store of two programs, one of which reads all the time when the other has saved."""
    path = tmp_path / "a.db"
    layer = Busy(SQLiteAdapter(path))
    async with open_persistence(layer) as persistence:
        await persistence.save("colour", "red")
        with blocking.open_persistence(path) as layer.other:
            layer.other.save("other", 1)
            await persistence.load("colour", str)
            layer.commits = 0
            yield persistence, layer
            layer.refusals, layer.other = 0, None


async def test_a_save_that_cannot_look_at_once_is_made_only_once(busy):
    """Made again, it would take the place of what somebody else saved after it."""
    persistence, layer = busy
    await persistence.save("colour", "blue", durability="process_exit")
    assert layer.commits == 1
    assert layer.other.load("colour", str) == "somebody else's"


async def test_a_header_that_cannot_be_read_after_a_save_is_told(busy, monkeypatch):
    """Whether the record keeps its name is not known then, so the save is not acknowledged."""
    monkeypatch.setattr("axiom_persistence.store._header._TOLD_S", 0.05)
    persistence, layer = busy
    layer.longer = 1_000_000
    with pytest.raises(StorageLockedError, match="whether a newer program has moved it"):
        await persistence.save("colour", "blue", durability="process_exit")
    assert layer.commits == 1
