"""Programs without an event loop as real child processes, and what they leave in their store."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from axiom_persistence.blocking import open_persistence

UNCLOSED = "ignore::ResourceWarning"
PRELUDE = """
import atexit, gc, os, signal, sys, threading, time
from pathlib import Path
from axiom_persistence.blocking import *
from axiom_persistence.errors import *

class Counter(Client):
    a: int = client_state(0)
    b: int = client_state(0)
    items: list[int] = client_state(default_factory=list)

place = Path(sys.argv[1])
SLOW = AutoSave(3600, 3600)

def say(*words):
    print(*words, flush=True)

def started(**options):
    persistence = open_persistence(place).open()
    counter = Counter(persistence, **options)
    counter.restore_state()
    return persistence, counter

def fill(counter):
    counter.a = 1
    counter.b = 2
    counter.items.append(3)
"""


class Ended:
    """How a program ended, and what it said."""

    def __init__(self, process: subprocess.Popen[str], out: str, err: str) -> None:
        self.status, self.out, self.err = process.returncode, out, err


def run(place: Path, code: str, kill: signal.Signals | None = None) -> Ended:
    """Run ``code`` after the prelude; with ``kill``, send that once it says ``ready``."""
    program = PRELUDE + textwrap.dedent(code)
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-W", UNCLOSED, "-c", program, str(place)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = ""
    try:
        if kill is not None:
            while "ready" not in said:
                line = child.stdout.readline()
                if not line:
                    break
                said += line
            child.send_signal(kill)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    return Ended(child, said + out, err)


def stored(place: Path) -> tuple[int, int, list[int]]:
    """What the client of the prelude has in its store."""
    with open_persistence(place) as persistence:
        return (
            persistence.load("Counter/a", int, default=0),
            persistence.load("Counter/b", int, default=0),
            persistence.load("Counter/items", list[int], default=[]),
        )
