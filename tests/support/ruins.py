"""Stores in SQLite as disks and people ruin them, and a reader that knows what must come back of each.

The reader knows nothing of pages: it searches the bytes of the database and of its log for every record that
was ever acknowledged.
"""

import random
import re
import shutil
import sqlite3
import string
from contextlib import closing
from pathlib import Path

from axiom_persistence import SQLiteAdapter
from axiom_persistence.records.record import seal_record
from axiom_persistence.storage._salvage import Fate
from axiom_persistence.storage.adapter import Durability

PAGE = 4096
FRAME = PAGE + 24
_END_OF_RECORD = re.compile(rb"}(?=\0[\x06\x07])")
"""The last bytes of a record, before a version of our time."""
SURE = (Fate.RECOVERED, Fate.LOG)


class Ruins:
    """A store with a database and a log that holds saves, as a crash leaves them; and its whole history."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.path = self.directory / "store.db"
        self.saved = {}  # key: every record that was acknowledged, the last one last; None: deleted
        self.parts = {}
        self._random = random.Random(12)

    async def build(self):
        """Three logs, of which the last lies over what is left of the others, and nothing is closed."""
        path = self.directory / "live.db"
        async with SQLiteAdapter(path) as adapter:
            await self._save(adapter, [f"a{n}" for n in range(60)] + ["Ü/" + "n" * 300, "large"])
            await self._save(adapter, [f"z{n}" for n in range(100)] + ["medium 2"])
            self._begin_log_anew(path)
            await self._delete(adapter, [f"a{n}" for n in range(0, 60, 5)])
            await self._save(adapter, [f"b/{n}" for n in range(40)])
            await self._save(adapter, [f"x{n}" for n in range(60)])
            await self._save(adapter, [f"a{n}" for n in range(1, 60, 5)], durable=True)
            self._begin_log_anew(path)
            await self._delete(adapter, ["b/3", "b/7"])
            for n in range(6):
                await self._save(adapter, [f"c{n}", f"b/{n + 20}"])
            await self._save(adapter, ["large", "medium"])
            await self._save(adapter, [f"a{n}" for n in range(2, 60, 10)], durable=True)
            await self._delete(adapter, ["c3"])
            # The file is as long as its pages say: what a busy saver wrote ahead is no part of the log.
            self.parts = {end: Path(f"{path}{end}").read_bytes() for end in ("", "-wal")}
        return self

    def _begin_log_anew(self, path):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def _text(self, size):
        return "".join(self._random.choices(string.ascii_letters + '{}"', k=size)).replace('"', '\\"')

    async def _save(self, adapter, keys, *, durable=False):
        changes = {}
        for key in keys:
            size = {"large": 30_000, "medium": 5_000, "medium 2": 9_000}.get(key) or self._random.choice(
                (5, 60, 150, 700)
            )
            changes[key] = seal_record(key, f'{{"t":"{self._text(size)}"}}'.encode(), "1.0")
            self.saved.setdefault(key, []).append(changes[key])
        await adapter.commit(
            changes, durability=Durability.POWER_LOSS if durable else Durability.PROCESS_EXIT
        )

    async def _delete(self, adapter, keys):
        for key in keys:
            self.saved[key].append(None)
        await adapter.commit(dict.fromkeys(keys), durability=Durability.PROCESS_EXIT)

    def put(self, parts):
        """Have these bytes be the store."""
        for place in self.directory.glob("store.db*"):
            clear(place)
        for end, data in parts.items():
            Path(f"{self.path}{end}").write_bytes(data)

    async def read(self):
        """What is in the store: key, bytes."""
        async with SQLiteAdapter(self.path) as adapter:
            assert await adapter.check() == []
            keys = [key async for key in adapter.keys("")]
            return {key: stored.data for key, stored in (await adapter.fetch(keys)).items()}

    def is_sound(self):
        """Whether what is there opens: the database that was ruined does not."""
        return self.path.read_bytes()[:16] == b"SQLite format 3\0"

    def latest(self):
        """What an undamaged store holds."""
        return {key: saves[-1] for key, saves in self.saved.items() if saves[-1] is not None}

    def left(self, parts):
        """What a search of all bytes finds: key, the places in its history of the records that are there."""
        whole = b"\0".join(parts.values())
        found = {}
        for key, saves in self.saved.items():
            at = [
                n
                for n, data in enumerate(saves)
                if data and all(piece in whole for piece in pieces(key, data))
            ]
            if at:
                found[key] = at
        return found

    def faults(self, parts, report, now, *, told=True):
        """What is wrong in a repair of ``parts``. ``told``: what is left tells whether some is missing."""
        left, latest, wrong = self.left(parts), self.latest(), []
        for key, data in now.items():
            saves = self.saved.get(key)
            if saves is None or data not in saves:
                wrong.append(f"{key}: a value that was never saved")
            elif key not in report.fates or report.fates[key] is Fate.LOST:
                wrong.append(f"{key}: there, and reported as {report.fates.get(key)}")
            elif told and report.fates[key] in SURE and latest.get(key) != data:
                wrong.append(f"{key}: not what was saved last, and reported as {report.fates[key]}")
        for key, at in left.items():
            newest = at[-1]
            if key in now:
                if self.saved[key].index(now[key]) < newest:
                    wrong.append(f"{key}: a newer record is left")
            elif self.saved[key][-1] is not None:
                wrong.append(f"{key}: lost, and its record is left")
        wrong += [
            f"{key}: kept, and not there"
            for key, fate in report.fates.items()
            if (fate is Fate.LOST) == (key in now)
        ]
        return wrong


def clear(place):
    """Away with a file or a directory."""
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()


def varint(number):
    """As SQLite writes a number."""
    parts = [number & 0x7F]
    while number := number >> 7:
        parts.append(number & 0x7F | 0x80)
    return bytes(reversed(parts))


def pieces(key, data):
    """The runs of bytes that a record consists of in the file: one, or one a page where it is long."""
    name = key.encode()
    types = varint(13 + 2 * len(name)) + varint(13 + 2 * len(data)) + b"\x06"
    header = bytes([1 + len(types)]) + types
    size = len(header) + len(name) + len(data) + 8
    if size <= PAGE - 35:
        return [name + data]
    least = (PAGE - 12) * 32 // 255 - 23
    here = least + (size - least) % (PAGE - 4)
    here = here if here <= PAGE - 35 else least
    row = header + name + data
    return [row[:here], *(row[at : at + PAGE - 4] for at in range(here, len(row), PAGE - 4))]


# -- damages ---------------------------------------------------------------------------------------


def _spoil(rng, data, at, size):
    size = min(size, len(data) - at)
    spoilt = bytes(size) if rng.random() < 0.5 else rng.randbytes(size)
    return data[:at] + spoilt + data[at + size :]


def header_overwritten(rng, parts):
    """The beginning of the database, up to its first page."""
    return {**parts, "": _spoil(rng, parts[""], 0, rng.choice((16, 20, 100, 512, PAGE)))}


def pages_spoilt(rng, parts):
    """Pages of the database zeroed or overwritten, whole or half."""
    data = parts[""]
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) // PAGE) * PAGE
        half = rng.choice((0, 0, PAGE // 2))
        data = _spoil(rng, data, at + half, rng.choice((PAGE, PAGE // 2)) if not half else PAGE // 2)
    return {**parts, "": data}


def database_cut(rng, parts):
    """At any 4 KiB, or anywhere."""
    size = len(parts[""])
    at = rng.randrange(size // PAGE + 1) * PAGE if rng.random() < 0.8 else rng.randrange(size)
    return {**parts, "": parts[""][:at]}


def database_emptied(rng, parts):
    """Only the log is left."""
    return {**parts, "": b"" if rng.random() < 0.5 else bytes(len(parts[""]))}


def sectors_spoilt(rng, parts):
    """Some sectors of the database and its log."""
    changed = dict(parts)
    for _ in range(rng.randint(1, 12)):
        end = rng.choice(("", "-wal"))
        at = rng.randrange(len(changed[end]) // 512) * 512
        changed[end] = _spoil(rng, changed[end], at, 512)
    return changed


def versions_spoilt(rng, parts):
    """What stands behind some records, in the database or in the log: no sum is over their versions."""
    changed = dict(parts)
    for _ in range(rng.randint(1, 8)):
        end = rng.choice(("", "-wal", "-wal"))
        ends = [match.end() for match in _END_OF_RECORD.finditer(parts[end])]
        kept = rng.randrange(8)
        changed[end] = _spoil(rng, changed[end], rng.choice(ends) + kept, 8 - kept)
    return changed


def frames_spoilt(rng, parts):
    """Frames of the log, its header now and then; the database stays, or goes as well."""
    log = parts["-wal"]
    for _ in range(rng.randint(1, 5)):
        at = 32 + rng.randrange((len(log) - 32) // FRAME) * FRAME
        log = _spoil(rng, log, at + rng.choice((0, 0, 24)), rng.choice((24, FRAME, FRAME // 2)))
    if rng.random() < 0.3:
        log = _spoil(rng, log, 0, 32)
    changed = {**parts, "-wal": log}
    return pages_spoilt(rng, changed) if rng.random() < 0.5 else changed


def log_cut(rng, parts):
    """The log at the end of a frame, or anywhere, and the database's header."""
    log = parts["-wal"]
    at = 32 + rng.randrange(len(log) // FRAME) * FRAME if rng.random() < 0.5 else rng.randrange(len(log))
    return header_overwritten(rng, {**parts, "-wal": log[:at]})


def log_gone(rng, parts):
    """Nobody copied the log."""
    return pages_spoilt(rng, {"": parts[""]})


DATABASE = (header_overwritten, pages_spoilt, database_cut, database_emptied)
"""What leaves the log whole: then the bytes tell whether anything is missing."""
ALL = (*DATABASE, sectors_spoilt, versions_spoilt, frames_spoilt, log_cut, log_gone)
