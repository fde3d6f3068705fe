"""How many records a second a first synchronisation moves, and what a meeting with nothing to do costs."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from axiom_persistence import Sync, open_persistence

from .scenarios import Figures, Parameters, scenario, settled
from .values import Documents, key_names

_IDLE = 50
"""Meetings with nothing to do."""


@scenario("first_sync")
async def first_sync(directory: Path, parameters: Parameters) -> Figures:
    """One device sends all that it has, another takes it over."""
    count = parameters["count"]
    remote = parameters["remote"].format(directory)
    documents = Documents(min(1000, count))
    values = {name: msgspec.to_builtins(documents.take()) for name in key_names(count)}
    async with open_persistence(directory / "a.db") as before:
        await before.save_many(values)
    figures = {}
    for name, metric in (("a", "sent_per_second"), ("b", "received_per_second")):
        async with _device(directory / f"{name}.db", remote) as store:
            settled()
            begin = perf_counter()
            status = await store.sync.now()
            figures[metric] = count / (perf_counter() - begin)
            assert status.sent + status.received == count, "not all of it arrived"
            begin = perf_counter()
            for _ in range(_IDLE):
                await store.sync.now()
            figures["idle_us"] = (perf_counter() - begin) / _IDLE * 1e6
    return figures


def _device(place: Path, remote: str) -> Any:
    return open_persistence(place, sync=Sync(remote, metered=lambda: True))
