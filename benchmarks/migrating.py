"""Old records: all of them rewritten, one of them read, and what a store costs that has none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

import axiom_persistence.jobs.migrate  # noqa: F401 - beforehand, as sqlite3 and json are
from axiom_persistence import Migrations, open_persistence

from .scenarios import Figures, Parameters, scenario, settled
from .timing import blocks, calls, summary
from .values import Documents, key_names

TOGETHER = 1000
"""Rows in a transaction of the plain program, as many as in a commit of a migration."""

_FILLED_TOGETHER = 5000

CODECS: dict[str, tuple[Callable[[str], Any], Callable[[Any], str]]] = {
    "json": (json.loads, json.dumps),
    "msgspec": (msgspec.json.decode, lambda value: msgspec.json.encode(value).decode()),
}


def renamed(value: dict[str, Any]) -> dict[str, Any]:
    """The step: a field gets another name, and a new one comes."""
    value["name"] = value.pop("title")
    value["pages"] = 1
    return value


def migrations() -> Migrations:
    made = Migrations("2.0")
    made.value("1.0", "2.0", key="documents/*")(renamed)
    return made


def _values(count: int, kind: str) -> Iterator[tuple[str, Any]]:
    documents = Documents(min(1000, count))
    for number, name in enumerate(key_names(count)):
        small = {"title": f"note {number}", "size": number}
        yield name, small if kind == "small" else msgspec.to_builtins(documents.take())


async def _fill(path: Path, count: int, kind: str = "documents", made: Migrations | None = None) -> list[str]:
    names, some = [], {}
    async with open_persistence(path, migrations=made) as persistence:
        for name, value in _values(count, kind):
            names.append(name)
            some[name] = value
            if len(some) == _FILLED_TOGETHER:
                await persistence.save_many(some)
                some = {}
        if some:
            await persistence.save_many(some)
    return names


@scenario("migrate")
async def migrate(directory: Path, parameters: Parameters) -> Figures:
    """Every record in a new form: by ``migrate``, or by a loop over a table of SQLite."""
    count, kind = parameters["count"], parameters["kind"]
    path = directory / "notes.db"
    if parameters["by"] == "ours":
        await _fill(path, count, kind)
        async with open_persistence(path, migrations=migrations()) as persistence:
            settled()
            begin = perf_counter()
            report = await persistence.migrate("1.0", "2.0")
            seconds = perf_counter() - begin
        assert report.rewritten == count
    else:
        decode, encode = CODECS[parameters["by"]]
        with sqlite3.connect(path, isolation_level=None) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE record(key TEXT PRIMARY KEY, data TEXT)")
            rows = ((key, encode(value)) for key, value in _values(count, kind))
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO record VALUES(?, ?)", rows)
            connection.execute("COMMIT")
        connection.close()
        settled()
        seconds = _plain(path, count, decode, encode, careful=parameters.get("careful", False))
    return {"item_us": seconds * 1e6 / count}


def _plain(
    path: Path,
    count: int,
    decode: Callable[[str], Any],
    encode: Callable[[Any], str],
    *,
    careful: bool,
) -> float:
    """The seconds of a program that does it by hand.

    ``careful``: it tries every record before it writes one, and keeps the originals for the way back.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE original(key TEXT PRIMARY KEY, data TEXT)")
    done = 0
    begin = perf_counter()
    if careful:
        for rows in _pages(connection):
            for _, data in rows:
                encode(renamed(decode(data)))
    for rows in _pages(connection):
        new = [(encode(renamed(decode(data))), key) for key, data in rows]
        connection.execute("BEGIN IMMEDIATE")
        if careful:
            connection.executemany("INSERT INTO original VALUES(?, ?)", rows)
        connection.executemany("UPDATE record SET data=? WHERE key=?", new)
        connection.execute("COMMIT")
        done += len(new)
    seconds = perf_counter() - begin
    connection.close()
    assert done == count
    return seconds


def _pages(connection: sqlite3.Connection) -> Iterator[list[tuple[str, str]]]:
    last = ""
    page = "SELECT key, data FROM record WHERE key>? ORDER BY key LIMIT ?"
    while rows := connection.execute(page, (last, TOGETHER)).fetchall():
        last = rows[-1][0]
        yield rows


@scenario("first_access")
async def first_access(directory: Path, parameters: Parameters) -> Figures:
    """The first load of records in a store with migrations: of old ones, or of records of today.

    With the latter the step itself runs behind the load.
    """
    path = directory / "notes.db"
    old = parameters["how"] == "old"
    names = await _fill(path, parameters["count"], made=None if old else migrations())
    async with open_persistence(path, migrations=migrations()) as persistence:
        load = persistence.load
        step: Callable[..., Any] = (lambda value: value) if old else renamed

        async def one(name: str, kind: Any) -> None:
            assert "pages" in step(await load(name, kind))

        settled()
        times = await calls(one, [(name, dict) for name in names], awaits=True)
    return summary(times)


@scenario("without_migrations")
async def without_migrations(directory: Path, parameters: Parameters) -> Figures:
    """Saves and loads of a store that knows of no migrations, or of some that have nothing to do here."""
    made = None
    if parameters["how"] == "declared":
        made = Migrations("2.0")
        made.value("1.0", "2.0", key="elsewhere/*")(renamed)
    names = key_names(100)
    count = parameters["count"]
    documents = Documents(min(1000, count))
    async with open_persistence(directory / "notes.db", migrations=made, cache=None) as persistence:
        await persistence.save_many({name: documents.take() for name in names})
        for name in names:
            await persistence.save(name, documents.take(), durability="process_exit")
        settled()

        async def save(name: str, value: Any) -> None:
            await persistence.save(name, value, durability="process_exit")

        order = [names[number % len(names)] for number in range(count)]
        saved = await calls(save, [(name, documents.take()) for name in order], awaits=True)
        loaded = await blocks(persistence.load, order, dict, awaits=True)
    return {"save_us": summary(saved)["p50_us"], "load_us": summary(loaded)["p50_us"]}
