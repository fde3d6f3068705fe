"""SIGKILL right after an assignment. ``AXIOM_KILLS=500`` for more of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KILLS = int(os.environ.get("AXIOM_KILLS", "50"))
HARNESS = Path(__file__).parents[1] / "support" / "client_kills.py"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the harness forks")


def harness(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(HARNESS), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    print(report)
    return done.returncode, report


@pytest.mark.timeout(1200)
def test_assigned_over_sqlite():
    """From READY over SQLite, no assigned value is lost by SIGKILL."""
    status, report = harness("--store", "sqlite", "--kills", str(KILLS))
    assert (status, report["lost"]) == (0, 0)
    assert report["assigned"] > 5 * KILLS


@pytest.mark.timeout(1200)
def test_assigned_over_an_encrypted_store():
    """The same where every value is sealed on its way."""
    status, report = harness("--store", "sqlite", "--encrypted", "--kills", str(max(10, KILLS // 5)))
    assert (status, report["lost"]) == (0, 0)
    assert report["assigned"] > KILLS


@pytest.mark.timeout(1200)
def test_persisted_in_files():
    """Over files, nothing that ``persist_state`` returned for is lost by SIGKILL."""
    status, report = harness("--store", "file", "--kills", str(max(5, KILLS // 5)))
    assert (status, report["lost"]) == (0, 0)


def test_the_harness_catches_a_late_save():
    """The same harness finds values that are only saved by a timer."""
    status, report = harness("--store", "sqlite", "--kills", "3", "--planted")
    assert status == 1
    assert report["lost"] > 0
