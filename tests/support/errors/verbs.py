"""The verbs of a persistence, its transactions and collections."""

import asyncio
from datetime import timedelta

from axiom_persistence import (
    AdapterBasedPersistence,
    CachePolicy,
    FileStorageAdapter,
    MemoryAdapter,
    Secret,
    SQLiteAdapter,
    open_persistence,
)
from axiom_persistence.errors import (
    AccessDeniedError,
    CapabilityUnavailableError,
    ConfigurationError,
    ConflictError,
    InsecureStorageError,
    InvalidKeyError,
    StorageError,
    StorageFullError,
)
from axiom_persistence.layers.cached import Cached
from axiom_persistence.layers.encrypted import Encrypted
from axiom_persistence.layers.journaled import Journaled
from axiom_persistence.layers.prefixed import Prefixed
from axiom_persistence.layers.read_only import ReadOnly
from axiom_persistence.security import StaticKey
from axiom_persistence.storage.adapter import Durability, Traits
from axiom_persistence.storage.basic import BasicAdapter

from . import MARK, NUMBER, case


class Shelf(BasicAdapter):
    """A custom adapter that its author has not finished."""

    def __init__(self, wrong: str = "", most_key: int = 1300, most_value: int | None = None) -> None:
        self.values: dict[str, bytes] = {}
        self.wrong = wrong
        self.most_key, self.most_value = most_key, most_value

    @property
    def traits(self) -> Traits:
        return Traits(
            atomic=False,
            durability=Durability.PROCESS_EXIT,
            shared=False,
            max_key_bytes=self.most_key,
            max_value_bytes=self.most_value,
        )

    @property
    def location(self) -> str:
        return "shelf://me:hunter2@attic/top"

    def _may(self, verb: str) -> None:
        if self.wrong == verb:
            raise LookupError(f"the value was {MARK}")
        if self.wrong == f"{verb} io":
            raise OSError(28, "No space left on device")

    async def read(self, key: str) -> bytes | None:
        self._may("read")
        return self.values.get(key)

    async def write(self, key: str, data: bytes) -> None:
        if key == "k":
            self._may("write")
        self.values[key] = data

    async def delete(self, key: str) -> None:
        self.values.pop(key, None)

    async def keys(self, prefix: str = ""):
        self._may("keys")
        for key in self.values:
            yield key

    async def aopen(self) -> None:
        self._may("open")


def shelf(wrong: str = "", **most: int) -> AdapterBasedPersistence:
    return open_persistence(Shelf(wrong, **most), cache=None)


# -- arguments ------------------------------------------------------------------------------------------


@case(
    ConfigurationError,
    "load_many takes several keys, not one [key 'one']; pass a list: `load_many([key])`",
    key="one",
)
async def load_many_of_one_key(world):
    async with open_persistence("memory:") as persistence:
        await persistence.load_many("one", int)


@case(ConfigurationError, "delete_many takes several keys, not <int>; pass a list of str")
async def delete_many_of_a_number(world):
    async with open_persistence("memory:") as persistence:
        await persistence.delete_many(NUMBER)


@case(
    ConfigurationError,
    "save_many takes a dict of keys and values, not <list of 1 item>; for example "
    "`save_many({'width': 800, 'height': 600})`",
)
async def save_many_of_a_list(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save_many([MARK])


@case(
    ConfigurationError,
    "update needs a function of the old value, not <str of 7 characters>; for example "
    "`update('count', int, lambda n: n + 1, default=0)`",
)
async def update_without_a_function(world):
    async with open_persistence("memory:") as persistence:
        await persistence.update("k", str, MARK, default="")


@case(
    ConfigurationError,
    "update takes a plain function, and this one returned a coroutine [key 'k']; load and "
    "save in `run_transaction`, whose function may wait",
    key="k",
)
async def update_by_a_coroutine(world):
    async def change(value: str) -> str:
        return value + MARK

    async with open_persistence("memory:") as persistence:
        await persistence.update("k", str, change, default="")


@case(
    ConfigurationError,
    "durability 'power_loss' was asked for; the strongest here is 'memory' [in "
    "MemoryAdapter(the memory of this process)]; leave durability out, or use an adapter "
    "that promises it (sqlite, file)",
    place=True,
)
async def ask_for_more_than_memory_promises(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("k", MARK, durability="power_loss")


@case(
    ConfigurationError,
    "durability is one of 'memory', 'process_exit', 'power_loss', not <str of 7 characters>; "
    "leave durability out for the strongest that the place can promise",
)
async def ask_for_a_durability_that_is_none(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("k", MARK, durability=MARK)


@case(
    ConfigurationError,
    "ttl is a timedelta or a number of seconds, above zero and below 10,000 years, not "
    "<int>; None keeps the value for good",
)
async def save_with_a_number_of_seconds(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("k", MARK, ttl=-NUMBER)


@case(
    ConfigurationError,
    "ttl is a timedelta or a number of seconds, above zero and below 10,000 years, not "
    "<timedelta>; None keeps the value for good",
)
async def save_with_no_time(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("k", MARK, ttl=timedelta(0))


@case(
    ConfigurationError,
    "save_many is all or nothing, which this adapter cannot promise [in "
    "Shelf(shelf://\u2026@attic/top)]; put Journaled around it, or save one by one",
    place=True,
)
async def save_many_where_it_is_not_atomic(world):
    async with shelf() as persistence:
        await persistence.save_many({"a": MARK, "b": MARK})


@case(
    ConfigurationError,
    "save_all is all or nothing, which this adapter cannot promise [in "
    "Shelf(shelf://\u2026@attic/top)]; put Journaled around it, or put the items one by one",
    place=True,
)
async def save_all_where_it_is_not_atomic(world):
    async with shelf() as persistence:
        await persistence.collection("c", str).save_all({"a": MARK, "b": MARK})


@case(
    ConfigurationError,
    "a transaction needs an atomic adapter [in Shelf(shelf://\u2026@attic/top)]; put Journaled around it",
    place=True,
)
async def a_transaction_where_it_is_not_atomic(world):
    async with shelf() as persistence, persistence.transaction():
        pass


@case(
    ConfigurationError,
    "a transaction of this store is running in this task already [in MemoryAdapter(the "
    "memory of this process)]; use the outer transaction; pass it to the function that needs "
    "it",
    place=True,
)
async def a_transaction_in_a_transaction(world):
    async with (
        open_persistence("memory:") as persistence,
        persistence.transaction(),
        persistence.transaction(),
    ):
        pass


@case(ConfigurationError, "attempts is at least 1, not 0; leave attempts out, or pass 1 to try once")
async def a_transaction_without_attempts(world):
    async with open_persistence("memory:") as persistence:
        await persistence.run_transaction(lambda tx: tx.save("k", MARK), attempts=0)


@case(
    ConfigurationError,
    "run_transaction takes an asynchronous function; this one returned <str of 7 "
    "characters> [in MemoryAdapter(the memory of this process)]; write `async def`; `update` "
    "takes a plain function of one value",
    place=True,
)
async def a_transaction_of_a_plain_function(world):
    async with open_persistence("memory:") as persistence:
        await persistence.run_transaction(lambda tx: MARK)


@case(
    CapabilityUnavailableError,
    "the transaction is over [key 'k']; use it inside its `with` block only",
    key="k",
)
async def a_transaction_after_its_end(world):
    async with open_persistence("memory:") as persistence:
        async with persistence.transaction() as tx:
            pass
        await tx.save("k", MARK)


@case(
    ConflictError,
    "the key was absent when it was read and was written by somebody else now; nothing was "
    "changed [key 'k'] [in MemoryAdapter(the memory of this process)]; read again and retry "
    "(update and run_transaction do so by themselves)",
    key="k",
    place=True,
)
async def a_transaction_that_another_won(world):
    async with open_persistence("memory:") as persistence, persistence.transaction() as tx:
        await tx.load("k", str)
        await asyncio.create_task(persistence.save("k", MARK))
        await tx.save("k", MARK + MARK)


@case(
    ConflictError,
    "somebody else committed a key this transaction has read; nothing was changed [key 'k'] "
    "[in MemoryAdapter(the memory of this process)]; run the transaction again "
    "(run_transaction does so by itself)",
    key="k",
    place=True,
)
async def a_read_that_another_made_stale(world):
    async with open_persistence("memory:") as persistence, persistence.transaction() as tx:
        await tx.load("k", str)
        await asyncio.create_task(persistence.save("k", MARK))
        await tx.load("other", str)


@case(ConfigurationError, "a page has at least 1 item, not 0; leave page out")
async def a_page_of_nothing(world):
    async with open_persistence("memory:") as persistence:
        [item async for item in persistence.collection("c", str).items(page=0)]


@case(
    ConfigurationError,
    "nobody watches this adapter [in MemoryAdapter(the memory of this process)]; open it "
    "with open_persistence, or wrap it in Observed",
    place=True,
)
async def watch_a_bare_adapter(world):
    async with AdapterBasedPersistence(MemoryAdapter()) as persistence:
        persistence.changes()


@case(
    ConfigurationError,
    "no migration from '1.0' to '2.0' is known [in MemoryAdapter(the memory of this "
    "process)]; the steps lead from '1.0' to '1.0'",
    place=True,
)
async def migrate_without_migrations(world):
    async with open_persistence("memory:") as persistence:
        await persistence.migrate("1.0", "2.0")


@case(
    CapabilityUnavailableError,
    "this persistence is not open, or closed again; use it inside its `with` block",
)
async def save_before_it_is_open(world):
    await open_persistence("memory:").save("k", MARK)


@case(
    CapabilityUnavailableError,
    "this persistence is not open, or closed again; use it inside its `with` block",
)
async def save_after_it_is_closed(world):
    async with open_persistence("memory:") as persistence:
        pass
    await persistence.save("k", MARK)


# -- one face for the other -----------------------------------------------------------------------------


@case(
    ConfigurationError,
    "AdapterBasedPersistence is asynchronous, and entered with `async with`, not `with`; "
    "write `async with`, in an `async def`; programs without an event loop open the store "
    "with `axiom_persistence.blocking.open_persistence`",
)
async def enter_with_with(world):
    with open_persistence("memory:"):
        pass


@case(
    ConfigurationError,
    "AdapterBasedPersistence is asynchronous, and entered with `async with`, not `with`; "
    "write `async with`, in an `async def`; programs without an event loop open the store "
    "with `axiom_persistence.blocking.open_persistence`",
)
async def await_and_enter_with_with(world):
    persistence = await open_persistence("memory:")
    try:
        with persistence:
            pass
    finally:
        await persistence.aclose()


@case(
    ConfigurationError,
    "transaction is asynchronous, and entered with `async with`, not `with`; write `async "
    "with`, in an `async def`; programs without an event loop open the store with "
    "`axiom_persistence.blocking.open_persistence`",
)
async def a_transaction_with_with(world):
    async with open_persistence("memory:") as persistence:
        with persistence.transaction():
            pass


@case(
    ConfigurationError,
    "each item comes asynchronously, so the loop over it is `async for`, not `for`; write "
    "`async for`, or `[item async for item in ...]` for a list; programs without an event "
    "loop open the store with `axiom_persistence.blocking.open_persistence`",
)
async def walk_keys_with_for(world):
    async with open_persistence("memory:") as persistence:
        list(persistence.keys())


@case(
    ConfigurationError,
    "each item comes asynchronously, so the loop over it is `async for`, not `for`; write "
    "`async for`, or `[item async for item in ...]` for a list; programs without an event "
    "loop open the store with `axiom_persistence.blocking.open_persistence`",
)
async def walk_changes_with_for(world):
    async with open_persistence("memory:") as persistence:
        for _ in persistence.changes():
            pass


@case(
    ConfigurationError,
    "the content of a collection comes asynchronously, so the loop over it is `async for`, "
    "not `for`; write `async for`, or `[item async for item in ...]` for a list; programs "
    "without an event loop open the store with `axiom_persistence.blocking.open_persistence`",
)
async def walk_a_collection_with_for(world):
    async with open_persistence("memory:") as persistence:
        dict(persistence.collection("c", str))


# -- adapters and layers --------------------------------------------------------------------------------


@case(
    ConfigurationError,
    "AdapterBasedPersistence takes a StorageAdapter, not <str of 8 characters>; for an "
    "address such as 'notes.db' use open_persistence",
)
async def a_persistence_over_an_address(world):
    AdapterBasedPersistence("notes.db")


@case(
    ConfigurationError,
    "on_corruption is 'recover', 'repair', 'raise' or a function of the report, not <str of 7 "
    "characters>; write on_corruption='recover'",
)
async def a_choice_for_damage_that_is_none(world):
    open_persistence("memory:", on_corruption=MARK)


@case(
    InsecureStorageError,
    "a secret has no confidential place to go [in MemoryAdapter(the memory of this "
    "process)]; open the store with secure=, a confidential adapter",
    place=True,
)
async def secrets_without_a_place(world):
    async with open_persistence("memory:") as persistence:
        _ = persistence.secure


@case(
    InsecureStorageError,
    "the place given for secrets is not confidential [in MemoryAdapter(the memory of this "
    "process)]; give secure= an adapter whose traits say confidential",
    place=True,
)
async def secrets_in_a_place_that_is_not_confidential(world):
    AdapterBasedPersistence(MemoryAdapter(), secure=MemoryAdapter())


@case(
    AccessDeniedError,
    "this store is open for reading only; nothing was changed [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; open it without ReadOnly to write",
    key="k",
    place=True,
)
async def save_what_is_only_inspected(world):
    async with open_persistence(ReadOnly(MemoryAdapter())) as persistence:
        await persistence.save("k", MARK)


@case(ConfigurationError, "a prefix cannot be empty; use the adapter without Prefixed")
async def a_prefix_of_nothing(world):
    Prefixed(MemoryAdapter(), "")


@case(
    ConfigurationError,
    "the prefix takes all of the 8 bytes a key may have [in Shelf(shelf://\u2026@attic/top)]; "
    "choose a shorter one",
    place=True,
)
async def a_prefix_that_leaves_no_room(world):
    Prefixed(Shelf(most_key=8), "k" * 8)


@case(
    ConfigurationError,
    "keys of 4 bytes are too short for a journal [in Shelf(shelf://\u2026@attic/top)]; raise "
    "max_key_bytes in the traits of the adapter, if it can keep longer ones",
    place=True,
)
async def a_journal_of_short_keys(world):
    Journaled(Shelf(most_key=4))


@case(
    StorageFullError,
    "a value has at most 300 bytes here; this one has 762 [key 'k'] [in "
    "Shelf(shelf://\u2026@attic/top)]; split it, or keep it in a file of its own",
    key="k",
    place=True,
)
async def a_value_that_is_too_large(world):
    async with shelf(most_value=300) as persistence:
        await persistence.save("k", MARK * 100)


@case(
    StorageFullError,
    "the values of one commit take 1,591 bytes together; 1,000 fit [key 'a'] [in "
    "Shelf(shelf://\u2026@attic/top)]; save fewer or smaller values at once",
    key="a",
    place=True,
)
async def values_that_do_not_fit_a_journal(world):
    async with open_persistence(Journaled(Shelf(most_value=1000)), cache=None) as persistence:
        await persistence.save("a", "short")  # with the header, whose size varies with the time
        await persistence.save_many({"a": MARK * 100, "b": MARK * 100})


@case(ConfigurationError, "max_bytes is at least 0, not -1; leave it out, or pass cache=None for no cache")
async def a_cache_below_nothing(world):
    CachePolicy(max_bytes=-1)


@case(ConfigurationError, "limit is at least 0, not -1; None lists all")
async def a_listing_below_nothing(world):
    async with MemoryAdapter() as adapter:
        [key async for key in adapter.keys(limit=-1)]


@case(
    InvalidKeyError,
    "a listing cannot begin after a lone surrogate; it is in no key [key '\\ud800']; pass the "
    "last key of the page before",
    key="\ud800",
)
async def a_listing_after_a_surrogate(world):
    async with MemoryAdapter() as adapter:
        [key async for key in adapter.keys(after="\ud800")]


@case(
    StorageError,
    "Shelf.write raised LookupError [key 'k'] [in Shelf(shelf://\u2026@attic/top)]; see the cause "
    "of this error; an adapter raises StorageError where its medium refuses",
    key="k",
    place=True,
)
async def an_adapter_that_raises_when_it_writes(world):
    async with shelf("write") as persistence:
        await persistence.save("k", MARK)


@case(
    StorageFullError,
    "Shelf.write: No space left on device [key 'k'] [in Shelf(shelf://\u2026@attic/top)]; free "
    "some space and save again",
    key="k",
    place=True,
)
async def an_adapter_that_lets_the_system_speak(world):
    async with shelf("write io") as persistence:
        await persistence.save("k", MARK)


@case(
    StorageError,
    "Shelf.aopen raised LookupError [in Shelf(shelf://\u2026@attic/top)]; see the cause of this "
    "error; an adapter raises StorageError where its medium refuses",
    place=True,
)
async def an_adapter_that_raises_when_it_opens(world):
    await shelf("open")


@case(
    StorageError,
    "Shelf.keys raised LookupError [in Shelf(shelf://\u2026@attic/top)]; see the cause of this "
    "error; an adapter raises StorageError where its medium refuses",
    place=True,
)
async def an_adapter_that_raises_when_it_lists(world):
    async with shelf("keys") as persistence:
        [each async for each in persistence.keys()]  # noqa: SIM118 - no dict


@case(
    CapabilityUnavailableError,
    "the adapter is not open [in MemoryAdapter(the memory of this process)]; open it first, in `async with`",
    place=True,
)
async def fetch_from_memory_that_is_closed(world):
    await MemoryAdapter().fetch(["k"])


@case(
    CapabilityUnavailableError,
    "the store is not open [in SQLiteAdapter(<path>/notes.db)]; open it first, in `async with`",
    place=True,
)
async def fetch_from_a_database_that_is_closed(world):
    await SQLiteAdapter(world.db()).fetch(["k"])


@case(
    CapabilityUnavailableError,
    "the store is not open [in FileStorageAdapter(<path>/notes)]; open it first, in `async with`",
    place=True,
)
async def fetch_from_a_directory_that_is_closed(world):
    await FileStorageAdapter(world.path / "notes").fetch(["k"])


@case(
    CapabilityUnavailableError,
    "the store is not open [in SQLiteAdapter(<path>/notes.db)]; open it first, in `async with`",
    place=True,
)
async def commit_to_a_cache_that_is_closed(world):
    await Cached(SQLiteAdapter(world.db()), CachePolicy.write_back()).commit({"k": MARK.encode()})


@case(
    InsecureStorageError,
    "a Secret has no confidential place to go [key 'k'] [in MemoryAdapter(the memory of this "
    "process)]; open the store with keys=, or with secure= and save it to persistence.secure; "
    "in a client declare the field secure=True",
    key="k",
    place=True,
)
async def save_a_secret_in_a_plain_store(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("k", {"password": Secret(MARK)})


@case(
    CapabilityUnavailableError,
    "the store is not open [in MemoryAdapter(the memory of this process)]; open it before it is used",
    place=True,
)
async def commit_to_an_encrypted_store_that_is_closed(world):
    await Encrypted(MemoryAdapter(), StaticKey(bytes(32))).commit({"k": MARK.encode()})


@case(
    CapabilityUnavailableError,
    "activation took longer than 0.01 s; raise activation_timeout, or find what holds the store",
)
async def open_what_takes_too_long(world):
    class Slow(Shelf):
        async def aopen(self) -> None:
            await asyncio.sleep(60)

    persistence = open_persistence(Slow())
    persistence.activation_timeout = 0.01
    await persistence


@case(
    ConfigurationError,
    "this store is not encrypted [in MemoryAdapter(the memory of this process)]; only a "
    "store opened with keys= has keys",
    place=True,
)
async def rotate_the_key_of_a_plain_store(world):
    async with open_persistence("memory:") as persistence:
        await persistence.rotate_keys()


@case(
    ConfigurationError,
    "a transaction takes clients, not <str of 7 characters>; keys need not be named before "
    "they are used in it",
)
async def a_transaction_with_what_is_no_client(world):
    async with open_persistence("memory:") as persistence, persistence.transaction(MARK):
        pass
