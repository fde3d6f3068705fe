"""What is done to every contender alike. A scenario returns figures by name."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Final

from .contender import CONTENDERS, Contender
from .timing import BLOCK, blocks, calls, percentile, summary
from .values import Document, Documents, key_names, small

__all__ = ["SCENARIOS", "Figures", "Parameters", "filled", "saves_of", "scenario", "settled", "start"]

Figures = dict[str, Any]
Parameters = dict[str, Any]
Scenario = Callable[[Path, Parameters], Coroutine[Any, Any, Figures]]

WARM_SECONDS: Final = 0.4

SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(name: str) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[name] = function
        return function

    return register


async def start(parameters: Parameters, directory: Path) -> Contender:
    contender: Contender = CONTENDERS[parameters["contender"]]()
    await contender.open(directory)
    return contender


async def filled(contender: Contender, values: Documents, names: list[str]) -> None:
    """Store a document under each of ``names``."""
    for first in range(0, len(names), len(values)):
        await contender.fill({name: values.take() for name in names[first : first + len(values)]})


def warm_seconds(parameters: Parameters) -> float:
    """How long to go on before measuring, so that what a store does once, early, is behind it."""
    scale: float = parameters["scale"]
    return WARM_SECONDS * min(1.0, scale)


def settled() -> None:
    """What was made before the measurement is not walked by the collector during it."""
    gc.collect()
    gc.freeze()


@scenario("save")
async def save(directory: Path, parameters: Parameters) -> Figures:
    """One save after the other, over 100 keys."""
    count = parameters["count"]
    values = Documents(min(1000, count), body_bytes=parameters.get("body_bytes", 0))
    keys = key_names(100)
    contender = await start(parameters, directory)
    settled()
    order = [keys[i % len(keys)] for i in range(count)]
    end = perf_counter() + warm_seconds(parameters)
    while perf_counter() < end:
        await calls(contender.save, ((k, values.take()) for k in keys[:10]), awaits=contender.awaits)
    times = await calls(contender.save, ((k, values.take()) for k in order), awaits=contender.awaits)
    await contender.close()
    return {**summary(times), "survives": contender.survives}


@scenario("load")
async def load(directory: Path, parameters: Parameters) -> Figures:
    """One load after the other, of keys in random order, each read some times before."""
    count = parameters["count"]
    values = Documents(min(1000, count), body_bytes=parameters.get("body_bytes", 0))
    names = key_names(parameters.get("keys", 1000))
    kind: Any = Document
    contender = await start(parameters, directory)
    if "immutable" in parameters:
        kind, make = _IMMUTABLE[parameters["immutable"]]
        await contender.fill({name: make(number) for number, name in enumerate(names)})
    else:
        await filled(contender, values, names)
    order = random.Random(2).choices(names, k=max(count, BLOCK))
    for _ in range(5):
        await blocks(contender.load, names, kind, awaits=contender.awaits)
    settled()
    times = await blocks(contender.load, order, kind, awaits=contender.awaits)
    await contender.close()
    return {**summary(times), "survives": contender.survives}


_IMMUTABLE: Final[dict[str, tuple[Any, Callable[[int], Any]]]] = {
    "str": (str, lambda number: f"a short text {number}"),
    "int": (int, lambda number: number),
    "frozen Struct": (type(small(0)), small),
}


async def saves_of(
    contender: Contender, savers: int, count: int, values: Documents, keys: list[str]
) -> float:
    """The seconds that ``savers`` tasks need for ``count`` saves between them."""
    each = max(1, count // savers)
    save = contender.save

    async def one(first: int) -> None:
        step = first
        if contender.awaits:
            for _ in range(each):
                await save(keys[step % len(keys)], values.take())
                step += savers
        else:
            for _ in range(each):
                save(keys[step % len(keys)], values.take())
                step += savers

    begin = perf_counter()
    await asyncio.gather(*(one(first) for first in range(savers)))
    seconds: float = perf_counter() - begin
    return seconds / (each * savers)


@scenario("savers")
async def savers(directory: Path, parameters: Parameters) -> Figures:
    """Many tasks, each saving one value after the other, over 2,000 keys that are there."""
    many, count = parameters["savers"], parameters["count"]
    keys = key_names(2000)
    random.Random(3).shuffle(keys)
    values = Documents(1000)
    contender = await start(parameters, directory)
    if parameters.get("fill", True):
        await filled(contender, values, keys)
    settled()
    end = perf_counter() + warm_seconds(parameters)
    while perf_counter() < end:
        await saves_of(contender, many, max(many, count // 20), values, keys)
    seconds = await saves_of(contender, many, count, values, keys)
    await contender.close()
    return {
        "save_us": seconds * 1e6,
        "saves_per_second": 1 / seconds,
        "survives": contender.survives,
    }


@scenario("save_many")
async def save_many(directory: Path, parameters: Parameters) -> Figures:
    """All of 1,000 values in one call, again and again, each time other values."""
    items, repeats = parameters["items"], parameters["repeats"]
    # As many documents as items: all of a batch are different objects.
    values = Documents(items)
    keys = key_names(items)
    contender = await start(parameters, directory)
    many = contender.save_many  # type: ignore[attr-defined]
    settled()
    times = []
    for turn in range(repeats + 1):
        batch = {key: values.take() for key in keys}
        begin = perf_counter()
        done = many(batch)
        if contender.awaits:
            await done
        if turn:
            times.append((perf_counter() - begin) / items)
    await contender.close()
    return {"item_us": statistics.median(times) * 1e6, "survives": contender.survives}


@scenario("share")
async def share(directory: Path, parameters: Parameters) -> Figures:
    """How many of the saves and loads take less than 10 ms, each timed by itself."""
    count = parameters["count"]
    values = Documents(min(1000, count))
    keys = key_names(200)
    contender = await start(parameters, directory)
    settled()
    order = [keys[i % len(keys)] for i in range(count)]
    saved = await calls(contender.save, ((k, values.take()) for k in order), awaits=contender.awaits)
    loaded = await calls(contender.load, ((k, Document) for k in order), awaits=contender.awaits)
    await contender.close()
    return {
        "fast_saves_percent": summary(saved)["fast_percent"],
        "fast_loads_percent": summary(loaded)["fast_percent"],
        "worst_save_ms": max(saved) / 1e6,
        "worst_load_ms": max(loaded) / 1e6,
        "survives": contender.survives,
    }


@scenario("lag")
async def lag(directory: Path, parameters: Parameters) -> Figures:
    """How late the event loop is while many tasks save: a timer of 1 ms that keeps being set again."""
    many, count = parameters["savers"], parameters["count"]
    keys = key_names(2000)
    random.Random(3).shuffle(keys)
    values = Documents(1000)
    contender = await start(parameters, directory)
    await filled(contender, values, keys)
    settled()
    await saves_of(contender, many, many, values, keys)
    late: list[float] = []

    async def probe() -> None:
        while True:
            begin = monotonic()
            await asyncio.sleep(0.001)
            late.append((monotonic() - begin - 0.001) * 1e9)

    probing = asyncio.create_task(probe())
    seconds = await saves_of(contender, many, count, values, keys)
    probing.cancel()
    await contender.close()
    return {
        "p50_ms": percentile(late, 0.5) / 1e6,
        "p99_ms": percentile(late, 0.99) / 1e6,
        "saves_per_second": 1 / seconds,
        "survives": contender.survives,
    }


@scenario("save_for")
async def save_for(directory: Path, parameters: Parameters) -> Figures:
    """One of several processes: says when it is ready, waits for a line, saves for a while."""
    values = Documents(1000)
    keys = key_names(500)
    random.Random(parameters["number"]).shuffle(keys)
    contender = await start(parameters, directory)
    for key in keys[:20]:
        saved = contender.save(key, values.take())
        if contender.awaits:
            await saved
    settled()
    print("ready", flush=True)
    sys.stdin.readline()
    done = 0
    end = monotonic() + parameters["seconds"]
    while monotonic() < end:
        saved = contender.save(keys[done % len(keys)], values.take())
        if contender.awaits:
            await saved
        done += 1
    await contender.close()
    return {"saves": done, "survives": contender.survives}
