"""A migration that is killed again and again ends as if it never had been."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from support.migrations import expected
from torture.migration import judge, look, make, process, value_in

PROGRAM = Path(__file__).with_name("migration.py")


@pytest.mark.parametrize("store", ["sqlite", "file"])
def test_killed_migrations_go_on(store):
    """20 SIGKILLs in migrate, rollback and finalize; the long run is ``make torture``."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
    arguments = ["--store", store, "--records", "80", "--chunk", "10", "--kills", "20"]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env={**os.environ, "TMPDIR": memory},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "migrate" in done.stdout


@pytest.mark.parametrize("store", ["sqlite", "file"])
@pytest.mark.parametrize("first", ["killed", "whole"])
def test_several_processes_migrate_at_once(store, first, tmp_path):
    """They share the work, or wait; each step takes effect once, whoever of them is killed."""
    old = asyncio.run(make(store, tmp_path, 60))
    children = [process(store, tmp_path, "migrate", 7) for _ in range(3)]
    if first == "killed":
        time.sleep(0.3)
        os.kill(children[0], signal.SIGKILL)
    header, found, _ = asyncio.run(look(store, tmp_path))
    layout = {key: value_in(key, data) for key, data in found.items()}
    assert layout.keys() in (old.keys(), expected(60).keys())
    ends = [os.waitpid(child, 0) for child in children]
    assert [status for _, status in ends[1:]] == [0, 0]
    header, new, kept = asyncio.run(look(store, tmp_path))
    assert header.running is None
    assert kept
    assert {key: value_in(key, data) for key, data in new.items()} == expected(60)
    judge(header, new, old, new)
