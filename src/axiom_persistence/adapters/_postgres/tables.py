"""The tables of a store: whether they are there and ours, and how they are made."""

from __future__ import annotations

from ...errors import ForeignStoreError, SchemaTooNewError
from .._networked.adapter import no_store
from .line import Line
from .statements import FORMAT, Statements

__all__ = ["make_tables"]

_LOOK = """
SELECT c.oid IS NOT NULL AS there, obj_description(c.oid, 'pg_class') AS comment, l.collname AS "order"
FROM (SELECT to_regclass($1) AS oid) c
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'key'
LEFT JOIN pg_collation l ON l.oid = a.attcollation
"""
_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('{}', 0))"


async def make_tables(line: Line, statements: Statements, adapter: object, *, inspect: bool) -> None:
    """See that the tables are there and ours, or make them, which several processes may do at once."""
    if await _are_there(line, statements, adapter):
        return
    if inspect:
        raise no_store(adapter)
    turn = _TURN.format(statements.record.replace("'", "''"))
    # Whoever waited for its turn finds the tables made.
    await line.in_turn(turn, lambda: _are_there(line, statements, adapter), statements.make)


async def _are_there(line: Line, statements: Statements, adapter: object) -> bool:
    (row,) = await line.run(_LOOK, statements.record)
    if not row["there"]:
        return False
    comment = row["comment"] or ""
    if comment == FORMAT and row["order"] == "C":
        return True
    if comment != FORMAT and comment.startswith("axiom-persistence "):
        raise SchemaTooNewError(
            f"the tables are of format {comment.partition(' ')[2]!r}, and this program knows {FORMAT[-1]!r}",
            adapter=adapter,
            hint="use a newer version of axiom-persistence",
        )
    if comment == FORMAT:
        raise ForeignStoreError(
            f"somebody changed the order of the keys to {row['order']!r}",
            adapter=adapter,
            hint='ALTER TABLE ... ALTER COLUMN key TYPE text COLLATE "C"',
        )
    raise ForeignStoreError(
        "there is a table of that name which this library did not make",
        adapter=adapter,
        hint="name another one in the address: table=...",
    )
