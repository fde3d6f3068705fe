"""Stores that cannot be opened: all that is left comes back, the report is true, the original is kept."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from axiom_persistence import Corruption, SQLiteAdapter, blocking, open_persistence
from axiom_persistence.adapters._sqlite import frames, images, pages
from axiom_persistence.adapters._sqlite.salvage import repair
from axiom_persistence.cli import main
from axiom_persistence.errors import CorruptedDataError, StorageLockedError
from axiom_persistence.security.keys import StaticKey
from axiom_persistence.storage._salvage import Fate, SalvageReport
from support import ruins

KILLED_AT_STEP = """
import asyncio, os, signal, sys
from axiom_persistence.adapters._sqlite.salvage import repair
from axiom_persistence.adapters.file import FileStorageAdapter

left = int(sys.argv[2])

def step(event, arguments):
    global left
    if event in ("os.rename", "os.link", "os.mkdir", "os.remove", "sqlite3.connect") or (
        event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    ):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

if os.path.isdir(sys.argv[1]):
    adapter = FileStorageAdapter(sys.argv[1])
    sys.addaudithook(step)
    asyncio.run(adapter.salvage())
else:
    sys.addaudithook(step)
    repair(sys.argv[1], "test")
"""
HOLD = """
import asyncio, sys
from axiom_persistence import SQLiteAdapter

async def hold():
    async with SQLiteAdapter(sys.argv[1]):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(hold())
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A store with a history, to be ruined again and again."""
    memory = Path("/dev/shm")
    place = tmp_path_factory.mktemp("ruins")
    if os.access(memory, os.W_OK):
        place = memory / f"axiom-ruins-{os.getpid()}"
        place.mkdir()
    yield asyncio.run(ruins.Ruins(place).build())
    ruins.clear(place)


def kept(report, path):
    """The original, file by file, as it was moved aside."""
    return {
        end: Path(report.kept, path.name + end).read_bytes()
        for end in ("", "-wal")
        if Path(report.kept, path.name + end).exists()
    }


async def ruined(world, kind, seed):
    """What is wrong after a repair of that damage."""
    parts = kind(random.Random(seed), world.parts)
    world.put(parts)
    report = repair(str(world.path), "test")
    now = await world.read()
    assert kept(report, world.path) == parts
    return world.faults(parts, report, now, told=kind in ruins.DATABASE)


@pytest.mark.parametrize("kind", ruins.ALL, ids=lambda kind: kind.__name__)
async def test_all_that_is_left_comes_back(world, kind):
    """Against a reader that searches every byte: nothing it finds is lost, and the report is true."""
    for seed in range(3):
        assert await ruined(world, kind, seed) == []


def no_log(log, size, index):
    return frames.Frames([], 0, 0)


def any_log(frame, before, big):
    return frame.told


def no_check(key, data):
    return True


@pytest.mark.parametrize(
    ("module", "name", "bug", "kind"),
    [
        (images, "read_frames", no_log, ruins.header_overwritten),
        (pages, "is_whole", no_check, ruins.sectors_spoilt),
        (pages.Pages, "carve", lambda self, image: iter(()), ruins.pages_spoilt),
    ],
    ids=["without the log", "without sums", "without what lies in destroyed pages"],
)
async def test_planted_bugs_are_seen(world, monkeypatch, module, name, bug, kind):
    """The same damages find a repair that leaves one thing out."""
    monkeypatch.setattr(module, name, bug)
    wrong = []
    for seed in range(6):
        try:
            wrong += await ruined(world, kind, seed)
        except Exception as error:  # values that are none may break anything
            wrong.append(repr(error))
    assert wrong


async def test_a_deleted_key_does_not_come_back(world):
    """Earlier pages in the log still have it; what is whole says that it is gone."""
    deleted = [key for key, saves in world.saved.items() if saves[-1] is None]
    assert deleted
    for kind in (ruins.header_overwritten, ruins.pages_spoilt):
        for seed in range(3):
            parts = kind(random.Random(seed), world.parts)
            world.put(parts)
            report = repair(str(world.path), "test")
            back = [key for key in deleted if key in await world.read()]
            assert all(report.fates[key] is Fate.OLDER for key in back)
            assert kind is ruins.pages_spoilt or not back


async def test_killed_at_any_step_the_next_call_ends_it(world):
    """Until then nobody takes what is there for a store; the original is kept. More of it: make torture."""
    parts = ruins.header_overwritten(random.Random(1), world.parts)
    killed = 0
    for step in (1, 2, 3, 4, 5, 7, 9, 12, 15):
        world.put(parts)
        done = subprocess.run([sys.executable, "-c", KILLED_AT_STEP, world.path, str(step)], timeout=60)
        killed += done.returncode == -signal.SIGKILL
        if done.returncode == -signal.SIGKILL:
            with pytest.raises(CorruptedDataError, match="nothing was changed"):
                async with SQLiteAdapter(world.path):
                    pass
            report = repair(str(world.path), "test")
            assert report
            assert kept(report, world.path) == parts
        assert await world.read() == world.latest()
        assert len(list(world.directory.glob("store.db.damaged-*"))) <= 2
    assert killed > 6


async def overwritten(path, **options):
    """A store with two values whose database file begins with something else."""
    async with open_persistence(path, **options) as persistence:
        await persistence.save_many({"theme": "dark", "window": {"width": 800}})
    data = path.read_bytes()
    path.write_bytes(b"\xff" * 100 + data[100:])
    return path.read_bytes()


async def test_by_default_the_command_is_named(tmp_path):
    """Nothing is changed, in either mode, and the hint is a command line that helps."""
    path = tmp_path / "my notes.db"
    before = await overwritten(path)
    for mode in ("normal", "inspect"):
        with pytest.raises(CorruptedDataError, match="overwritten at its beginning") as raised:
            await open_persistence(path, mode=mode)
        assert f"`axiom-persistence verify '{path}' --repair`" in raised.value.hint
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, before)]


@pytest.mark.parametrize("choice", ["repair", lambda report: Corruption.REPAIR], ids=["repair", "function"])
async def test_an_application_may_ask_for_it(tmp_path, choice):
    """Then it opens, says what became of each key, and the file as it was is beside it."""
    path = tmp_path / "notes.db"
    before = await overwritten(path)
    async with open_persistence(path, on_corruption=choice) as persistence:
        report = persistence.salvaged
        assert report
        assert report.fates["theme"] is Fate.RECOVERED
        assert await persistence.load("window", dict) == {"width": 800}
        await persistence.save("theme", "light")
    assert kept(report, path) == {"": before}
    lines = [json.loads(line) for line in Path(report.kept, "report.jsonl").read_text().splitlines()]
    assert {"key": "theme", "fate": "recovered"} in lines
    async with open_persistence(path, on_corruption=choice) as persistence:
        assert persistence.salvaged is None
        assert await persistence.load("theme", str) == "light"


async def test_a_function_that_wants_it_not_is_asked(tmp_path):
    """It gets a report without a key, and any answer but REPAIR raises what was raised before."""
    path = tmp_path / "notes.db"
    await overwritten(path)
    asked = []

    def decide(report):
        asked.append((report.key, report.reason))
        return Corruption.RECOVER

    with pytest.raises(CorruptedDataError):
        await open_persistence(path, on_corruption=decide)
    ((key, reason),) = asked
    assert key == ""
    assert "was overwritten at its beginning" in reason


def test_the_blocking_face_repairs(tmp_path):
    """The same without await."""
    path = tmp_path / "notes.db"
    asyncio.run(overwritten(path))
    with blocking.open_persistence(path, on_corruption="repair") as persistence:
        assert persistence.salvaged
        assert persistence.load("theme", str) == "dark"


async def test_an_encrypted_store_is_repaired(tmp_path):
    """Sealed records are copied as they are; with the key they open."""
    path = tmp_path / "notes.db"
    keys = StaticKey(bytes(range(32)))
    await overwritten(path, keys=keys)
    async with open_persistence(path, keys=keys, on_corruption="repair") as persistence:
        assert persistence.salvaged
        assert await persistence.load("theme", str) == "dark"
        assert await persistence.verify()


async def test_verify_mends_a_store_that_is_open(tmp_path):
    """A page in the middle is gone: the store opens; verify(repair=True) makes it anew and opens it again."""
    path = tmp_path / "notes.db"
    values = {f"key {n}": "x" * 300 for n in range(200)}
    async with open_persistence(path) as persistence:
        await persistence.save_many(values)
    data = path.read_bytes()
    leaf = next(at for at in range(0, len(data), 4096) if data[at] == 13 and b"key 1" in data[at : at + 4096])
    path.write_bytes(data[:leaf] + bytes(4096) + data[leaf + 4096 :])
    async with open_persistence(path) as persistence:
        assert (await persistence.verify()).medium
        report = await persistence.verify(repair=True)
        assert isinstance(report.salvage, SalvageReport)
        assert not report
        assert report.medium == []
        lost = {key for key, fate in report.salvage.fates.items() if fate is Fate.LOST}
        assert lost
        assert lost < values.keys()
        found = await persistence.load_many(list(values), str)
        assert found == {key: text for key, text in values.items() if key not in lost}
        await persistence.save("key 0", "new")
        assert await persistence.verify()


async def test_nothing_is_done_to_a_store_in_use(tmp_path):
    """Another process has it open: that is said, and nothing is moved."""
    path = tmp_path / "notes.db"
    async with open_persistence(path) as persistence:
        await persistence.save("theme", "dark")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StorageLockedError, match="open in another place"):
            repair(str(path), "test")
    finally:
        holder.communicate(timeout=60)
    async with open_persistence(path) as persistence:
        with pytest.raises(StorageLockedError, match="open in another place"):
            repair(str(path), "test")
        assert await persistence.load("theme", str) == "dark"
    assert not list(tmp_path.glob("*.damaged-*"))


async def test_a_sound_store_is_left_alone(tmp_path):
    """There is nothing to mend."""
    path = tmp_path / "notes.db"
    async with open_persistence(path) as persistence:
        await persistence.save("theme", "dark")
    before = path.read_bytes()
    assert await SQLiteAdapter(path).salvage() is None
    assert path.read_bytes() == before


# -- files -----------------------------------------------------------------------------------------


def everything(directory):
    return {p.relative_to(directory): p.read_bytes() for p in Path(directory).rglob("*") if p.is_file()}


LOSSES = {
    "gone": lambda mark: mark.unlink(),
    "emptied": lambda mark: mark.write_bytes(b""),
    "overwritten": lambda mark: mark.write_bytes(b"\xff" * 400),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_directory_without_its_mark_is_repaired(tmp_path, loss):
    """A copy of all of it goes aside; what is torn takes the ladder; everything else is there."""
    path = tmp_path / "notes"
    async with open_persistence(path) as persistence:
        await persistence.save_many({"theme": "dark", "torn": "x" * 100, "a/b": 1})
    torn = path / "torn.json"
    torn.write_bytes(torn.read_bytes()[:50])
    LOSSES[loss](path / ".axiom")
    before = everything(path)
    with pytest.raises(CorruptedDataError, match=r"axiom-persistence verify .* --repair"):
        await open_persistence(path)
    assert everything(path) == before
    async with open_persistence(path, on_corruption="repair") as persistence:
        report = persistence.salvaged
        fates = {key: fate for key, fate in report.fates.items() if key[0] != "\x01"}
        assert fates == {"theme": Fate.RECOVERED, "torn": Fate.LOST, "a/b": Fate.RECOVERED}
        assert not report
        assert await persistence.load("theme", str) == "dark"
        assert await persistence.load("a/b", int) == 1
        assert await persistence.load("torn", str) is None
    assert everything(Path(report.kept) / "notes") == before
    async with open_persistence(path) as persistence:
        assert await persistence.load("theme", str) == "dark"


async def test_a_directory_whose_repair_is_killed_is_repaired_by_the_next(tmp_path):
    """At any step: until the end it is refused as before, and nothing of it has changed but its mark."""
    path = tmp_path / "notes"
    async with open_persistence(path) as persistence:
        await persistence.save_many({"theme": "dark", "a/b": 1})
    (path / ".axiom").unlink()
    values = {name: data for name, data in everything(path).items() if name.name != ".axiom"}
    for step in (1, 3, 5, 8, 10):
        done = subprocess.run([sys.executable, "-c", KILLED_AT_STEP, path, str(step)], timeout=60)
        assert done.returncode == -signal.SIGKILL
        with pytest.raises(CorruptedDataError, match="gone or damaged"):
            await open_persistence(path)
        assert {name: data for name, data in everything(path).items() if name in values} == values
    async with open_persistence(path, on_corruption="repair") as persistence:
        assert persistence.salvaged
        assert await persistence.load("a/b", int) == 1
    assert not list(tmp_path.glob("*.part"))


def test_the_command_line_repairs(tmp_path, monkeypatch, capfd):
    """``verify`` says what to do, and ``--repair`` does it."""
    monkeypatch.chdir(tmp_path)
    asyncio.run(overwritten(tmp_path / "notes.db"))
    assert main(["get", "notes.db", "theme"]) == 3
    assert "--repair" in capfd.readouterr().err
    assert main(["verify", "notes.db", "--repair", "--json"]) == 3
    summary = json.loads(capfd.readouterr().out)
    assert summary["salvage"]["fates"]["theme"] == "recovered"
    assert os.path.isdir(summary["salvage"]["kept"])
    assert main(["verify", "notes.db"]) == 0
    assert main(["get", "notes.db", "theme"]) == 0
