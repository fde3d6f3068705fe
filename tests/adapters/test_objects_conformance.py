"""An object store keeps the promises of StorageAdapter, on real servers."""

import os

import pytest

from axiom_persistence import adapter_for
from axiom_persistence.testing import AdapterSuite, check_against_dict
from support import azurite, google, moto_server, objects

LONG = "AXIOM_TEST_STORES" in os.environ  # as in ``make torture``
QUICK = (
    "test_absence_that_is_relied_upon",
    "test_closing_while_others_commit",
    "test_two_openings_of_one_place",
    "test_no_byte_is_left_at_the_place",
    "test_parts_of_values",
    "test_several_keys_in_one_commit",
    "test_every_byte_string_comes_back",
    "test_large_values",
)


def quick(suite):
    """Of a server that is not the first: what asks it for more; in ``make torture`` everything."""
    for name in () if LONG else dir(suite):
        if name.startswith("test_") and name not in QUICK:
            setattr(suite, name, None)
    return suite


class OverObjects(AdapterSuite):
    """Every promise, plain."""

    many = 10_000 if LONG else 1000
    questions = 10_000 if LONG else 100

    def test_it_agrees_with_a_dict(self):
        """Random commits, reads, listings and re-openings leave what they would leave in a dict."""
        check_against_dict(self.adapter, examples=200 if LONG else 5)


class TestSeaweed(OverObjects):
    def adapter(self, place):
        return adapter_for(objects.address_at(place))


@quick
class TestMoto(OverObjects):
    def adapter(self, place):
        return adapter_for(moto_server.address_at(place))


@quick
class TestAzurite(OverObjects):
    def adapter(self, place):
        return adapter_for(azurite.address_at(place))


@quick
class TestGoogle(OverObjects):
    """On a stand-in, not on Google's own."""

    @pytest.fixture(autouse=True)
    def token(self, monkeypatch):
        monkeypatch.setenv(google.TOKEN, "any")

    def adapter(self, place):
        return adapter_for(google.address_at(place))
