"""PostgreSQL keeps the promises of StorageAdapter, on a real server."""

import os

from axiom_persistence import adapter_for
from axiom_persistence.testing import AdapterSuite, check_against_dict
from support.postgres import address_at, sql_now, table_of

LONG = "AXIOM_TEST_STORES" in os.environ  # as in ``make torture``


class TestPostgres(AdapterSuite):
    """Every promise, plain."""

    many = 10_000 if LONG else 1000
    questions = 10_000 if LONG else 200

    def adapter(self, place):
        return adapter_for(address_at(place))

    def test_it_agrees_with_a_dict(self):
        """Random commits, reads, listings and re-openings leave what they would leave in a dict."""
        check_against_dict(self.adapter, examples=200 if LONG else 10)

    def read_raw(self, place, key):
        rows = sql_now(f"SELECT data FROM {table_of(place)} WHERE key = $1", key)
        return rows[0]["data"] if rows else None

    def write_raw(self, place, key, data):
        sql_now(
            f"INSERT INTO {table_of(place)} VALUES ($1, $2, gen_random_uuid()) "
            "ON CONFLICT (key) DO UPDATE SET data = excluded.data, version = excluded.version",
            key,
            data,
        )
