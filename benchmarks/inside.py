"""Scenarios of our own store alone: collections, a synchronous commit beside durable savers."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import msgspec

from axiom_persistence import open_persistence

from .ours import Ours
from .scenarios import Figures, Parameters, filled, scenario, settled, start
from .timing import percentile
from .values import Document, Documents, Page, key_names, page


@scenario("collection")
async def collection(directory: Path, parameters: Parameters) -> Figures:
    """10,000 items of which 10 changed, kept one record an item or written whole."""
    items, changed, repeats = parameters["items"], parameters["changed"], parameters["repeats"]
    how, kind = parameters["how"], parameters["kind"]
    values = Documents(items)
    everything: dict[str, Any] = {name: values.take() for name in key_names(items)}
    if kind == "frozen":
        everything = {name: page(value) for name, value in everything.items()}
    names = list(everything)
    times = []
    async with open_persistence(directory / "ours.db") as persistence:
        kept = persistence.collection("documents", Page if kind == "frozen" else Document)
        await kept.save_all(everything)
        settled()
        for turn in range(repeats):
            touched = names if how == "whole" else names[turn * changed : (turn + 1) * changed]
            for name in touched:
                everything[name] = _changed(everything[name])
            offered = {n: everything[n] for n in touched} if how == "ten" else everything
            begin = perf_counter()
            written = await kept.save_all(offered)
            times.append(perf_counter() - begin)
            assert written == len(touched)
    return {"p50_ms": statistics.median(times) * 1000}


def _changed(item: Any) -> Any:
    """The same item, changed in place where that can be done."""
    if isinstance(item, Page):
        return msgspec.structs.replace(item, revision=item.revision + 1)
    item.revision += 1
    return item


@scenario("one_value")
async def one_value(directory: Path, parameters: Parameters) -> Figures:
    """The same items as one value under one key, which any change writes whole."""
    values = Documents(parameters["items"])
    everything = {name: values.take() for name in key_names(parameters["items"])}
    times = []
    async with open_persistence(directory / "ours.db") as persistence:
        settled()
        for _ in range(parameters["repeats"]):
            next(iter(everything.values())).revision += 1
            begin = perf_counter()
            await persistence.save("documents", everything)
            times.append(perf_counter() - begin)
    return {"p50_ms": statistics.median(times) * 1000}


@scenario("commit_now")
async def commit_now(directory: Path, parameters: Parameters) -> Figures:
    """A synchronous commit that outlives the process, while tasks save durably beside it."""
    contender = await start({**parameters, "contender": "ours"}, directory)
    assert isinstance(contender, Ours)
    values = Documents(1000)
    keys = key_names(2000)
    await filled(contender, values, keys)
    settled()
    stop = False

    async def saver(number: int) -> None:
        step = number
        while not stop:
            await contender.save(keys[step % len(keys)], values.take())
            step += parameters["savers"]

    saving = [asyncio.create_task(saver(number)) for number in range(parameters["savers"])]
    await asyncio.sleep(0.1)
    times, deferred = await _commits(contender.persistence.adapter.commit_now, values, parameters["count"])
    stop = True
    await asyncio.gather(*saving)
    await contender.close()
    return {
        "p50_us": percentile(times, 0.5) / 1000,
        "p99_us": percentile(times, 0.99) / 1000,
        "p999_us": percentile(times, 0.999) / 1000,
        "deferred_percent": 100 * deferred / parameters["count"],
    }


async def _commits(commit: Any, values: Documents, count: int) -> tuple[list[int], int]:
    encode = msgspec.json.Encoder().encode
    times, deferred = [], 0
    for number in range(count):
        changes = {f"now/{number % 100}": encode(values.take())}
        begin = perf_counter_ns()
        versions = commit(changes)
        times.append(perf_counter_ns() - begin)
        deferred += versions is None
        # The durable savers have their turn: one commit between two turns of the loop.
        await asyncio.sleep(0)
    return times, deferred


@scenario("blocking")
async def blocking(directory: Path, parameters: Parameters) -> Figures:
    """The verbs without ``await``, from a thread that has no event loop."""
    return await asyncio.to_thread(_blocking, directory, parameters["count"])


def _blocking(directory: Path, count: int) -> Figures:
    from axiom_persistence import blocking as without_await

    values = Documents(1000)
    keys = key_names(100)
    with without_await.open_persistence(directory / "ours.db") as persistence:
        for key in keys:
            persistence.save(key, values.take())
        settled()
        durable = _timed(lambda key: persistence.save(key, values.take()), keys, count // 5)
        killed = _timed(
            lambda key: persistence.save(key, values.take(), durability="process_exit"), keys, count
        )
        loads = _timed(lambda key: persistence.load(key, Document), keys, count)
    return {"durable_us": durable, "exit_us": killed, "load_us": loads}


def _timed(call: Callable[[str], Any], keys: list[str], count: int) -> float:
    times = []
    for number in range(count + 1):
        begin = perf_counter_ns()
        call(keys[number % len(keys)])
        times.append(perf_counter_ns() - begin)
    return statistics.median(times) / 1000
