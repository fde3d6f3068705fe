"""Whatever is cancelled whenever: the cache, the streams of changes and the database agree in the end."""

import pytest

from axiom_persistence.adapters._sqlite.commits import Commits
from axiom_persistence.layers._cache.entries import Entries
from axiom_persistence.layers._changes.stream import ChangeStream

from .cancellation import STACKS, cancel_at_random

SECONDS = 5.0


@pytest.mark.parametrize("stack", STACKS)
async def test_all_agree_after_random_cancellation(stack, tmp_path, record_property):
    """5 s over all stacks (60 in ``make torture``): every key is the same wherever it is asked for."""
    seconds = SECONDS / len(STACKS)
    wrong, calls = await cancel_at_random(STACKS[stack], tmp_path / "store", seconds=seconds, seed=1)
    record_property("told", f"cancelled at random on {stack}: {calls.total()} calls")
    assert not wrong, "\n".join(wrong)
    assert any(verb.endswith("cancelled") for verb in calls)


def another_commit_ends_the_caution(self, number, keys, changes, error):
    """The commit of another key, called before it was known that this one may yet take effect."""
    with self.lock:
        for key in changes:
            self._doubtful[key] = 0
            self.forget(key)
        self.end_write(number, keys, {}, {}, None, 0.0)


def never_told(self, changes):
    """A commit that failed is taken for one that changed nothing."""
    self.withdraw(changes)


@pytest.mark.parametrize(
    ("bug", "owner", "name", "broken"),
    [
        ("a commit overtakes the queue", Commits, "_write_before", lambda *_: True),
        ("caution ended by another key's commit", Entries, "fail_write", another_commit_ends_the_caution),
        ("stream never told", ChangeStream, "fail", never_told),
    ],
)
async def test_a_planted_bug_is_caught(bug, owner, name, broken, tmp_path, monkeypatch):
    """The same calls and the same comparison find it."""
    monkeypatch.setattr(owner, name, broken)
    wrong, _ = await cancel_at_random(STACKS["sqlite"], tmp_path / "store", seconds=60, seed=1, patience=0.5)
    assert wrong, bug
