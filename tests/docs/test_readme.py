"""The first page does what it says, and is short."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def test_it_is_short():
    """At most 120 lines: a stranger reads it within some minutes."""
    assert len(TEXT.splitlines()) <= 120


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the program kills itself")
def test_the_first_program_prints_what_the_page_shows(tmp_path):
    """Killed twice by itself, it finds at the second start what it assigned before the first kill."""
    program = tmp_path / "notes.py"
    program.write_text(re.search(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)[1])
    shown = re.search(r"^```console\n(\$ python .*?)^```$", TEXT, re.DOTALL | re.MULTILINE)[1]
    said = []
    for line in shown.splitlines():
        if line == "$ python notes.py":
            environment = {
                **os.environ,
                "AXIOM_PERSISTENCE_HOME": str(tmp_path),
                "PYTHONUNBUFFERED": "1",  # as on a terminal
            }
            done = subprocess.run(
                [sys.executable, program], env=environment, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == -signal.SIGKILL, done.stderr
            said += [line, *done.stdout.splitlines(), "Killed"]  # the shell says the last word
    assert said == shown.splitlines()


def test_each_figure_is_explained_where_it_stands():
    """The columns of the demo's table are explained below it."""
    head = next(line for line in TEXT.splitlines() if line.startswith("store "))
    below = TEXT[TEXT.index(head) + len(head) :]
    for column in ("acknowledged", "found", "torn", "p50", "p99"):
        assert column in head
        assert column in below.lower().partition("\n```\n")[2]
