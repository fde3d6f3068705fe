"""A process that saves into an audited store, for ``sqlite_replay``: ``... DIRECTORY NAME SAVES PLANT _``.

Every save has a key of its own, so that a store shows what was ever changed; what the entries say can then be
compared with it.
"""

import asyncio
import sqlite3
import sys
from collections import Counter
from pathlib import Path

import msgspec

from axiom_persistence import SQLiteAdapter
from axiom_persistence.errors import ConflictError
from axiom_persistence.layers._audit.chain import Chain
from axiom_persistence.layers.audited import Audited
from axiom_persistence.security import AuditLog
from axiom_persistence.security._seals import NEW, SEALED, Entry, Sealed, json_in
from axiom_persistence.storage.adapter import Durability
from support.sqlite_replay import STORE, shorten_logs, tell


class EntryInASecondCommit(Audited):
    """The planted bug: what is killed in between has changed something and says nothing of it."""

    async def commit(self, changes, *, expect=None, durability=None):
        entries = self._entries(changes)
        versions = await self.inner.commit(changes, expect=expect, durability=durability)
        await self.inner.commit(entries, durability=durability)
        return versions


class EntryBeforeItsChange(Audited):
    """The same the other way round: an entry of a change that never was."""

    async def commit(self, changes, *, expect=None, durability=None):
        entries = self._entries(changes)
        await self.inner.commit(entries, durability=durability)
        return await self.inner.commit(changes, expect=expect, durability=durability)


def _in_two_steps(first):
    """Sealing in two commits: the batch, and that its entries are gone; ``first``: which of them is first."""
    append = Chain._append

    class TwoSteps:
        def __init__(self, adapter):
            self._adapter = adapter
            self.traits = adapter.traits

        def __getattr__(self, name):
            return getattr(self._adapter, name)

        async def commit(self, changes, *, expect=None, durability=None):
            parts = [{key: data for key, data in changes.items() if (data is None) is gone} for gone in first]
            for part in parts:
                given = expect if expect and expect.keys() <= part.keys() else None
                await self._adapter.commit(part, expect=given, durability=durability)

    async def planted(self, *args):
        adapter, self._adapter = self._adapter, TwoSteps(self._adapter)
        try:
            return await append(self, *args)
        finally:
            self._adapter = adapter

    Chain._append = planted
    return Audited


PLANTED = {
    "none": lambda: Audited,
    "second-commit": lambda: EntryInASecondCommit,
    "entry-first": lambda: EntryBeforeItsChange,
    "seal-first": lambda: _in_two_steps((False, True)),
    "removed-first": lambda: _in_two_steps((True, False)),
}


async def save(adapter, name, saves, tell, *, weak=True, every=4):
    """One key after the other, sealed now and then; what is refused then leaves nothing."""
    for number in range(1, saves + 1):
        key = f"{name}/{number}"
        tell("try", number, key)
        asked = Durability.PROCESS_EXIT if weak and number % 3 == 0 else None
        await adapter.commit({key: b'{"n":%d}' % number}, durability=asked)
        if asked is None:
            tell("ack", number, key)
        if number % every == 0:
            await adapter.seal()
            try:
                await adapter.commit({f"{name}/refused": b"{}"}, expect={key: None})
            except ConflictError:
                pass


async def main(directory, name, saves, plant):
    shorten_logs()
    audited = PLANTED[plant]()
    async with audited(SQLiteAdapter(directory / STORE, lock_timeout=60), AuditLog()) as adapter:
        await save(adapter, name, saves, tell)


def fault_in(records):
    """What does not fit between the keys that are there and what the entries say; None: all fits."""
    said = Counter()
    for key, data in records.items():
        raw = []
        if key.startswith(SEALED):
            raw = msgspec.json.decode(json_in(key, data), type=Sealed).entries
        elif key.startswith(NEW):
            raw = [json_in(key, data)]
        for entry in raw:
            saved = msgspec.json.decode(entry, type=Entry).saved
            said.update(key for key in saved if key[0] != "\x01")
    there = {key for key in records if key[0] != "\x01"}
    twice = [key for key, count in said.items() if count > 1]
    if twice:
        return f"two entries for {twice}"
    if there - said.keys():
        return f"changes without an entry: {there - said.keys()}"
    if said.keys() - there:
        return f"entries without a change: {said.keys() - there}"
    return None


def fault_at(place, known):
    """The same for the files of a SQLite store; and whether all that was acknowledged is there."""
    connection = sqlite3.connect(place / STORE)
    try:
        rows = {}
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            rows = dict(connection.execute("SELECT key, CAST(data AS BLOB) FROM record").fetchall())
    finally:
        connection.close()
    lost = known.acked.keys() - rows.keys()
    return f"lost: {lost}" if lost else fault_in(rows)


if __name__ == "__main__":
    _, where, called, count, planted, _ = sys.argv
    asyncio.run(main(Path(where), called, int(count), planted))
