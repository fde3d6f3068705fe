"""The witness: by it a database file tells that it was copied without its log, or that its log is gone.

The clock row only grows, and the commit that brings the witness forward brings it to the time of the clock
row. So in nothing that was ever committed is the witness ahead, whoever committed, copied or recovered it.

In the database file alone it is ahead while a log goes with it. Pages are copied back in four steps: one
commit brings witness and clock row to the same time; a reader holds that state; another commit moves the
clock row on; then SQLite copies. It takes no page of which the log has a copy that is newer than what the
reader sees: the page of the witness arrives in the file, that of the clock row does not.
"""

from __future__ import annotations

import sqlite3
from typing import Final

__all__ = ["ADVANCE", "TABLE", "is_ahead", "latest"]

TABLE: Final = "CREATE TABLE IF NOT EXISTS witness AS SELECT 0 AS seen"
"""Of one row. Earlier releases leave it alone, and stores of theirs get it with their first log."""

ADVANCE: Final = (
    "BEGIN IMMEDIATE",
    TABLE,
    "UPDATE clock SET last=last+1",
    "UPDATE witness SET seen=(SELECT last FROM clock)",
    "COMMIT",
)


def is_ahead(connection: sqlite3.Connection) -> bool:
    """Whether something is missing of what ``connection`` reads. Raises sqlite3.Error."""
    if not _is_there(connection):
        return False
    return connection.execute("SELECT 1 FROM witness, clock WHERE seen>last").fetchone() is not None


def latest(connection: sqlite3.Connection) -> object:
    """The later of clock row and witness: what a database file alone tells of the log that goes with it.

    Raises sqlite3.Error.
    """
    seen = "max(last, (SELECT max(seen) FROM witness))" if _is_there(connection) else "last"
    row = connection.execute(f"SELECT {seen} FROM clock").fetchone()  # noqa: S608
    return None if row is None else row[0]


def _is_there(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name='witness'").fetchone() is not None
