"""Every public symbol has a type that all checkers agree on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def verify(source: Path, package: str) -> dict[str, Any]:
    # pyright looks for the package in PYTHONPATH, for its dependencies beside the first python in PATH.
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--verifytypes", package, "--ignoreexternal", "--outputjson"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    report: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])["typeCompleteness"]
    return report


def unknown(report: dict[str, Any]) -> list[str]:
    return [
        f"{symbol['name']}: {[each['message'] for each in symbol['diagnostics']]}"
        for symbol in report["symbols"]
        if not symbol["isTypeKnown"]
    ]


def test_every_public_type_is_known() -> None:
    report = verify(ROOT / "src", "axiom_persistence")
    assert Path(report["moduleRootDirectory"]) == ROOT / "src" / "axiom_persistence"
    assert report["exportedSymbolCounts"]["withKnownType"] > 800
    assert unknown(report) == []
    assert report["completenessScore"] == 1


def test_a_type_that_is_left_to_inference_is_reported(tmp_path: Path) -> None:
    package = tmp_path / "planted"
    package.mkdir()
    (package / "py.typed").touch()
    (package / "__init__.py").write_text(
        "class Planted:\n    def __init__(self) -> None:\n        self.count = [1]\n"
    )
    report = verify(tmp_path, "planted")
    assert [line.partition(":")[0] for line in unknown(report)] == [
        "planted.Planted",
        "planted.Planted.count",
    ]
    assert report["completenessScore"] < 1
