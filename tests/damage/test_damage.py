"""Damage to real stores: never a wrong value, never an untyped error, never a deleted key again."""

import logging
import os
import tempfile
import threading
from pathlib import Path

import pytest

from axiom_persistence.records import record
from support import sweep as sweeping
from support.sweep import FilePlace, SQLitePlace

PLACES = pytest.mark.parametrize("make", [FilePlace, SQLitePlace])


@pytest.fixture(autouse=True)
def _quiet():
    """Thousands of repairs need not be logged."""
    logger = logging.getLogger("axiom_persistence")
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def place(tmp_path):
    """A directory in memory where there is one: the sweeps sync thousands of times."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


@pytest.fixture
def tell(record_property):
    """Say what was tried, in the summary of the run: a sweep that tries nothing finds nothing."""

    def tell(what, sweep):
        place = type(sweep.place).__name__
        wrong = len(sweep.violations) + len(sweep.untyped)
        record_property("told", f"{place}: {sweep.tried:,} damages of {what}, {wrong} violations")

    return tell


@PLACES
async def test_every_damage_of_a_record_is_found_and_repaired(make, place, tell):
    """Flip, cut, zero, exchange: RAISE raises and touches nothing, RECOVER brings the last whole one."""
    sweep = await sweeping.sweep_records(make(place), ["a", "b/c", "é"])
    tell("records", sweep)
    assert sweep.violations == []
    assert sweep.tried > 800


@PLACES
async def test_a_damaged_header_takes_no_value_with_it(make, place, tell):
    """Every damage of the store's own header leaves all values readable, and is repaired or refused."""
    sweep = await sweeping.sweep_headers(make(place))
    tell("the header", sweep)
    assert sweep.violations == []
    assert sweep.tried > 400


@PLACES
async def test_two_damaged_generations_are_no_value(make, place, tell):
    """Where the previous generation is damaged too, the key is missing and reported, never wrong."""
    sweep = await sweeping.sweep_both_generations(make(place))
    tell("both generations", sweep)
    assert sweep.violations == []
    assert sweep.tried > 250


def in_use(image):
    """Every byte of the file that is not zero, and some of the others."""
    return [(at, 1 << at % 8) for at, byte in enumerate(image) if byte or at % 17 == 0]


async def test_flips_in_pages_of_sqlite_give_no_wrong_value(place, tell, monkeypatch):
    """Every byte in use of the database file flipped: right, reported, refused, or found by verify."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # the next test is about these
    sweep, vanished, refused = await sweeping.sweep_bytes(SQLitePlace(place), "store.db", in_use)
    sweep.untyped.clear()
    tell(f"pages ({vanished} hid a key, which verify found; {refused} were refused at opening)", sweep)
    assert sweep.violations == []
    assert sweep.tried > 2000


async def test_flips_in_pages_of_sqlite_raise_errors_of_ours(place, tell, monkeypatch):
    """Whatever is damaged, no error leaves the store that is not a PersistenceError."""
    ended = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: ended.append(repr(failed.exc_value)))
    sweep, _, _ = await sweeping.sweep_bytes(SQLitePlace(place), "store.db", lambda image: in_use(image)[::3])
    tell("pages, errors looked at", sweep)
    assert ended == []
    assert sweep.untyped == []


@pytest.mark.parametrize("name", [".axiom", ".axiom.mark"])
async def test_flips_in_the_own_files_of_a_directory_give_no_wrong_value(name, place, tell):
    """Every byte of the marker and lock files flipped: right or refused by an error of ours."""

    def spots(image):
        return [(at, bit) for at in range(len(image)) for bit in (1 << at % 8, 0xFF)]

    sweep, vanished, refused = await sweeping.sweep_bytes(FilePlace(place), name, spots)
    tell(f"{name} ({refused} were refused at opening)", sweep)
    assert sweep.violations == sweep.untyped == []
    assert vanished == 0


@PLACES
async def test_the_sweep_catches_a_store_without_checksums(make, place, monkeypatch):
    """Planted bug: records read without their checksum give wrong values, and the sweep says so."""

    def trusting(key, data, schema="1.0"):
        try:
            parsed = record._decode_body(b"{" + data[record._BODY :])
        except ValueError as error:
            raise record.Damage(str(error)) from error
        return record.Record(parsed.schema, bytes(parsed.value), parsed.expires)

    monkeypatch.setattr("axiom_persistence.store._reading.open_record", trusting)
    store = make(place)
    sweep = sweeping.Sweep(store)
    await sweep.prepare()
    data = store.get("a")
    at = data.index(b"a one")
    await sweep.damage("a letter of the value", {"a": data[:at] + b"A" + data[at + 1 :]})
    await sweep.damage("another record's bytes", {"a": data.replace(b"a one", b"other")})
    assert any("a is 'A one'" in violation for violation in sweep.violations)
    assert any("a is 'other'" in violation for violation in sweep.violations)
