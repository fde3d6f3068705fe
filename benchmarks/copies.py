"""What copies and sweeping cost: archives there and back, and saves beside a sweep."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from pathlib import Path
from time import monotonic, perf_counter, perf_counter_ns
from typing import Any

import msgspec

from axiom_persistence import AdapterBasedPersistence, open_persistence

from .scenarios import Figures, Parameters, scenario, settled
from .timing import summary
from .values import Documents, key_names

_TOGETHER = 512
_AT_ONCE = 5000


# -- archives --------------------------------------------------------------------------------------


@scenario("archive")
async def archive(directory: Path, parameters: Parameters) -> Figures:
    """So many records into JSON Lines, synced, and from there into a new store."""
    names, values = key_names(parameters["records"]), Documents(_AT_ONCE)
    plain = parameters["by"] == "plain"
    out, into = (_plain_export, _plain_import) if plain else (_export, _import)
    for first in range(0, len(names), _AT_ONCE):
        some: dict[str, Any] = {name: values.take() for name in names[first : first + _AT_ONCE]}
        if parameters["small"]:
            some = {name: {"n": number, "text": f"{number} " * 12} for number, name in enumerate(some)}
        await (_plain_fill if plain else _fill)(directory, some)
    settled()
    begin = perf_counter()
    await out(directory)
    between = perf_counter()
    await into(directory)
    end = perf_counter()
    return {
        "export_us": (between - begin) / len(names) * 1e6,
        "import_us": (end - between) / len(names) * 1e6,
    }


async def _fill(directory: Path, some: dict[str, Any]) -> None:
    async with open_persistence(directory / "one.db") as persistence:
        await persistence.save_many(some)


async def _export(directory: Path) -> None:
    async with open_persistence(directory / "one.db") as persistence:
        await persistence.export_to(directory / "archive")


async def _import(directory: Path) -> None:
    async with open_persistence(directory / "two.db") as persistence:
        assert await persistence.import_from(directory / "archive")


def _table(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS kept(key TEXT PRIMARY KEY, value TEXT)")
    return connection


def _put(connection: sqlite3.Connection, rows: list[tuple[str, str]]) -> None:
    with connection:
        connection.executemany("INSERT OR IGNORE INTO kept VALUES(?, ?)", rows)


async def _plain_fill(directory: Path, some: dict[str, Any]) -> None:
    connection = _table(directory / "plain.db")
    _put(connection, [(key, msgspec.json.encode(value).decode()) for key, value in some.items()])
    connection.close()


async def _plain_export(directory: Path) -> None:
    connection = _table(directory / "plain.db")
    with open(directory / "plain.jsonl", "w") as file:
        for key, value in connection.execute("SELECT key, value FROM kept ORDER BY key"):
            file.write(json.dumps({"key": key, "value": json.loads(value)}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    connection.close()


async def _plain_import(directory: Path) -> None:
    connection = _table(directory / "again.db")
    rows: list[tuple[str, str]] = []
    with open(directory / "plain.jsonl") as file:
        for line in file:
            record = json.loads(line)
            rows.append((record["key"], json.dumps(record["value"])))
            if len(rows) == _TOGETHER:
                _put(connection, rows)
                rows = []
    _put(connection, rows)
    connection.close()


# -- saves beside something else -------------------------------------------------------------------


@scenario("beside-sweep")
async def beside_sweep(directory: Path, parameters: Parameters) -> Figures:
    """Durable saves, one every few ms, until the records that have expired are gone from the file."""
    path, expired = directory / "store.db", parameters["expired"]
    async with open_persistence(path) as persistence:
        for first in range(0, expired, _AT_ONCE):
            some = {f"expired/{n:07}": n for n in range(first, min(expired, first + _AT_ONCE))}
            await persistence.save_many(some, ttl=0.001)
    values, times = Documents(1000), list[int]()
    settled()
    async with open_persistence(path) as persistence:
        assert [key async for key in persistence.keys("")] == []
        begun = monotonic()
        while monotonic() - begun < parameters["least_seconds"] or await _left(persistence):
            for _ in range(20):
                key, value = f"own/{len(times) % 100}", values.take()
                begin = perf_counter_ns()
                await persistence.save(key, value)
                times.append(perf_counter_ns() - begin)
                await asyncio.sleep(0.002)
        gone = monotonic() - begun
    return {**summary(times), "most_us": max(times) / 1000, "gone_s": gone}


async def _left(persistence: AdapterBasedPersistence) -> bool:
    """Whether an expired record is still on the medium: they go in the order of their keys."""
    last = persistence.adapter.keys("expired/", limit=1, reverse=True)
    return bool([key async for key in last])
