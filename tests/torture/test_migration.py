"""A migration that is killed again and again ends as if it never had been."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

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
