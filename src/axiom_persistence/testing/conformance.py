"""The promises of ``StorageAdapter``, as tests that any adapter and any layer runs.

::

    from axiom_persistence.testing import AdapterSuite

    class TestMyAdapter(AdapterSuite):
        def adapter(self, place):
            return MyAdapter(place / "store")

That is all; pytest finds the tests. They are plain functions, so no asynchronous test runner is
needed. What an adapter cannot do is read from its ``traits``: a test of something that is not promised
is skipped with the trait named. One flag exists for what traits do not say,
``keeps_nothing_open``. Give ``read_raw`` and ``write_raw``, which look into the medium without the
adapter, to have checked what is really stored.
"""

from __future__ import annotations

from .machine import check_against_dict
from .suite.commits import CommitTests
from .suite.concurrency import ConcurrencyTests
from .suite.keys import KeyTests
from .suite.lifecycle import LifecycleTests
from .suite.listing import ListingTests
from .suite.purging import PurgeTests
from .suite.values import ValueTests

__all__ = ["AdapterSuite"]


class AdapterSuite(
    ValueTests, CommitTests, KeyTests, ListingTests, PurgeTests, LifecycleTests, ConcurrencyTests
):
    """Subclass it at the top level of a test module and give ``adapter(self, place)``.

    ``place`` is an empty directory; called again with the same place it is the same store, opened anew.
    Where ``traits.shared``, other processes import the test module to open the store beside this one,
    so the class cannot be made inside a function.
    """

    def test_it_agrees_with_a_dict(self) -> None:
        """Random commits, reads, listings and re-openings leave what they would leave in a dict."""
        check_against_dict(self.adapter)
