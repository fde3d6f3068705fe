"""What the tutorial says beside its examples, which run in test_examples.py."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


def test_the_test_of_the_page_passes_beside_the_finished_program(tmp_path):
    """As the page says: notes.py and the test in one directory, and pytest."""
    code = re.search(r"^```python\n(from notes import .*?)^```$", TEXT, re.DOTALL | re.MULTILINE)[1]
    (tmp_path / "test_notes.py").write_text(code)
    shutil.copy(ROOT / "examples" / "notes.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_functions_of_the_finished_program_are_those_of_the_page():
    """Each function and class of both is the same; the page says how they are opened apart."""
    program = (ROOT / "examples" / "notes.py").read_text(encoding="utf-8")
    page = "\n".join(re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
    for name in ("add", "edit", "remove", "listed", "state_for_done", "done_for_state"):
        found = [
            re.findall(rf"^def {name}\(.*?\n(?:    .*\n)+", each, re.MULTILINE)[-1]
            for each in (page, program)
        ]
        assert re.sub(r" *#.*", "", found[0]) == re.sub(r" *#.*", "", found[1])
