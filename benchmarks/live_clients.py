"""Scenarios of clients: an assignment, a field read, very many of them alive."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter, perf_counter_ns, process_time
from typing import Any

from axiom_persistence import Sync, open_persistence

from .growth import resident_bytes
from .scenarios import Figures, Parameters, scenario, settled
from .timing import BLOCK, percentile


def _five_fields() -> Any:
    """A client of five fields. Made here: other scenarios should not pay for importing clients."""
    from axiom_persistence.client import Client, client_state

    class Preferences(Client):
        theme: str = client_state("system")
        volume: int = client_state(5)
        ratio: float = client_state(1.5)
        name: str = client_state("")
        notify: bool = client_state(True)

    return Preferences


class _Plain:
    def __init__(self) -> None:
        self.volume = 5


@scenario("assign")
async def assign(directory: Path, parameters: Parameters) -> Figures:
    """A small value leaves the process: assigned to a field, or saved with PROCESS_EXIT."""
    count, times = parameters["count"], []
    sync = Sync(directory / "remote.db", every=3600) if parameters.get("synchronised") else None
    async with AsyncExitStack() as stack:
        persistence = await stack.enter_async_context(open_persistence(directory / "ours.db", sync=sync))
        if sync is not None:
            await persistence.sync.pause()
        if parameters["how"] == "field":
            client = await stack.enter_async_context(_five_fields()(persistence))
            settled()
            for number in range(count):
                begin = perf_counter_ns()
                client.volume = number
                times.append(perf_counter_ns() - begin)
        else:
            await persistence.save("first", 0)
            settled()
            for number in range(count):
                begin = perf_counter_ns()
                await persistence.save("volume", number, durability="process_exit")
                times.append(perf_counter_ns() - begin)
    return {"p50_us": percentile(times, 0.5) / 1000, "p99_us": percentile(times, 0.99) / 1000}


@scenario("read_field")
async def read_field(directory: Path, parameters: Parameters) -> Figures:
    """A field of a live client, or an attribute of a plain object, read again and again."""
    async with AsyncExitStack() as stack:
        if parameters["how"] == "field":
            persistence = await stack.enter_async_context(open_persistence(directory / "ours.db"))
            holder = await stack.enter_async_context(_five_fields()(persistence))
        else:
            holder = _Plain()
        settled()
        times = [_read_block(holder) for _ in range(parameters["count"])]
    return {"p50_ns": statistics.median(times)}


def _read_block(holder: Any) -> float:
    begin = perf_counter_ns()
    for _ in range(BLOCK):
        holder.volume  # noqa: B018 - ten reads a turn, so that the loop itself weighs little
        holder.volume  # noqa: B018
        holder.volume  # noqa: B018
        holder.volume  # noqa: B018
        holder.volume  # noqa: B018
        holder.volume  # noqa: B018
        holder.volume  # noqa: B018
        holder.volume  # noqa: B018
        holder.volume  # noqa: B018
        holder.volume  # noqa: B018
    return (perf_counter_ns() - begin) / (10 * BLOCK)


@scenario("live_clients")
async def live_clients(directory: Path, parameters: Parameters) -> Figures:
    """Very many client instances in one process: started, idle, changed, closed."""
    from axiom_persistence.client import ClientManager

    kind, many = _five_fields(), parameters["clients"]
    async with open_persistence(directory / "ours.db") as persistence:
        await persistence.save("first", 0)
        settled()
        before = resident_bytes()
        manager = ClientManager()
        begin = perf_counter()
        clients = [
            manager.register(kind(persistence, instance=f"user-{number}"), f"user-{number}")
            for number in range(many)
        ]
        failures = await manager.start()
        started = perf_counter() - begin
        if failures:
            raise RuntimeError(f"{len(failures)} clients did not start: {next(iter(failures.values()))}")
        grown = resident_bytes() - before
        # Once after the start every client is compared with what it restored; idle is what follows.
        await asyncio.sleep(parameters["idle_seconds"])
        idle = await _idle_percent(parameters["idle_seconds"])
        begin = perf_counter()
        for number, client in enumerate(clients):
            client.volume = number
        assigned = perf_counter() - begin
        begin = perf_counter()
        await manager.stop()
        closed = perf_counter() - begin
    return {
        "start_us": started / many * 1e6,
        "idle_percent": idle,
        "assign_us": assigned / many * 1e6,
        "kib": grown / many / 1024,
        "close_us": closed / many * 1e6,
    }


async def _idle_percent(seconds: float) -> float:
    """The share of one core that the whole process takes while nothing is done."""
    begin = process_time()
    await asyncio.sleep(seconds)
    return 100 * (process_time() - begin) / seconds
