"""Every way to damage a record, in real stores, and what must hold afterwards."""

import pickle
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from axiom_persistence import (
    MISSING,
    AdapterBasedPersistence,
    FileStorageAdapter,
    PersistenceError,
    SQLiteAdapter,
)
from axiom_persistence.adapters._file.names import file_name
from axiom_persistence.errors import CorruptedDataError
from axiom_persistence.store._header import HEADER
from support.embedded import quarantined

# key: (the value of the previous generation, the current value)
VALUES = {
    "a": ("a zero", "a one"),
    "b/c": (MISSING, {"n": [1, None, 2.5]}),
    "é": ({"x": ""}, {"x": "y"}),
}
GONE = "gone"


def damages(data):
    """(what was done, the bytes that are there then): flips, cuts, zeroed tails, other files' content."""
    for at in range(len(data)):
        for bit in (1 << at % 8, 0xFF):
            yield f"flip {bit:#x} at {at}", data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
    for at in range(len(data)):
        yield f"cut at {at}", data[:at]
        yield f"zeros from {at}", data[:at] + bytes(len(data) - at)
    yield "a pickle", pickle.dumps("a one")
    yield "JSON without a record around it", b'"a one"'
    yield "a line behind", data + b"\n"
    yield "zeros behind", data + bytes(64)
    yield "twice", data + data


class FilePlace:
    """A closed store of files whose content can be exchanged."""

    def __init__(self, directory):
        self.path = Path(directory) / "store"
        self.files = {}

    def adapter(self):
        return FileStorageAdapter(self.path)

    def remember(self):
        self.files = {p.relative_to(self.path): p.read_bytes() for p in self.path.rglob("*") if p.is_file()}

    def restore(self):
        shutil.rmtree(self.path)
        for name, data in self.files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_bytes(data)
            (self.path / name).chmod(0o600)

    def get(self, key):
        return (self.path / file_name(key)).read_bytes()

    def put(self, key, data):
        (self.path / file_name(key)).write_bytes(data)

    def get_previous(self, key):
        return (self.path / (file_name(key) + "~")).read_bytes()

    def read(self, name):
        return (self.path / name).read_bytes()

    def write(self, name, data):
        (self.path / name).write_bytes(data)

    def put_previous(self, key, data):
        (self.path / (file_name(key) + "~")).write_bytes(data)


class SQLitePlace:
    """A closed store in SQLite whose cells can be exchanged through the back door."""

    def __init__(self, directory):
        self.path = Path(directory) / "store.db"
        self.image = b""

    def adapter(self):
        return SQLiteAdapter(self.path)

    def remember(self):
        with self._back_door() as door:
            door.execute("PRAGMA journal_mode=DELETE")
        self.image = self.path.read_bytes()

    def restore(self):
        for name in (self.path, f"{self.path}-wal", f"{self.path}-shm"):
            Path(name).unlink(missing_ok=True)
        self.path.write_bytes(self.image)

    def get(self, key):
        with self._back_door() as door:
            return door.execute("SELECT CAST(data AS BLOB) FROM record WHERE key=?", (key,)).fetchone()[0]

    def put(self, key, data):
        with self._back_door() as door:
            door.execute("UPDATE record SET data=CAST(? AS TEXT) WHERE key=?", (data, key))

    def get_previous(self, key):
        with self._back_door() as door:
            return door.execute("SELECT CAST(data AS BLOB) FROM previous WHERE key=?", (key,)).fetchone()[0]

    def read(self, name):
        return self.image

    def write(self, name, data):
        self.path.write_bytes(data)

    def put_previous(self, key, data):
        with self._back_door() as door:
            door.execute("UPDATE previous SET data=? WHERE key=?", (data, key))

    def _back_door(self):
        return closing(sqlite3.connect(self.path, isolation_level=None))


class Sweep:
    """Damages one place again and again.

    ``violations`` says where a value was wrong or lost unnoticed, ``untyped`` where an error was not ours.
    """

    def __init__(self, place):
        self.place = place
        self.tried = 0
        self.violations = []
        self.untyped = []

    def open(self, **options):
        return AdapterBasedPersistence(self.place.adapter(), **options)

    async def prepare(self):
        async with self.open() as store:
            for generation in (0, 1):
                for key, values in VALUES.items():
                    if values[generation] is not MISSING:
                        await store.save(key, values[generation])
                await store.save(GONE, "it was deleted")
            await store.delete(GONE)
        self.place.remember()

    def expect(self, held, what):
        if not held:
            self.violations.append(what)

    async def damage(self, what, changed):
        """Put the damaged bytes ``changed`` in place, and open the store with either choice."""
        self.tried += 1
        self.place.restore()
        for key, data in changed.items():
            self.place.put(key, data)
        try:
            await self._raising(what, changed)
            await self._recovering(what, changed)
        except PersistenceError as error:
            self.expect(False, f"{what}: {error!r}")

    async def _raising(self, what, changed):
        async with self.open(on_corruption="raise") as store:
            for key, (_, value) in VALUES.items():
                self.expect(await store.exists(key), f"{what}: {key} does not exist")
                try:
                    found = await store.load(key, object if value is None else type(value))
                except CorruptedDataError as error:
                    self.expect(key in changed and error.key == key, f"{what}: {key} refused")
                else:
                    self.expect(key not in changed and found == value, f"{what}: {key} is {found!r}")
            report = await store.verify()
            self.expect({f.key for f in report.findings} == set(changed), f"{what}: verify found {report}")
            self.expect(not store.reports, f"{what}: a report although nothing was done")
        for key, data in changed.items():
            self.expect(self.place.get(key) == data, f"{what}: the damaged bytes of {key} were changed")

    async def _recovering(self, what, changed):
        hidden = set()
        async with self.open() as store:
            for key, (previous, value) in VALUES.items():
                wanted = previous if key in changed else value
                found = await store.load(key, type(value), default=MISSING)
                self.expect(found == wanted, f"{what}: {key} is {found!r}")
                hidden |= {key} if found is MISSING else set()
            reports = {report.key: report.recovered for report in store.reports}
            whole = {key: key in VALUES and VALUES[key][0] is not MISSING for key in changed}
            self.expect(reports == whole, f"{what}: reported {reports}")
            kept = dict(await quarantined(store))
            self.expect(kept == changed, f"{what}: in quarantine {kept}")
            self.expect(await store.load(GONE, str) is None, f"{what}: a deleted key is back")
            if self.tried % 4:
                return
            await store.save("a", "saved after it")
        async with self.open(on_corruption="raise") as store:
            self.expect(await store.load("a", str) == "saved after it", f"{what}: a later save is lost")
            again = {key for key in VALUES if not await store.exists(key)}
            self.expect(again == hidden - {"a"}, f"{what}: {again} missing after reopening")
            self.expect(bool(await store.verify()), f"{what}: not whole after recovery")


async def sweep_records(place, keys):
    """Damage the records of ``keys`` in every way, one at a time, then several at once."""
    sweep = Sweep(place)
    await sweep.prepare()
    for key in keys:
        for what, data in damages(place.get(key)):
            await sweep.damage(f"{key}: {what}", {key: data})
            place.restore()
    a, b = place.get("a"), place.get("é")
    await sweep.damage("a and é exchanged", {"a": b, "é": a})
    await sweep.damage("a's bytes under b/c", {"b/c": a})
    await sweep.damage("nothing left of three", dict.fromkeys(VALUES, b""))
    return sweep


async def sweep_headers(place):
    """Damage the header record in every way: no value depends on it."""
    sweep = Sweep(place)
    await sweep.prepare()
    for what, data in damages(place.get(HEADER)):
        sweep.tried += 1
        place.restore()
        place.put(HEADER, data)
        try:
            async with sweep.open(on_corruption="raise") as store:
                await _expect_values(sweep, what, store)
                try:
                    await store.save("new", 1)
                except CorruptedDataError as error:
                    sweep.expect(error.key == HEADER, f"{what}: {error}")
                else:
                    sweep.expect(False, f"{what}: the damaged header was overwritten")
                sweep.expect(place.get(HEADER) == data, f"{what}: the header was changed")
                if sweep.tried % 2:
                    sweep.expect(not await store.verify(repair=True), f"{what}: repair reports nothing")
                    await store.save("new", 1)
                    sweep.expect(dict(await quarantined(store)) == {HEADER: data}, f"{what}: not kept")
            async with sweep.open() as store:
                await _expect_values(sweep, what, store)
                await store.save("new", 1)
                sweep.expect(dict(await quarantined(store)) == {HEADER: data}, f"{what}: not kept")
        except PersistenceError as error:
            sweep.expect(False, f"{what}: {error!r}")
    return sweep


async def _expect_values(sweep, what, store):
    for key, (_, value) in VALUES.items():
        found = await store.load(key, type(value), default=MISSING)
        sweep.expect(found == value, f"{what}: {key} is {found!r}")


async def sweep_both_generations(place):
    """Damage the current and the previous generation: missing, in quarantine, reported; never wrong."""
    sweep = Sweep(place)
    await sweep.prepare()
    current = place.get("a")
    for what, data in damages(place.get_previous("a")):
        sweep.tried += 1
        place.restore()
        place.put_previous("a", data)
        async with sweep.open() as store:
            await _expect_values(sweep, what, store)
            sweep.expect(not store.reports, f"{what}: reported although nobody read it")
        place.put("a", current[:-1])
        async with sweep.open() as store:
            found = await store.load("a", str, default=MISSING)
            sweep.expect(found is MISSING, f"{what}: both damaged, and yet {found!r}")
            sweep.expect([r.recovered for r in store.reports] == [False], f"{what}: {store.reports}")
            sweep.expect(await quarantined(store) == [("a", current[:-1])], f"{what}: not in quarantine")
            sweep.expect(await store.load("é", dict) == VALUES["é"][1], f"{what}: another record suffered")
    return sweep


async def sweep_bytes(place, name, spots):
    """Flip bytes of a whole file of the store: right, reported or refused, and never silently gone.

    Returns the sweep, how many flips made a key vanish, and how many were refused at opening.
    """
    sweep = Sweep(place)
    await sweep.prepare()
    image = place.read(name)
    vanished = refused = 0
    for at, bit in spots(image):
        what = f"{name}: flip {bit:#x} at {at}"
        sweep.tried += 1
        place.restore()
        place.write(name, image[:at] + bytes([image[at] ^ bit]) + image[at + 1 :])
        try:
            async with sweep.open() as store:
                vanished += await _expect_right_or_told(sweep, what, store)
        except PersistenceError:
            refused += 1
        except Exception as error:
            sweep.untyped.append(f"{what}: {error!r}")
    return sweep, vanished, refused


async def _expect_right_or_told(sweep, what, store):
    silent = []
    for key, (previous, value) in VALUES.items():
        try:
            found = await store.load(key, type(value), default=MISSING)
        except PersistenceError:
            continue
        told = key in {report.key for report in store.reports}
        if found is MISSING:
            silent += [] if told else [key]
        else:
            right = found == value or (told and found == previous)
            sweep.expect(right, f"{what}: {key} is {found!r}, reported: {told}")
    try:
        found = await store.load(GONE, str, default=MISSING)
        sweep.expect(found is MISSING, f"{what}: a deleted key is back: {found!r}")
        whole = bool(await store.verify())
    except PersistenceError:
        whole = False
    if silent:
        sweep.expect(not whole, f"{what}: {silent} vanished and verify finds nothing")
    return bool(silent)
