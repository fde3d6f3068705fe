"""Several processes that contend for one store."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

from support import buckets, postgres, redis_server
from support.contender import ON_SERVER

PROGRAM = Path(__file__).with_name("contender.py")
TESTS = str(PROGRAM.parents[1])


class Contenders:
    """``count`` processes with the store open. ``work`` has all of them do the same at once."""

    def __init__(self, stack, place, count):
        if stack in ON_SERVER:  # before they start: else each has one of its own
            {"redis": redis_server, "objects": buckets}.get(stack, postgres).shared()
        path = os.pathsep.join(filter(None, (TESTS, os.environ.get("PYTHONPATH"))))
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-W", "error", PROGRAM, stack, place, f"p{number}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
            )
            for number in range(count)
        ]

    def __enter__(self):
        assert self._answers() == ["open"] * len(self._processes)
        return self

    def __exit__(self, kind, *_):
        said = []
        for process in self._processes:
            if kind is not None:
                process.kill()
            _, errors = process.communicate()
            said.append(errors.decode())
            if kind is None:
                assert process.returncode == 0, errors.decode()
        assert kind is not None or not any(said), said

    def work(self, kind, seed, steps):
        for process in self._processes:
            process.stdin.write(f"{kind} {seed} {steps}\n".encode())
            process.stdin.flush()
        return self._answers()

    def _answers(self):
        return [self._answer(process) for process in self._processes]

    def _answer(self, process):
        try:
            return pickle.load(process.stdout)
        except EOFError:
            raise AssertionError(process.stderr.read().decode()) from None
