"""Erasure: what is left of somebody afterwards, where, and what cannot come back."""

import asyncio
import io
import json
from pathlib import Path

import msgspec
import pytest

from axiom_persistence import CachePolicy, Client, client_state, open_persistence
from axiom_persistence.adapters.file import FileStorageAdapter
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import (
    ConfigurationError,
    CorruptedDataError,
    StorageError,
    StorageUnavailableError,
)
from axiom_persistence.records._subject import SUBJECT_KEYS, name_of, tag_in
from axiom_persistence.records.corruption import QUARANTINE
from axiom_persistence.security import StaticKey
from axiom_persistence.testing.confidential import ConfidentialMemory

KEYS = StaticKey(bytes(range(32)))
MARKER = "marker-1f0e3dad99908345"


@pytest.fixture(params=["x.db", "files"])
def where(request, tmp_path):
    return tmp_path / request.param


@pytest.fixture(params=[None, KEYS], ids=["plain", "encrypted"])
def keys(request):
    return request.param


def holders(place, *what):
    """The files below ``place`` that hold one of these byte strings, or the marker."""
    wanted = [MARKER.encode(), *what]
    files = [file for file in place.rglob("*") if file.is_file()]
    return [file for file in files if any(one in file.read_bytes() for one in wanted)]


async def listed(persistence):
    return [key async for key in persistence.keys("")]


async def fill(persistence):
    """Alice has a record in each place, and others beside it."""
    await persistence.save("a", {"m": f"old {MARKER}"}, subject="alice")
    await persistence.save_many({"a": {"m": f"new {MARKER}"}, "a/b": [MARKER] * 300}, subject="alice")
    await persistence.save("soon", MARKER, subject="alice", ttl=1000)
    await persistence.save("bob", "bob's", subject="bob")
    await persistence.save("nobody", "nobody's")


async def test_nothing_is_left_and_nothing_comes_back(where, keys):
    """In the store, its log, its snapshots; not by an archive, and not by a snapshot, however old."""
    secure = keys is not None
    async with open_persistence(where, keys=keys) as persistence:
        await fill(persistence)
        before = await persistence.snapshot()
        archive = io.BytesIO()
        await persistence.export_to(archive, secure=secure)
        await persistence.save("a", MARKER, subject="alice")

        planned = await persistence.erase("alice", dry_run=True)
        assert (planned.keys, planned.records, planned.receipt) == (["a", "a/b", "soon"], 3, None)
        assert await persistence.load("a", str) == MARKER

        report = await persistence.erase("alice")
        assert (report.records, report.snapshots) == (3, 1)
        assert await listed(persistence) == ["bob", "nobody"]
        assert await persistence.load("a", str) is None
        assert holders(where.parent) == []

        archive.seek(0)
        brought = await persistence.import_from(archive, conflict="overwrite")
        assert (brought.erased, brought.same, brought.added) == (3, 2, 0)
        assert (await persistence.restore(before)).changed == 0
        assert await listed(persistence) == ["bob", "nobody"]
        assert holders(where.parent) == []
    assert holders(where.parent) == []
    async with open_persistence(where, keys=keys) as persistence:
        assert await persistence.load_many(["a", "bob"], str) == {"bob": "bob's"}
        assert await persistence.verify()


async def test_without_its_key_no_copy_opens(tmp_path, where):
    """A snapshot that was taken elsewhere, where no erasure reaches it, holds the records and not the key."""
    async with open_persistence(where, keys=KEYS) as persistence:
        await fill(persistence)
        elsewhere = await persistence.snapshot(tmp_path / "elsewhere")
        tag = tag_in((await persistence.adapter.fetch(["a"]))["a"].data)
        assert await persistence.load("a", dict) == {"m": f"new {MARKER}"}
        await persistence.erase("alice")
        await persistence.restore(elsewhere)
        assert await listed(persistence) == ["bob", "nobody"]
    async with open_persistence(Path(elsewhere.path), keys=KEYS, mode="inspect") as copy:
        found = await copy.adapter.fetch(["a", "bob", "nobody"])
        assert "key of a subject" in found["a"].damage
        assert found["nobody"].damage is None
        assert SUBJECT_KEYS + tag not in [key async for key in copy.adapter.keys("")]


async def test_a_store_that_was_lost_comes_back_from_a_snapshot(tmp_path, where):
    """With what is about somebody, whose keys are in a file beside snapshots; not with what was erased."""
    async with open_persistence(where, keys=KEYS) as persistence:
        await fill(persistence)
        await persistence.save("c", MARKER, subject="carol")
        await persistence.snapshot(tmp_path / "elsewhere")
        await persistence.erase("carol")
        last = await persistence.snapshot(tmp_path / "elsewhere")
    async with open_persistence(tmp_path / "new" / where.name, keys=KEYS) as persistence:
        await persistence.restore(last)
        assert await persistence.load("a", dict) == {"m": f"new {MARKER}"}
        assert await persistence.load("c", str) is None
        await persistence.erase("alice")
        assert await listed(persistence) == ["bob", "nobody"]


async def test_who_comes_back_is_somebody_new(where, keys):
    """A record that is about them again stays; the old ones stay away; each erasure has a receipt."""
    async with open_persistence(where, keys=keys) as persistence:
        await fill(persistence)
        old = await persistence.snapshot()
        first = (await persistence.erase("alice")).receipt
        await persistence.save("a", "new", subject="alice")
        archive = io.BytesIO()
        await persistence.export_to(archive, secure=keys is not None)
        await persistence.restore(old)
        archive.seek(0)
        assert (await persistence.import_from(archive)).added == 1
        assert await persistence.load("a", str) == "new"
        assert await persistence.verify_erasure(first, "alice") == first
        second = (await persistence.erase("alice")).receipt
        assert second != first
        assert await persistence.verify_erasure(first, "alice") == first
        assert await persistence.verify_erasure(second, "alice") == second


async def test_a_key_that_is_somebody_elses_by_now_stays(where, keys):
    """Only what was there before goes."""
    async with open_persistence(where, keys=keys) as persistence:
        await persistence.save("shared", MARKER, subject="alice")
        await persistence.save("shared", "bob's", subject="bob")
        await persistence.save("free", MARKER, subject="alice")
        await persistence.save("free", "nobody's")
        await persistence.erase("alice")
        assert await persistence.load_many(["shared", "free"], str) == {"shared": "bob's", "free": "nobody's"}
        assert await persistence.adapter.previous("shared") is None
        assert holders(where.parent) == [] or keys is not None
        await persistence.erase("bob")
        assert await listed(persistence) == ["free"]


async def test_damaged_bytes_go_as_well(where):
    """Those that lie in quarantine, and those that nobody has read yet."""
    async with open_persistence(where) as persistence:
        await fill(persistence)
        adapter = persistence.adapter
        data = (await adapter.fetch(["a"]))["a"].data
        await adapter.commit({"a": data[:-3], "a/b": data})
        await persistence.load("a", dict)
        assert await persistence.snapshot()
        assert [key async for key in adapter.keys(QUARANTINE)]
        await persistence.erase("alice")
        assert [key async for key in adapter.keys(QUARANTINE)] == []
        assert holders(where.parent) == []


async def test_what_a_cache_has_not_stored_yet_goes_as_well(where):
    async with open_persistence(where, cache=CachePolicy.write_back(interval=60)) as persistence:
        await persistence.save("a", MARKER, subject="alice")
        await persistence.save("b", MARKER)
        await persistence.save("b", "other", subject="alice")
        await persistence.erase("alice")
        assert await listed(persistence) == []
    assert holders(where.parent) == []


class Notes(Client):
    text: str = client_state("")


async def test_a_prefix_and_a_client(where, keys):
    """Each is everything under its keys, in a namespace too, and no snapshot brings it back."""
    async with open_persistence(where, keys=keys) as persistence:
        async with (
            Notes(persistence, instance="alice") as notes,
            Notes(persistence, instance="bob") as others,
        ):
            notes.text, others.text = MARKER, "bob's"
        await persistence.save_many({"users/alice": "kept", "users/alice/x": MARKER, "users/alice/y": MARKER})
        old = await persistence.snapshot()
        report = await persistence.namespace("users").erase(prefix="alice/")
        assert report.records == 2
        assert await persistence.verify_erasure(report.receipt, prefix="users/alice/")
        assert (await persistence.erase(notes)).records == 1
        assert await listed(persistence) == ["Notes/bob/text", "users/alice"]
        assert keys is not None or holders(where.parent) == []
        await persistence.save("users/alice/x", "new")
        await persistence.restore(old)
        assert await listed(persistence) == ["Notes/bob/text", "users/alice"]
        await persistence.save("users/alice/x", "new")
        assert (await persistence.restore(await persistence.snapshot())).removed == 0
        assert await persistence.load("users/alice/x", str) == "new"


async def test_secrets_beside_the_store_go_as_well(tmp_path):
    async with open_persistence(tmp_path / "x.db", secure=ConfidentialMemory()) as persistence:
        await persistence.save("a", 1, subject="alice")
        await persistence.secure.save("token", MARKER, subject="alice")
        report = await persistence.erase("alice")
        assert [part.records for part in report.receipt.erased] == [1, 1]
        assert await listed(persistence.secure) == []


async def test_a_persons_data_is_exported_alone(where, keys):
    async with open_persistence(where, keys=keys) as persistence:
        await fill(persistence)
        await persistence.save("a/b", "bob's now", subject="bob")
        file = io.BytesIO()
        await persistence.export_to(file, subject="alice", secure=keys is not None)
        records = [json.loads(line) for line in file.getvalue().splitlines()]
        assert [record["key"] for record in records if "key" in record] == ["a", "soon"]
        empty = io.BytesIO()
        assert (await persistence.export_to(empty, subject="carol", secure=keys is not None)).records == 0


async def test_another_store_takes_over_whom_records_are_about(where, keys, tmp_path):
    """What was imported is found by the same name, and erased there."""
    archive = io.BytesIO()
    async with open_persistence(where, keys=keys) as persistence:
        await fill(persistence)
        await persistence.export_to(archive, secure=keys is not None)
    async with open_persistence(tmp_path / "other.db", keys=keys) as other:
        for added, same in ((5, 0), (0, 5)):
            archive.seek(0)
            report = await other.import_from(archive)
            assert (report.added, report.same) == (added, same)
        assert await other.load("a", dict) == {"m": f"new {MARKER}"}
        assert (await other.erase("alice")).records == 3
        assert await listed(other) == ["bob", "nobody"]


async def test_what_is_sealed_in_an_archive_goes_with_its_key(where, tmp_path):
    """An archive of sealed records can be read by its store, by no other, and by nobody after the erasure."""
    archive = tmp_path / "archive" / "notes.jsonl"
    archive.parent.mkdir()
    async with open_persistence(where, keys=KEYS) as persistence:
        await fill(persistence)
        assert await persistence.export_to(archive, secure=True, sealed=True, times=True)
        assert MARKER.encode() not in archive.read_bytes()
        assert b"nobody's" in archive.read_bytes()
        await persistence.save("a", "other", subject="alice")
        report = await persistence.import_from(archive, conflict="overwrite")
        assert (report.replaced, report.same, report.faults) == (1, 4, [])
        assert await persistence.load("a", dict) == {"m": f"new {MARKER}"}
        async with open_persistence(tmp_path / "other.db", keys=KEYS) as other:
            strange = await other.import_from(archive)
            assert [fault.key for fault in strange.faults] == ["a", "a/b", "bob", "soon"]
        await persistence.erase("alice")
        report = await persistence.import_from(archive)
        assert (report.erased, report.same) == (3, 2)
    async with open_persistence(tmp_path / "plain.db") as plain:
        await plain.save("k", 1)
        assert len((await plain.import_from(archive)).faults) == 5
        with pytest.raises(ConfigurationError, match="keys of subjects"):
            await plain.export_to(io.BytesIO(), sealed=True)


# -- the receipt -----------------------------------------------------------------------------------


async def test_a_receipt_is_the_same_each_time(where, keys, tmp_path):
    async with open_persistence(where, keys=keys) as persistence:
        await fill(persistence)
        receipt = (await persistence.erase("alice")).receipt
        assert (await persistence.erase("alice")).receipt == receipt
        path = tmp_path / "receipt.json"
        path.write_bytes(receipt.to_json())
        for spelling in (receipt, path, str(path), receipt.to_json()):
            assert await persistence.verify_erasure(spelling, "alice") == receipt
        assert receipt.erased[0].tag.startswith(name_of("alice"))
        assert b"alice" not in receipt.to_json()
        assert (await persistence.erase("carol")).receipt is None


async def test_an_altered_receipt_and_that_of_another_store_are_refused(tmp_path):
    async with open_persistence(tmp_path / "x.db") as persistence:
        await fill(persistence)
        receipt = (await persistence.erase("alice")).receipt
        (part,) = receipt.erased
        for change in ({"records": 4}, {"ended": 1.0}, {"begun": 1.0}, {"id": "0" * 32}, {"tag": "0" * 49}):
            altered = msgspec.structs.replace(receipt, erased=[msgspec.structs.replace(part, **change)])
            with pytest.raises(CorruptedDataError, match="does not agree"):
                await persistence.verify_erasure(altered)
        with pytest.raises(ConfigurationError, match="no receipt"):
            await persistence.verify_erasure(b"{}")
        with pytest.raises(ConfigurationError, match="no receipt"):
            await persistence.verify_erasure(b'{"erased":[],"axiom_erasure":1}')
        with pytest.raises(ConfigurationError, match="somebody else"):
            await persistence.verify_erasure(receipt, "bob")
        with pytest.raises(StorageError, match="cannot read the receipt"):
            await persistence.verify_erasure(tmp_path / "missing.json")
    async with open_persistence(tmp_path / "y.db") as other:
        await fill(other)
        await other.erase("alice")
        with pytest.raises(ConfigurationError, match="another store"):
            await other.verify_erasure(receipt)


async def test_what_is_here_again_is_told(tmp_path):
    """Somebody put an old file of the store back, and its marks beside it."""
    async with (
        SQLiteAdapter(tmp_path / "x.db") as adapter,
        open_persistence(adapter, cache=None) as persistence,
    ):
        await fill(persistence)
        entry = await anext(adapter.keys("\x01about/" + name_of("alice")))
        receipt = (await persistence.erase("alice")).receipt
        await adapter.commit({entry: b"{}"})
        with pytest.raises(CorruptedDataError, match="here again"):
            await persistence.verify_erasure(receipt)


@pytest.mark.parametrize(("subject", "prefix"), [(None, None), ("a", "b"), ("", None), (None, ""), (5, None)])
async def test_what_means_nobody_is_refused(subject, prefix):
    async with open_persistence("memory:") as persistence:
        await persistence.save("a", 1)
        with pytest.raises(ConfigurationError):
            await persistence.erase(subject, prefix=prefix)
        assert await persistence.exists("a")


# -- broken off ------------------------------------------------------------------------------------


class Counting(SQLiteAdapter):
    """Notes every call by name, and may refuse one of them."""

    def __init__(self, path):
        super().__init__(path)
        self.calls = []
        self.left = None

    def note(self, name, count):
        self.calls.append((name, count))
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise StorageUnavailableError("broken off here", adapter=self)

    async def fetch(self, keys):
        self.note("fetch", len(keys))
        return await super().fetch(keys)

    async def commit(self, changes, **options):
        self.note("commit", len(changes))
        return await super().commit(changes, **options)

    async def purge(self, keys, **options):
        self.note("purge", len(keys))
        return await super().purge(keys, **options)

    async def keys(self, prefix="", **options):
        count = 0
        async for key in super().keys(prefix, **options):
            count += 1
            yield key
        self.note("keys", count)


@pytest.mark.parametrize("keys", [None, KEYS], ids=["plain", "encrypted"])
async def test_broken_off_at_any_call_it_goes_on_to_one_receipt(tmp_path, keys):
    """At no time can a part be read as if it were all: from the first change on, nothing about them can."""
    step = 0
    while True:
        adapter = Counting(tmp_path / f"{step}.db")
        async with open_persistence(adapter, keys=keys) as persistence:
            await fill(persistence)
            adapter.left = step
            try:
                await persistence.erase("alice")
                adapter.left = None
                break
            except StorageUnavailableError:
                adapter.left = None
        async with open_persistence(tmp_path / f"{step}.db", keys=keys) as again:
            found = await again.load_many(["a", "a/b", "soon"], dict | list | str)
            assert len(found) in (0, 3)
            receipt = (await again.erase("alice")).receipt
            assert receipt == (await again.erase("alice")).receipt
            assert receipt.erased[0].records == 3
            assert await again.verify_erasure(receipt, "alice")
            assert await listed(again) == ["bob", "nobody"]
            assert holders(tmp_path) == []
        step += 1
    assert step > 5


async def test_the_cost_is_that_of_its_own_records(tmp_path):
    """One of many subjects costs as many calls, of as many keys, as one of few. `make torture` has 10,000."""
    costs = [await cost_of_one(tmp_path / f"{subjects}.db", subjects) for subjects in (3, 300)]
    assert costs[0] == costs[1]
    assert sum(count for _, count in costs[0]) < 400


async def cost_of_one(path, subjects):
    adapter = Counting(path)
    async with open_persistence(adapter) as persistence:
        for n in range(subjects):
            await persistence.save_many(
                {f"k/{n}/{i}": i for i in range(20)}, subject=f"s{n}", durability="process_exit"
            )
        await persistence.flush()
        adapter.calls.clear()
        assert (await persistence.erase("s1")).records == 20
        return list(adapter.calls)


async def test_two_at_once_have_one_receipt(where):
    async with open_persistence(where) as one, open_persistence(where) as two:
        await fill(one)
        reports = await asyncio.gather(one.erase("alice"), two.erase("alice"), one.erase("alice"))
        assert len({report.receipt.erased[0].id for report in reports}) == 1
        assert await listed(two) == ["bob", "nobody"]


async def test_saves_meanwhile_are_erased_or_about_somebody_new(where, keys):
    """None is lost in between: it can be read, and erased by the next erasure."""
    async with open_persistence(where, keys=keys) as one, open_persistence(where, keys=keys) as two:
        for n in range(5):
            await one.save(f"k{n}", n, subject="alice")

        async def save():
            for n in range(20):
                await two.save(f"new{n}", n, subject="alice")

        await asyncio.gather(one.erase("alice"), save())
        left = await listed(one)
        assert all(key.startswith("new") for key in left)
        assert len(await one.load_many(left, int)) == len(left)
        await one.erase("alice")
        assert await listed(two) == []


async def test_an_unfinished_file_purge_is_finished_by_the_next_opening(tmp_path, monkeypatch):
    """A file that was taken away and not overwritten yet is overwritten then, before it is removed."""
    from axiom_persistence.adapters._file import purge

    monkeypatch.setattr(purge, "shred", lambda *_: None)
    async with FileStorageAdapter(tmp_path / "files") as adapter:
        await adapter.commit({"a": MARKER.encode()})
        await adapter.purge(["a"])
        assert await adapter.fetch(["a"]) == {}
        (left,) = holders(tmp_path)
    with left.open("rb") as file:
        async with FileStorageAdapter(tmp_path / "files"):
            assert not left.exists()
            assert not any(file.read())
