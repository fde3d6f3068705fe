"""After Ctrl-C at any moment nothing hangs, nothing acknowledged is lost, and the store opens again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .harness import STORES, WORLDS

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the interrupts come from a timer")

ROOT = Path(__file__).parents[2]
COUNT = 125  # of each face and store: 500 together


def interrupted(*arguments):
    command = [sys.executable, "-m", "tests.interrupts", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("face", WORLDS)
def test_nothing_hangs_and_nothing_is_lost(face, store):
    done = interrupted(f"--interrupts={COUNT}", "--face", face, "--store", store)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{face} {store}: " in done.stdout


@pytest.mark.parametrize(("face", "planted"), [("blocking", "lock"), ("async", "turn")])
def test_a_planted_mistake_is_found(face, planted):
    """A write lock that is taken by ``acquire``; a turn whose holder is not asked whether he is there."""
    done = interrupted(
        "--interrupts=4000", "--seed=1", "--face", face, "--store", "sqlite", "--planted", planted
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "nothing happened for" in done.stderr
