"""The blocking face: the same mistakes of programs without an event loop."""

import asyncio

from axiom_persistence import Migrations
from axiom_persistence import open_persistence as open_async
from axiom_persistence.blocking import Client, client_state, open_persistence
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    EncodingError,
    InvalidKeyError,
    MigrationError,
    TypeMismatchError,
)

from . import MARK, NUMBER, case
from .values import settings


class Reader(Client):
    name: str = client_state("")
    tags: list[str] = client_state(default_factory=list)


@case(
    CapabilityUnavailableError,
    "this persistence is not open, or closed again; use it inside its `with` block",
)
def save_before_it_is_open(world):
    open_persistence("memory:").save("k", MARK)


@case(
    CapabilityUnavailableError,
    "this persistence is not open, or closed again; use it inside its `with` block",
)
def delete_before_it_is_open(world):
    open_persistence("memory:").delete("k")


@case(
    EncodingError,
    "a coroutine is no value: it was not awaited [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; save its result: `axiom_persistence.blocking.run(settings())`",
    key="k",
    place=True,
)
def save_a_coroutine(world):
    forgotten = settings()
    try:
        with open_persistence("memory:") as persistence:
            persistence.save("k", forgotten)
    finally:
        forgotten.close()


@case(
    EncodingError,
    "an asynchronous iterator gives its items once [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; save a list of its items",
    key="k",
    place=True,
)
def save_an_asynchronous_generator(world):
    async def letters():
        yield MARK

    with open_persistence("memory:") as persistence:
        persistence.save("k", letters())


@case(
    TypeMismatchError,
    "the stored value is not of type int: Expected `int`, got `str` at $; it is a JSON "
    "string of 7 characters [key 'k'] [in MemoryAdapter(the memory of this process)]; load "
    'it as the type it was saved with, or write @migrations.value("1.0", "2.0", key=\'k\')'
    " in the Migrations that open_persistence(migrations=...) is given",
    key="k",
    place=True,
)
def load_another_type(world):
    with open_persistence("memory:") as persistence:
        persistence.save("k", MARK)
        persistence.load("k", int)


@case(InvalidKeyError, "a key is a str or a Key, not <int>; pass `str(key)`")
def save_under_a_number(world):
    with open_persistence("memory:") as persistence:
        persistence.save(NUMBER, MARK)


@case(
    ConfigurationError,
    "update takes a plain function, and this one returned a coroutine [key 'k']; load and "
    "save in `run_transaction`, whose function may wait",
    key="k",
)
def update_by_a_coroutine(world):
    async def change(value: str) -> str:
        return value + MARK

    with open_persistence("memory:") as persistence:
        persistence.update("k", str, change, default="")


@case(
    CapabilityUnavailableError,
    "the transaction is over [key 'k']; use it inside its `with` block only",
    key="k",
)
def a_transaction_after_its_end(world):
    with open_persistence("memory:") as persistence:
        with persistence.transaction() as tx:
            pass
        tx.save("k", MARK)


@case(
    ConfigurationError,
    "a transaction of this store is running in this thread already [in MemoryAdapter(the "
    "memory of this process)]; use the outer transaction; pass it to the function that needs "
    "it",
    place=True,
)
def a_transaction_in_a_transaction(world):
    with open_persistence("memory:") as persistence, persistence.transaction(), persistence.transaction():
        pass


@case(
    ConfigurationError,
    "run_transaction takes a plain function, and this one returned a coroutine [in "
    "MemoryAdapter(the memory of this process)]; write `def` and call the verbs of the "
    "transaction plainly",
    place=True,
)
def a_transaction_of_an_asynchronous_function(world):
    async def body(tx) -> str:
        return MARK

    with open_persistence("memory:") as persistence:
        persistence.run_transaction(body)


@case(
    ConfigurationError,
    "this is of axiom_persistence.blocking, and entered with `with`, not `async with`; for "
    "asynchronous programs there is `axiom_persistence.open_persistence`",
)
def enter_with_async_with(world):
    async def main():
        async with open_persistence("memory:"):
            pass

    asyncio.run(main())


@case(
    ConfigurationError,
    "this is of axiom_persistence.blocking, and not awaited; for asynchronous programs there "
    "is `axiom_persistence.open_persistence`",
)
def await_it(world):
    async def main():
        await open_persistence("memory:")

    asyncio.run(main())


@case(
    ConfigurationError,
    "this is of axiom_persistence.blocking, and entered with `with`, not `async with`; for "
    "asynchronous programs there is `axiom_persistence.open_persistence`",
)
def a_transaction_with_async_with(world):
    async def main():
        with open_persistence("memory:") as persistence:
            async with persistence.transaction():
                pass

    asyncio.run(main())


@case(
    ConfigurationError,
    "this is of axiom_persistence.blocking, and walked with `for`, not `async for`; for "
    "asynchronous programs there is `axiom_persistence.open_persistence`",
)
def walk_keys_with_async_for(world):
    async def main():
        with open_persistence("memory:") as persistence:
            async for _ in persistence.keys():
                pass

    asyncio.run(main())


@case(
    ConfigurationError,
    "this is of axiom_persistence.blocking, and walked with `for`, not `async for`; for "
    "asynchronous programs there is `axiom_persistence.open_persistence`",
)
def walk_changes_with_async_for(world):
    async def main():
        with open_persistence("memory:") as persistence, persistence.changes() as changes:
            async for _ in changes:
                pass

    asyncio.run(main())


@case(
    ConfigurationError,
    "a blocking client is built over a blocking persistence, not <AdapterBasedPersistence>; "
    "open it with axiom_persistence.blocking.open_persistence, or declare the class as an "
    "axiom_persistence.Client",
)
def a_client_over_an_asynchronous_persistence(world):
    Reader(open_async("memory:"))


@case(
    ConfigurationError,
    "Reader is a blocking client, and is entered with `with`; for an asynchronous one, "
    "declare it as an `axiom_persistence.Client`",
)
def enter_a_client_with_async_with(world):
    async def main():
        with open_persistence("memory:") as persistence:
            async with Reader(persistence):
                pass

    asyncio.run(main())


@case(
    ConfigurationError,
    "Reader does not know the action <str of 7 characters>; override `def process(self, action)`",
)
def an_unknown_action(world):
    with open_persistence("memory:") as persistence, Reader(persistence) as reader:
        reader.process(MARK)


@case(
    CapabilityUnavailableError,
    "the client is closed: nothing can be kept any more [key 'Reader/']; use it inside its "
    "`with` block, or restore it again",
    key="Reader/",
)
def assign_after_the_end(world):
    with open_persistence("memory:") as persistence:
        with Reader(persistence) as reader:
            pass
        reader.name = "x"


@case(
    TypeMismatchError,
    "the stored value is not of type list[str]: Expected `array`, got `str` at $; it is a "
    "JSON string of 7 characters [key 'Reader/tags'] [in MemoryAdapter(the memory of this "
    'process)]; load it as the type it was saved with, or write @migrations.value("1.0", '
    "\"2.0\", key='Reader/tags') in the Migrations that open_persistence(migrations=...) is given; "
    "where the type of the field changed, `tags: ... = "
    "client_state(..., migrate=...)` with a function of the stored value; "
    "`client.accept('tags')` lets the present value replace it; another key= begins anew",
    key="Reader/tags",
    place=True,
)
def a_stored_value_of_another_type(world):
    with open_persistence("memory:") as persistence:
        persistence.save("Reader/tags", MARK)
        reader = Reader(persistence)
        report = reader.restore_state()
        reader.close(discard=True)
        raise report.unreadable["tags"]


@case(
    CapabilityUnavailableError,
    "a blocking call inside an asynchronous transaction of this event loop would hold up its "
    "end; use the verbs of the transaction itself, or call after it",
)
def inside_an_asynchronous_transaction(world):
    async def main():
        with open_persistence("memory:") as persistence:
            async with open_async("memory:") as other, other.transaction():
                persistence.delete("k")

    asyncio.run(main())


@case(
    CapabilityUnavailableError,
    "a blocking call from a hook or callback on the background thread would wait for itself; "
    "hand the work to another thread: `threading.Thread(target=work).start()`",
)
def from_a_callback_of_the_background(world):
    with open_persistence("memory:") as persistence:

        async def callback():
            persistence.delete("k")

        from axiom_persistence.blocking import run

        run(callback())


async def renamed(tx):
    await tx.rename("k", "moved")


@case(
    MigrationError,
    "the store is at version 1.0, and store steps lead to 2.0 [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; call `migrate(...)` first, or `axiom-persistence migrate`",
    key="k",
    place=True,
)
def load_before_a_store_step(world):
    with open_persistence(world.db()) as persistence:
        persistence.save("k", MARK)
    migrations = Migrations(current="2.0")
    migrations.store("1.0", "2.0")(renamed)
    with open_persistence(world.db(), migrations=migrations) as persistence:
        persistence.load("k", str)
