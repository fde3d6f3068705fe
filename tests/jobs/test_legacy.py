"""What real tools have written arrives typed, named one by one; the source stays as it is."""

import configparser
import dbm.dumb
import json
import plistlib
import shelve
import sqlite3
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest

from axiom_persistence import Client, client_state, open_persistence
from axiom_persistence.errors import ConfigurationError, StoreNotFoundError
from axiom_persistence.records.record import seal_record

FILES = Path(__file__).parent / "legacy_files"


@dataclass
class Size:
    width: int
    height: int


@pytest.fixture(params=["a.db", "directory"])
async def persistence(request, tmp_path):
    async with open_persistence(tmp_path / "new" / request.param) as persistence:
        yield persistence


def content(path):
    """Everything at a path, to see that an import changes nothing of it."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(file): file.read_bytes() for file in files if file.is_file()}


async def imported(persistence, source, **options):
    """The values that an import brought, by key, read as builtins."""
    before = content(source)
    report = await persistence.import_legacy(source, **options)
    assert content(source) == before
    return {entry.key: await persistence.load(entry.key, Any) for entry in report.imported}, report


# -- JSON ----------------------------------------------------------------------------------------------


async def test_a_json_file_of_settings_becomes_a_client(persistence, tmp_path):
    class Preferences(Client, name="Preferences"):
        theme: str = client_state("system")
        size: Size = client_state(default_factory=lambda: Size(1, 1))

    source = tmp_path / "settings.json"
    source.write_text(json.dumps({"theme": "dark", "size": {"width": 8, "height": 6}, "old": None}, indent=2))
    _, report = await imported(persistence, source, into="Preferences/", types={"size": Size})
    assert report
    assert (report.format, report.dry_run) == ("json", False)
    assert [(entry.name, entry.outcome) for entry in report.entries] == [
        *(("theme", "imported"), ("size", "imported"), ("old", "imported")),
    ]
    async with Preferences(persistence) as preferences:
        assert (preferences.theme, preferences.size) == ("dark", Size(8, 6))


async def test_a_dry_run_and_a_second_run(persistence, tmp_path):
    source = tmp_path / "settings.json"
    source.write_text('{"a": 1, "b": 2}')
    _, report = await imported(persistence.namespace("x"), source, dry_run=True)
    assert [entry.key for entry in report.imported] == ["x/a", "x/b"]
    assert [key async for key in persistence.keys("")] == []
    await persistence.save("b", "mine")
    counts = []
    report = await persistence.import_legacy(source, progress=counts.append)
    assert (len(report.imported), len(report.skipped), counts) == (1, 1, [2])
    assert await persistence.load("b", str) == "mine"
    again = await persistence.import_legacy(source)
    assert again
    assert (len(again.imported), len(again.skipped)) == (0, 2)


async def test_a_directory_of_json_files(persistence, tmp_path):
    source = tmp_path / "data"
    (source / "notes").mkdir(parents=True)
    (source / "theme.json").write_text('"dark"')
    (source / "notes" / "1.json").write_text('{"title": "one"}')
    (source / "notes" / "2.json").write_text('{"title": "tw')
    (source / ".hidden.json").write_text("1")
    values, report = await imported(persistence, source)
    assert values == {"theme": "dark", "notes/1": {"title": "one"}}
    assert [entry.name for entry in report.damaged] == ["notes/2"]


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ('{"a": 1, "b": {"x": [1, 2]}, "c": tru', {"a", "b"}, {"c", "settings"}),
        ('{\n  "a": 1,\n  "b": {"x": [1, }2]},\n  "c": 3,\n  "d": "x"\n}', {"a", "c", "d"}, {"b"}),
        ('{\n  "a": 1,\n  "b": "\ud800",\n  "c": 3\n}', {"a", "c"}, {"b"}),
        ('{"a": 1, "b": 2} and more', {"a", "b"}, {"settings"}),
        ('{"a": 1, "b": 2', {"a"}, {"b", "settings"}),
        ('{"a": 1,, "b": 2}', {"a"}, {"settings"}),
        ("{\0\0\0\0", set(), {"settings"}),
    ],
)
async def test_a_damaged_json_file(persistence, tmp_path, text, good, bad):
    source = tmp_path / "settings.json"
    source.write_bytes(text.encode(errors="surrogatepass"))
    values, report = await imported(persistence, source)
    assert set(values) == good
    assert {entry.name for entry in report.damaged} == bad
    assert all(entry.reason for entry in report.damaged)
    assert not report


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.json", f'{{"token": "{SECRET}', {}),
        ("a.json", f'{{"token": "{SECRET}"}}', {"types": {"token": int}}),
        ("a.json", f'{{"token": "{SECRET}"}}', {"types": {"token": Literal["a", "b"]}}),
        ("a.json", f'{{"token": "{SECRET}"}}', {"types": {"token": datetime}}),
        ("a.plist", f"<plist><dict><key>token</key><integer>{SECRET}</integer></dict></plist>", {}),
        ("a.plist", f"<plist><dict><key>token</key><date>{SECRET}</date></dict></plist>", {}),
        ("a.plist", f"<plist><dict><key>token</key><string>&{SECRET};</string></dict></plist>", {}),
        ("a.pickle", f"S'{SECRET}\n.", {"format": "pickle"}),
        ("a.pickle", f"I{SECRET}\n.", {"format": "pickle"}),
        ("a.ini", f"[general]\ntoken=@DateTime({SECRET})\n", {"format": "qsettings"}),
        ("a.ini", f"[general]\ntoken=@Size({SECRET})\n", {"format": "qsettings"}),
    ],
)
async def test_a_report_quotes_no_value(persistence, tmp_path, name, content, options):
    """Nor what a foreign parser says, which may quote one."""
    source = tmp_path / name
    source.write_text(content)
    _, report = await imported(persistence, source, **options)
    assert not any(SECRET in entry.reason for entry in report.entries)


async def test_rows_of_a_database(persistence, tmp_path):
    source = tmp_path / "state.sqlite"
    with sqlite3.connect(source) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE kv (key TEXT PRIMARY KEY, value TEXT)")
        database.executemany("INSERT INTO kv VALUES (?, ?)", [("a", '{"x":1}'), ("b", "{"), ("c", 5)])
        database.commit()
        values, report = await imported(persistence, source)  # while its owner has it open
    database.close()
    assert report.format == "rows"
    assert values == {"a": {"x": 1}, "c": 5}
    assert [entry.name for entry in report.damaged] == ["b"]


@pytest.mark.parametrize("minor", [{}, {"minor_version": 3}])
async def test_home_assistant(persistence, tmp_path, minor):
    source = tmp_path / ".storage"
    source.mkdir()
    data = {"areas": [{"id": "kitchen"}]}
    for key in ("core.area_registry", "lights"):
        (source / key).write_text(json.dumps({"version": 1, **minor, "key": key, "data": data}, indent=2))
    values, report = await imported(persistence, source)
    assert report.format == "home-assistant"
    assert values == {"core.area_registry": data, "lights": data}


async def test_records_that_were_copied_out_of_a_store(persistence, tmp_path):
    source = tmp_path / "theme.json"
    source.write_bytes(seal_record("theme", b'"dark"', "1.0"))
    assert (await imported(persistence, source))[0] == {"theme": "dark"}
    source.rename(tmp_path / "other.json")
    _, report = await imported(persistence, tmp_path / "other.json")
    assert [entry.name for entry in report.damaged] == ["other"]


# -- property lists ------------------------------------------------------------------------------------

PLIST = {
    "NSWindow Frame": "12 34 800 600",
    "volume": 5,
    "ratio": 0.5,
    "muted": True,
    "when": datetime(2024, 2, 29, 12, 30),
    "blob": bytes(range(256)),
    "recent": ["a.txt", "b.txt"],
    "nested": {"x": {"y": [1, 2, {"z": -3}]}},
    "big": 2**40,
}


@pytest.mark.parametrize("form", [plistlib.FMT_XML, plistlib.FMT_BINARY])
async def test_exported_user_defaults(persistence, tmp_path, form):
    source = tmp_path / "org.example.notes.plist"
    source.write_bytes(plistlib.dumps(PLIST, fmt=form))
    values, report = await imported(persistence, source)
    assert report.format == "plist"
    assert report
    assert set(values) == set(PLIST)
    assert values["nested"] == PLIST["nested"]
    assert await persistence.load("when", datetime) == PLIST["when"].replace(tzinfo=UTC)
    assert await persistence.load("blob", bytes) == PLIST["blob"]
    assert await persistence.load("muted", bool) is True


async def test_an_archive_of_objects_is_named(persistence, tmp_path):
    source = tmp_path / "a.plist"
    source.write_bytes(plistlib.dumps({"$top": plistlib.UID(1), "a": 1}, fmt=plistlib.FMT_BINARY))
    values, report = await imported(persistence, source)
    assert values == {"a": 1}
    assert "NSKeyedArchiver" in report.damaged[0].reason


async def test_a_damaged_xml_list(persistence, tmp_path):
    source = tmp_path / "a.plist"
    whole = plistlib.dumps({"a": 1, "b": [1, 2], "c": 3, "d": 4}, sort_keys=False)
    source.write_bytes(whole.replace(b"<integer>3", b"<integer>x"))
    values, report = await imported(persistence, source)
    assert values == {"a": 1, "b": [1, 2], "d": 4}
    assert [entry.name for entry in report.damaged] == ["c"]
    source.write_bytes(whole[: whole.index(b"<integer>4")])
    values, report = await imported(persistence, source, into="cut/")
    assert values == {"cut/a": 1, "cut/b": [1, 2], "cut/c": 3}
    assert "d" in [entry.name for entry in report.damaged]
    source.write_bytes(whole.replace(b'"1.0">', b'"1.0"><!ENTITY a "b">', 1)[:-9])
    values, report = await imported(persistence, source, into="entities/")
    assert values == {}


async def test_a_damaged_binary_list(persistence, tmp_path):
    source = tmp_path / "a.plist"
    whole = plistlib.dumps(PLIST, fmt=plistlib.FMT_BINARY)
    damaged = whole.replace(b"\x5512 34 800 600"[1:], b"\xff2 34 800 600")
    assert damaged != whole
    source.write_bytes(damaged)
    values, report = await imported(persistence, source)
    assert set(values) == set(PLIST) - {"NSWindow Frame"}
    assert values["nested"] == PLIST["nested"]
    assert values["ratio"] == 0.5
    assert await persistence.load("when", datetime) == PLIST["when"].replace(tzinfo=UTC)
    assert [entry.name for entry in report.damaged] == ["NSWindow Frame"]
    source.write_bytes(whole[:-40])
    _, report = await imported(persistence, source, into="cut/")
    assert [entry.name for entry in report.damaged] == ["a"]


# -- INI -----------------------------------------------------------------------------------------------


async def test_ini(persistence, tmp_path):
    parser = configparser.ConfigParser()
    parser["window"] = {"width": "800", "title": "Grüße = ok", "long": "one\ntwo"}
    parser["DEFAULT"] = {"debug": "yes"}
    source = tmp_path / "settings.ini"
    with source.open("w", encoding="utf-8") as file:
        parser.write(file)
    with source.open("ab") as file:
        file.write(b"\n[more]\nnonsense\nbad = \xff\ngood: 1\n")
    values, report = await imported(persistence, source, types={"window/width": int, "*/debug": str})
    assert report.format == "ini"
    assert values == {
        "DEFAULT/debug": "yes",
        "window/width": 800,
        "window/title": "Grüße = ok",
        "window/long": "one\ntwo",
        "more/good": "1",
    }
    assert {entry.name for entry in report.damaged} == {"line 12", "more/bad"}


QT_TYPES = {
    "volume": int,
    "big": int,
    "ratio": float,
    "muted": bool,
    "percent key/*": int,
    "*size": tuple[int, int],
    "when": datetime,
    "local": datetime,
    "offset": datetime,
    "day": date,
    "clock": time,
    "uuid": UUID,
    "window/pos": tuple[int, int],
    "recent": list[str],
    "one": list[str],
    "window/geometry": bytes,
}
QT_VALUES = {
    "volume": 5,
    "ratio": 1.5,
    "muted": True,
    "big": 2**40,
    "name": 'Grüße, "you"; a\\b 日本 \U0001f600',
    "nul": "a\0b",
    "at": "@home",
    "empty": "",
    "multi": "line 1\nline 2\tx",
    "spaces": "  x  ",
    "digits": "\x01f\x1b2",
    "recent": ["a.txt", "b, c.txt", "@d"],
    "one": ["only"],
    "none": None,
    "invalid": None,
    "mixed": ["1", "two", [1, 2]],
    "map": {"x": 1, "y": [1, 2.5, "z"], "b": True},
    "day": date(2024, 2, 29),
    "clock": time(1, 2, 3, 4000),
    "when": datetime(2024, 2, 29, 12, 30, 15, 250_000, UTC),
    "local": datetime(2024, 2, 29, 12, 30),
    "offset": datetime(2024, 2, 29, 12, 30, tzinfo=timezone(timedelta(hours=1))),
    "url": "https://example.org/a?b=c",
    "uuid": UUID("12345678-1234-5678-1234-567812345678"),
    "window/size": (800, 600),
    "window/pos": (3, -4),
    "window/rect": [1, 2, 3, 4],
    "window/sizef": [1.5, 2.5],
    "window/pointf": [1.5, -2.5],
    "window/rectf": [1.0, 2.0, 3.0, 4.0],
    "window/geometry": bytes(range(256)),
    "window/deep/er": "1",
    "percent key/ä ö": 7,
    "General/inside": "g",
    "logins/1/user": "ann",
    "logins/2/user": "bob",
    "logins/size": "2",
}


@pytest.mark.parametrize("file", ["qt5.ini", "qt6.ini"])
async def test_qsettings(persistence, file):
    """What make_qsettings.py wrote with PyQt, of every type, typed again."""
    types = {**QT_TYPES, "logins/size": str}
    types = {"logins/size": types.pop("logins/size"), **types}
    report = await persistence.import_legacy(FILES / file, types=types)
    assert report.format == "qsettings"
    assert [(entry.name, "pickle" in entry.reason) for entry in report.damaged] == [("object", True)]
    found = {}
    for entry in report.imported:
        kind = type(QT_VALUES[entry.name]) if QT_VALUES[entry.name] is not None else None
        kind = tuple[int, int] if kind is tuple else kind
        found[entry.name] = await persistence.load(entry.key, kind)
    assert found == QT_VALUES


async def test_damaged_qsettings(persistence, tmp_path):
    source = tmp_path / "settings.conf"
    source.write_bytes(
        b'[General]\na=1\nb="open\nc=@Variant(\\0\\0\\0)\nd=@Size(1)\ne=2\n[broken\n'
        b"f=@Variant(\\0\\0\\0\\x99)\ng=@Rect(1 2 3 4)\n"
    )
    values, report = await imported(persistence, source)
    assert values == {"a": "1", "e": "2", "g": [1, 2, 3, 4]}
    assert {entry.name for entry in report.damaged} == {"b", "c", "d", "line 7", "f"}


# -- dbm and shelve ------------------------------------------------------------------------------------


async def test_dbm(persistence, tmp_path):
    with dbm.dumb.open(str(tmp_path / "cache"), "n") as database:
        database["text"] = "Grüße"
        database["bytes"] = b"\xff\x00"
    report = await persistence.import_legacy(tmp_path / "cache", format="dbm", types={"bytes": bytes})
    assert report
    assert await persistence.load("text", str) == "Grüße"
    assert await persistence.load("bytes", bytes) == b"\xff\x00"


@pytest.mark.parametrize("protocol", range(6))
async def test_shelve(persistence, tmp_path, protocol):
    moment = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
    with shelve.open(str(tmp_path / "state"), protocol=protocol) as shelf:
        shelf["plain"] = {"a": [1, 2.5, None, True, "é"], "set": {1}, "day": moment.date()}
        shelf["when"] = moment
        shelf["size"] = Size(8, 6)
        shelf["other"] = Path("/tmp")
        shelf["foreign"] = configparser.ConfigParser
    report = await persistence.import_legacy(
        tmp_path / "state", format="shelve", allow=[Size], types={"size": Size}
    )
    assert await persistence.load("size", Size) == Size(8, 6)
    assert await persistence.load("when", datetime) == moment
    assert (await persistence.load("plain", dict))["a"] == [1, 2.5, None, True, "é"]
    assert await persistence.load("other", Path) == Path("/tmp")
    assert [entry.name for entry in report.damaged] == ["foreign"]
    assert "configparser.ConfigParser, which is not allowed" in report.damaged[0].reason


# -- what cannot be ------------------------------------------------------------------------------------


async def test_what_cannot_be_told_is_refused(persistence, tmp_path):
    with pytest.raises(StoreNotFoundError, match="nothing at"):
        await persistence.import_legacy(tmp_path / "none.json")
    (tmp_path / "a.bin").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ConfigurationError, match="cannot be told"):
        await persistence.import_legacy(tmp_path / "a.bin")
    with pytest.raises(ConfigurationError, match="only when their format is named"):
        await persistence.import_legacy(tmp_path / "a.bin", allow=[Size])
    with pytest.raises(ConfigurationError, match="no format 'xml'"):
        await persistence.import_legacy(tmp_path / "a.bin", format="xml")
    with pytest.raises(ConfigurationError, match="not of the format rows"):
        await persistence.import_legacy(tmp_path / "a.bin", format="rows")


async def test_what_does_not_fit_is_named(persistence, tmp_path):
    source = tmp_path / "a.json"
    long = "x" * 2000
    source.write_text(json.dumps({"a": "text", "": 1, long: 2, "b": "7", "\x01store": 1}))
    values, report = await imported(persistence, source, types={"a": int, "b": int})
    assert values == {"b": 7}
    assert {entry.name for entry in report.skipped} == {"a", "", long, "\x01store"}
    assert not report
