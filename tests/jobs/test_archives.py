"""Archives: exact, whole or told to be damaged, resumable on both sides, from any store to any store."""

import asyncio
import contextlib
import errno
import gzip
import io
import json
import os
import random
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from axiom_persistence import AdapterBasedPersistence, MemoryAdapter, open_persistence
from axiom_persistence.errors import (
    ConfigurationError,
    ConflictError,
    InsecureStorageError,
    SchemaTooNewError,
    StorageError,
    StorageFullError,
    StorageLockedError,
)
from axiom_persistence.jobs._lines import _sealed
from axiom_persistence.records.record import seal_record
from axiom_persistence.testing import ConfidentialMemory
from support.embedded import listed

KEYS = ["a", "A", "a/b", "é", "e\u0301", "z\x02\x1f", 'quote"back\\slash', "😀", "k" * 1000]
STORES = ["sqlite:{}/store.db", "file:{}/store", "memory:"]
COMPRESSIONS = [None, "deflate", "zstd"]


def place(address, directory):
    return address.format(directory)


async def fill(persistence, count=0):
    await persistence.save_many({key: {"key": key, "list": [1, 2.5, None, "ü\n"]} for key in KEYS})
    await persistence.save("limited", "soon gone", ttl=timedelta(days=1))
    await persistence.save("gone", "at once", ttl=timedelta(microseconds=1))
    if count:
        await persistence.save_many({f"many/{n:06}": {"n": n, "text": "x" * 100} for n in range(count)})


async def stored(persistence):
    """Every record of the users, byte for byte."""
    keys = await listed(persistence)
    found = await persistence.adapter.fetch(keys)
    return {key: stored.data for key, stored in found.items()}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("source", STORES)
@pytest.mark.parametrize("target", STORES)
async def test_export_import_export_is_byte_identical(tmp_path, source, target, compression):
    """Keys, values, expiry and schema come to any store as they were in any other."""
    first, second = tmp_path / "1", tmp_path / "2"
    async with open_persistence(place(source, tmp_path / "s")) as persistence:
        await fill(persistence, 100)
        report = await persistence.export_to(first, compression=compression)
        assert report
        assert report.records == len(KEYS) + 1 + 100
        before = await stored(persistence)
        before.pop("gone", None)
    async with open_persistence(place(target, tmp_path / "t")) as persistence:
        report = await persistence.import_from(first)
        assert (bool(report), report.added, report.done) == (True, len(before), len(before))
        assert await stored(persistence) == before
        again = await persistence.import_from(first)
        assert again.same == len(before) == again.done
        await persistence.export_to(second, compression=compression)
    assert first.read_bytes() == second.read_bytes()


async def test_an_archive_opens_in_jq_and_json(tmp_path):
    """Every line is a JSON object; the key and the value are where one looks for them."""
    archive = tmp_path / "notes.jsonl"
    async with open_persistence("memory:") as persistence:
        await persistence.save_many({"window": {"width": 800}, "theme": "dark"})
        await persistence.export_to(archive)
    lines = [json.loads(line) for line in archive.read_text(encoding="utf-8").splitlines()]
    assert {line["key"]: line["value"] for line in lines if "key" in line} == {
        "theme": "dark",
        "window": {"width": 800},
    }
    assert lines[0]["axiom_archive"] == 1
    assert lines[-1]["end"] == 2
    jq = shutil.which("jq")
    if jq is None:
        pytest.skip("jq is not installed")
    command = [jq, "-c", "select(.key) | [.key, .value]", str(archive)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == '["theme","dark"]\n["window",{"width":800}]\n'


@pytest.mark.parametrize("compression", ["deflate", "zstd"])
async def test_other_programs_read_what_is_compressed(tmp_path, compression):
    """A compressed archive is an ordinary gzip or zstd file."""
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    async with open_persistence("memory:") as persistence:
        await fill(persistence, 2000)
        await persistence.export_to(plain)
        await persistence.export_to(packed, compression=compression)
    if compression == "deflate":
        read = gzip.decompress(packed.read_bytes())
    else:
        zstandard = pytest.importorskip("zstandard")
        with packed.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            read = reader.read()
    assert read == plain.read_bytes()
    assert packed.stat().st_size < plain.stat().st_size / 2


@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_every_flipped_byte_is_noticed_and_the_rest_is_imported(tmp_path, compression):
    """Wherever a byte is flipped: the report says so, no value is wrong, and few records are lost."""
    async with open_persistence("memory:") as persistence:
        await persistence.save_many({f"key{n}": ["value", n] for n in range(4)})
        expected = await stored(persistence)
        archive = tmp_path / "archive"
        await persistence.export_to(archive, compression=compression)
    data = archive.read_bytes()
    for at in range(len(data)):
        for flip in (0x01, 0x20, 0x80) if compression is None else (1 << at % 8,):
            archive.write_bytes(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
            async with open_persistence("memory:", cache=None) as persistence:
                try:
                    report = await persistence.import_from(archive)
                except SchemaTooNewError:
                    pytest.fail(f"byte {at} was taken for another format")
                assert not report, f"byte {at}"
                found = await stored(persistence)
            assert found.items() <= expected.items(), f"byte {at}"
            if compression is None:
                assert len(found) >= 3, f"byte {at}"
            else:
                last_block = data.rindex(data[:8])
                assert len(found) == (4 if at >= last_block else 0), f"byte {at}"


async def test_a_damaged_line_is_named_with_its_key(tmp_path):
    """The report says which line, which key and why; the others are there."""
    archive = tmp_path / "archive"
    async with open_persistence("memory:") as persistence:
        await persistence.save_many({"a": "first", "b": "second", "c": "third"})
        await persistence.export_to(archive)
        archive.write_bytes(archive.read_bytes().replace(b"second", b"secund"))
    async with open_persistence("memory:") as persistence:
        report = await persistence.import_from(archive)
        assert [(fault.line, fault.key) for fault in report.faults] == [(3, "b")]
        assert "sum" in report.faults[0].reason
        assert await listed(persistence) == ["a", "c"]


@pytest.mark.parametrize("compression", ["deflate", "zstd"])
async def test_a_damaged_block_costs_its_own_records_only(tmp_path, compression):
    """Behind a damaged compressed block the archive is read on."""
    archive = tmp_path / "archive"
    noise = random.Random(5)
    async with open_persistence("memory:") as persistence:
        for n in range(4):
            await persistence.save_many(
                {f"{n}/{i:03}": "".join(noise.choices("abcdefghij", k=500)) for i in range(250)}
            )
        expected = await stored(persistence)
        await persistence.export_to(archive, compression=compression)
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)
    async with open_persistence("memory:") as persistence:
        report = await persistence.import_from(archive)
        assert report.faults
        found = await stored(persistence)
        assert found.items() <= expected.items()
        assert len(expected) - 300 <= len(found) < len(expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [], "empty"),
        (lambda lines: lines[:-1], "last line is missing"),
        (lambda lines: [*lines[:-1], lines[-1].rstrip(b"\n")], "newline is missing"),
        (lambda lines: [lines[0], *lines[2:]], "3 records were written, 2 are here"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "another order"),
        (lambda lines: [*lines, lines[1]], "behind the last line"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "3 records were written, 4 are here"),
        (lambda lines: lines[1:], "are here"),
    ],
)
async def test_lines_that_are_missing_or_moved_are_noticed(tmp_path, change, said):
    """Also where every line for itself is whole."""
    archive = tmp_path / "archive"
    async with open_persistence("memory:") as persistence:
        await persistence.save_many({"a": 1, "b": 2, "c": 3})
        await persistence.export_to(archive)
        archive.write_bytes(b"".join(change(archive.read_bytes().splitlines(keepends=True))))
        report = await persistence.import_from(archive, dry_run=True)
        assert not report
        assert any(said in fault.reason for fault in report.faults), report.faults


class Stopped(Exception):
    pass


def stop_after(calls):
    def progress(_):
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise Stopped

    return progress


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("calls", [0, 1, 4, 6])
async def test_an_export_goes_on_where_it_was_broken_off(tmp_path, compression, calls):
    """Broken off anywhere, even in the middle of a line, it ends like one that was not."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    async with open_persistence(tmp_path / "store.db") as persistence:
        await fill(persistence, 2500)
        await persistence.export_to(whole, compression=compression)
        with pytest.raises(Stopped):
            await persistence.export_to(broken, compression=compression, progress=stop_after(calls))
        (part,) = tmp_path.glob("broken.*.part")
        part.write_bytes(part.read_bytes()[:-7])
        assert not broken.exists()
        report = await persistence.export_to(broken, compression=compression)
        assert report.resumed > 0 or calls <= 1 or compression
        assert report.records == len(KEYS) + 1 + 2500
    assert broken.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part"))


async def test_an_export_goes_on_only_with_its_own(tmp_path):
    """Another selection, another store and an old attempt begin anew."""
    target = tmp_path / "archive"
    async with open_persistence("memory:") as one, open_persistence("memory:") as other:
        for persistence in (one, other):
            await fill(persistence, 2000)
        with pytest.raises(Stopped):
            await one.export_to(target, progress=stop_after(3))
        assert (await other.export_to(target)).resumed == 0
        assert (await one.export_to(target, prefix="many/")).resumed == 0
        (part,) = tmp_path.glob("*.part")
        os.utime(part, (0, 0))
        assert (await one.export_to(target)).resumed == 0


async def test_cancelled_at_every_await_an_export_and_an_import_can_be_resumed(tmp_path):
    """A cancelled job leaves nothing that the next one could not go on from."""
    target, whole = tmp_path / "archive", tmp_path / "whole"
    async with open_persistence("memory:") as persistence, open_persistence("memory:") as other:
        await fill(persistence, 1500)
        await persistence.export_to(whole)
        for turns in range(0, 60, 3):
            task = asyncio.ensure_future(persistence.export_to(target))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            bring = asyncio.ensure_future(other.import_from(whole))
            for _ in range(turns):
                await asyncio.sleep(0)
            bring.cancel()
            await asyncio.gather(bring, return_exceptions=True)
        await persistence.export_to(target)
        assert target.read_bytes() == whole.read_bytes()
        await other.import_from(whole)
        await other.export_to(target)
        assert target.read_bytes() == whole.read_bytes()


async def test_progress_is_told_often(tmp_path):
    """At least ten times for 10,000 records, in both directions."""
    target = tmp_path / "archive"
    async with open_persistence("memory:") as persistence, open_persistence("memory:") as other:
        await persistence.save_many({f"{n:05}": n for n in range(10_000)})
        out, into = [], []
        await persistence.export_to(target, progress=out.append)
        await other.import_from(target, progress=into.append)
    for told in (out, into):
        assert len(told) >= 10
        assert [so_far.done for so_far in told] == sorted(so_far.done for so_far in told)
        assert told[-1].done == 10_000 == told[-1].total


async def test_conflicts(tmp_path):
    """skip, overwrite, newer and fail do what their names say; a dry run does nothing."""
    target = tmp_path / "archive"
    async with open_persistence("memory:") as source:
        await source.save_many({"same": 1, "other": 2, "new": 3})
        await source.export_to(target, times=True)
    for conflict, other in (("skip", 9), ("overwrite", 2), ("newer", 9)):
        async with open_persistence("memory:") as persistence:
            await persistence.save_many({"same": 1, "other": 9})
            before = await stored(persistence)
            dry = await persistence.import_from(target, conflict=conflict, dry_run=True)
            assert await stored(persistence) == before
            report = await persistence.import_from(target, conflict=conflict)
            assert report == dry
            assert await persistence.load_many(["same", "other", "new"], int) == {
                "same": 1,
                "other": other,
                "new": 3,
            }
    async with open_persistence("memory:") as persistence:
        await persistence.save_many({"same": 1, "other": 9})
        with pytest.raises(ConflictError, match="other"):
            await persistence.import_from(target, conflict="fail")
        assert await listed(persistence) == ["other", "same"]
        with pytest.raises(ConfigurationError, match="twice"):
            await persistence.import_from(io.BytesIO(target.read_bytes()), conflict="fail")
        with pytest.raises(ConfigurationError, match="conflict is one of"):
            await persistence.import_from(target, conflict="merge")


async def test_newer_takes_what_was_saved_later(tmp_path):
    """The archive's record wins if it was saved after the stored one; without times it is refused."""
    target, without = tmp_path / "archive", tmp_path / "without"
    async with open_persistence("memory:") as persistence, open_persistence("memory:") as source:
        await persistence.save("k", "earlier")
        await asyncio.sleep(0.01)
        await source.save("k", "later")
        await source.export_to(target, times=True)
        await source.export_to(without)
        with pytest.raises(ConfigurationError, match="times=True"):
            await persistence.import_from(without, conflict="newer")
        assert (await persistence.import_from(target, conflict="newer")).replaced == 1
        assert await persistence.load("k", str) == "later"


async def test_damaged_values_are_told_and_never_overwritten(tmp_path):
    """An export leaves them where they are; an import puts the good value there, and theirs in quarantine."""
    target = tmp_path / "archive"
    async with open_persistence("memory:", on_corruption="raise") as persistence:
        await persistence.save_many({"a": 1, "b": 2})
        await persistence.export_to(target)
        await persistence.adapter.commit({"b": b"damaged"})
        report = await persistence.export_to(tmp_path / "second")
        assert not report
        assert [fault.key for fault in report.faults] == ["b"]
        assert (await persistence.import_from(target)).replaced == 1
        assert await persistence.load("b", int) == 2
        kept = [key async for key in persistence.adapter.keys("\x01quarantine/")]
        assert len(kept) == 1


async def test_namespaces_prefixes_and_patterns(tmp_path):
    """A namespace exports its own keys, without its name, and imports them under its own."""
    target = tmp_path / "archive"
    async with open_persistence("memory:") as persistence:
        inner, other = persistence.namespace("one"), persistence.namespace("two")
        await inner.save_many({"x/1": 1, "x/2": 2, "y/1": 3})
        await persistence.save("outside", 0)
        assert (await inner.export_to(target)).records == 3
        assert (await other.import_from(target, prefix="x/")).added == 2
        assert await listed(other) == ["x/1", "x/2"]
        assert await other.load("x/2", int) == 2
        assert (await persistence.export_to(target, pattern="*/1")).records == 3
        assert (await persistence.export_to(target, prefix="one/x")).records == 2


async def test_secrets_are_exported_only_when_asked_and_stay_secret(tmp_path):
    """They go to the confidential store and nowhere else."""
    target = tmp_path / "archive"
    async with AdapterBasedPersistence(MemoryAdapter(), secure=ConfidentialMemory()) as persistence:
        await persistence.save("theme", "dark")
        await persistence.secure.save("token", "s3cret")
        await persistence.export_to(target)
        assert b"s3cret" not in target.read_bytes()
        with pytest.raises(InsecureStorageError, match="secure=True"):
            await persistence.secure.export_to(target)
        assert (await persistence.export_to(target, secure=True)).records == 2
    async with open_persistence("memory:") as plain:
        with pytest.raises(ConfigurationError, match="no confidential store"):
            await plain.export_to(tmp_path / "x", secure=True)
        report = await plain.import_from(target)
        assert [fault.key for fault in report.faults] == ["token"]
        assert await listed(plain) == ["theme"]
    async with AdapterBasedPersistence(MemoryAdapter(), secure=ConfidentialMemory()) as persistence:
        assert (await persistence.import_from(target)).added == 2
        assert await persistence.secure.load("token", str) == "s3cret"
        assert not await persistence.exists("token")


async def test_streams(tmp_path):
    """An archive can be written to and read from a file that somebody else opened."""
    out = io.BytesIO()
    async with open_persistence("memory:") as persistence, open_persistence("memory:") as other:
        await fill(persistence)
        await persistence.export_to(out)
        out.seek(0)
        assert await other.import_from(out)
        assert not out.closed
        assert await stored(other) == {k: v for k, v in (await stored(persistence)).items() if k != "gone"}


class Refusing(io.RawIOBase):
    """A stream whose medium is full."""

    def writable(self):
        return True

    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_stream_that_refuses_is_told_as_every_medium():
    """As an error of ours that names it, from the first write as from the last flush."""
    async with open_persistence("memory:") as persistence:
        await fill(persistence, 2000)
        for stream in (Refusing(), io.BufferedWriter(Refusing(), 1 << 24)):
            with pytest.raises(StorageFullError, match="cannot write the archive"):
                await persistence.export_to(stream)
            if isinstance(stream, io.BufferedWriter):
                with contextlib.suppress(OSError):  # it has what could not be written, and tries again
                    stream.close()


async def test_a_body_with_a_newline_and_a_later_format(tmp_path):
    """What does not fit into a line is encoded; what a later version writes is refused by name."""
    target = tmp_path / "archive"
    async with open_persistence("memory:") as persistence, open_persistence("memory:") as other:
        record = seal_record("k", b"[1,\n2]", "1.0")
        await persistence.adapter.commit({"k": record})
        await persistence.export_to(target)
        await other.import_from(target)
        assert await stored(other) == {"k": record}
        target.write_bytes(_sealed(b'"axiom_archive":2}'))
        with pytest.raises(SchemaTooNewError, match="format 2"):
            await other.import_from(target)


async def test_places_that_cannot_be(tmp_path):
    """Errors name the archive; two exports to one place do not mix."""
    async with open_persistence("memory:") as persistence:
        await fill(persistence, 2000)
        with pytest.raises(StorageError, match="nowhere"):
            await persistence.export_to(tmp_path / "nowhere" / "archive")
        with pytest.raises(StorageError, match="absent"):
            await persistence.import_from(tmp_path / "absent")
        with pytest.raises(ConfigurationError, match="compression"):
            await persistence.export_to(tmp_path / "x", compression="rar")
        first = asyncio.ensure_future(persistence.export_to(tmp_path / "x"))
        second = asyncio.ensure_future(persistence.export_to(tmp_path / "x"))
        done = await asyncio.gather(first, second, return_exceptions=True)
        assert sum(isinstance(one, StorageLockedError) for one in done) == 1


@pytest.mark.parametrize("compression", ["deflate"])
def test_killed_on_both_sides_in_bounded_memory(tmp_path, compression):
    """50,000 records: both jobs are killed, go on, and stay below 200 MB."""
    program = Path(__file__).parents[1] / "support" / "archive_kills.py"
    options = ["--records", "50000", "--directory", str(tmp_path), "--compression", str(compression)]
    said = subprocess.run([sys.executable, str(program), *options], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
