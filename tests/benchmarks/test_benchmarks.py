"""The benchmark program: it runs, leaves out what is not there, and says of each goal what is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"
PEERS = ("aiosqlite", "diskcache", "key_value", "sqlitedict", "tinydb")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def _program(tmp_path: Path, *arguments: str, shadow: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the program, with no peer importable even where they are installed."""
    environment = dict(os.environ)
    if shadow:
        place = tmp_path / "shadow"
        place.mkdir()
        for peer in PEERS:
            (place / f"{peer}.py").write_text(f"raise ModuleNotFoundError('no {peer} here', name={peer!r})")
        environment["PYTHONPATH"] = str(place)
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One tiny run of one row, without any peer."""
    place = tmp_path_factory.mktemp("benchmarks")
    ended = _program(
        place,
        *("--quick", "--rounds", "1", "--scale", "0.01", "--only", "durable-save"),
        *("--output", str(place / "out"), "--directory", str(place / "stores")),
    )
    return place / "out", ended


def test_a_run_without_peers_succeeds(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """What is not installed is named as left out; nothing fails, and progress is on stderr."""
    out, ended = ran
    assert ended.returncode == 0, ended.stderr
    assert "[1/" in ended.stderr
    page = (out / "benchmarks.md").read_text()
    assert "aiosqlite: not there: no aiosqlite here" in page
    assert "failed" not in page


def test_the_table_compares_with_the_floor(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The page has a line for each measured goal, with ratio, goal and verdict."""
    page = (ran[0] / "benchmarks.md").read_text()
    goals = [
        line for line in page.splitlines() if "| append + fdatasync |" in line and "at most 1.35x" in line
    ]
    assert len(goals) == 1
    assert goals[0].endswith(("| yes |", "| **missed** |"))
    assert "| axiom-persistence | yes | yes | yes |" in page
    assert "**A short run**" in page


def test_the_chart_is_well_formed(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The picture parses as SVG and shows bars of ours and of the floor."""
    picture = ElementTree.parse(ran[0] / "benchmarks.svg").getroot()
    assert picture.tag == f"{SVG}svg"
    kinds = [bar.get("class") for bar in picture.iter(f"{SVG}rect")]
    assert "bar ours" in kinds
    assert "bar peer" in kinds


def test_the_first_page_has_the_comparison_of_the_last_run() -> None:
    """docs/comparison.svg is drawn from docs/benchmarks.json: four panels, no floor, bars as long as said."""
    from benchmarks.comparison import PANELS, ROOM, comparison
    from benchmarks.rows import rows

    found = json.loads((ROOT / "docs" / "benchmarks.json").read_text())["results"]
    drawn = comparison(found, rows(quick=False))
    assert (ROOT / "docs" / "comparison.svg").read_text() == drawn
    tree = ElementTree.fromstring(drawn)
    texts = [text.text or "" for text in tree.iter(f"{SVG}text")]
    assert set(PANELS.values()) <= set(texts)
    assert not [text for text in texts if text.startswith("append")]
    lengths = [float(bar.attrib["width"]) for bar in tree.iter(f"{SVG}rect")]
    assert lengths.count(ROOM) == len(PANELS)


def test_the_chart_draws_how_cost_grows() -> None:
    """Every row that grows has its lines, a point for each job that was measured."""
    from benchmarks.chart import svg
    from benchmarks.rows import rows

    every = rows(quick=False)
    results = {
        row.name: {
            job.label: {"rounds": [{metric.name: 3.0 + number for metric in row.metrics}]}
            for number, job in enumerate(row.jobs)
        }
        for row in every
    }
    picture = ElementTree.fromstring(svg(results, every))
    lines = [len(line.get("points", "").split()) for line in picture.iter(f"{SVG}polyline")]
    # Keys: three figures; sizes and savers: three contenders; processes: two.
    assert lines == [4] * (3 + 3 + 3 + 2)
    inside = [float(bar.get("x", 0)) + float(bar.get("width", 0)) for bar in picture.iter(f"{SVG}rect")]
    assert max(inside) <= 860


def test_the_raw_figures_hold_every_round(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The JSON file has the machine, the medians, and all from which they were made."""
    raw = json.loads((ran[0] / "benchmarks.json").read_text())
    rounds = raw["results"]["durable-save"]["axiom-persistence"]["rounds"]
    assert len(rounds) == 1
    assert raw["medians"]["durable-save"]["axiom-persistence"]["p50_us"] == rounds[0]["p50_us"] > 0
    assert raw["machine"]["file system"]


def test_an_unknown_row_is_refused(tmp_path: Path) -> None:
    """A misspelt row is an error that names the rows there are."""
    ended = _program(tmp_path, "--only", "durable-saves", shadow=False)
    assert ended.returncode == 2
    assert "durable-save" in ended.stderr


def test_rounds_are_interleaved(tmp_path: Path) -> None:
    """Every round runs every job once, and not always in the same order."""
    from benchmarks.row import Job, Metric, Row
    from benchmarks.runner import run

    jobs = tuple(
        Job(name, "save", {"contender": name, "count": 3}) for name in ("append", "decode", "ours-memory")
    )
    said: list[str] = []
    row = Row("row", "Row", (Metric("p50_us", "µs"),), jobs)
    results = run([row], tmp_path, rounds=3, scale=0.01, seed=4, say=said.append)
    turns = [line.partition(": ")[2].partition(" (")[0] for line in said]
    rounds = [tuple(turns[i : i + 3]) for i in (0, 3, 6)]
    assert all(sorted(each) == ["append", "decode", "ours-memory"] for each in rounds)
    assert len(set(rounds)) > 1
    assert all(len(found["rounds"]) == 3 for found in results["row"].values())
    assert list(tmp_path.iterdir()) == []


def test_a_failing_job_is_reported(tmp_path: Path) -> None:
    """A job that dies is said to have failed, with its last word, and takes no other with it."""
    from benchmarks.report import unmeasured
    from benchmarks.row import Job, Metric, Row
    from benchmarks.runner import run

    jobs = (
        Job("good", "save", {"contender": "append", "count": 3}),
        Job("bad", "save", {"contender": "no such contender", "count": 3}),
    )
    row = Row("row", "Row", (Metric("p50_us", "µs"),), jobs)
    results = run([row], tmp_path, rounds=1, scale=0.01, seed=1, say=lambda _: None)
    assert [(label, word) for _, label, word, _ in unmeasured(results, [row])] == [("bad", "failed")]
    assert "no such contender" in results["row"]["bad"]["failed"]
    assert len(results["row"]["good"]["rounds"]) == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "times", "verdict"),
    [
        ([13.0, 13.5], [10.0, 10.0], False, "yes"),
        ([13.6, 13.7], [10.0, 10.0], False, "**missed**"),
        ([10.0, 10.0], [121.0, 121.0], True, "yes"),
        ([10.0, 10.0], [119.0, 119.0], True, "**missed**"),
    ],
)
def test_a_goal_is_judged_by_its_limit(
    ours: list[float], theirs: list[float], times: bool, verdict: str
) -> None:
    """A row that misses its goal says so: at most 1.35x as long, or at least 12x as many."""
    from benchmarks.report import markdown
    from benchmarks.row import Goal, Job, Metric, Row

    row = Row(
        "row",
        "Row",
        (Metric("p50_us", "µs"),),
        (Job("axiom-persistence", "save", {}), Job("peer", "save", {})),
        (Goal("axiom-persistence", "peer", "p50_us", 12 if times else 1.35, times=times),),
    )
    results = {
        "row": {
            "axiom-persistence": {"rounds": [{"p50_us": value} for value in ours]},
            "peer": {"rounds": [{"p50_us": value} for value in theirs]},
        }
    }
    run = {"results": results, "scale": 1, "date": "", "machine": {}, "rounds": 2, "seed": 1, "minutes": 1.0}
    page = markdown(run, [row], "benchmarks.svg")
    assert f"| {verdict} |" in page
    assert f"{int(verdict == 'yes')} of 1 reached" in page


def test_every_goal_names_what_is_measured() -> None:
    """No goal is left unjudged because a label or a metric is misspelt."""
    from benchmarks.rows import rows

    for quick in (True, False):
        every = rows(quick=quick)
        assert len({row.name for row in every}) == len(every)
        for row in every:
            labels = {job.label for job in row.jobs}
            metrics = {metric.name for metric in row.metrics}
            assert len(labels) == len(row.jobs), row.name
            for goal in row.goals:
                assert goal.ours in labels, row.name
                assert goal.against is None or goal.against in labels, row.name
                assert goal.metric in metrics, row.name


def test_every_written_value_differs() -> None:
    """No document that is taken equals one taken before; each is about 1.1 KB of JSON."""
    from benchmarks.values import Documents

    values = Documents(100)
    written = [msgspec.json.encode(values.take()) for _ in range(1000)]
    assert len(set(written)) == len(written)
    assert all(1050 < len(data) < 1150 for data in written)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ours", ("yes", "yes", "yes")),
        ("ours-process-exit", ("yes", "yes", "no")),
        ("ours-file", ("yes", "yes", "yes")),
        ("ours-memory", ("no", "no", "no")),
    ],
)
async def test_what_ours_survives_comes_from_the_traits(
    name: str, expected: tuple[str, str, str], tmp_path: Path
) -> None:
    """The column about survival is not a claim of the benchmark but what the adapter promises."""
    from benchmarks.contender import CONTENDERS

    from benchmarks import ours  # noqa: F401 - it registers

    contender = CONTENDERS[name]()
    await contender.open(tmp_path)
    await contender.save("key", 1)
    assert await contender.load("key", int) == 1
    await contender.close()
    assert contender.survives[:3] == expected


@pytest.mark.parametrize("compiled", [True, False])
def test_a_cold_start_has_the_bytecode_that_is_said(tmp_path: Path, compiled: bool) -> None:
    """The library is measured as pip installs it, compiled; or, where the label says so, as bare source."""
    from benchmarks.processes import _installed

    environment = _installed(tmp_path, compiled=compiled)
    program = (
        "import os, axiom_persistence.opening.open as it; print(it.__file__, os.path.exists(it.__cached__))"
    )
    for _ in range(2):  # the first start leaves nothing for the second
        said = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        ).stdout
        assert said.startswith(str(tmp_path))
        assert said.split()[-1] == str(compiled)
