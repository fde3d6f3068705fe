"""``python -m tests.torture.postgres``: a killed server, lost replies, changes, a million keys.

The tests run the same with smaller numbers.
"""

import asyncio
import sys
from functools import partial

from axiom_persistence.adapters.postgres import PostgresAdapter
from support.postgres import USER, Postgres, directory, sql
from support.servers import query_of
from torture import served


def at(port, table, **options):
    return PostgresAdapter(f"postgresql://{USER}@127.0.0.1:{port}/postgres?table={table}{query_of(options)}")


kills = partial(served.kills, at=at)
changes = partial(served.changes, at=at)


async def lost_replies(server, count, table="replies"):
    """See ``served.lost_replies``."""

    def silent(adapter):
        adapter._lanes().changes.announce = lambda: None  # its reply is not the one to be lost

    async def commits_of(table):
        return (await sql(server, f"SELECT count(*) AS n FROM {table}_log WHERE ok"))[0]["n"]

    return await served.lost_replies(server, count, at, table, commits_of, silent)


async def listing(server, count):
    """Seconds to list ``count`` keys, and whether they came in order."""
    async with at(server.port, "many") as adapter:
        await sql(
            server,
            "INSERT INTO many (key, data, version) SELECT 'key/' || lpad(n::text, 8, '0'), '\\x78', "
            "gen_random_uuid() FROM generate_series(1, $1::int) AS n",
            count,
        )
        await sql(server, "VACUUM ANALYZE many")
        return await served.listed(adapter)


async def main(asked):
    server = Postgres(directory()).start()
    return await served.judged(
        server,
        (
            ("kills", {"lost": 0, "twice": 0, "unsettled": 0}, lambda: kills(server, asked.kills)),
            (
                "lost replies",
                {"lost": asked.replies, "false conflicts": 0, "double effects": 0},
                lambda: lost_replies(server, asked.replies),
            ),
            ("changes", {"missed": 0}, lambda: changes(server, asked.commits)),
            ("listing", {"keys": asked.keys, "in order": True}, lambda: listing(server, asked.keys)),
        ),
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main(served.parser("postgres", __doc__, keys=1_000_000).parse_args())))
