"""Runs rows: every round each job once, in another order, each in a process of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .row import Job, Row

__all__ = ["ROOT", "SCALED", "Results", "measure", "pooled", "run"]

PAUSE_SECONDS: Final = 0.05
"""After each job, so that what it left to the disk and the kernel is not the next one's burden."""

ROOT: Final = Path(__file__).resolve().parent.parent

JOB_SECONDS_MAX: Final = 300

SCALED: Final = ("count", "seconds", "repeats", "clients", "idle_seconds")
"""The parameters that a shorter run shortens."""

Results = dict[str, dict[str, dict[str, Any]]]
"""Row name, then label: {"rounds": [figures, …]} or {"missing": why} or {"failed": why}."""


def run(
    rows: Sequence[Row],
    directory: Path,
    *,
    rounds: int,
    scale: float,
    seed: int,
    say: Callable[[str], None],
) -> Results:
    """Measure ``rows`` below ``directory``, which is left empty."""
    order = random.Random(seed)
    results: Results = {}
    total = sum(len(row.jobs) * min(rounds, row.rounds or rounds) for row in rows)
    done, begin = 0, time.monotonic()
    for row in rows:
        found: dict[str, dict[str, Any]] = {job.label: {"rounds": []} for job in row.jobs}
        results[row.name] = found
        with tempfile.TemporaryDirectory(dir=directory) as place:
            for job in row.prepare:
                say(f"{row.name}: making {job.label}")
                kept = Path(place) / _file_name(job.label)
                kept.mkdir()
                _one(job, kept, scale, 0)
            for turn in range(min(rounds, row.rounds or rounds)):
                for job in order.sample(row.jobs, len(row.jobs)):
                    done += 1
                    if "rounds" not in found[job.label]:
                        continue
                    left = (time.monotonic() - begin) / done * (total - done)
                    say(f"[{done}/{total}] {row.name}, round {turn + 1}: {job.label} (~{left:.0f} s left)")
                    if row.prepare:
                        answer = _one(job, Path(place) / _file_name(job.label), scale, turn)
                    else:
                        answer = measure(job, Path(place), scale, turn)
                    if "figures" in answer:
                        found[job.label]["rounds"].append(answer["figures"])
                    else:
                        found[job.label] = answer
                    time.sleep(PAUSE_SECONDS)
    return results


def measure(job: Job, place: Path, scale: float, turn: int, *, root: Path = ROOT) -> dict[str, Any]:
    """The figures of one job in a directory of its own, or why there are none; by the code in ``root``."""
    own = Path(tempfile.mkdtemp(dir=place))
    try:
        return _one(job, own, scale, turn, root)
    finally:
        shutil.rmtree(own)


def _one(job: Job, directory: Path, scale: float, turn: int, root: Path = ROOT) -> dict[str, Any]:
    parameters = {**_scaled(job.parameters, scale), "round": turn, "scale": scale}
    asked = {"scenario": job.scenario, "directory": str(directory.resolve()), "parameters": parameters}
    paths = (str(root / "src"), os.environ.get("PYTHONPATH"))
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.child", json.dumps(asked)],
            capture_output=True,
            text=True,
            timeout=JOB_SECONDS_MAX,
            cwd=root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {JOB_SECONDS_MAX} s"}
    if ended.returncode or not ended.stdout:
        return {"failed": (ended.stderr.strip().splitlines() or ["no output"])[-1]}
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer


def _scaled(parameters: Mapping[str, Any], scale: float) -> dict[str, Any]:
    return {
        name: (max(type(value)(value * scale), 1 if isinstance(value, int) else 0.05))
        if name in SCALED
        else value
        for name, value in parameters.items()
    }


def _file_name(label: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in label)


def pooled(rounds: Sequence[Mapping[str, float]], metric: str, pool: str) -> float:
    values = [figures[metric] for figures in rounds]
    return statistics.fmean(values) if pool == "mean" else statistics.median(values)
