"""Synchronisation: options, and places that cannot be met at."""

import msgspec

from axiom_persistence import MemoryAdapter, SQLiteAdapter, Sync, open_persistence
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    CorruptedDataError,
    ForeignStoreError,
    InsecureStorageError,
    KeyUnavailableError,
)
from axiom_persistence.layers.tracked import SYNC
from axiom_persistence.records.record import INTERNAL_SCHEMA, seal_record
from axiom_persistence.security import StaticKey
from axiom_persistence.sync._hidden import Hidden

from . import case

HEAD = SYNC + "head"


async def meet(world, head: bytes | None = None):
    """Meet at a place that holds ``head``."""
    place = world.db("remote.db")
    if head is not None:
        async with SQLiteAdapter(place) as remote:
            await remote.commit({HEAD: head})
    async with open_persistence(world.db(), sync=Sync(place, every=3600)) as persistence:
        await persistence.sync.pause()
        await persistence.sync.now()


@case(
    ConfigurationError,
    "sync is a Sync or None, not <str of 22 characters>; sync=Sync('file:/mnt/shared/notes')",
)
async def synchronise_by_an_address(world):
    open_persistence(world.db(), sync="file:/mnt/shared/notes")


@case(
    ConfigurationError,
    "this store is not synchronised [in SQLiteAdapter(<path>/notes.db)]; open it with "
    "sync=Sync(remote), for example Sync('file:/mnt/shared/notes')",
    place=True,
)
async def ask_for_a_synchronisation_that_is_none(world):
    async with open_persistence(world.db()) as persistence:
        _ = persistence.sync


@case(
    ConfigurationError, 'keys is a list of patterns, not <str of 6 characters>; keys=["note/*", "settings"]'
)
async def synchronise_keys_of_one_pattern(world):
    Sync("sqlite:remote.db", keys="note/*")


@case(ConfigurationError, "keep_deleted is at least 1 day, not <int>; keep_deleted=90")
async def forget_deletions_at_once(world):
    Sync("sqlite:remote.db", keep_deleted=0)


@case(ConfigurationError, "every is more than 0 seconds, not <int>; every=5")
async def synchronise_all_the_time(world):
    Sync("sqlite:remote.db", every=0)


@case(ConfigurationError, "deadline is more than 0 seconds, not <int>; deadline=20, or None")
async def synchronise_before_a_deadline_that_was_over(world):
    Sync("sqlite:remote.db", deadline=0)


@case(
    ConfigurationError,
    "devices meet in a place that several processes may use, with commits of several keys [in"
    " MemoryAdapter(the memory of this process)]; SQLite or a directory on a shared disk, or "
    "PostgreSQL",
    place=True,
)
async def meet_in_memory(world):
    open_persistence(world.db(), sync=Sync(MemoryAdapter()))


@case(
    InsecureStorageError,
    "what is sent would be plain text, and this store is confidential [in "
    "SQLiteAdapter(<path>/notes.db)]; give all devices one key: Sync(..., "
    "remote_keys=PassphraseKey(...))",
    place=True,
)
async def send_secrets_in_plain_text(world):
    open_persistence(world.db(), keys=StaticKey(bytes(32)), sync=Sync(world.db("remote.db")))


@case(
    ForeignStoreError,
    "this is a store of its own, not a place where devices meet [in "
    "SQLiteAdapter(<path>/remote.db)]; give sync= an empty place",
    place=True,
)
async def meet_in_a_store(world):
    async with open_persistence(world.db("remote.db")) as store:
        await store.save("k", 1)
    await meet(world)


@case(
    CorruptedDataError,
    "the log of what was sent cannot be read: it does not begin like a record; 15 bytes are "
    "there [in SQLiteAdapter(<path>/remote.db)]; put a backup of that place back; nothing was"
    " changed",
    place=True,
)
async def meet_where_the_log_is_damaged(world):
    await meet(world, b"nothing of ours")


@case(
    ForeignStoreError,
    "what devices have sent there has format 2; this version knows 1 [in "
    "SQLiteAdapter(<path>/remote.db)]; update axiom-persistence",
    place=True,
)
async def meet_newer_programs(world):
    value = msgspec.json.encode({"format": 2, "number": 1, "name": "x", "place": "y"})
    await meet(world, seal_record(HEAD, value, INTERNAL_SCHEMA))


@case(
    KeyUnavailableError,
    "what devices have sent there is encrypted, and no key was given [in "
    "SQLiteAdapter(<path>/remote.db)]; give the key that they share: Sync(..., remote_keys=...), or "
    "--remote-keys",
    place=True,
)
async def meet_encrypted_devices_without_a_key(world):
    place = world.db("remote.db")
    sealed = Sync(place, remote_keys=StaticKey(bytes(32)), every=3600)
    async with open_persistence(world.db("other.db"), sync=sealed) as other:
        await other.sync.now()
    await meet(world)


@case(
    CapabilityUnavailableError,
    "the store is not open [in SQLiteAdapter(<path>/notes.db)]; open it first",
    place=True,
)
async def meet_before_the_store_is_open(world):
    await open_persistence(world.db(), sync=Sync(world.db("remote.db"))).sync.now()


@case(ConfigurationError, "names of keys are hidden under a key that all devices share; add remote_keys=")
async def hide_names_without_a_key(world):
    Sync("sqlite:remote.db", hide_keys=True)


async def met_with_names(world, *, first: bool, then: bool):
    """One device meets, and then another that says otherwise whether names are hidden."""
    place, key = world.db("remote.db"), StaticKey(bytes(32))
    for name, hides in (("first.db", first), ("then.db", then)):
        sync = Sync(place, remote_keys=key, hide_keys=hides, metered=lambda: True)
        async with open_persistence(world.db(name), sync=sync) as store:
            await store.save("k", 1)
            await store.sync.now()


@case(
    ConfigurationError,
    "the names of keys are hidden there [in SQLiteAdapter(<path>/remote.db)]; open it as the other "
    "devices do: Sync(..., hide_keys=True), or --hide-keys",
    place=True,
)
async def meet_hidden_names_in_clear(world):
    await met_with_names(world, first=True, then=False)


@case(
    InsecureStorageError,
    "the names of keys are in clear there already [in SQLiteAdapter(<path>/remote.db)]; "
    "hide_keys=True takes an empty place",
    place=True,
)
async def hide_names_that_are_in_clear(world):
    await met_with_names(world, first=False, then=True)


@case(
    CorruptedDataError,
    "the key that hides the names of keys cannot be read: it does not begin like a record; 7 bytes are "
    "there [in SQLiteAdapter(<path>/remote.db)]; put a backup of that place back, or meet at an empty one",
    place=True,
)
async def hide_names_under_a_damaged_key(world):
    async with SQLiteAdapter(world.db("remote.db")) as place:
        await place.commit({SYNC + "names": b"rubbish"})
        await Hidden(place).aopen()


@case(
    ConfigurationError,
    "remote_keys= is said by the store whose place it is [in SQLiteAdapter(<path>/notes.db)]; leave it out "
    "here, and give it to the other store",
    place=True,
)
async def give_keys_to_the_place_of_another_store(world):
    async with open_persistence(world.db("other.db"), sync=Sync()) as other:
        open_persistence(world.db(), sync=Sync(other, remote_keys=StaticKey(bytes(32))))


@case(
    InsecureStorageError,
    "what is in a confidential store would be plain text here [in SQLiteAdapter(<path>/notes.db)]; open this "
    "store with keys=, too",
    place=True,
)
async def keep_a_plain_store_like_a_confidential_one(world):
    key = StaticKey(bytes(32))
    async with open_persistence(world.db("other.db"), keys=key, sync=Sync()) as other:
        open_persistence(world.db(), sync=Sync(other))
