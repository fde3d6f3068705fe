"""Every verb over a store, saying what is tried and what was told to be as durable as ``power_loss``.

Also where there was nothing to do. Each change has a number, which only grows, over all processes; a deletion
is told with a ``-``.
"""

import asyncio
import random
import time

import msgspec

from axiom_persistence import AutoSave, Client, client_state

WEAK = "process_exit"


class Padded(msgspec.Struct, frozen=True):
    n: int
    pad: str


class Document(Client):
    text: Padded = client_state(Padded(0, "x"))


class User:
    """Uses a persistence, and tells of each change and what was acknowledged as durable."""

    def __init__(self, persistence, name, tell, pads=(10, 500, 6000)):
        self.persistence = persistence
        self.name = name
        self.tell = tell
        self.pads = pads
        self.chance = random.Random(name)
        self.told = {}  # keys whose last change is not known to be durable, and its number

    def value(self, *keys, gone=False):
        """What is to be stored under ``keys``, told before."""
        number = time.monotonic_ns()
        self.tell("try", number, *("-" * gone + key for key in keys))
        self.told.update(dict.fromkeys(keys, number))
        return Padded(number, "x" * self.chance.choice(self.pads))

    async def save(self, key, durability=None):
        await self.persistence.save(key, self.value(key), durability=durability)

    async def delete(self, key, durability=None):
        self.value(key, gone=True)
        await self.persistence.delete(key, durability=durability)

    def durable(self):
        """All that was done before a durable answer is durable with it."""
        self.tell("ack", 0, *(f"{number}:{key}" for key, number in self.told.items()))
        self.told.clear()

    async def alone(self):
        """Each verb that may find its work done by somebody who promised less, here by this process."""
        persistence, name = self.persistence, self.name
        await self.save(f"{name}/flushed", WEAK)
        await persistence.flush()
        self.durable()

        await self.delete(f"{name}/flushed", WEAK)
        await self.delete(f"{name}/flushed")  # finds nothing
        self.durable()

        await self.save(f"{name}/kept", WEAK)
        await persistence.update(f"{name}/kept", Padded, lambda value: value, default=None)
        self.durable()

        await self.save(f"{name}/kept", WEAK)
        async with persistence.transaction():
            pass
        self.durable()

        await self.save(f"{name}/kept", WEAK)
        async with persistence.transaction() as tx:
            await tx.load(f"{name}/kept", Padded)
        self.durable()

        await self.save(f"{name}/kept")
        self.durable()
        await self.delete(f"{name}/kept", WEAK)
        self.value(f"{name}/kept", f"{name}/never", gone=True)
        await persistence.delete_many([f"{name}/kept", f"{name}/never"])
        self.durable()

        await self.items()
        await self.client()

        await asyncio.gather(self.save(f"{name}/one"), self.save(f"{name}/two", WEAK))
        await self.delete(f"{name}/absent")
        self.durable()

    async def items(self):
        """A collection is told to save what is there already."""
        items = self.persistence.collection(f"{self.name}-items", Padded)
        keys = [f"{self.name}-items/{id}" for id in "ab"]
        value = self.value(*keys)
        await self.persistence.save_many(dict.fromkeys(keys, value), durability=WEAK)
        await items.save_all({"a": value, "b": value})
        self.durable()

    async def client(self):
        """A client with nothing that is dirty."""
        key = f"Document/{self.name}/text"
        soon = AutoSave(interval=0.01, max_delay=0.01)
        async with Document(self.persistence, instance=self.name, auto_save=soon) as document:
            document.text = self.value(key)
            await document.persist_state()
            self.durable()
            document.text = self.value(key)
            while document.pending:
                await asyncio.sleep(0.01)
            await document.persist_state()
            self.durable()

    # -- with another process ----------------------------------------------------------------------

    async def publish(self, here, verbs):
        """Do, with little durability, what the other process then relies on."""
        for verb in verbs:
            key = f"shared-items/{verb}"
            await self.save(key)
            self.durable()
            if verb.startswith("delete"):
                await self.delete(key, WEAK)
            else:
                await self.save(key, WEAK)
            (here / f"published.{verb}").touch()
            await there(here / f"relied.{verb}")

    async def rely(self, here, verbs):
        """Find it done, and be told that it is durable."""
        for verb in verbs:
            await there(here / f"published.{verb}")
            await RELYING_ON_ALL[verb](self, f"shared-items/{verb}")
            self.durable()
            (here / f"relied.{verb}").touch()

    async def found(self, key):
        value = await self.persistence.load(key, Padded)
        self.told[key] = value.n
        return value

    async def rely_by_delete_many(self, key):
        self.value(key, gone=True)
        await self.persistence.delete_many([key])

    async def rely_by_update(self, key):
        self.told[key] = (await self.persistence.update(key, Padded, lambda v: v, default=None)).n

    async def rely_by_reading(self, key):
        async with self.persistence.transaction() as tx:
            self.told[key] = (await tx.load(key, Padded)).n

    async def rely_by_nothing(self, key):
        async with self.persistence.transaction():
            await self.found(key)

    async def rely_by_flush(self, key):
        await self.found(key)
        await self.persistence.flush()

    async def rely_by_save_all(self, key):
        value = await self.found(key)
        await self.persistence.collection("shared-items", Padded).save_all({key.rpartition("/")[2]: value})


RELYING = {
    "delete": User.delete,
    "delete-many": User.rely_by_delete_many,
    "update": User.rely_by_update,
    "reading": User.rely_by_reading,
}
RELYING_ON_ALL = RELYING | {
    "save-all": User.rely_by_save_all,
    "nothing": User.rely_by_nothing,
    "flush": User.rely_by_flush,
}
"""Also on what was found before: where a sync brings all that anybody committed to the disk."""


async def there(path):
    while not path.exists():
        await asyncio.sleep(0.001)
