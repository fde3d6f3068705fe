"""What every job promises: it tells how far it is, and broken off anywhere it can be begun again.

10,000 records are told of at least ten times. Cancelled at every await, each state it leaves is one to go on
from: the same job, run to its end, leaves what one that nobody disturbed leaves.
"""

import asyncio
import itertools
from datetime import timedelta
from pathlib import Path

import pytest

from axiom_persistence import MemoryAdapter, open_persistence
from axiom_persistence.jobs import export, intake, verify
from axiom_persistence.jobs._selection import Selection
from axiom_persistence.jobs.intake import Place, copy_into
from axiom_persistence.jobs.walk import Progress
from axiom_persistence.records.migrations import Migrations
from axiom_persistence.security import StaticKey
from support.embedded import plant

KEY = StaticKey(b"k" * 32)


def stepped():
    migrations = Migrations(current="2.0")

    migrations.value("1.0", "2.0", key="*", down=lambda value: value // 2)(lambda value: value * 2)
    return migrations


class Job:
    """A job over stores in ``directory``: made once, run, and looked at."""

    options = {}
    files = {}
    expires = False

    def __init__(self, directory):
        self.directory = directory

    def open(self, name="one.db", **options):
        return open_persistence(self.directory / name, **{**self.options, **options})

    async def prepare(self, count):
        async with self.open() as persistence:
            ttl = timedelta(microseconds=1) if self.expires else None
            await persistence.save_many({f"{n:05}": n for n in range(count)}, ttl=ttl)

    async def run(self, persistence, progress):
        """Begin it, or begin it again."""
        raise NotImplementedError

    async def outcome(self, persistence):
        """What it left, apart from times, names and versions."""
        return await stored(persistence)


async def stored(persistence):
    found = {}
    async for key in persistence.adapter.keys():
        if key[0] != "\x01":
            found[key] = await persistence.adapter.read(key)
    return found


class Export(Job):
    async def run(self, persistence, progress):
        await persistence.export_to(self.directory / "archive", progress=progress)

    async def outcome(self, persistence):
        assert not list(self.directory.glob("*.part"))
        return (self.directory / "archive").read_bytes()


class Import(Job):
    async def prepare(self, count):
        async with self.open("other.db") as persistence:
            await persistence.save_many({f"{n:05}": n for n in range(count)})
            await persistence.export_to(self.directory / "archive")

    async def run(self, persistence, progress):
        assert await persistence.import_from(self.directory / "archive", progress=progress)


class Copy(Job):
    async def run(self, persistence, progress):
        async with self.open("other.db") as target:
            selection = Selection(persistence.place("")[0])
            assert await copy_into(Place(target.place("")[0]), [selection], progress=progress)

    async def outcome(self, persistence):
        async with self.open("other.db") as target:
            return await stored(target)


class Snapshot(Job):
    async def run(self, persistence, progress):
        self.made = await persistence.snapshot(progress=progress)

    async def outcome(self, persistence):
        async with open_persistence(Path(self.made.path), mode="inspect") as copy:
            return await stored(copy)


class SnapshotOfFiles(Snapshot):
    def open(self, name="one", **options):
        return super().open(name, **options)


class SnapshotByWalk(Snapshot):
    """Of an adapter that can make no copy of itself."""

    def __init__(self, directory):
        super().__init__(directory)
        self.memory = MemoryAdapter()

    def open(self, name="one.db", **options):
        return open_persistence(self.memory, **options)

    async def run(self, persistence, progress):
        self.made = await persistence.snapshot(self.directory / "copies", progress=progress)


class Restore(Job):
    async def prepare(self, count):
        await super().prepare(count)
        async with self.open() as persistence:
            self.made = await persistence.snapshot(self.directory / "copies")
            await persistence.delete_prefix("0")
            await persistence.save("new", 1)

    async def run(self, persistence, progress):
        await persistence.restore(self.made, progress=progress)


class Sweep(Job):
    expires = True

    async def run(self, persistence, progress):
        await persistence.sweep(progress=progress)


class Verify(Job):
    async def prepare(self, count):
        await super().prepare(count)
        async with self.open() as persistence:
            for n in range(0, count, max(1, count // 7)):
                await plant(persistence, f"{n:05}", b"damaged")

    async def run(self, persistence, progress):
        assert await persistence.verify(repair=True, progress=progress)


class Migrate(Job):
    async def prepare(self, count):
        await super().prepare(count)
        self.options = {"migrations": stepped()}

    async def run(self, persistence, progress):
        await persistence.migrate("1.0", "2.0", progress=progress)


class Rollback(Migrate):
    """To the originals of a migration."""

    async def prepare(self, count):
        await super().prepare(count)
        async with self.open() as persistence:
            await persistence.migrate("1.0", "2.0")
            await persistence.save("00003", 100)  # which goes by the way down

    async def run(self, persistence, progress):
        await persistence.rollback("1.0", progress=progress)


class RollbackByDowns(Rollback):
    """After the originals were dropped."""

    async def prepare(self, count):
        await super().prepare(count)
        async with self.open() as persistence:
            await persistence.finalize()


class Rotate(Job):
    options = {"keys": KEY}

    async def run(self, persistence, progress):
        await persistence.rotate_keys(progress=progress)

    async def outcome(self, persistence):
        encrypted = persistence._encrypted()
        numbers = set()
        async for key in encrypted.inner.keys():
            found = (await encrypted.inner.fetch((key,)))[key]
            numbers.add(encrypted.number_of(key, found))
        assert len(numbers - {None}) == 1
        return await stored(persistence)


JOBS = [
    *(Export, Import, Copy, Snapshot, SnapshotOfFiles, SnapshotByWalk),
    *(Restore, Sweep, Verify, Migrate, Rollback, RollbackByDowns, Rotate),
]
every_job = pytest.mark.parametrize("kind", JOBS)


@every_job
async def test_progress_is_told_often(kind, tmp_path):
    """At least ten times, never going back, and at the end all is done."""
    assert await wrong_with_progress(kind, tmp_path, 300 if kind is SnapshotOfFiles else 10_000) == []


async def wrong_with_progress(kind, directory, count):
    job, told, wrong = kind(directory), [], []
    await job.prepare(count)
    async with job.open() as persistence:
        await job.run(persistence, told.append)
    if len(told) < 10:
        wrong.append(f"told {len(told)} times")
    back = sum(b.done < a.done for a, b in itertools.pairwise(told))
    if back > (1 if kind in (Migrate, RollbackByDowns) else 0):  # which try everything first
        wrong.append(f"it goes back {back} times")
    if not told or told[-1].total not in (None, told[-1].done):
        wrong.append("it never ends")
    return wrong


class Stopped(Exception):
    pass


@every_job
async def test_what_progress_raises_ends_it(kind, tmp_path):
    """And the next one goes on."""
    count = 40 if kind is SnapshotOfFiles else 600
    whole = await undisturbed(kind, tmp_path / "whole", count)
    job = kind(tmp_path)
    await job.prepare(count)

    def stop(_):
        raise Stopped

    async with job.open() as persistence:
        with pytest.raises(Stopped):
            await job.run(persistence, stop)
        await job.run(persistence, lambda _: None)
        assert await job.outcome(persistence) == whole


async def undisturbed(kind, directory, count):
    directory.mkdir()
    job = kind(directory)
    await job.prepare(count)
    async with job.open() as persistence:
        await job.run(persistence, lambda _: None)
        return await job.outcome(persistence)


MANY = 8000
"""Records of which several threads, one after the other, read or write a part."""


class Steps:
    """Awaits ``work``, and cancels the task when it waits for the time number ``at``."""

    def __init__(self, work, at):
        self.work, self.at, self.count = work, at, 0

    def __await__(self):
        step, told = self.work.send, None
        while True:
            try:
                waiting = step(told)
            except StopIteration as ended:
                return ended.value
            if self.count == self.at:
                asyncio.current_task().cancel()
            self.count += 1
            try:
                step, told = self.work.send, (yield waiting)
            except BaseException as error:
                step, told = self.work.throw, error


async def broken_off(kind, directory, count, at):
    """What a job leaves that is cancelled at one await and then begun again; how many awaits there were."""
    directory.mkdir()
    job = kind(directory)
    await job.prepare(count)
    async with job.open() as persistence:
        steps = Steps(job.run(persistence, lambda _: None), at)
        try:
            await asyncio.ensure_future(_awaited(steps))
        except asyncio.CancelledError:
            await job.run(persistence, lambda _: None)
        found = await job.outcome(persistence)
        assert await persistence.verify()
    return found, steps.count


async def _awaited(steps):
    return await steps


async def wrong_after_cancelling(kind, directory, count, most):
    """At which awaits a cancelled job could not be begun again; at most ``most`` are tried."""
    whole, awaits = await broken_off(kind, directory / "whole", count, -1)
    chosen = sorted({*range(min(awaits, most // 2)), *range(0, awaits, max(1, 2 * awaits // most))})
    wrong = []
    for at in chosen:
        found, _ = await broken_off(kind, directory / str(at), count, at)
        if found != whole:
            wrong.append(at)
    return wrong, awaits


@every_job
async def test_cancelled_at_any_await_it_can_be_begun_again(kind, tmp_path):
    """And ends as one that nobody disturbed."""
    count = {SnapshotOfFiles: 30, Verify: 30, Export: MANY, Import: MANY}.get(kind, 600)
    wrong, awaits = await wrong_after_cancelling(kind, tmp_path, count, 10)
    print(f"\n{kind.__name__}: {awaits} awaits")
    assert wrong == []
    assert awaits > 0


# -- planted bugs ----------------------------------------------------------------------------------


def forgets_where_it_was(monkeypatch):
    """An export goes on behind its last whole line, with the records from the beginning."""
    look = export._Part._look
    monkeypatch.setattr(export._Part, "_look", lambda self: look(self)._replace(last=None))


def done_before_it_is(monkeypatch):
    """An import remembers a page as done, and then stores it."""
    take, done = intake._Intake.take, set()

    async def early(self, page):
        mark = self._place.store.adapter.location, page[0].key
        if mark not in done:
            done.add(mark)
            await asyncio.sleep(0)
            await take(self, page)

    monkeypatch.setattr(intake._Intake, "take", early)


@pytest.mark.parametrize(("kind", "plant"), [(Export, forgets_where_it_was), (Import, done_before_it_is)])
async def test_a_job_that_does_not_go_on_is_noticed(kind, plant, tmp_path, monkeypatch):
    """The same cancellations find lines that are there twice, and records that are nowhere."""
    plant(monkeypatch)
    wrong, _ = await wrong_after_cancelling(kind, tmp_path, MANY, 10)
    assert wrong


async def test_a_job_that_tells_nothing_is_noticed(tmp_path, monkeypatch):
    """Until its end."""
    walk = verify.pages

    async def silent(keys, **options):
        told = options.pop("progress")
        async for page in walk(keys, **options):
            yield page
        told(Progress(0))

    monkeypatch.setattr(verify, "pages", silent)
    assert await wrong_with_progress(Verify, tmp_path, 500) == ["told 1 times"]
