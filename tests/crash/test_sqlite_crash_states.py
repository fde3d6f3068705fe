"""What a loss of power leaves of a SQLite store, in one process and in several, at every moment."""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from axiom_persistence.adapters.sqlite import SQLiteAdapter
from support.sqlite_replay import HEADER, STORE, Disk, count_restarts, explore, number_of, record
from support.strace import needs_strace

pytestmark = needs_strace


@pytest.fixture
def scratch():
    """A place in memory for thousands of small images."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as place:
        yield Path(place)


def traced(tmp_path, names, saves, plant="none", **program):
    directory = tmp_path / "store"
    directory.mkdir()
    return directory, record(directory, names, saves, plant, **program)


async def listed(adapter):
    return [key async for key in adapter.keys("")]


def reopened(place, known):
    """The whole adapter over an image: it recovers, agrees, and saves again."""

    async def look():
        async with SQLiteAdapter(place / STORE) as adapter:
            rows = await adapter.fetch(await listed(adapter))
            await adapter.commit({"after": b"1"})
            assert await adapter.check() == []
        async with SQLiteAdapter(place / STORE) as adapter:
            assert await adapter.read("after") == b"1"
            again = await adapter.fetch(await listed(adapter))
            del again["after"]
            assert again == rows
        return {key: number_of(stored.data.decode()) for key, stored in rows.items() if key != HEADER}

    return known.compare(asyncio.run(look()))


def test_a_sync_of_the_log_stands_before_every_acknowledgement(tmp_path):
    """Between the last write of a POWER_LOSS commit and its acknowledgement the -wal was synced."""
    directory, calls = traced(tmp_path, ["a"], 6)
    assert unsynced_at_acknowledgement(calls, directory) == [0] * 14

    shutil.rmtree(directory)
    directory, calls = traced(tmp_path, ["a"], 6, "no-sync")
    assert sum(unsynced_at_acknowledgement(calls, directory)) > 0


def unsynced_at_acknowledgement(calls, directory):
    """For each acknowledgement, the writes to the log that hold its value and are not synced."""
    disk, counts = Disk(str(directory)), []
    for call in calls:
        disk.apply(call)
        if call.kind == "ack":
            log = disk.names[f"{directory}/{STORE}-wal"]
            value = b'{"n":%d,' % call.words[0]
            counts.append(sum(value in change.data for _, change in log.open))
    return counts


def test_one_process_loses_nothing(tmp_path, scratch):
    """In no state after a crash is an acknowledged commit missing, torn or half there."""
    directory, calls = traced(tmp_path, ["a"], 6)
    report = explore(calls, directory, scratch, samples=3, check=reopened)

    longer = [call for call in calls if call.kind == "write" and len(call.data) == 20_480]
    print(f"\n{report.states} crash states, {report.restarts} starts of the log, {len(longer)} times longer")
    assert report.violations == []
    assert longer
    assert report.states > 500
    assert report.restarts >= 3


def test_two_processes_lose_nothing(tmp_path, scratch):
    """Nor where one checkpoints and restarts the log while the other has yet to sync its commit."""
    for attempt in range(10):  # how the processes meet is up to the scheduler
        place = tmp_path / str(attempt)
        place.mkdir()
        directory, calls = traced(place, ["a", "b"], 5, "slow-sync")
        if count_restarts(calls)[1]:
            break
    report = explore(calls, directory, scratch, samples=2, check=reopened)

    print(
        f"\n{report.states} crash states, {report.restarts} starts of the log, {report.overtaken} overtaking"
    )
    assert report.violations == []
    assert report.states > 500
    assert report.overtaken >= 1


@pytest.mark.parametrize(
    ("plant", "names"),
    [
        ("no-sync", ["a"]),
        ("no-sync", ["a", "b"]),
        ("synchronous-off", ["a"]),
        ("synchronous-off", ["a", "b"]),
        ("witness-ahead", ["a"]),
        ("zeros-over-frames", ["a"]),  # with two, one of them sees at once that the other's frames are gone
    ],
)
def test_planted_bugs_are_caught(tmp_path, scratch, plant, names):
    """The same exploration finds what is not synced, what is written over, and what is told as lost."""
    directory, calls = traced(tmp_path, names, 4, plant)
    report = explore(calls, directory, scratch, samples=1)

    print(f"\n{report.states} crash states, {len(report.violations)} violations")
    assert report.violations


VERBS = Path(__file__).parents[1] / "support" / "sqlite_verbs.py"


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_what_was_found_done_is_as_durable_as_was_asked(tmp_path, scratch, names):
    """Deletions, empty work and work already done by somebody, here or there, who promised less."""
    directory, calls = traced(tmp_path, names, 0, program=VERBS)
    report = explore(calls, directory, scratch, samples=2, check=reopened)

    print(f"\n{report.states} crash states, {report.restarts} starts of the log")
    assert report.violations == []
    assert report.states > 300


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_nothing_to_do_and_nothing_to_sync_is_caught(tmp_path, scratch, names):
    """The same exploration finds an adapter that syncs only what it writes itself."""
    directory, calls = traced(tmp_path, names, 0, "nothing-to-sync", program=VERBS)
    report = explore(calls, directory, scratch, samples=1)

    print(f"\n{report.states} crash states, {len(report.violations)} violations")
    assert report.violations
    assert all("was acknowledged" in fault for *_, fault in report.violations)
