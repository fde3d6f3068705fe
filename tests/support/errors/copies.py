"""Archives, snapshots, sweeping, and what lies in quarantine."""

import io
from datetime import timedelta
from pathlib import Path

from axiom_persistence import Every, SQLiteAdapter, open_persistence
from axiom_persistence.errors import (
    ConfigurationError,
    ConflictError,
    CorruptedDataError,
    InsecureStorageError,
    SchemaTooNewError,
    StorageError,
    StoreNotFoundError,
)
from axiom_persistence.jobs import quarantine
from axiom_persistence.jobs._lines import _sealed
from axiom_persistence.records.corruption import Corruption
from axiom_persistence.security.keys import StaticKey
from axiom_persistence.store.store import Store

from . import MARK, case
from .places import change, encrypted, fill
from .verbs import Shelf


async def archive(world, times: bool = False) -> Path:
    """One with another value than the store is given then."""
    target = world.path / "notes.jsonl"
    async with open_persistence("memory:") as persistence:
        await persistence.save("k", f"{MARK} of the archive")
        await persistence.export_to(target, times=times)
    return target


# -- export ---------------------------------------------------------------------------------------------


@case(
    ConfigurationError,
    "compression is 'deflate', 'zstd' or None, not <str of 7 characters>; leave compression out "
    "for plain JSON Lines",
)
async def export_in_a_compression_that_is_none(world):
    async with open_persistence("memory:") as persistence:
        await persistence.export_to(world.path / "notes.jsonl", compression=MARK)


@case(
    InsecureStorageError,
    "an archive is plain text, and this store is confidential [in "
    "SQLiteAdapter(<path>/notes.db)]; ask for it with secure=True, and keep the archive in a "
    "safe place",
    place=True,
)
async def export_a_store_of_secrets(world):
    async with open_persistence(world.db(), keys=StaticKey(bytes(32))) as persistence:
        await persistence.export_to(world.path / "notes.jsonl")


@case(
    ConfigurationError,
    "secure=True was asked for, and there is no confidential store [in MemoryAdapter(the memory "
    "of this process)]; leave it out, or open the store with secure=",
    place=True,
)
async def export_secrets_that_are_not_there(world):
    async with open_persistence("memory:") as persistence:
        await persistence.export_to(world.path / "notes.jsonl", secure=True)


@case(
    StorageError,
    "cannot write the archive: No such file or directory [in <path>/no/notes.jsonl]; check the "
    "path: it cannot be made here, or something on it was moved away",
    place=True,
)
async def export_to_a_directory_that_is_not_there(world):
    async with open_persistence("memory:") as persistence:
        await persistence.export_to(world.path / "no" / "notes.jsonl")


@case(
    StorageError,
    "cannot finish the archive: Is a directory [in <path>]; check the path: it cannot be made "
    "here, or something on it was moved away",
    place=True,
)
async def export_in_the_place_of_a_directory(world):
    async with open_persistence("memory:") as persistence:
        await persistence.export_to(world.path)


# -- import ---------------------------------------------------------------------------------------------


@case(
    StorageError,
    "cannot read the archive: No such file or directory [in <path>/notes.jsonl]; check the path: "
    "it cannot be made here, or something on it was moved away",
    place=True,
)
async def import_an_archive_that_is_not_there(world):
    async with open_persistence("memory:") as persistence:
        await persistence.import_from(world.path / "notes.jsonl")


@case(
    SchemaTooNewError,
    "the archive has format 7; this version knows 1 [in <path>/notes.jsonl]; update "
    "axiom-persistence; nothing was changed",
    place=True,
)
async def import_an_archive_of_a_newer_version(world):
    (world.path / "notes.jsonl").write_bytes(_sealed(b'"axiom_archive":7}'))
    async with open_persistence("memory:") as persistence:
        await persistence.import_from(world.path / "notes.jsonl")


@case(
    ConfigurationError,
    "conflict is one of 'skip', 'overwrite', 'newer', 'fail', not <str of 7 characters>; leave "
    "conflict out to keep what is there",
)
async def import_with_a_conflict_that_is_none(world):
    async with open_persistence("memory:") as persistence:
        await persistence.import_from(await archive(world), conflict=MARK)


@case(
    ConfigurationError,
    "conflict='fail' reads an archive twice, which is not possible with a stream; give the path of a file",
)
async def import_a_stream_twice(world):
    async with open_persistence("memory:") as persistence:
        await persistence.import_from(io.BytesIO((await archive(world)).read_bytes()), conflict="fail")


@case(
    ConflictError,
    "the store has another value under this key; nothing was imported [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; choose conflict='skip', 'overwrite' or 'newer'",
    key="k",
    place=True,
)
async def import_what_is_there_already(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("k", MARK)
        await persistence.import_from(await archive(world), conflict="fail")


@case(
    ConfigurationError,
    "the archive does not say when its records were saved [key 'k'] [in MemoryAdapter(the memory "
    "of this process)]; export with times=True, or choose another conflict=",
    key="k",
    place=True,
)
async def import_the_newer_without_times(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("k", MARK)
        await persistence.import_from(await archive(world), conflict="newer")


# -- snapshots ------------------------------------------------------------------------------------------


@case(
    ConfigurationError,
    "snapshots is an Every or None, not <str of 7 characters>; snapshots=Every(hours=24, keep=7)",
)
async def snapshots_by_a_number(world):
    open_persistence(world.db(), snapshots=MARK)


@case(ConfigurationError, "Every needs a time above zero; for example Every(hours=24)")
def snapshots_all_the_time(world):
    Every(hours=0)


@case(
    ConfigurationError,
    "keep is a number of snapshots from 1, or a timedelta above zero, not <int>; leave keep out "
    "to keep all; keep=7 keeps the last seven",
)
async def keep_no_snapshot(world):
    async with open_persistence(world.db()) as persistence:
        await persistence.snapshot(keep=0)


@case(
    ConfigurationError,
    "this store is in no place of the file system that snapshots could be beside [in "
    "MemoryAdapter(the memory of this process)]; say where they go: snapshot(where='snapshots')",
    place=True,
)
async def a_snapshot_beside_memory(world):
    async with open_persistence("memory:") as persistence:
        await persistence.snapshot()


@case(
    ConfigurationError,
    "snapshot is about a whole store, and this is a namespace of one [in "
    "SQLiteAdapter(<path>/notes.db)]; call it on the persistence that was opened; export_to "
    "takes a namespace alone",
    place=True,
)
async def a_snapshot_of_a_namespace(world):
    async with open_persistence(world.db()) as persistence:
        await persistence.namespace("plugin").snapshot()


@case(
    ConfigurationError,
    "what this adapter stores cannot be read as it is at one moment [in "
    "Shelf(shelf://…@attic/top)]; put Journaled around it; or export_to, which takes record "
    "after record",
    place=True,
)
async def a_snapshot_of_what_is_not_atomic(world):
    async with open_persistence(Shelf(), cache=None) as persistence:
        await persistence.snapshot(world.path / "snapshots")


@case(
    InsecureStorageError,
    "a snapshot would be plain text, and this store is confidential [in MemoryAdapter(the memory "
    "of this process)]; export_to(secure=True) writes its records, in plain text, to a place "
    "that you keep safe",
    place=True,
)
async def a_snapshot_of_secrets_in_plain_text(world):
    async with open_persistence("memory:", keys=StaticKey(bytes(32))) as persistence:
        await persistence.snapshot(world.path / "snapshots")


@case(
    StorageError,
    "cannot write a copy in <path>/snapshots: Not a directory [in "
    "SQLiteAdapter(<path>/notes.db)]; check the path: it cannot be made here, or something on it "
    "was moved away",
    place=True,
)
async def a_snapshot_in_the_place_of_a_file(world):
    (world.path / "snapshots").write_text(MARK)
    async with open_persistence(world.db()) as persistence:
        await persistence.snapshot(world.path / "snapshots")


@case(
    StorageError,
    "cannot write a copy in <path>/snapshots: Not a directory [in "
    "FileStorageAdapter(<path>/notes)]; check the path: it cannot be made here, or something on "
    "it was moved away",
    place=True,
)
async def a_snapshot_of_a_directory_in_the_place_of_a_file(world):
    (world.path / "snapshots").write_text(MARK)
    async with open_persistence(world.path / "notes") as persistence:
        await persistence.save("k", MARK)
        await persistence.snapshot(world.path / "snapshots")


@case(
    ConfigurationError,
    "a restore is all or nothing, which this adapter cannot promise [in "
    "Shelf(shelf://…@attic/top)]; put Journaled around it",
    place=True,
)
async def restore_what_is_not_atomic(world):
    async with open_persistence(Shelf(), cache=None) as persistence:
        await persistence.restore(world.path)


@case(
    StoreNotFoundError,
    "there is no snapshot 'yesterday' [in SQLiteAdapter(<path>/notes.db)]; snapshots() lists "
    "those that are there",
    place=True,
)
async def restore_a_snapshot_that_is_not_there(world):
    async with open_persistence(world.db()) as persistence:
        await persistence.restore("yesterday")


@case(
    ConfigurationError,
    "<path>/other.db is a snapshot of another store [in SQLiteAdapter(<path>/notes.db)]; "
    "import_from, or `axiom-persistence copy`, brings records of one store into another",
    place=True,
)
async def restore_a_snapshot_of_another_store(world):
    await fill(world.db("other.db"))
    await fill(world.db())
    async with open_persistence(world.db()) as persistence:
        await persistence.restore(world.db("other.db"))


@case(
    ConfigurationError,
    "<path>/empty.db is a snapshot of a store in which nothing was saved yet [in "
    "SQLiteAdapter(<path>/notes.db)]; delete_prefix('') empties a store",
    place=True,
)
async def restore_a_snapshot_of_an_empty_store(world):
    await fill(world.db())
    async with SQLiteAdapter(world.db("empty.db")):
        pass
    async with open_persistence(world.db()) as persistence:
        await persistence.restore(world.db("empty.db"))


@case(
    CorruptedDataError,
    "the snapshot is damaged: it is not encrypted, and everything in this store is; nothing was "
    "changed [key 'k'] [in SQLiteAdapter(<path>/damaged.db)]; choose another snapshot, or repair "
    "this one, which is a store itself: `axiom-persistence verify --repair`",
    key="k",
    place=True,
)
async def restore_a_damaged_snapshot(world):
    await encrypted(world)
    async with open_persistence(world.db(), keys=StaticKey(bytes(32))) as persistence:
        made = await persistence.snapshot(world.path / "snapshots")
        change(made.path, "UPDATE record SET data = ? WHERE key = 'k'", MARK)
        (world.path / "damaged.db").write_bytes(Path(made.path).read_bytes())
        await persistence.restore(world.path / "damaged.db")


# -- sweeping and quarantine ----------------------------------------------------------------------------


@case(
    ConfigurationError,
    "quarantine is a timedelta of zero or more, not <timedelta>; leave quarantine out to keep it for 90 days",
)
async def sweep_for_less_than_no_time(world):
    async with open_persistence("memory:") as persistence:
        await persistence.sweep(quarantine=-timedelta(1))


async def put_back(world, then: str | None = None) -> None:
    """What is damaged and lies in quarantine, as ``axiom-persistence quarantine restore`` does."""
    await fill(world.db())
    async with SQLiteAdapter(world.db()) as adapter:
        store = Store(adapter, on_corruption=Corruption.RECOVER)
        await store.aopen()
        whole = (await adapter.fetch(["k"]))["k"].data
        await adapter.commit({"k": MARK.encode()})
        await store.read("k")
        [item] = [item async for item in quarantine.items(store)]
        if then is not None:
            await fill(world.db())
            item = item._replace(data=whole)
        await quarantine.put_back(store, item)


@case(
    CorruptedDataError,
    "the bytes in quarantine still cannot be read: it does not begin like a record; 7 bytes are "
    "there; nothing was changed [key 'k'] [in SQLiteAdapter(<path>/notes.db)]; look at them, "
    "repair what they say by hand, and save that",
    key="k",
    place=True,
)
async def put_back_what_is_still_damaged(world):
    await put_back(world)


@case(
    ConflictError,
    "the key has another value by now; nothing was changed [key 'k'] [in "
    "SQLiteAdapter(<path>/notes.db)]; delete it first, if the one in quarantine is the one to "
    "keep",
    key="k",
    place=True,
)
async def put_back_what_has_another_value(world):
    await put_back(world, MARK)
