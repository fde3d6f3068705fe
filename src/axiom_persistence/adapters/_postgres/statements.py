"""What is said to the server, of one store's tables.

Each is one statement, so it is one snapshot and one transaction, in READ COMMITTED, without procedures and
extensions. A record whose ``data`` is null is absent: it was deleted, or a transaction relied on its absence.
Every commit leaves a row in the log, with its id, its keys and its transaction's number: from it a second
copy of the commit learns what became of the first, and readers learn what has changed.
"""

from __future__ import annotations

from typing import Final

from .place import Place

__all__ = ["FORMAT", "KEPT", "Statements"]

FORMAT: Final = "axiom-persistence 1"
"""The comment on a table of ours."""
KEPT: Final = "1 hour"
"""How long a commit is remembered. No late copy of it may come after that."""

_WRITE: Final = """
INSERT INTO {record} AS r (key, data, version)
SELECT c.key, c.data, go.id FROM {source} ORDER BY c.key
ON CONFLICT (key) DO UPDATE SET data = excluded.data, version = excluded.version, at = excluded.at"""

# $1 ids, $2 their keys as JSON; $3 id, $4 key, $5 data of each put.
_BLIND: Final = """
WITH go AS (INSERT INTO {log} (id, ok, keys) SELECT a.id, true, a.keys
        FROM unnest($1::uuid[], $2::text[]) AS a(id, keys) ON CONFLICT DO NOTHING RETURNING id),
    w AS ({write})
SELECT id::text FROM go"""

# A save as the store above makes it: $1 id, $2 its keys as JSON, $3 key, $4 data, and the version $6 that the
# header, $5, has to have. It costs half of what the next one does; where it answers nothing, that is asked.
_SAVE: Final = """
WITH s AS MATERIALIZED (SELECT FROM {record}
        WHERE key = $5 AND version::text = $6 AND data IS NOT NULL FOR SHARE),
    go AS (INSERT INTO {log} (id, ok, keys) SELECT $1::uuid, true, $2 WHERE EXISTS (SELECT FROM s)
        ON CONFLICT DO NOTHING RETURNING id),
    w AS (INSERT INTO {record} (key, data, version) SELECT $3, $4, id FROM go
        ON CONFLICT (key) DO UPDATE SET data = excluded.data, version = excluded.version, at = excluded.at)
SELECT FROM go"""

# $1 ids, $2 their keys as JSON, $3 whether it was sent before; $4 id, $5 key, $6 data of each put, those that
# are relied upon to be absent among them; $7 id, $8 key, $9 version of each expectation; $10 keys that are
# only to stay as they are, and $11 all others, which come behind those.
# The locks are taken in the order of the keys. A row that was waited for is read as it is then; one that was
# inserted meanwhile is met by ``w``, which then writes fewer rows than it should: the division by zero undoes
# the whole statement, to be sent again.
_GUARDED: Final = """
WITH e AS MATERIALIZED (SELECT * FROM unnest($7::uuid[], $8::text[], $9::text[]) AS e(id, key, version)),
    s AS MATERIALIZED (SELECT r.key, CASE WHEN r.data IS NOT NULL THEN r.version::text END AS version
        FROM {record} r WHERE r.key = ANY($10::text[]) ORDER BY r.key FOR SHARE),
    l AS MATERIALIZED (SELECT r.key, CASE WHEN r.data IS NOT NULL THEN r.version::text END AS version
        FROM {record} r WHERE r.key = ANY($11::text[]) ORDER BY r.key FOR UPDATE),
    bad AS MATERIALIZED (SELECT e.id, e.key FROM e
        LEFT JOIN (SELECT * FROM s UNION ALL SELECT * FROM l) AS now USING (key)
        WHERE now.version IS DISTINCT FROM e.version),
    asked AS MATERIALIZED (SELECT a.*, a.id NOT IN (SELECT id FROM bad) AS ok
        FROM unnest($1::uuid[], $2::text[], $3::bool[]) AS a(id, keys, again)),
    noted AS (INSERT INTO {log} (id, ok, keys) SELECT id, ok, CASE WHEN ok THEN keys ELSE '[]' END
        FROM asked WHERE ok OR again ON CONFLICT DO NOTHING RETURNING id, ok),
    go AS MATERIALIZED (SELECT id FROM noted WHERE ok),
    w AS ({write}
        WHERE r.data IS NULL OR r.key NOT IN (SELECT key FROM e WHERE version IS NULL) RETURNING 1),
    due AS (SELECT count(*) AS n FROM unnest($4::uuid[]) AS c(id) JOIN go USING (id))
SELECT ARRAY(SELECT id::text FROM go) AS applied,
    ARRAY(SELECT id::text FROM bad) AS refused, ARRAY(SELECT key FROM bad) AS keys,
    1 / (CASE WHEN (SELECT count(*) FROM w) = (SELECT n FROM due) THEN 1 ELSE 0 END) AS whole"""


_SETTLED: Final = "SELECT id::text, ok FROM {log} WHERE id = ANY($1::uuid[])"
_REFUSE: Final = """
INSERT INTO {log} (id, ok, keys) SELECT id, false, '[]' FROM unnest($1::uuid[]) AS id
ON CONFLICT DO NOTHING"""

_FETCH: Final = """
SELECT key, data, version::text FROM {record} WHERE key = ANY($1::text[]) AND data IS NOT NULL"""
_FETCH_ONE: Final = "SELECT key, data, version::text FROM {record} WHERE key = $1 AND data IS NOT NULL"
_FETCH_RANGE: Final = """
SELECT key, substring(data FROM $2::int FOR $3::int) AS data
FROM {record} WHERE key = ANY($1::text[]) AND data IS NOT NULL"""
_EXISTS: Final = "SELECT 1 FROM {record} WHERE key = $1 AND data IS NOT NULL"
_SAVED_AT: Final = """
SELECT extract(epoch FROM at)::float8 AS at FROM {record} WHERE key = $1 AND data IS NOT NULL"""

# $1 the first key, $2 the first behind all (null: none), $3 the last key of the page before, $4 how many.
_PAGE: Final = """
SELECT ARRAY(SELECT key FROM {record} WHERE key >= $1 AND ($2::text IS NULL OR key < $2) AND key > $3
    AND data IS NOT NULL ORDER BY key LIMIT $4)"""
_PAGE_BACK: Final = """
SELECT ARRAY(SELECT key FROM {record} WHERE key >= $1 AND ($2::text IS NULL OR key < $2)
    AND ($3::text IS NULL OR key < $3) AND data IS NOT NULL ORDER BY key DESC LIMIT $4)"""

# The mark is the oldest transaction that may not have ended: whatever that does comes later.
_CHANGED: Final = """
SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS mark, extract(epoch FROM now())::float8 AS at,
    ARRAY(SELECT keys FROM {log} WHERE ok AND xid >= $1::text::xid8
        AND xid < pg_snapshot_xmin(pg_current_snapshot())) AS keys"""

# $1 at most so many commits, the oldest. Of their keys, those that are absent as long need no row any more.
_SWEEP: Final = """
WITH old AS (SELECT id, keys FROM (SELECT id, keys, at FROM {log} ORDER BY xid LIMIT $1) AS first
        WHERE at < now() - interval '{kept}'),
    gone AS (DELETE FROM {log} AS g USING old WHERE g.id = old.id),
    unused AS (DELETE FROM {record} WHERE data IS NULL AND at < now() - interval '{kept}'
        AND key IN (SELECT json_array_elements_text(keys::json) FROM old))
SELECT count(*) AS n FROM old"""

_MAKE: Final = (
    # IF NOT EXISTS asks for a right of its own, also where it exists.
    "DO $do$ BEGIN IF to_regnamespace({schema_text}) IS NULL THEN CREATE SCHEMA {schema}; END IF; END $do$",
    'CREATE TABLE {record} (key text COLLATE "C" PRIMARY KEY, data bytea, '
    "version uuid NOT NULL, at timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 80)",
    # What is encrypted does not get smaller.
    "ALTER TABLE {record} ALTER COLUMN data SET STORAGE EXTERNAL",
    "CREATE TABLE {log} (id uuid PRIMARY KEY, ok boolean NOT NULL, keys text NOT NULL, "
    "xid xid8 NOT NULL DEFAULT pg_current_xact_id(), at timestamptz NOT NULL DEFAULT now())",
    "CREATE INDEX ON {log} (xid)",
    "COMMENT ON TABLE {record} IS '{format}'",
    "COMMENT ON TABLE {log} IS '{format}'",
)


class Statements:
    """The statements of the store at ``place``."""

    def __init__(self, place: Place) -> None:
        self.record: str = f'"{place.schema}"."{place.table}"'
        self._names: dict[str, str] = {
            "record": self.record,
            "log": f'"{place.schema}"."{place.table}_log"',
            "schema": f'"{place.schema}"',
            "schema_text": "'\"" + place.schema.replace("'", "''") + "\"'",
            "format": FORMAT,
            "kept": KEPT,
        }
        self.blind: str = self._made(_BLIND, puts=3)
        self.save: str = self._made(_SAVE)
        self.guarded: str = self._made(_GUARDED, puts=4)
        self.settled: str = self._made(_SETTLED)
        self.refuse: str = self._made(_REFUSE)
        self.fetch: str = self._made(_FETCH)
        self.fetch_one: str = self._made(_FETCH_ONE)
        self.fetch_range: str = self._made(_FETCH_RANGE)
        self.exists: str = self._made(_EXISTS)
        self.saved_at: str = self._made(_SAVED_AT)
        self.page: str = self._made(_PAGE)
        self.page_back: str = self._made(_PAGE_BACK)
        self.changed: str = self._made(_CHANGED)
        self.sweep: str = self._made(_SWEEP)
        self.make: list[str] = [self._made(text) for text in _MAKE]

    def _made(self, text: str, puts: int = 0) -> str:
        """``text`` with the names filled in. ``puts``: the number of the first of three arrays."""
        arrays = f"${puts}::uuid[], ${puts + 1}::text[], ${puts + 2}::bytea[]"
        source = f"unnest({arrays}) AS c(id, key, data) JOIN go USING (id)"
        return text.format(**self._names, write=_WRITE.format(**self._names, source=source))
