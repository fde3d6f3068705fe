"""What an audit trail tells, and that no tampering with what is sealed goes unnoticed."""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from axiom_persistence import (
    AdapterBasedPersistence,
    Client,
    FileStorageAdapter,
    MemoryAdapter,
    Migrations,
    SQLiteAdapter,
    blocking,
    client_state,
    open_persistence,
)
from axiom_persistence.errors import ConfigurationError, ConflictError, CorruptedDataError
from axiom_persistence.keys import AUDIT, KEYSET, TRAIL
from axiom_persistence.layers.audited import Audited
from axiom_persistence.security import AuditLog, StaticKey, actor
from axiom_persistence.security._seals import (
    SEALED,
    Sealed,
    Trail,
    batch_key,
    head_of,
    json_in,
    raw_record,
    root_of,
)
from axiom_persistence.storage.layer import Layer
from support.trails import sealed_in

MANY = int(os.environ.get("AUDIT_ENTRIES", "10000"))
"""`make torture` takes 100,000."""
BATCHES = -(-MANY // 512)


class Log:
    """A trail as bytes, to be tampered with, and its verification."""

    def __init__(self, records, checkpoint):
        self.records = dict(records)
        self.checkpoint = checkpoint
        self.trail = msgspec.json.decode(json_in(TRAIL, records[TRAIL]), type=Trail).id

    def batch(self, number):
        key = batch_key(number)
        return msgspec.json.decode(json_in(key, self.records[key]), type=Sealed)

    def put(self, number, sealed):
        """With the right sum of the record, as whoever knows this library would."""
        key = batch_key(number)
        self.records[key] = raw_record(key, msgspec.json.encode(sealed))

    def put_and_chain(self, first, sealed):
        """With every hash behind it computed anew."""
        self.put(first, sealed)
        number = first + 1
        while batch_key(number) in self.records:
            following = self.batch(number)
            following.prev = head_of(self.trail, self.batch(number - 1))
            self.put(number, following)
            number += 1

    async def verified(self, *, with_checkpoint=True):
        inner = MemoryAdapter()
        async with inner:
            await inner.commit(self.records)
        async with AdapterBasedPersistence(Audited(inner, AuditLog())) as persistence:
            return await persistence.verify_audit(checkpoint=self.checkpoint if with_checkpoint else None)


@pytest.fixture(scope="module")
def whole():
    async def made():
        inner = MemoryAdapter()
        async with AdapterBasedPersistence(Audited(inner, AuditLog(actor="anna"))) as persistence:
            audited = persistence.adapter
            for number in range(MANY):
                audited.commit_now({f"k{number % 50}": b"{}"})
                if number % 512 == 511:
                    await audited.seal()
            await audited.seal()
            report = await persistence.verify_audit()
            trail = [key async for key in inner.keys(AUDIT)]
            records = {key: stored.data for key, stored in (await inner.fetch(trail)).items()}
        return records, report.checkpoint

    return asyncio.run(made())


@pytest.fixture
def log(whole):
    return Log(*whole)


async def test_a_whole_trail_is_proved(log):
    begun = time.perf_counter()
    report = await log.verified()
    print(f"\n{report.entries:,} entries verified in {time.perf_counter() - begun:.2f} s")
    assert report
    assert report.entries == MANY
    assert report.checkpoint == log.checkpoint
    assert (report.batches, report.compared, report.unsealed) == (BATCHES, 1, 0)


def entries_changed(change):
    """A kind of tampering: the entries of batch 7 are others; ``forge``: with a root that fits."""

    def tamper(log, forge):
        sealed = log.batch(7)
        change(sealed)
        if forge:
            sealed.root, sealed.count = root_of(sealed.entries).hex(), len(sealed.entries)
        log.put(7, sealed)

    return tamper


def altered(sealed):
    sealed.entries[100] = msgspec.Raw(bytes(sealed.entries[100]).replace(b'"anna"', b'"otto"'))


def removed(sealed):
    del sealed.entries[100]


def added(sealed):
    sealed.entries.append(sealed.entries[0])


def reordered(sealed):
    sealed.entries[3], sealed.entries[4] = sealed.entries[4], sealed.entries[3]


def replaced(sealed):
    sealed.entries[3] = sealed.entries[4]


def emptied(sealed):
    sealed.entries.clear()


@pytest.mark.parametrize("change", [altered, removed, added, reordered, replaced, emptied])
@pytest.mark.parametrize("forge", [False, True])
async def test_no_change_of_the_entries_of_a_batch_goes_unnoticed(log, change, forge):
    if forge and change is emptied:
        pytest.skip("nothing has a root")
    entries_changed(change)(log, forge)
    report = await log.verified(with_checkpoint=False)
    assert not report
    assert report.faults[0].batch in ({7, 8} if forge else {7})  # 8 follows another batch 7


def without(*numbers):
    def tamper(log):
        for number in numbers:
            del log.records[batch_key(number)]

    return tamper


def swapped(log):
    one, other = log.batch(7), log.batch(9)
    log.put(7, other)
    log.put(9, one)


def copied(log):
    log.put(7, log.batch(6))


def flipped(log):
    key = batch_key(7)
    log.records[key] = log.records[key].replace(b"anna", b"annb", 1)


def prefixed(log):
    log.records[SEALED + "x"] = log.records[batch_key(7)]


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (without(7), "the batches 7 to 7 before it are missing"),
        (without(*range(7, 15)), "the batches 7 to 14 before it are missing"),
        (without(0), "the batches before 1 are missing"),
        (without(*range(12)), "the batches before 12 are missing"),
        (swapped, "it is batch 9, put in another place"),
        (copied, "it is batch 6, put in another place"),
        (flipped, "it cannot be read"),
        (prefixed, "there is a record among the batches that is none"),
    ],
)
async def test_no_batch_is_removed_or_put_elsewhere_unnoticed(log, tamper, said):
    tamper(log)
    report = await log.verified(with_checkpoint=False)
    assert any(said in fault.reason for fault in report.faults), report.faults


def cut(log):
    without(BATCHES - 2, BATCHES - 1)(log)


def emptied_trail(log):
    without(*range(BATCHES))(log)


def written_anew(log):
    sealed = log.batch(7)
    altered(sealed)
    sealed.root = root_of(sealed.entries).hex()
    log.put_and_chain(7, sealed)


def begun_anew(log):
    trail = msgspec.json.decode(json_in(TRAIL, log.records[TRAIL]), type=Trail)
    log.trail = trail.id = "0" * 32
    log.records[TRAIL] = raw_record(TRAIL, msgspec.json.encode(trail))
    log.put_and_chain(0, log.batch(0))


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (cut, "its end was cut off"),
        (emptied_trail, "its end was cut off"),
        (written_anew, "the trail was written anew"),
        (begun_anew, "this is another trail"),
    ],
)
async def test_a_checkpoint_finds_what_the_chain_alone_cannot(log, tamper, said):
    tamper(log)
    assert await log.verified(with_checkpoint=False)
    report = await log.verified()
    assert [fault.reason for fault in report.faults if said in fault.reason]


# -- anchors ---------------------------------------------------------------------------------------


async def test_an_anchor_is_written_by_itself_and_never_over_what_contradicts_it(tmp_path):
    place = FileStorageAdapter(tmp_path / "elsewhere")
    log = AuditLog(anchor=place)
    async with open_persistence(tmp_path / "notes.db", audit=log) as persistence:
        await persistence.save("a", 1)
    before = (tmp_path / "notes.db").read_bytes()
    async with open_persistence(tmp_path / "notes.db", audit=log) as persistence:
        await persistence.save("a", 2)
        assert (await persistence.verify_audit()).compared == 1
    async with place:
        known = await place.read("axiom-audit")

    for end in ("-wal", "-shm"):
        (tmp_path / f"notes.db{end}").unlink(missing_ok=True)
    (tmp_path / "notes.db").write_bytes(before)  # a copy of the store, as it was before the second save
    persistence = await open_persistence(tmp_path / "notes.db", audit=log)
    assert "its end was cut off" in (await persistence.verify_audit()).faults[0].reason
    with pytest.raises(CorruptedDataError, match="not what its anchor says"):
        await persistence.aclose()
    async with place:
        assert await place.read("axiom-audit") == known


class Late(Layer):
    """Its commits are made, and are slow to say so: whoever waits can be cancelled in between."""

    def __init__(self, inner):
        super().__init__(inner)
        self.made = asyncio.Event()

    async def commit(self, changes, *, expect=None, durability=None):
        versions = await self.inner.commit(changes, expect=expect, durability=durability)
        self.made.set()
        await asyncio.sleep(0.2)
        return versions


async def test_an_anchor_names_the_batch_of_a_sealing_that_was_cancelled_when_it_was_made(tmp_path):
    late = Late(SQLiteAdapter(tmp_path / "notes.db"))
    async with FileStorageAdapter(tmp_path / "elsewhere") as place:
        audited = Audited(late, AuditLog(anchor=place))
        await audited.aopen()
        await audited.commit({"a": b"1"})
        await audited.seal()
        await audited.commit({"a": b"2"})
        late.made.clear()
        sealing = asyncio.create_task(audited.seal())
        await late.made.wait()
        sealing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sealing
        await audited.aclose()
        await place.aopen()
        assert b'"batch":1' in await place.read("axiom-audit")


# -- what is told ----------------------------------------------------------------------------------


async def told(persistence, **choice):
    return [entry async for entry in persistence.audit(**choice)]


async def test_entries_are_chosen_by_time_actor_key_prefix_and_operation(tmp_path):
    async with open_persistence(tmp_path / "notes.db", audit=AuditLog(actor="service")) as persistence:
        await persistence.save("notes/1", "x")
        with actor("anna", reason="ticket 7"):
            await persistence.save_many({"notes/2": "x", "theme": "dark"})
            await persistence.delete("notes/1")
        moment = datetime.now(UTC)
        await persistence.adapter.inner.inner.seal()
        await persistence.save("theme", "light", durability="process_exit")

        everything = await told(persistence)
        assert [entry.operation for entry in everything] == ["save", "save", "delete", "save"]
        assert [entry.batch is None for entry in everything] == [False, False, False, True]
        assert {entry.reason for entry in await told(persistence, actor="anna")} == {"ticket 7"}
        assert [entry.saved for entry in await told(persistence, since=moment)] == [("theme",)]
        assert await told(persistence, until=moment.timestamp()) == everything[:3]
        assert await told(persistence, key="notes/1") == [everything[0], everything[2]]
        assert await told(persistence, key="notes/1", operation="delete") == [everything[2]]
        assert await told(persistence, prefix="notes/") == everything[:3]
        assert await told(persistence, operation="delete") == [everything[2]]
        with pytest.raises(ConfigurationError, match="a namespace"):
            await told(persistence.namespace("notes"))


async def test_entries_are_read_while_they_are_sealed():
    """Each of them once, wherever it is at that moment."""
    async with AdapterBasedPersistence(Audited(MemoryAdapter(), AuditLog())) as persistence:
        audited = persistence.adapter
        for number in range(2000):
            audited.commit_now({f"k{number}": b"{}"})
        found = []
        async for entry in persistence.audit():
            found += entry.saved
            if len(found) % 300 == 1 and len(found) < 2000:
                audited.commit_now({"late": b"{}"})
                await audited.seal()
        found = [key for key in found if key != "late"]
        assert sorted(found) == sorted(f"k{number}" for number in range(2000))


async def test_hashed_keys_are_found_by_their_name(tmp_path):
    async with open_persistence(tmp_path / "n.db", audit=AuditLog(hash_keys=True)) as persistence:
        await persistence.save("patients/anna", 1)
        (entry,) = await told(persistence, key="patients/anna")
        assert not any("anna" in key for key in entry.saved)
        assert await told(persistence, key="patients/otto") == []
        with pytest.raises(ConfigurationError, match="hashes keys"):
            await told(persistence, prefix="patients/")


class Player(Client):
    volume: int = client_state(5)


async def test_everything_that_changes_a_store_is_told_with_its_reason(tmp_path):
    """Clients, transactions, collections, migrations, recovery and jobs, over an encrypted store."""
    migrations = Migrations("1.0")
    options = {"audit": AuditLog(actor="me"), "keys": StaticKey(bytes(32))}
    async with open_persistence(tmp_path / "n.db", migrations=migrations, **options) as persistence:
        async with Player(persistence) as player:
            with actor("listener"):
                player.volume = 7
        async with persistence.transaction() as tx:
            await tx.save("a", 1)
            await tx.save("b", 1)
        await persistence.collection("items", int).put("x", 1)
        await persistence.save("brief", 1, ttl=timedelta(milliseconds=1))
        await asyncio.sleep(0.01)
        await persistence.sweep()
        made = await persistence.snapshot()
        await persistence.save("a", 2)
        await persistence.restore(made)
        await persistence.adapter.commit({"b": b"hunter2"})
        assert await persistence.load("b", int) == 1

    following = Migrations("2.0")
    following.value("1.0", "2.0", key="a")(lambda value: value + 1)
    async with open_persistence(tmp_path / "n.db", migrations=following, **options) as persistence:
        await persistence.migrate("1.0", "2.0")
        async with open_persistence("memory:") as other:
            await other.save_many({"b": 3, "c": 3})
            for conflict, named in (("skip", "c"), ("overwrite", "b")):  # what is new, and what is replaced
                await other.export_to(tmp_path / conflict, prefix=named)
                await persistence.import_from(tmp_path / conflict, conflict=conflict)
        entries = await told(persistence)
        assert await persistence.verify_audit()
    by_key = {}
    for entry in entries:
        for key in (*entry.saved, *entry.deleted):
            by_key.setdefault(key, []).append((entry.actor, entry.operation, entry.reason))
    assert by_key["Player/volume"] == [("listener", "save", None)]
    assert by_key["items/x"] == [("me", "save", None)]
    assert by_key["brief"][-1] == ("me", "delete", "expired")
    reasons = [reason for _, _, reason in by_key["a"]]
    assert reasons[:2] == [None, None]
    assert reasons[2].startswith("restore of the snapshot ")
    assert reasons[3] == "migration from 1.0 to 2.0"
    recovered, imported = by_key["b"][-2:]
    assert recovered == ("me", "save", "recovery of a damaged record")
    assert imported == by_key["c"][-1] == ("me", "save", "import")
    assert b"hunter2" not in msgspec.json.encode(entries)


async def test_what_is_done_to_the_keys_is_told(tmp_path):
    """Encrypted in place, rotated, given another key, decrypted: an entry each, and the trail stays whole."""
    place, log = tmp_path / "n.db", AuditLog(actor="me")
    one, other = StaticKey(bytes(32)), StaticKey(bytes(range(32)))
    async with open_persistence(place, audit=log) as persistence:
        await persistence.save("a", 1)
    async with open_persistence(place, audit=log, keys=one, mode="encrypt") as persistence:
        await persistence.encrypt(dry_run=True)
        with actor("anna", reason="ticket 7"):
            assert await persistence.encrypt()
        await persistence.encrypt()  # nothing to do, and nothing to tell
    async with open_persistence(place, audit=log, keys=one) as persistence:
        await persistence.rotate_keys()
        await persistence.change_key(other)
    async with open_persistence(place, audit=log, keys=other) as persistence:
        assert await persistence.decrypt()
        assert await persistence.verify_audit()
    async with open_persistence(place, audit=log) as persistence:
        assert await persistence.verify_audit()
        found = await told(persistence, key=KEYSET)
        assert await persistence.load("a", int) == 1
    assert [(entry.actor, entry.operation, entry.reason) for entry in found] == [
        ("anna", "save", "ticket 7; encryption in place"),
        ("me", "save", "rotation of the keys"),
        ("me", "save", "change of the key"),
        ("me", "save", "decryption in place"),
    ]


def test_the_blocking_face_tells_and_proves_the_same(tmp_path):
    with blocking.open_persistence(tmp_path / "n.db", audit=AuditLog()) as persistence:
        with actor("anna"):
            persistence.save("a", 1)
            persistence.save("b", 1, durability="process_exit")
        assert [entry.actor for entry in persistence.audit(key="b")] == ["anna"]
        assert [entry.actor for entry in persistence.audit()] == ["anna", "anna"]
        assert persistence.verify_audit()


# -- keeping ---------------------------------------------------------------------------------------


async def test_old_entries_are_dropped_and_the_rest_is_still_proved():
    inner = MemoryAdapter()
    async with AdapterBasedPersistence(Audited(inner, AuditLog())) as persistence:
        for number in range(3):
            await persistence.save(f"old{number}", 1)
            await persistence.adapter.seal()
    await asyncio.sleep(0.02)
    short = AuditLog(keep=timedelta(milliseconds=10))
    async with AdapterBasedPersistence(Audited(inner, short)) as persistence:
        await persistence.save("new", 1)
        await persistence.adapter.seal()
        report = await persistence.verify_audit()
        assert report, report.faults
        assert report.dropped == 2  # the last batch stays
        kept = await told(persistence)
        assert [entry.operation for entry in kept] == ["save", "retention", "save"]
        # Whoever removes one more is found out, and so is whoever says that it was dropped.
        first = min(await sealed_in(inner))
        data = await inner.read(first)
        await inner.commit({first: None})
        assert "nothing says why" in (await persistence.verify_audit()).faults[0].reason
        await inner.commit({first: data})


async def test_the_place_of_a_trail_is_left_alone_by_a_restore(tmp_path):
    """What happened since the snapshot is still told, and so is the restore."""
    async with open_persistence(SQLiteAdapter(tmp_path / "n.db"), audit=AuditLog()) as persistence:
        await persistence.save("a", 1)
        await persistence.adapter.inner.inner.seal()
        made = await persistence.snapshot()
        await persistence.save("a", 2)
        await persistence.restore(made)
        assert len(await told(persistence, key="a")) == 3
        assert await persistence.verify_audit()


async def test_two_openings_seal_one_trail(tmp_path):
    log = AuditLog()
    async with (
        Audited(SQLiteAdapter(tmp_path / "n.db"), log) as one,
        Audited(SQLiteAdapter(tmp_path / "n.db"), log) as other,
    ):

        async def busy(audited, name):
            for number in range(60):
                await audited.commit({f"{name}{number}": b"{}"}, durability="process_exit")
                if number % 7 == 0:
                    await audited.seal()
                with pytest.raises(ConflictError):
                    await audited.commit({"x": b"{}"}, expect={"x": "1"})

        await asyncio.gather(busy(one, "a"), busy(other, "b"))
    async with AdapterBasedPersistence(Audited(SQLiteAdapter(tmp_path / "n.db"), log)) as persistence:
        found = [key for entry in await told(persistence) for key in entry.saved]
        assert sorted(found) == sorted(f"{name}{number}" for name in "ab" for number in range(60))
        assert await persistence.verify_audit()
