"""One job in a process of its own: ``python -m benchmarks.child '{"scenario": …}'`` prints its figures."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from . import (  # noqa: F401 - they register
    audits,
    buckets,
    copies,
    floors,
    growth,
    inside,
    keychains,
    listing,
    live_clients,
    migrating,
    ours,
    peers,
    processes,
    redis_servers,
    servers,
    synchronising,
)
from .contender import Unavailable
from .scenarios import SCENARIOS


def _rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


def main() -> int:
    job = json.loads(sys.argv[1])
    scenario = SCENARIOS[job["scenario"]]
    answer: dict[str, Any]
    try:
        figures = asyncio.run(scenario(Path(job["directory"]), job["parameters"]))
    except (ImportError, Unavailable) as error:
        answer = {"missing": str(error)}
    else:
        answer = {"figures": {name: _rounded(value) for name, value in figures.items()}}
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
