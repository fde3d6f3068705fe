"""Pickles: what diskcache, sqlitedict and pickle wrote is read; what a pickle could do besides, it cannot."""

import copyreg
import os
import pickle
import shelve
import sqlite3
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from enum import Enum
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import diskcache
import pytest
import sqlitedict

from axiom_persistence import open_persistence
from axiom_persistence.jobs._legacy_pickle import unpickler


@dataclass
class Size:
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    id: UUID


class Theme(Enum):
    DARK = "dark"


VALUES = {
    "none": None,
    "text": "é\U0001f600",
    "numbers": [1, 2**80, -1.5, True],
    "bytes": b"\xff\0",
    "set": {1, 2},
    "day": date(2024, 2, 29),
    "clock": clock(1, 2, 3),
    "when": datetime(2024, 2, 29, tzinfo=UTC),
    "zoned": datetime(2024, 2, 29, tzinfo=ZoneInfo("Europe/Berlin")),
    "span": timedelta(hours=3),
    "price": Decimal("1.10"),
    "uuid": UUID(int=7),
    "ordered": OrderedDict(a=1),
    "size": Size(8, 6),
    "frozen": Frozen("x", UUID(int=8)),
    "theme": Theme.DARK,
    "deep": {"a": [Size(1, 2), {"b": (Theme.DARK, UUID(int=9))}]},
}
ALLOWED = [Size, Frozen, Theme]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", VALUES)
def test_values_come_back(name, protocol):
    if protocol < 2 and name == "frozen":
        pytest.skip("slots have no such form")
    assert unpickler(ALLOWED)(pickle.dumps(VALUES[name], protocol)) == VALUES[name]


def test_what_json_has_no_name_for():
    assert unpickler([])(pickle.dumps(deque([1, 2], 5))) == [1, 2]
    assert unpickler([])(pickle.dumps(Path("a/b"))) == Path("a/b")


async def test_a_pickled_file(tmp_path):
    (tmp_path / "state.pickle").write_bytes(pickle.dumps({"size": Size(8, 6), "n": 1}))
    async with open_persistence(tmp_path / "a.db") as persistence:
        report = await persistence.import_legacy(tmp_path / "state.pickle", format="pickle", allow=[Size])
        assert report
        assert await persistence.load("size", Size) == Size(8, 6)
        assert await persistence.load("n", int) == 1


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
async def test_sqlitedict(tmp_path, journal):
    source = tmp_path / "state.sqlite"
    with sqlitedict.SqliteDict(source, journal_mode=journal) as values:
        values.update({"size": Size(8, 6), "list": [1, 2], "theme": Theme.DARK})
        values.commit()
    with sqlite3.connect(source) as database:
        database.execute("INSERT INTO unnamed VALUES ('bad', x'8004ff')")
    database.close()
    before = source.read_bytes()
    async with open_persistence(tmp_path / "a.db") as persistence:
        report = await persistence.import_legacy(source, format="sqlitedict", allow=ALLOWED)
        assert await persistence.load("size", Size) == Size(8, 6)
        assert await persistence.load("list", list[int]) == [1, 2]
        assert await persistence.load("theme", Theme) is Theme.DARK
        assert [entry.name for entry in report.damaged] == ["bad"]
    assert source.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.db", "state.sqlite"]


async def test_diskcache(tmp_path):
    source = tmp_path / "cache"
    with diskcache.Cache(str(source), disk_min_file_size=64) as cache:
        cache["text"] = "é" * 100  # in a file of its own
        cache["bytes"] = b"\xff" * 100
        cache["size"] = Size(8, 6)
        cache["big"] = ["x" * 100]
        cache["number"] = 5
        cache[("a", 1)] = "tuple"
        cache.set("soon", 1, expire=3600)
        cache["gone"] = 1
        cache["outside"] = "y" * 100
    with sqlite3.connect(source / "cache.db") as database:
        database.execute("UPDATE Cache SET filename = '../a.db' WHERE key = 'outside'")
        database.execute("UPDATE Cache SET expire_time = 1 WHERE key = 'gone'")
    database.close()
    async with open_persistence(tmp_path / "a.db") as persistence:
        report = await persistence.import_legacy(source, format="diskcache", allow=[Size])
        assert await persistence.load("text", str) == "é" * 100
        assert await persistence.load("bytes", bytes) == b"\xff" * 100
        assert await persistence.load("size", Size) == Size(8, 6)
        assert await persistence.load("big", list[str]) == ["x" * 100]
        assert await persistence.load("('a', 1)", str) == "tuple"
        assert (await persistence.describe("soon")).expires_at > time.time()
        assert [(entry.name, entry.reason) for entry in report.skipped] == [("gone", "it had expired")]
        assert [entry.name for entry in report.damaged] == ["outside"]
        assert "outside of the cache" in report.damaged[0].reason


# -- what a pickle could do ----------------------------------------------------------------------------

DONE = []


def do(*arguments):
    DONE.append(arguments)


class Calls:
    """A pickle that calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


ON_CLASS = b"\x80\x02c%b\n%b\nN}X\x05\0\0\0widthK\x07s\x86b."
EXTENSION = b"\x80\x02\x82\x07."
PERSISTENT = b"\x80\x02X\x01\0\0\0aQ."
INST = b"(S'touch %b'\nios\nsystem\n."
OBJ = b"(cos\nsystem\nS'touch %b'\no."
DOTTED = b"\x80\x04\x8c\x08builtins\x8c\x10set.__class__.mro\x93)R."
SELF = b"\x80\x02]q\0h\0a."


@pytest.fixture
def trap(tmp_path):
    return tmp_path / "trap"


def gadgets(trap):
    text = str(trap).encode()
    here = Size.__module__.encode()
    return {
        "os.system": pickle.dumps(Calls(os.system, f"touch {trap}")),
        "subprocess": pickle.dumps(Calls(__import__("subprocess").call, ["touch", str(trap)])),
        "eval": pickle.dumps(Calls(eval, f"open({str(trap)!r}, 'w')")),
        "exec": pickle.dumps(Calls(exec, f"open({str(trap)!r}, 'w')"), 0),
        "open": pickle.dumps(Calls(open, str(trap), "w")),
        "our own function": pickle.dumps(Calls(do, 1)),
        "getattr": pickle.dumps(Calls(getattr, "a", "upper")),
        "import": pickle.dumps(Calls(__import__, "antigravity")),
        "builtins by another name": b"c__builtin__\neval\n(S'1'\ntR.",
        "a codec that runs": pickle.dumps(Calls(__import__("codecs").encode, "x", "zip")),
        "an encoder of ours, misused": b"\x80\x02c_codecs\nencode\nX\x01\0\0\0xX\x03\0\0\0zip\x86R.",
        "attributes of an allowed class": ON_CLASS % (here, b"Size"),
        "attributes of UUID": ON_CLASS % (b"uuid", b"UUID"),
        "attributes of a function": ON_CLASS % (b"datetime", b"datetime"),
        "an extension": EXTENSION,
        "a persistent id": PERSISTENT,
        "inst": INST % text,
        "obj": OBJ % text,
        "a dotted name": DOTTED,
        "a list in itself": SELF,
        "a big bytearray": b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        "copyreg": b"ccopy_reg\n_reconstructor\n(cos\nPathLike\nc__builtin__\nobject\nNtR.",
        "another base": b"ccopy_reg\n_reconstructor\n(c%b\nSize\nc__builtin__\ndict\nNtR." % here,
        "laughs": laughs(),
        "cut": pickle.dumps(list(range(1000)))[:-50],
        "garbage": bytes(range(256)),
        "empty": b"",
        "the environment": b"cos\nenviron\n.",
    }


def laughs():
    value = ["ha"]
    for _ in range(40):
        value = [value] * 10
    return pickle.dumps(value)


def test_no_gadget_does_anything(trap, monkeypatch):
    monkeypatch.setitem(copyreg._inverted_registry, 7, ("os", "system"))
    for name, gadget in gadgets(trap).items():
        before = dict(vars(Size)), dict(vars(UUID))
        with pytest.raises(ValueError):
            print(name, unpickler([Size])(gadget))
        assert (dict(vars(Size)), dict(vars(UUID))) == before, name
        assert not DONE, name
        assert not trap.exists(), name


async def test_a_malicious_shelf_does_nothing_and_the_rest_arrives(tmp_path, trap):
    with shelve.open(str(tmp_path / "state")) as shelf:
        for name, gadget in gadgets(trap).items():
            shelf.dict[name.encode()] = gadget
        shelf.dict[b"depth"] = b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b"."
        shelf["good"] = 1
    async with open_persistence(tmp_path / "a.db") as persistence:
        report = await persistence.import_legacy(tmp_path / "state", format="shelve", allow=[Size])
        assert [entry.name for entry in report.imported] == ["good"]
        assert len(report.damaged) == len(gadgets(trap))
        assert [entry.name for entry in report.skipped] == ["depth"]
    assert not trap.exists()
    assert not DONE
