"""A process that contends for one store with others: ``contender.py STACK PLACE NAME``.

It opens the store and says so. For each line it is sent (a kind of work, a seed, how much) it works, and
answers with one pickle: what came of it.
"""

import asyncio
import pickle
import random
import sys

from axiom_persistence import (
    Client,
    FileStorageAdapter,
    ObjectStoreAdapter,
    PostgresAdapter,
    RedisAdapter,
    SQLiteAdapter,
    client_state,
    open_persistence,
)
from axiom_persistence.errors import ConflictError
from axiom_persistence.keys import MISSING
from axiom_persistence.storage.layer import Layer
from axiom_persistence.testing.linearizability import Recorder

ACCOUNTS = ["account/0", "account/1", "account/2", "account/3"]
COUNTERS = ["counter/0", "counter/1"]
TOTAL = 1000


class UpdatesWithoutExpect(Layer):
    """A planted bug: an update that does not look whether somebody else was faster."""

    async def commit(self, changes, *, expect=None, durability=None):
        return await self.inner.commit(changes, durability=durability)


class ConstantMark(Layer):
    """A planted bug: a change mark that never tells of anybody else's commit."""

    def change_mark(self):
        return 0


class CommitsKeyByKey(Layer):
    """A planted bug: a commit whose keys appear one after the other."""

    async def commit(self, changes, *, expect=None, durability=None):
        versions = dict(await self.inner.commit({}, expect=expect))
        for key, data in changes.items():
            versions |= await self.inner.commit({key: data}, durability=durability)
        return versions


def on_server(place):
    """The store on the server of the tests that stands for a directory."""
    from support.postgres import address_at  # which the embedded ones do not need

    return PostgresAdapter(address_at(place))


def on_redis(place):
    """The same on Redis."""
    from support.redis_server import address_at

    return RedisAdapter(address_at(place))


def in_bucket(place):
    """The store in the bucket of the tests that stands for a directory."""
    from support.buckets import address_at

    return ObjectStoreAdapter(address_at(place))


STACKS = {
    "objects": lambda place: open_persistence(in_bucket(place)),
    "redis": lambda place: open_persistence(on_redis(place)),
    "postgres": lambda place: open_persistence(on_server(place)),
    "lost update on a server": lambda place: open_persistence(UpdatesWithoutExpect(on_server(place))),
    "sqlite": lambda place: open_persistence(SQLiteAdapter(place)),
    "file": lambda place: open_persistence(FileStorageAdapter(place)),
    "torn commit": lambda place: open_persistence(CommitsKeyByKey(SQLiteAdapter(place))),
    "lost update": lambda place: open_persistence(UpdatesWithoutExpect(SQLiteAdapter(place))),
    "stale cache": lambda place: open_persistence(ConstantMark(SQLiteAdapter(place))),
    "lost update in files": lambda place: open_persistence(UpdatesWithoutExpect(FileStorageAdapter(place))),
    "stale cache in files": lambda place: open_persistence(ConstantMark(FileStorageAdapter(place))),
}


ON_SERVER = ("postgres", "redis", "objects", "lost update on a server")


async def mixed(persistence, name, seed, steps, tasks=2, keys=3):
    """Loads, saves, updates, deletions and work that changes nothing, of few keys; the history."""

    async def task(number):
        client = f"{name}.{number}"
        chance = random.Random(f"{seed} {client}")
        recorder = Recorder(persistence, str, client=client)
        for step in range(steps):
            key, value = f"{seed}/{chance.randrange(keys)}", f"{client}:{seed}:{step}"
            durability = "power_loss" if chance.random() < 0.2 else "process_exit"
            verb = chance.choices(
                ["load", "save", "update", "delete", "same", "none"], [48, 20, 18, 8, 4, 2]
            )[0]
            if verb == "load":
                await recorder.load(key)
            elif verb == "save":
                await recorder.save(key, value, durability=durability)
            elif verb == "update":
                await recorder.update(key, lambda old, value=value: value, durability=durability)
            elif verb == "same":
                keep = value  # what is there stays; where nothing is, something must be left
                await recorder.update(
                    key, lambda old, keep=keep: keep if old is MISSING else old, durability=durability
                )
            elif verb == "none":
                async with persistence.transaction(durability=durability):
                    pass
                await persistence.delete_many([f"{seed}/never"], durability=durability)
                await persistence.flush()
            else:
                await recorder.delete(key, durability=durability)
            if chance.random() < 0.5:
                await asyncio.sleep(0)
        return recorder.operations

    histories = await asyncio.gather(*(task(number) for number in range(tasks)))
    return [operation for history in histories for operation in history]


def total(found):
    return sum(found.values())


async def transfer(persistence, chance, accounts, tries):
    """Move an amount between two accounts; the body must see the invariant, too."""
    source, target = chance.sample(ACCOUNTS, 2)
    looks, amount = chance.random() < 0.3, chance.randrange(1, 20)

    async def body(tx):
        tries.append(1)
        if looks:
            assert sum([await tx.load(key, int) for key in ACCOUNTS]) == TOTAL, "half a transaction was seen"
        have, other = await tx.load(source, int), await tx.load(target, int)
        await asyncio.sleep(0)
        await tx.save(source, have - amount)
        await tx.save(target, other + amount)

    await persistence.run_transaction(body, durability="process_exit")
    accounts[source] -= amount
    accounts[target] += amount


async def bank(persistence, name, seed, steps, tasks=8):
    """Increments and transfers, and readers of both kinds that check the sum each time."""
    done = {"counters": dict.fromkeys(COUNTERS, 0), "accounts": dict.fromkeys(ACCOUNTS, 0), "looks": 0}
    done |= {"transfers": 0, "most_tries": 0, "tries": 0}

    async def look(chance):
        if chance.random() < 0.7:
            found = await persistence.load_many(ACCOUNTS, int)
            assert total(found) == TOTAL, f"half a transaction was seen: {found}"
        else:
            try:
                async with persistence.transaction() as tx:
                    found = {key: await tx.load(key, int) for key in ACCOUNTS}
                    assert total(found) == TOTAL, f"half a transaction was seen: {found}"
            except ConflictError:
                return
        done["looks"] += 1

    async def task(number):
        chance = random.Random(f"{seed} {name} {number}")
        for step in range(steps):
            kind = (step + number) % 4
            if kind == 0:
                key = chance.choice(COUNTERS)
                how = chance.choice(["process_exit", "power_loss"])
                await persistence.update(key, int, lambda n: n + 1, default=0, durability=how)
                done["counters"][key] += 1
            elif kind == 1:
                tries = []
                await transfer(persistence, chance, done["accounts"], tries)
                done["transfers"] += 1
                done["tries"] += len(tries)
                done["most_tries"] = max(done["most_tries"], len(tries))
            else:
                await look(chance)

    await asyncio.gather(*(task(number) for number in range(tasks)))
    return done


class Purse(Client):
    money: int = client_state(0)


PURSES = ["Purse/a/money", "Purse/b/money", "ledger/fees"]


async def purses(persistence, name, seed, steps, tasks=3):
    """Money goes from a client to another, a fee into a collection, a note under a key; readers check."""
    done = {"moves": 0, "looks": 0}

    async def move(a, b, chance, note):
        amount, back = chance.randrange(2, 20), chance.random() < 0.5

        async def body(tx):
            source, target = (b, a) if back else (a, b)
            source.money -= amount
            await asyncio.sleep(0)
            target.money += amount - 1
            fees = tx.collection("ledger", int)
            await fees.update("fees", lambda fee: fee + 1, default=0)
            assert not await tx.exists(note), "half a transaction was seen: only its note is there"
            await tx.save(note, amount)

        await persistence.run_transaction(body, a, b, durability="process_exit")
        done["moves"] += 1

    async def task(number, a, b):
        chance = random.Random(f"{seed} {name} {number}")
        for step in range(steps):
            if number % 3 == 0:
                found = await persistence.load_many(PURSES, int)
                assert total(found) == TOTAL, f"half a transaction was seen: {found}"
                done["looks"] += 1
                await asyncio.sleep(0)
            else:
                await move(a, b, chance, f"note/{name}/{number}/{step}")

    async with Purse(persistence, instance="a") as a, Purse(persistence, instance="b") as b:
        await asyncio.gather(*(task(number, a, b) for number in range(tasks)))
    return done


async def crowd(persistence, name, seed, steps, tasks=20):
    """All want the same record at once, by transactions and by updates; how often each had to try."""
    tries = []

    async def task(number):
        for _ in range(steps):
            tried = [0, 0]

            async def body(tx, tried=tried):
                tried[0] += 1
                value = await tx.load("wanted", int, default=0)
                await asyncio.sleep(0)
                await tx.save("wanted", value + 1)

            def function(value, tried=tried):
                tried[1] += 1
                return value + 1

            await persistence.run_transaction(body, durability="process_exit")
            await persistence.update("wanted", int, function, default=0, durability="process_exit")
            tries.append(tuple(tried))

    await asyncio.gather(*(task(number) for number in range(tasks)))
    return tries


WORKS = {"mixed": mixed, "bank": bank, "crowd": crowd, "purses": purses}


def say(answer):
    pickle.dump(answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()


async def main():
    stack, place, name = sys.argv[1:]
    async with STACKS[stack](place) as persistence:
        say("open")
        while line := await asyncio.to_thread(sys.stdin.readline):
            work, seed, steps = line.split()
            say(await WORKS[work](persistence, name, seed, int(steps)))


if __name__ == "__main__":
    asyncio.run(main())
