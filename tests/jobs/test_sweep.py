"""What has expired is removed from the medium: by a sweep, and by whoever has the store open."""

import asyncio
import time
from datetime import timedelta

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.errors import ConfigurationError
from axiom_persistence.opening import _chores
from support.embedded import EMBEDDED, Kept, listed, plant, quarantined

AT_ONCE = timedelta(microseconds=1)


async def keys_below(persistence):
    """The keys of users that the medium has, expired or not."""
    found = persistence.adapter.keys()
    return [key async for key in found if key[0] != "\x01"]


@pytest.mark.parametrize("kind", EMBEDDED)
async def test_a_sweep_removes_what_has_expired_and_nothing_else(tmp_path, kind):
    """Living, damaged and unlimited records stay; a dry run only counts; progress is told."""
    async with Kept(kind, tmp_path).open(on_corruption="raise") as persistence:
        await persistence.save_many({f"stays/{n}": n for n in range(150)})
        await persistence.save_many({f"gone/{n:03}": n for n in range(300)}, ttl=AT_ONCE)
        await persistence.save("later", 1, ttl=timedelta(days=1))
        await persistence.save("damaged", 1, ttl=AT_ONCE)
        data = await persistence.adapter.read("damaged")
        await plant(persistence, "damaged", data[:-2] + b"2}")
        before = await keys_below(persistence)
        dry = await persistence.sweep(dry_run=True)
        assert await keys_below(persistence) == before
        told = []
        report = await persistence.sweep(progress=told.append)
        assert report.expired == dry.expired == 300
        assert told[-1].done == report.records
        left = await keys_below(persistence)
        assert sorted(left) == sorted(["damaged", "later", *(f"stays/{n}" for n in range(150))])
        assert (await persistence.sweep()).expired == 0


async def test_a_namespace_sweeps_its_own(tmp_path):
    """And a store that never held a record with an end is not walked."""
    async with open_persistence(tmp_path / "store.db") as persistence:
        await persistence.save("k", 1)
        assert (await persistence.sweep()).records == 0
        one = persistence.namespace("one")
        await one.save("k", 1, ttl=AT_ONCE)
        await persistence.save("k", 1, ttl=AT_ONCE)
        assert (await one.sweep()).expired == 1
        assert await keys_below(persistence) == ["k"]


async def test_quarantine_has_an_age(tmp_path):
    """Damaged bytes are kept for 90 days, or as long as asked."""
    async with open_persistence(tmp_path / "store.db") as persistence:
        await persistence.save("k", 1)
        await plant(persistence, "k", b"damaged")
        await persistence.load("k", int)
        assert len(await quarantined(persistence)) == 1
        assert (await persistence.sweep()).quarantined == 0
        assert (await persistence.sweep(quarantine=timedelta(0), dry_run=True)).quarantined == 1
        assert len(await quarantined(persistence)) == 1
        assert (await persistence.sweep(quarantine=timedelta(0))).quarantined == 1
        assert await quarantined(persistence) == []
        for wrong in (timedelta(-1), 90):
            with pytest.raises(ConfigurationError, match="quarantine"):
                await persistence.sweep(quarantine=wrong)


@pytest.mark.parametrize("name", ["store.db", "store"])
async def test_an_expired_secret_is_not_in_the_files_after_a_sweep(tmp_path, name):
    """Neither in the database nor in its log, while the store is open and once it is closed."""
    token = "s3cret-token-of-somebody"
    place = tmp_path / name

    def files_with_it():
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        return [path for path in files if token.encode() in path.read_bytes()]

    async with open_persistence(place) as persistence:
        await persistence.save_many({f"other/{n}": n for n in range(50)})
        await persistence.save("token", token, ttl=timedelta(days=1))
        await persistence.save("token", token + "2", ttl=AT_ONCE)
        assert files_with_it()
        assert (await persistence.sweep()).expired == 1
        assert not files_with_it()
        await persistence.save("token", token, ttl=AT_ONCE)
        assert (await persistence.sweep()).expired == 1
        assert not files_with_it()
        await persistence.save("other/1", 2)
    assert not files_with_it()


@pytest.mark.parametrize("kind", ["sqlite", "file", "stack", "encrypted sqlite", "encrypted file"])
async def test_generations_before_have_an_age(tmp_path, kind):
    """They are forgotten when they have been kept for as long as asked, 90 days else; the values stay."""
    async with Kept(kind, tmp_path).open() as persistence:
        for n in (1, 2):
            for key in ("a", "b/c"):
                await persistence.save(key, n)
        adapter = persistence.adapter
        assert await adapter.previous("a") is not None
        report = await persistence.sweep()
        assert (report.previous, await adapter.previous("b/c") is None) == (0, False)
        report = await persistence.sweep(previous=timedelta(0))
        assert report.previous == 2
        assert await adapter.previous("a") is None
        assert await persistence.load_many(["a", "b/c"], int) == {"a": 2, "b/c": 2}
        assert await persistence.verify()
        with pytest.raises(ConfigurationError, match="previous"):
            await persistence.sweep(previous=90)
    async with Kept(kind, tmp_path).open() as persistence:
        assert await persistence.load_many(["a", "b/c"], int) == {"a": 2, "b/c": 2}


async def test_free_room_goes_back_to_the_file_system(tmp_path):
    """Where it is much: the file is as small as what is left, beside a reader and a writer who go on."""
    place = tmp_path / "store.db"
    async with open_persistence(place) as persistence, open_persistence(place) as other:
        await persistence.save_many({f"stays/{n}": "x" * 1000 for n in range(100)})
        await persistence.save_many({f"gone/{n:04}": "x" * 1000 for n in range(3000)}, ttl=AT_ONCE)
        await persistence.flush()
        stop = asyncio.Event()

        async def use():
            number = 0
            while not stop.is_set():
                number += 1
                await other.save("counter", number)
                assert await other.load("stays/7", str) == "x" * 1000
                await asyncio.sleep(0.001)
            return number

        using = asyncio.ensure_future(use())
        report = await persistence.sweep()
        stop.set()
        number = await using
        if not report.freed:  # the other one was at it
            report = await persistence.sweep()
        assert report.freed > 2_000_000
        assert place.stat().st_size < 1_000_000
        assert await other.load("counter", int) == await persistence.load("counter", int) == number
        assert len(await listed(persistence, "stays/")) == 100
        await other.save("counter", number + 1)
        assert (await persistence.sweep()).freed == 0
    async with open_persistence(place) as persistence:
        assert await persistence.verify()
        assert await persistence.load("counter", int) == number + 1


async def until(condition):
    limit = time.monotonic() + 60
    while not await condition():
        assert time.monotonic() < limit
        await asyncio.sleep(0.02)


async def test_an_open_store_sweeps_by_itself(tmp_path, monkeypatch):
    """Also records that expire later, without a call of anybody; saves go on meanwhile."""
    for name in ("FIRST_SWEEP_SECONDS", "TURN_SECONDS", "IDLE_TURN_SECONDS", "SWEEP_PAUSE_SECONDS"):
        monkeypatch.setattr(_chores, name, 0.01)
    async with open_persistence(tmp_path / "store.db") as persistence:
        await persistence.save_many({f"{n:04}": n for n in range(1000)}, ttl=AT_ONCE)
        await persistence.save("stays", 1)
        await persistence.save("later", 1, ttl=timedelta(seconds=0.2))

        async def swept():
            await persistence.save("stays", 1)
            return await keys_below(persistence) == ["stays"]

        await until(swept)
        assert await listed(persistence) == ["stays"]


async def test_what_is_inspected_is_not_swept(tmp_path, monkeypatch):
    """Looking changes nothing."""
    monkeypatch.setattr(_chores, "FIRST_SWEEP_SECONDS", 0.01)
    async with open_persistence(tmp_path / "store.db") as persistence:
        await persistence.save("k", 1, ttl=AT_ONCE)
        monkeypatch.setattr(_chores, "FIRST_SWEEP_SECONDS", 1000.0)
    before = (tmp_path / "store.db").read_bytes()
    async with open_persistence(tmp_path / "store.db", mode="inspect"):
        await asyncio.sleep(0.1)
    assert (tmp_path / "store.db").read_bytes() == before


def test_a_program_that_closes_nothing_hears_no_complaint(tmp_path):
    """The timer of the upkeep goes with the loop: no pending task, no error, no warning but the known one."""
    import subprocess
    import sys

    program = (
        "import asyncio, warnings\n"
        "warnings.simplefilter('ignore', ResourceWarning)\n"
        "from axiom_persistence import open_persistence\n"
        "async def main():\n"
        f"    persistence = await open_persistence({str(tmp_path / 'x.db')!r})\n"
        "    await persistence.save('k', 1)\n"
        "loop = asyncio.new_event_loop()\n"
        "loop.run_until_complete(main())\n"
        "loop.close()\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
