"""How long calls take, and what a list of times says."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter_ns
from typing import Any, Final

__all__ = ["BLOCK", "SLOW_NS", "blocks", "calls", "percentile", "summary"]

BLOCK: Final = 20
"""Calls between two readings of the clock where one call is not much longer than a reading."""

SLOW_NS: Final = 10_000_000
"""What nobody should notice: 10 ms."""


async def calls(call: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], *, awaits: bool) -> list[int]:
    """The nanoseconds of each call."""
    times = []
    if awaits:
        for each in arguments:
            begin = perf_counter_ns()
            await call(*each)
            times.append(perf_counter_ns() - begin)
    else:
        for each in arguments:
            begin = perf_counter_ns()
            call(*each)
            times.append(perf_counter_ns() - begin)
    return times


async def blocks(
    call: Callable[[str, Any], Any], keys: Sequence[str], kind: Any, *, awaits: bool
) -> list[float]:
    """The mean nanoseconds of a call in each block of ``BLOCK`` calls."""
    times = []
    for start in range(0, len(keys) - BLOCK + 1, BLOCK):
        block = keys[start : start + BLOCK]
        if awaits:
            begin = perf_counter_ns()
            for key in block:
                await call(key, kind)
        else:
            begin = perf_counter_ns()
            for key in block:
                call(key, kind)
        times.append((perf_counter_ns() - begin) / BLOCK)
    return times


def percentile(times: Sequence[float], share: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - (share < 1)))]


def summary(times: Sequence[float]) -> dict[str, float]:
    """Microseconds, and the percentage of calls under 10 ms."""
    return {
        "p50_us": statistics.median(times) / 1000,
        "p99_us": percentile(times, 0.99) / 1000,
        "fast_percent": 100 * sum(time < SLOW_NS for time in times) / len(times),
    }
