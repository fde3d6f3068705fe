"""The suite fails for adapters that are wrong: each planted bug is caught by the test named beside it."""

import inspect

import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.errors import PersistenceError
from axiom_persistence.testing import AdapterSuite
from support.broken_adapters import (
    CachesSwept,
    ChecksThenWrites,
    CommitsByHalves,
    ComposesLetters,
    CutsLongKeys,
    DeletesByPattern,
    DeletesOnePage,
    ExpectsOnlyWhatItChanges,
    FetchesByHalves,
    FoldsCase,
    ForgetsWhenClosed,
    GivesAbsentParts,
    HalfWhenCancelled,
    HangsAfterCancellation,
    IgnoresExpect,
    KeepsPurgedGenerations,
    KeepsText,
    KeepsTheCallersMapping,
    LastCallFirst,
    LeavesThePast,
    LimitsBeforeThePrefix,
    ListsByOffset,
    ListsByPattern,
    ListsByUTF16,
    ListsUnordered,
    LosesEmptyBytes,
    MissesEmptyBytes,
    Nameless,
    OneFile,
    OnlyOneLoop,
    PagesByUTF16,
    PagesFromTheKeyItself,
    PresentIsThePast,
    ReadsFromTheStart,
    RepeatsVersions,
    ResurrectsThePast,
    ReturnsOldVersions,
    ReversesThePage,
    StaleReadNow,
    StandingMark,
    StripsNuls,
    SwallowsDeletes,
    TakesAnyKey,
    TakesAnySize,
    TakesEmptyForAbsent,
    WorksClosed,
)


class TestOneFile(AdapterSuite):
    """At the top level, so that the processes of the suite can open it; only one test of it is run."""

    __test__ = False
    keeps_nothing_open = True

    def adapter(self, place):
        return OneFile(place)


PLANTED = [
    (FoldsCase, "test_odd_keys_are_different_keys"),
    (ComposesLetters, "test_odd_keys_are_different_keys"),
    (CutsLongKeys, "test_the_longest_keys"),
    (LosesEmptyBytes, "test_every_byte_string_comes_back"),
    (KeepsText, "test_every_byte_string_comes_back"),
    (StripsNuls, "test_every_byte_string_comes_back"),
    (KeepsTheCallersMapping, "test_nothing_mutable_is_shared"),
    (CommitsByHalves, "test_one_failed_expectation_among_many"),
    (CommitsByHalves, "test_a_refused_key_refuses_the_commit"),
    (FetchesByHalves, "test_a_fetch_is_one_snapshot"),
    (IgnoresExpect, "test_a_stale_expectation_changes_nothing"),
    (ExpectsOnlyWhatItChanges, "test_expectations_of_other_keys"),
    (ExpectsOnlyWhatItChanges, "test_expectations_without_changes"),
    (TakesEmptyForAbsent, "test_expecting_absence"),
    (ChecksThenWrites, "test_tasks_that_count"),
    (ChecksThenWrites, "test_threads_with_their_own_loops"),
    (RepeatsVersions, "test_equal_versions_mean_equal_bytes"),
    (RepeatsVersions, "test_a_stale_expectation_changes_nothing"),
    (ReturnsOldVersions, "test_equal_versions_mean_equal_bytes"),
    (ListsUnordered, "test_odd_keys_are_listed_exactly"),
    (ListsByUTF16, "test_prefixes_at_the_edges_of_unicode"),
    (ListsByPattern, "test_listing_by_prefix"),
    (ListsByOffset, "test_listing_while_keys_change"),
    (PagesFromTheKeyItself, "test_listings_agree_with_a_sorted_list"),
    (PagesFromTheKeyItself, "test_a_walk_by_pages_meets_every_key_once"),
    (ReversesThePage, "test_listings_agree_with_a_sorted_list"),
    (PagesByUTF16, "test_listings_agree_with_a_sorted_list"),
    (LimitsBeforeThePrefix, "test_listings_agree_with_a_sorted_list"),
    (MissesEmptyBytes, "test_exists_agrees_with_fetch"),
    (ReadsFromTheStart, "test_parts_of_values"),
    (GivesAbsentParts, "test_parts_of_values"),
    (DeletesByPattern, "test_deleting_by_prefix"),
    (DeletesOnePage, "test_deleting_very_many_by_prefix"),
    (CachesSwept, "test_deleting_by_prefix"),
    (ResurrectsThePast, "test_what_was_deleted_by_prefix_has_no_past"),
    (LastCallFirst, "test_deleting_by_prefix_keeps_the_order_of_calls"),
    (KeepsPurgedGenerations, "test_purging_only_what_came_before"),
    (SwallowsDeletes, "test_several_keys_in_one_commit"),
    (ResurrectsThePast, "test_a_deleted_key_has_no_past"),
    (PresentIsThePast, "test_the_previous_generation_is_older"),
    (LeavesThePast, "test_the_past_is_put_back"),
    (TakesAnyKey, "test_what_is_no_key_is_refused"),
    (TakesAnySize, "test_the_largest_value"),
    (WorksClosed, "test_use_after_close"),
    (ForgetsWhenClosed, "test_a_new_opening_finds_everything"),
    (HangsAfterCancellation, "test_cancellation_at_any_moment"),
    (HalfWhenCancelled, "test_cancellation_at_any_moment"),
    (LastCallFirst, "test_the_order_of_calls"),
    (LastCallFirst, "test_commit_now_keeps_the_order_of_calls"),
    (StandingMark, "test_the_change_mark_moves"),
    (StaleReadNow, "test_fetch_now_agrees_with_fetch"),
    (OnlyOneLoop, "test_threads_with_their_own_loops"),
    (OnlyOneLoop, "test_one_loop_after_another"),
    (Nameless, "test_an_adapter_has_a_name"),
]


class Suite(AdapterSuite):
    """The suite of an adapter that needs no place."""

    __test__ = False

    def __init__(self, kind):
        self.kind = kind

    def adapter(self, place):
        return self.kind()


def caught(suite, name, tmp_path):
    """Run one test of a suite as pytest would; whether it fails, and not for some mistake in the plant."""
    test = getattr(suite, name)
    given = {"tmp_path": tmp_path} if "tmp_path" in inspect.signature(test).parameters else {}
    try:
        test(**given)
    except (AssertionError, pytest.fail.Exception, PersistenceError, ExceptionGroup, TimeoutError, KeyError):
        return True
    return False


@pytest.mark.parametrize(
    ("broken", "name"), PLANTED, ids=[f"{broken.__name__}-{name}" for broken, name in PLANTED]
)
def test_a_planted_bug_is_caught(broken, name, tmp_path):
    """The test that is meant to find this bug fails for it."""
    assert caught(Suite(broken), name, tmp_path)


@pytest.mark.parametrize("name", sorted({name for _, name in PLANTED}))
def test_the_same_tests_let_a_sound_adapter_through(name, tmp_path):
    """The tests that find the bugs find none where there is none.

    Two of them ask what MemoryAdapter does not promise; other adapters pass them in test_conformance.
    """
    if name not in ("test_the_largest_value", "test_a_new_opening_finds_everything"):
        assert not caught(Suite(MemoryAdapter), name, tmp_path)


def test_a_race_between_processes_is_caught(tmp_path):
    """Processes that compare and set without a lock between them lose steps, and the suite sees it."""
    assert caught(TestOneFile(), "test_processes_that_count", tmp_path)
