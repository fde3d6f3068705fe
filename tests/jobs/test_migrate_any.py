"""Any chain of steps over any data: a migrated store is a fresh one, and the way back is one."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from axiom_persistence import AdapterBasedPersistence, MemoryAdapter, Migrations
from records.test_migrations import NAMES, VALUES, step_of

KEYS = st.sampled_from(["a", "b", "c"])
DATA = st.dictionaries(KEYS, VALUES, max_size=3)
# Each version changes every value, moves every key, or both.
VERSIONS = st.lists(
    st.tuples(st.sampled_from(["rename", "wrap"]) | st.none(), NAMES, NAMES, st.booleans()),
    min_size=1,
    max_size=5,
)


def mover(start, end):
    async def move(tx):
        async for key in tx.keys(start):
            await tx.rename(key, end + key.removeprefix(start))

    return move


def chain(versions):
    """The migrations, and what they are to make of the data of 1.0."""
    made, place, functions = Migrations(f"{len(versions) + 1}.0"), "at0/", []
    for number, (kind, one, other, moves) in enumerate(versions, 1):
        start, end = f"{number}.0", f"{number + 1}.0"
        if kind is not None:
            up, down = step_of(kind, one, other)
            made.value(start, end, key="*", down=down, name=f"change{number}")(up)
            functions.append(up)
        if moves or kind is None:
            there = f"at{number}/"
            made.store(start, end, down=mover(there, place), name=f"move{number}")(mover(place, there))
            place = there
    return made, place, functions


async def records(persistence):
    adapter = persistence.adapter
    keys = [key async for key in adapter.keys("") if key[0] != "\x01"]
    return {key: stored.data for key, stored in (await adapter.fetch(keys)).items()}


async def there_and_back(versions, data):
    adapter = MemoryAdapter()
    async with AdapterBasedPersistence(adapter) as old:
        await old.save_many({f"at0/{key}": value for key, value in data.items()})
        before = await records(old)
    last = f"{len(versions) + 1}.0"
    migrations, place, functions = chain(versions)
    expected = {}
    for key, value in data.items():
        for function in functions:
            value = function(dict(value))
        expected[place + key] = value
    fresh = AdapterBasedPersistence(MemoryAdapter(), migrations=chain(versions)[0])
    async with AdapterBasedPersistence(adapter, migrations=migrations) as new, fresh:
        await fresh.save_many(expected)
        await new.migrate("1.0", last)
        assert await records(new) == await records(fresh)
        await new.rollback("1.0")
        assert await records(new) == before
        await new.migrate("1.0", last)
        await new.finalize()
        assert await records(new) == await records(fresh)
        await new.rollback("1.0")
        assert await records(new) == before


@settings(max_examples=60)
@given(VERSIONS, DATA)
def test_a_migrated_store_is_as_a_fresh_one_and_comes_back(versions, data):
    """Record for record; and back from originals and by ``down`` alone, byte for byte."""
    asyncio.run(there_and_back(versions, data))
