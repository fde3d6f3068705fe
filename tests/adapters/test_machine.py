"""The machine that compares adapters with a dict, against adapters that are wrong."""

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from axiom_persistence.testing import AdapterMachine
from support.broken_adapters import (
    CommitsByHalves,
    ExpectsOnlyWhatItChanges,
    FoldsCase,
    ForgetsWhenClosed,
    IgnoresExpect,
    ListsByUTF16,
    LosesEmptyBytes,
    RepeatsVersions,
    ResurrectsThePast,
    StaleReadNow,
    SwallowsDeletes,
)


@pytest.mark.parametrize(
    "broken",
    [
        CommitsByHalves,
        ExpectsOnlyWhatItChanges,
        FoldsCase,
        ForgetsWhenClosed,
        IgnoresExpect,
        ListsByUTF16,
        LosesEmptyBytes,
        RepeatsVersions,
        ResurrectsThePast,
        StaleReadNow,
        SwallowsDeletes,
    ],
)
def test_the_machine_finds_planted_bugs(broken):
    """Few random histories are enough to find each bug."""

    class Machine(AdapterMachine):
        def adapter(self, place):
            return broken()

    # Generated only: the shortest way to a bug that was planted is of no interest.
    few = settings(
        max_examples=60,
        stateful_step_count=20,
        phases=(Phase.generate,),
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
    )
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(Machine, settings=few)
