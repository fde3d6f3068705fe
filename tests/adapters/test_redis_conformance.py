"""Redis keeps the promises of StorageAdapter, on a real server."""

import os
import uuid

from axiom_persistence import adapter_for
from axiom_persistence.testing import AdapterSuite, check_against_dict
from support.redis_server import address_at, store_of, told

LONG = "AXIOM_TEST_STORES" in os.environ  # as in ``make torture``


class TestRedis(AdapterSuite):
    """Every promise, plain."""

    many = 10_000 if LONG else 1000
    questions = 10_000 if LONG else 200

    def adapter(self, place):
        return adapter_for(address_at(place))

    def test_it_agrees_with_a_dict(self):
        """Random commits, reads, listings and re-openings leave what they would leave in a dict."""
        check_against_dict(self.adapter, examples=200 if LONG else 10)

    def read_raw(self, place, key):
        record = told("GET", f"{{{store_of(place)}}}:record:{key}")
        return None if record is None else record[36:]

    def write_raw(self, place, key, data):
        told("SET", f"{{{store_of(place)}}}:record:{key}", str(uuid.uuid4()).encode() + data)
        told("ZADD", f"{{{store_of(place)}}}:index", 0, key)
