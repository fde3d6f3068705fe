"""No acknowledged save is lost when the process is killed, at whatever moment."""

import os

import pytest

from axiom_persistence import FileStorageAdapter, MemoryAdapter, SQLiteAdapter
from axiom_persistence.errors import ConfigurationError
from axiom_persistence.testing.torture import torture

from . import planted

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a life is a fork")

STORES = {"sqlite": SQLiteAdapter, "files": FileStorageAdapter}


@pytest.mark.parametrize("name", STORES)
async def test_fifty_kills_lose_and_tear_nothing(name, tmp_path):
    """Every acknowledged save, deletion and transaction is found whole after each of 50 SIGKILLs."""
    report = await torture(STORES[name], tmp_path / "store.db", kills=50)
    print(report)
    assert report, "\n".join([f"seed {report.seed}", *report.violations])
    assert report.kills == 50
    assert report.acknowledged >= 50
    assert report.found == report.acknowledged
    assert len(report.load_seconds) >= 50
    assert report.moments["working"] >= 5, "no kill came while it was saving"
    assert report.moments["opening"] + report.moments["looking"] + report.moments["closing"] >= 3, (
        "no kill came during recovery"
    )


@pytest.mark.parametrize(
    ("bug", "broken"),
    [
        (planted.AcknowledgesEarly, "lost"),
        (planted.writes_in_place, "torn"),
        (planted.commits_key_by_key, "torn"),
        (planted.forgets_deletions, "lost"),
        (planted.refuses_to_open, "failed"),
    ],
)
async def test_a_planted_bug_is_caught(bug, broken, tmp_path):
    """The same torture finds an adapter out that breaks one promise, and names the promise."""
    report = await torture(bug, tmp_path / "store.db", kills=400, until_violated=True)
    print(report.kills, report.violations)
    assert not report
    assert getattr(report, broken) > 0, report.violations
    assert report.violations


async def test_what_cannot_be_tortured_is_refused(tmp_path):
    """An adapter that no other process could make, or that promises nothing, is refused at once."""
    with pytest.raises(ConfigurationError, match="top of a module"):
        await torture(lambda place: SQLiteAdapter(place), tmp_path / "store.db")
    with pytest.raises(ConfigurationError, match="outlive"):
        await torture(memory, tmp_path / "store.db")


def memory(place):
    return MemoryAdapter()
