"""An object store keeps the promises of StorageAdapter, on a real server."""

import os

from axiom_persistence import adapter_for
from axiom_persistence.testing import AdapterSuite, check_against_dict
from support.objects import address_at

LONG = "AXIOM_TEST_STORES" in os.environ  # as in ``make torture``


class TestObjects(AdapterSuite):
    """Every promise, plain."""

    many = 10_000 if LONG else 1000
    questions = 10_000 if LONG else 100

    def adapter(self, place):
        return adapter_for(address_at(place))

    def test_it_agrees_with_a_dict(self):
        """Random commits, reads, listings and re-openings leave what they would leave in a dict."""
        check_against_dict(self.adapter, examples=200 if LONG else 5)
