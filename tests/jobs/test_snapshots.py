"""Snapshots: of one moment while the store is in use, kept as long as asked, put back whole or not at all."""

import asyncio
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from axiom_persistence import (
    AdapterBasedPersistence,
    Every,
    FileStorageAdapter,
    MemoryAdapter,
    open_persistence,
)
from axiom_persistence.errors import (
    ConfigurationError,
    CorruptedDataError,
    InsecureStorageError,
    StorageError,
    StoreNotFoundError,
)
from axiom_persistence.layers.prefixed import Prefixed
from axiom_persistence.security import AuditLog, StaticKey
from axiom_persistence.testing import ConfidentialMemory
from support.embedded import EMBEDDED, Kept, listed, plant, quarantined

PROGRAM = Path(__file__).parents[1] / "support" / "snapshot_kills.py"


async def contents(persistence):
    found = {}
    async for key in persistence.adapter.keys():
        if not key.startswith("\x01quarantine/"):
            found[key] = await persistence.adapter.read(key)
    return found


@pytest.mark.parametrize("kind", EMBEDDED)
async def test_a_snapshot_is_a_store_with_everything(tmp_path, kind):
    """It opens, verifies, and holds every byte; the store goes on as if nothing was."""
    store = Kept(kind, tmp_path)
    async with store.open() as persistence:
        await persistence.save_many({"a": 1, "b/c": 2, "A": 3, "%2F": 4, "x" * 900: 5})
        await persistence.save("a", 6)
        made = await persistence.snapshot(tmp_path / "copies")
        before = await contents(persistence)
        await persistence.save("a", 7)
        assert await persistence.snapshots(tmp_path / "copies") == [made]
        keys = store.keys if kind.startswith("encrypted") else None
        audit = AuditLog() if kind == "encrypted sqlite" else None
        async with open_persistence(Path(made.path), keys=keys, mode="inspect") as copy:
            assert await contents(copy) == before
            assert await copy.verify()
        async with open_persistence(Path(made.path), keys=keys, audit=audit) as copy:
            await copy.save("a", 8)
        assert await persistence.load("a", int) == 7
        names = [name for name in os.listdir(tmp_path / "copies") if name[0] == "."]
        assert names == []


@pytest.mark.parametrize("kind", ["sqlite", "file"])
async def test_only_the_owner_may_read_a_snapshot(tmp_path, kind):
    """As the store itself, under any umask."""
    mask = os.umask(0)
    try:
        async with Kept(kind, tmp_path).open() as persistence:
            await persistence.save("a/b", 1)
            made = await persistence.snapshot()
    finally:
        os.umask(mask)
    if os.name == "posix":
        found = [Path(made.path).parent, Path(made.path), *Path(made.path).rglob("*")]
        assert {path.stat().st_mode & 0o077 for path in found} == {0}


async def test_snapshots_are_beside_the_store_and_old_ones_go(tmp_path):
    """keep= counts, or is an age; what is none of ours stays, and an interrupted attempt goes in time."""
    async with open_persistence(tmp_path / "notes.db") as persistence:
        await persistence.save("k", 1)
        made = [await persistence.snapshot(keep=3) for _ in range(5)]
        directory = tmp_path / "notes.db.snapshots"
        assert Path(made[0].path).parent == directory
        assert await persistence.snapshots() == made[2:]
        (directory / "README").touch()
        (directory / ".x.part").touch()
        os.utime(directory / ".x.part", (0, 0))
        await asyncio.sleep(0.02)
        last = await persistence.snapshot(keep=timedelta(milliseconds=10))
        assert await persistence.snapshots() == [last]
        assert sorted(os.listdir(directory)) == sorted(["README", os.path.basename(last.path)])
        for keep in (0, -1, True, timedelta(0), "7"):
            with pytest.raises(ConfigurationError, match="keep"):
                await persistence.snapshot(keep=keep)
        assert await persistence.snapshots() == [last]


@pytest.mark.parametrize("kind", ["notes.db", "notes/"])
async def test_snapshots_at_once_do_not_disturb_each_other(tmp_path, kind):
    """One may be given its name, or be removed as an old one, while another looks through the directory."""
    async with open_persistence(f"{tmp_path}/{kind}") as persistence:
        await persistence.save("a", 1)
        for _ in range(10):
            made = await asyncio.gather(*(persistence.snapshot(keep=2) for _ in range(8)))
            assert len({snapshot.path for snapshot in made}) == 8
        await persistence.snapshot(keep=2)
        assert len(await persistence.snapshots()) == 2


async def test_a_dry_run_says_what_would_be(tmp_path):
    """Where it would be, and which would go; nothing is made or removed. The real one says what went."""
    async with open_persistence(tmp_path / "notes.db") as persistence:
        await persistence.save("k", 1)
        made = [await persistence.snapshot() for _ in range(3)]
        planned = await persistence.snapshot(keep=2, dry_run=True)
        assert Path(planned.path).parent == tmp_path / "notes.db.snapshots"
        assert planned.path.endswith("Z.db")
        assert planned.removed == (made[0].path, made[1].path)
        assert await persistence.snapshots() == made
        taken = await persistence.snapshot(keep=2)
        assert taken.removed == planned.removed
        assert await persistence.snapshots() == [made[2], taken]


async def test_places_that_cannot_be(tmp_path):
    """Refused by name, and nothing is left."""
    async with open_persistence("memory:") as persistence:
        with pytest.raises(ConfigurationError, match="where="):
            await persistence.snapshot()
        with pytest.raises(ConfigurationError, match="namespace"):
            await persistence.namespace("n").snapshot(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(StorageError):
            await persistence.snapshot(tmp_path / "file" / "x")
    async with AdapterBasedPersistence(ConfidentialMemory()) as persistence:
        await persistence.save("k", 1)
        with pytest.raises(InsecureStorageError):
            await persistence.snapshot(tmp_path / "copies")
        assert os.listdir(tmp_path / "copies") == []


@pytest.mark.parametrize("kind", EMBEDDED)
async def test_a_restore_brings_everything_back_and_can_be_taken_back(tmp_path, kind):
    """Records, deletions and expiry are as they were; restoring what was before takes it back."""
    async with Kept(kind, tmp_path).open() as persistence:
        await persistence.save_many({f"k{n:04}": n for n in range(120)})
        await persistence.save("limited", 1, ttl=timedelta(days=1))
        first, old = await persistence.snapshot(tmp_path / "copies"), await contents(persistence)
        await persistence.save_many({f"k{n:04}": -n for n in range(60, 180)})
        await persistence.delete("k0000")
        new = await contents(persistence)
        dry = await persistence.restore(first, dry_run=True)
        assert await contents(persistence) == new
        report = await persistence.restore(first)
        assert (report.changed, report.removed) == (61, 60) == (dry.changed, dry.removed)
        assert await contents(persistence) == old
        assert await persistence.load("k0070", int) == 70
        await persistence.restore(report.before)
        assert await contents(persistence) == new
    async with Kept(kind, tmp_path).open() as persistence:
        if "memory" not in kind:
            assert await contents(persistence) == new
        await persistence.save("after", 1)


@pytest.mark.parametrize("address", ["store.db", "store"])
async def test_others_see_a_restore_as_a_commit(tmp_path, address):
    """Another open of the store, with a cache and a stream, sees all of it; a transaction conflicts."""
    async with open_persistence(tmp_path / address) as one, open_persistence(tmp_path / address) as other:
        await one.save_many({"a": 1, "b": 1})
        made = await one.snapshot()
        await one.save_many({"a": 2, "b": 2, "c": 2})
        assert await other.load("a", int) == 2
        changes = other.changes()
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        tries = 0
        async with one.transaction() as tx:
            tries += 1
            await tx.load("z", int)
        await one.restore(made)
        assert await other.load_many(["a", "b", "c"], int) == {"a": 1, "b": 1}
        assert (await asyncio.wait_for(waiting, 30)).key in ("a", "b", "c")
        await changes.aclose()


async def test_a_restore_beside_writers_is_whole(tmp_path):
    """What others save meanwhile is before it or after it; no transaction is half undone."""
    async with open_persistence(tmp_path / "store.db") as persistence:
        accounts = [f"account/{n}" for n in range(20)]
        await persistence.save_many(dict.fromkeys(accounts, 100))
        made = await persistence.snapshot()
        stop = asyncio.Event()

        async def move(one, other):
            while not stop.is_set():

                async def body(tx):
                    await tx.save(one, await tx.load(one, int) - 1)
                    await tx.save(other, await tx.load(other, int) + 1)

                await persistence.run_transaction(body, attempts=1000)
                await asyncio.sleep(0.01)

        movers = [asyncio.ensure_future(move(accounts[n], accounts[-1 - n])) for n in range(3)]
        for _ in range(5):
            await persistence.restore(made)
            assert sum((await persistence.load_many(accounts, int)).values()) == 2000
        stop.set()
        await asyncio.gather(*movers)
        assert sum((await persistence.load_many(accounts, int)).values()) == 2000


async def test_a_restore_is_refused_where_it_would_be_wrong(tmp_path):
    """A snapshot of another store, a missing and a damaged one: told by name, and nothing is changed."""
    async with (
        open_persistence(tmp_path / "one.db") as one,
        open_persistence(tmp_path / "two.db") as two,
        open_persistence(tmp_path / "new.db") as new,
    ):
        await one.save("k", 1)
        await two.save("k", 2)
        made = await one.snapshot()
        with pytest.raises(ConfigurationError, match="another store"):
            await two.restore(made)
        with pytest.raises(StoreNotFoundError, match="no snapshot 'yesterday'"):
            await one.restore("yesterday")
        assert await two.load("k", int) == 2
        assert await two.snapshots() == []
        assert (await new.restore(made)).changed == 2
        assert await new.load("k", int) == 1
        await one.save("k", 3)
        await one.restore(made.name)
        assert await one.load("k", int) == 1
        Path(made.path).write_bytes(Path(made.path).read_bytes()[:5000])
        with pytest.raises(CorruptedDataError):
            await one.restore(made)
        assert await one.load("k", int) == 1


@pytest.mark.parametrize("kind", EMBEDDED)
async def test_every_record_of_a_snapshot_is_checked(tmp_path, kind):
    """By its own checksum: what was damaged in it is not put back, until the snapshot is repaired."""
    store = Kept(kind, tmp_path)
    keys = store.keys if kind.startswith("encrypted") else None
    audit = AuditLog() if kind == "encrypted sqlite" else None
    async with store.open() as persistence:
        await persistence.save_many({"a": 1, "b": 2})
        made = await persistence.snapshot(tmp_path / "copies")
        async with open_persistence(Path(made.path), keys=keys, audit=audit) as copy:
            await plant(copy, "b", (await copy.adapter.read("b"))[:-2] + b"3}")
        await persistence.save_many({"a": 10, "b": 20})
        with pytest.raises(CorruptedDataError, match="the snapshot is damaged: its checksum") as caught:
            await persistence.restore(made)
        assert caught.value.key == "b"
        assert await persistence.load_many(["a", "b"], int) == {"a": 10, "b": 20}
        assert await persistence.verify()
        async with open_persistence(Path(made.path), keys=keys, audit=audit) as copy:
            assert await copy.verify(repair=True)
        await persistence.restore(made)
        assert await persistence.load_many(["a", "b"], int) == {"a": 1, "b": 2}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="nobody is kept from writing")
async def test_a_snapshot_on_a_medium_that_is_only_read(tmp_path):
    """The store as it was goes beside the store then."""
    await restored_from_where_nobody_may_write(tmp_path)


async def test_what_was_before_goes_beside_the_store_where_nobody_may_write(tmp_path, monkeypatch):
    """The same, where the system says so and does not mean it, as to root."""
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or "copies" not in str(path))
    await restored_from_where_nobody_may_write(tmp_path)


async def restored_from_where_nobody_may_write(tmp_path):
    async with open_persistence(tmp_path / "store.db") as persistence:
        await persistence.save("k", 1)
        made = await persistence.snapshot(tmp_path / "copies")
        await persistence.save("k", 2)
        (tmp_path / "copies").chmod(0o500)
        try:
            report = await persistence.restore(made)
        finally:
            (tmp_path / "copies").chmod(0o700)
        assert await persistence.load("k", int) == 1
        assert report.before in await persistence.snapshots()


async def test_damaged_records_are_restored_and_quarantine_stays(tmp_path):
    """A restore heals what is damaged; what lies in quarantine is never thrown away by it."""
    async with open_persistence(tmp_path / "store.db") as persistence:
        await persistence.save_many({"a": 1, "b": 2})
        made = await persistence.snapshot()
        await plant(persistence, "a", b"damaged")
        assert await persistence.load("a", int) == 1
        await plant(persistence, "b", b"damaged too")
        await persistence.restore(made)
        assert await persistence.load_many(["a", "b"], int) == {"a": 1, "b": 2}
        assert ("a", b"damaged") in await quarantined(persistence)


async def test_snapshots_of_an_encrypted_store_stay_encrypted(tmp_path):
    """They hold what the store holds, and are restored with its key, also after it was changed."""
    async with open_persistence(tmp_path / "store.db", keys=StaticKey(b"k" * 32)) as persistence:
        await persistence.save("token", "s3cret")
        made = await persistence.snapshot()
        assert b"s3cret" not in Path(made.path).read_bytes()
        await persistence.save("token", "other")
        await persistence.restore(made)
        assert await persistence.load("token", str) == "s3cret"


async def test_a_part_of_a_shared_store_is_copied_alone(tmp_path):
    """Prefixed: the snapshot has its own keys, and not those of others."""
    shared = MemoryAdapter()
    async with AdapterBasedPersistence(Prefixed(shared, "mine/")) as persistence:
        await persistence.save("k", 1)
        await shared.commit({"theirs/k": b"x"})
        made = await persistence.snapshot(tmp_path)
        async with open_persistence(Path(made.path)) as copy:
            assert await listed(copy) == ["k"]
        await persistence.save("k", 2)
        await persistence.restore(made)
        assert await persistence.load("k", int) == 1
        assert await shared.read("theirs/k") == b"x"


async def test_a_store_in_memory_is_copied_at_one_moment(tmp_path):
    """It becomes a database with all of its records."""
    async with open_persistence("memory:") as persistence:
        await persistence.save_many({f"{n:04}": 1 for n in range(1000)})
        made = await persistence.snapshot(tmp_path)
        async with open_persistence(Path(made.path)) as copy:
            assert len(await listed(copy)) == 1000


async def until(condition):
    limit = time.monotonic() + 60
    while not await condition():
        assert time.monotonic() < limit
        await asyncio.sleep(0.02)


async def test_scheduled_snapshots(tmp_path):
    """An open store makes them by itself, keeps as many as asked, and counts on from the last one."""
    every = Every(minutes=0.001, keep=2)
    async with open_persistence(tmp_path / "store.db", snapshots=every) as persistence:
        await persistence.save("k", 1)
        seen = set()

        async def four():
            seen.update(one.name for one in await persistence.snapshots())
            return len(seen) >= 4

        await until(four)
        assert len(await persistence.snapshots()) <= 3
    async with open_persistence(tmp_path / "store.db", snapshots=Every(hours=1)) as persistence:
        before = await persistence.snapshots()
        await asyncio.sleep(0.3)
        assert await persistence.snapshots() == before
    with pytest.raises(ConfigurationError, match="Every"):
        open_persistence(tmp_path / "store.db", snapshots=24)
    for wrong in ({"hours": 0}, {"hours": -1}, {}):
        with pytest.raises(ConfigurationError, match="above zero"):
            Every(**wrong)


@pytest.mark.parametrize("kind", ["sqlite", "file"])
def test_beside_writers_in_two_processes_and_killed(tmp_path, kind):
    """Every snapshot beside transfers is exact, and a killed restore leaves the one or the other store."""
    counts = ["--snapshots", "6", "--kills", "3", "--records", "800" if kind == "sqlite" else "100"]
    options = ["--store", kind, "--directory", str(tmp_path), *counts]
    said = subprocess.run([sys.executable, str(PROGRAM), *options], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


async def test_a_value_edited_in_place_does_not_reach_its_snapshot(tmp_path):
    """Copies of files share nothing with the store."""
    async with AdapterBasedPersistence(FileStorageAdapter(tmp_path / "store")) as persistence:
        await persistence.save("k", 1)
        made = await persistence.snapshot()
        value = tmp_path / "store" / "k.json"
        with value.open("r+b") as file:
            file.write(b"damaged")
    async with open_persistence(Path(made.path)) as copy:
        assert await copy.load("k", int) == 1
