"""Scenarios that take several processes: many savers, cold starts, one process seeing another's change."""

from __future__ import annotations

import asyncio
import compileall
import json
import os
import shutil
import statistics
import sys
from pathlib import Path
from time import monotonic, monotonic_ns, perf_counter, perf_counter_ns
from typing import Any, Final

import axiom_persistence
from axiom_persistence import open_persistence

from .contender import Unavailable
from .scenarios import Figures, Parameters, scenario, settled
from .timing import percentile, summary
from .values import Documents, key_names

__all__ = ["CHILD"]

CHILD: Final = (sys.executable, "-m", "benchmarks.child")
PIPE: Final = asyncio.subprocess.PIPE
_EVERY_SECONDS: Final = 0.05
"""Between two snapshots."""


async def _begin(job: dict[str, Any]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(*CHILD, json.dumps(job), stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    said = await process.stdout.readline()
    if said.strip() != b"ready":
        await process.wait()
        answer = json.loads(said) if said.strip() else {}
        if "missing" in answer:
            raise Unavailable(answer["missing"])
        raise RuntimeError(f"the child {job} said {said!r}")
    return process


async def _end(process: asyncio.subprocess.Process) -> Figures:
    said, _ = await process.communicate(b"go\n")
    if process.returncode:
        raise RuntimeError(f"a child ended with {process.returncode}")
    figures: Figures = json.loads(said.splitlines()[-1])["figures"]
    return figures


@scenario("processes")
async def processes(directory: Path, parameters: Parameters) -> Figures:
    """Several processes, each saving one value after the other into one store."""
    first = {
        "scenario": "save_for",
        "directory": str(directory),
        "parameters": {**parameters, "number": 0},
    }
    # The first makes the store, so that opening for the first time is nobody's race here.
    begun = [await _begin(first)]
    for number in range(1, parameters["processes"]):
        job = {**first, "parameters": {**parameters, "number": number}}
        begun.append(await _begin(job))
    done = await asyncio.gather(*(_end(process) for process in begun))
    rate = sum(figures["saves"] for figures in done) / parameters["seconds"]
    return {
        "saves_per_second": rate,
        "save_us": 1e6 / rate,
        "survives": done[0]["survives"],
    }


@scenario("beside-snapshots")
async def beside_snapshots(directory: Path, parameters: Parameters) -> Figures:
    """Two processes of four tasks that save durably; with ``snapshots`` a third makes one every 50 ms."""
    path, values = directory / "store.db", Documents(1000)
    async with open_persistence(path) as persistence:
        await persistence.save_many({name: values.take() for name in key_names(parameters["keys"])})
        jobs = [
            {"scenario": "tasks", "directory": str(directory), "parameters": {**parameters, "number": number}}
            for number in range(2)
        ]
        begun = [await _begin(job) for job in jobs]
        saving = asyncio.gather(*(_end(process) for process in begun))
        made = 0
        while parameters["snapshots"] and not saving.done():
            await persistence.snapshot(keep=2)
            made += 1
            await asyncio.sleep(_EVERY_SECONDS)
        done = await saving
    return {
        "p50_us": statistics.mean(figures["p50_us"] for figures in done),
        "p99_us": max(figures["p99_us"] for figures in done),
        "saves_per_second": sum(figures["saves"] for figures in done) / parameters["seconds"],
        "snapshots": made,
    }


@scenario("tasks")
async def tasks(directory: Path, parameters: Parameters) -> Figures:
    """One of the processes: four tasks, each saving one value after the other."""
    values, times = Documents(1000), list[int]()
    async with open_persistence(directory / "store.db") as persistence:
        settled()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        end = monotonic() + parameters["seconds"]

        async def save(task: int) -> None:
            number = 0
            while monotonic() < end:
                number += 1
                value = values.take()
                begin = perf_counter_ns()
                await persistence.save(f"own/{parameters['number']}/{task}/{number % 100}", value)
                times.append(perf_counter_ns() - begin)

        await asyncio.gather(*(save(task) for task in range(4)))
    return {**summary(times), "saves": len(times)}


@scenario("write_marks")
async def write_marks(directory: Path, parameters: Parameters) -> Figures:
    """The other process: saves the time, again and again."""
    async with open_persistence(directory / "ours.db") as persistence:
        await persistence.save("mark", monotonic_ns())
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for _ in range(parameters["count"]):
            await asyncio.sleep(parameters["pause"])
            await persistence.save("mark", monotonic_ns(), durability="process_exit")
        await asyncio.sleep(0.5)
    return {}


@scenario("external_change")
async def external_change(directory: Path, parameters: Parameters) -> Figures:
    """From before another process's save to the new value in the hands of this one's task."""
    job = {"scenario": "write_marks", "directory": str(directory), "parameters": parameters}
    writer = await _begin(job)
    late: list[float] = []
    async with open_persistence(directory / "ours.db") as persistence:

        async def watch() -> None:
            last = await persistence.load("mark", int)
            async for _ in persistence.changes("mark"):
                mark = await persistence.load("mark", int, default=0)
                if mark != last:
                    late.append(monotonic_ns() - mark)
                    last = mark

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.2)
        await _end(writer)
        watching.cancel()
    if len(late) < parameters["count"] // 2:
        raise RuntimeError(f"only {len(late)} of {parameters['count']} changes were seen")
    return {
        "p50_ms": statistics.median(late) / 1e6,
        "p99_ms": percentile(late, 0.99) / 1e6,
    }


# Each writes one byte when the first value is there; a second argument "make" makes the store instead.
# All load the same dataclass, each as its user would: a checked type here and there, a pickle in diskcache.
_WINDOW: Final = """
from dataclasses import dataclass
@dataclass
class Window:
    width: int
    height: int
"""
_OURS: Final = """
import asyncio
from axiom_persistence import open_persistence
async def main():
    async with open_persistence("sqlite:" + sys.argv[1] + "/cold.db") as persistence:
        if sys.argv[2] == "make":
            await persistence.save("window", Window(800, 600))
        assert await persistence.load("window", Window) == Window(800, 600)
        os.write(1, b".")
asyncio.run(main())
"""
_COLD: Final = {
    "python": "",
    "imports": "import asyncio, sqlite3, msgspec",
    "ours": _WINDOW + _OURS,
    "ours-source": _WINDOW + _OURS,
    "kv-disk": f"""
import asyncio
from key_value.aio.adapters.dataclass import DataclassAdapter
from key_value.aio.stores.disk import DiskStore
{_WINDOW}
async def main():
    windows = DataclassAdapter(DiskStore(directory=sys.argv[1] + "/kv"), Window)
    if sys.argv[2] == "make":
        await windows.put("window", Window(800, 600))
    assert await windows.get("window") == Window(800, 600)
    os.write(1, b".")
asyncio.run(main())
""",
    "kv-disk-dict": """
import asyncio
from key_value.aio.stores.disk import DiskStore
async def main():
    store = DiskStore(directory=sys.argv[1] + "/kv")
    if sys.argv[2] == "make":
        await store.put("window", {"width": 800, "height": 600})
    assert await store.get("window") == {"width": 800, "height": 600}
    os.write(1, b".")
asyncio.run(main())
""",
    "diskcache": f"""
import diskcache
{_WINDOW}
cache = diskcache.Cache(sys.argv[1] + "/cache")
if sys.argv[2] == "make":
    cache.set("window", Window(800, 600))
assert cache.get("window") == Window(800, 600)
os.write(1, b".")
""",
}
_NEEDS: Final = {
    "kv-disk": "key_value.aio.stores.disk",
    "kv-disk-dict": "key_value.aio.stores.disk",
    "diskcache": "diskcache",
}


@scenario("cold")
async def cold(directory: Path, parameters: Parameters) -> Figures:
    """From the start of a new interpreter to the first value, of a store that is there."""
    who = parameters["contender"]
    if who in _NEEDS:
        __import__(_NEEDS[who])
    code = f"import os, sys\n{_COLD[who]}"
    if "os.write" not in code:
        code += "\nos.write(1, b'.')"
    environment = _installed(directory, compiled=who != "ours-source")
    await _cold_once(code, directory, "make", environment)
    times = [await _cold_once(code, directory, "load", environment) for _ in range(parameters["count"])]
    return {"p50_ms": statistics.median(times) * 1000}


def _installed(directory: Path, *, compiled: bool) -> dict[str, str]:
    """The environment of a program that finds the library as pip installs it: with its bytecode.

    The peers were installed so. A source tree used with PYTHONDONTWRITEBYTECODE has none, and would be
    compiled anew at each start.
    """
    place = directory / "installed"
    package = Path(axiom_persistence.__file__).parent
    shutil.copytree(package, place / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    if compiled:
        compileall.compile_dir(place, quiet=2)
    return {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}


async def _cold_once(code: str, directory: Path, what: str, environment: dict[str, str]) -> float:
    begin = perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(directory), what, stdout=PIPE, env=environment
    )
    assert process.stdout is not None
    said = await process.stdout.read(1)
    seconds = perf_counter() - begin
    await process.communicate()
    if said != b"." or process.returncode:
        raise RuntimeError(f"a cold start ended with {process.returncode}")
    return seconds
