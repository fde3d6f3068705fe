"""Subjects, erasure and its receipt."""

import msgspec

from axiom_persistence import SQLiteAdapter, open_persistence
from axiom_persistence.errors import (
    ConfigurationError,
    ConflictError,
    CorruptedDataError,
    InvalidKeyError,
    StorageError,
    StorageLockedError,
)
from axiom_persistence.records._subject import SUBJECT_KEYS, entries_of, tag_in
from axiom_persistence.records.record import seal_about, seal_record
from axiom_persistence.security.keys import StaticKey

from . import MARK, case
from .verbs import Shelf


async def erased(persistence):
    await persistence.save("k", MARK, subject="alice")
    tag = tag_in((await persistence.adapter.fetch(["k"]))["k"].data)
    return tag, (await persistence.erase("alice")).receipt


@case(
    InvalidKeyError,
    "a subject is a str that is not empty, not <str of 0 characters>; say who it is about as "
    "your program knows them: subject='user-42'",
)
async def save_about_nobody(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("k", MARK, subject="")


@case(
    ConfigurationError,
    "a record about a subject and the entry by which it is found are one commit, which this "
    "adapter cannot promise [in Shelf(shelf://…@attic/top)]; put Journaled around it, or "
    "leave subject= out",
    place=True,
)
async def save_about_somebody_where_nothing_is_atomic(world):
    async with open_persistence(Shelf()) as persistence:
        await persistence.save("k", MARK, subject="alice")


@case(
    ConflictError,
    "the subject of this record was erased meanwhile; nothing was changed [key "
    "'\\x01subject/d3e356b1763efd21c6ddbd633503ff28'] [in SQLiteAdapter(<path>/notes.db)]; "
    "read again and retry (update and run_transaction do so by themselves)",
    place=True,
)
async def commit_about_somebody_who_was_erased(world):
    async with open_persistence(world.db(), keys=StaticKey(bytes(32)), cache=None) as persistence:
        tag, _ = await erased(persistence)
        data = seal_about("k", seal_record("k", b'"hunter2"', "1.0"), tag)
        await persistence.adapter.commit({"k": data})


@case(
    CorruptedDataError,
    "the key of the subject that this record is about is damaged; nothing was changed [key "
    "'\\x01subject/d3e356b1763efd21c6ddbd633503ff28'] [in SQLiteAdapter(<path>/notes.db)]; put"
    " a backup of the store in its place, or erase the subject",
    place=True,
)
async def save_about_somebody_whose_key_is_damaged(world):
    for _ in range(2):
        async with open_persistence(world.db(), keys=StaticKey(bytes(32)), cache=None) as persistence:
            await persistence.save("k", MARK, subject="alice")
            key = await anext(persistence.adapter.keys(SUBJECT_KEYS))
            await persistence.adapter.commit({key: b"{}"})


@case(
    ConfigurationError,
    "what is to be erased is a subject or a prefix, one of the two; erase('alice') for what "
    "was saved with subject='alice'; erase(prefix='users/alice/')",
)
async def erase_nothing_named(world):
    async with open_persistence("memory:") as persistence:
        await persistence.erase()


@case(
    ConfigurationError,
    "an empty prefix is every key there is; delete the store to erase all of it; name a "
    "prefix to erase a part",
)
async def erase_every_key_by_an_empty_prefix(world):
    async with open_persistence("memory:") as persistence:
        await persistence.erase(prefix="")


@case(
    ConfigurationError,
    "nobody is meant by <str of 0 characters>; name the subject: erase('alice')",
)
async def erase_a_subject_without_a_name(world):
    async with open_persistence("memory:") as persistence:
        await persistence.erase("")


@case(
    ConfigurationError,
    "this is no receipt of an erasure [in SQLiteAdapter(<path>/notes.db)]; give what `erase` "
    "has written, unchanged",
    place=True,
)
async def verify_what_is_no_receipt(world):
    async with open_persistence(world.db()) as persistence:
        await persistence.verify_erasure(MARK.encode())


@case(
    StorageError,
    "cannot read the receipt: No such file or directory [in <path>/receipt.json]; check the "
    "path: it cannot be made here, or something on it was moved away",
    place=True,
)
async def verify_a_receipt_that_is_not_there(world):
    async with open_persistence("memory:") as persistence:
        await persistence.verify_erasure(world.path / "receipt.json")


@case(
    ConfigurationError,
    "the receipt is of another store [in SQLiteAdapter(<path>/notes.db)]; open the store that"
    " the data was erased from",
    place=True,
)
async def verify_the_receipt_of_another_store(world):
    async with open_persistence("memory:") as other:
        _, receipt = await erased(other)
    async with open_persistence(world.db()) as persistence:
        await persistence.verify_erasure(receipt)


@case(
    ConfigurationError,
    "the receipt is about somebody else [in SQLiteAdapter(<path>/notes.db)]; give the name "
    "that was erased, as it was given then",
    place=True,
)
async def verify_a_receipt_about_somebody_else(world):
    async with open_persistence(world.db()) as persistence:
        _, receipt = await erased(persistence)
        await persistence.verify_erasure(receipt, "bob")


@case(
    CorruptedDataError,
    "the store does not agree with the receipt: one of them was altered [in "
    "SQLiteAdapter(<path>/notes.db)]; erase the same once more: that gives the receipt again",
    place=True,
)
async def verify_an_altered_receipt(world):
    async with open_persistence(world.db()) as persistence:
        _, receipt = await erased(persistence)
        (part,) = receipt.erased
        part = msgspec.structs.replace(part, records=7)
        await persistence.verify_erasure(msgspec.structs.replace(receipt, erased=[part]))


@case(
    CorruptedDataError,
    "records that were erased are here again [in SQLiteAdapter(<path>/notes.db)]; somebody "
    "put an old copy in the place of the store: erase the same once more",
    place=True,
)
async def verify_where_what_was_erased_is_back(world):
    async with open_persistence(world.db()) as persistence:
        tag, receipt = await erased(persistence)
        await persistence.adapter.commit({entries_of(tag) + "k": b"{}"})
        await persistence.verify_erasure(receipt)


@case(
    StorageLockedError,
    "it is deleted, and not yet overwritten: others read from the log all the time [key 'k'] "
    "[in SQLiteAdapter(<path>/notes.db)]; purge it again when nobody reads for long, such as "
    "a snapshot that is being made",
    key="k",
    place=True,
)
async def purge_while_somebody_reads_for_long(world):
    async with SQLiteAdapter(world.db(), lock_timeout=0.1) as adapter:
        await adapter.commit({"k": MARK.encode()})
        import sqlite3

        other = sqlite3.connect(world.db())
        try:
            other.execute("BEGIN")
            other.execute("SELECT key FROM record").fetchone()
            await adapter.purge(["k"])
        finally:
            other.close()


@case(
    ConfigurationError,
    "only an encrypted store has keys of subjects [in SQLiteAdapter(<path>/notes.db)]; leave "
    "sealed out, or open the store with keys=",
    place=True,
)
async def export_what_stays_sealed_from_a_plain_store(world):
    async with open_persistence(world.db()) as persistence:
        await persistence.save("k", MARK)
        await persistence.export_to(world.path / "notes.jsonl", sealed=True)
