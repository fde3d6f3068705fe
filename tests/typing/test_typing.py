"""Type checkers judge the public verbs rightly: what is right passes, what is wrong is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JUDGED = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_"))

# Right at run time, wrong for a type checker: each line must be refused on its own.
WRONG = [
    'await persistence.save(VOLUME, "loud")',
    "volume: str = await persistence.load(VOLUME)",
    'window: int = await persistence.load("count", int)',
    'await persistence.update("count", int, lambda n: "x", default=0)',
    'await persistence.update(VOLUME, lambda n: "x")',
    "found: dict[str, str] = await persistence.load_many(['a'], int)",
    'name: str = await persistence.load("name", str)',
    "persistence.load(5, int)",
    'blocking.save(VOLUME, "loud")',
    "text: str = blocking.load(VOLUME)",
    "many: dict[str, str] = blocking.load_many(['a'], int)",
    "blocking.exists(5)",
    "blocking.verify(True)",
    "blocking.collection('numbers', int).put('a', 'x')",
    "await blocking.exists('a')",
]


def judge(checker: str, *paths: Path) -> tuple[int, str]:
    command = {
        "mypy": ["mypy", "--strict", "--warn-unreachable", "--python-version", "3.11"],
        "pyright": ["pyright"],
    }[checker]
    done = subprocess.run(
        [sys.executable, "-m", *command, *map(str, paths)],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},  # this source, whatever is installed
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_what_is_right_passes(checker: str) -> None:
    """The files beside this one are clean: every assert_type holds and every ignore is needed."""
    assert len(JUDGED) >= 3
    code, said = judge(checker, *JUDGED)
    assert code == 0, said


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_what_is_wrong_is_refused(checker: str, tmp_path: Path) -> None:
    """Each wrong line gets an error of its own."""
    page = tmp_path / "wrong.py"
    lines = "".join(f"    {line}\n" for line in WRONG)
    page.write_text(
        "from axiom_persistence import AdapterBasedPersistence, Key\n"
        "from axiom_persistence.blocking import Persistence\n"
        'VOLUME = Key("volume", int, default=5)\n'
        f"async def wrong(persistence: AdapterBasedPersistence, blocking: Persistence) -> None:\n{lines}"
    )
    code, said = judge(checker, page)
    assert code == 1, said
    for number, line in enumerate(WRONG, 5):
        assert f"wrong.py:{number}:" in said, f"{checker} lets pass: {line}\n{said}"
