"""What several tests of SQLiteAdapter need."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager


def rows(path, statement, *parameters):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement, parameters).fetchall()
    finally:
        connection.close()


def snapshot(directory):
    """Every file below ``directory``, with its bytes and the time it was written."""
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in directory.iterdir()}


@asynccontextmanager
async def sleeping(adapter):
    """The writer thread sleeps on within the block, whatever is queued, and wakes at its end."""
    writer = adapter._writer
    while not writer._asleep:
        await asyncio.sleep(0.001)
    writer.ring, ring = (lambda: None), writer.ring
    yield
    writer.ring = ring
    ring()


async def started(*commits):
    """Tasks of ``commits``, each of which is queued."""
    tasks = [asyncio.ensure_future(commit) for commit in commits]
    await asyncio.sleep(0)
    return tasks
