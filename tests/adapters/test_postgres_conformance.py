"""PostgreSQL keeps the promises of StorageAdapter, on a real server."""

from axiom_persistence import adapter_for
from axiom_persistence.testing import AdapterSuite
from support.postgres import address_at, sql_now, table_of


class TestPostgres(AdapterSuite):
    """Every promise, plain."""

    many = 1500
    questions = 300

    def adapter(self, place):
        return adapter_for(address_at(place))

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
