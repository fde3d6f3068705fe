"""The bare floor: what the medium and the codec cost with no store around them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from .contender import Contender, Survival, contender

__all__ = ["UPSERT", "database"]

UPSERT: Final = (
    "INSERT INTO record (key, data) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET data = excluded.data"
)
UPSERT_TWO: Final = UPSERT.replace("(?, ?)", "(?, ?), (?, ?)")
ENTRY: Final = b"e" * 146
"""As long as the entry of a save of one key."""
PREFILLED_BYTES: Final = 32 << 20
_sync: Final = getattr(os, "fdatasync", os.fsync)


def database(path: Path) -> sqlite3.Connection:
    """SQLite as one would set it up by hand for durable saves."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS record (key TEXT PRIMARY KEY, data BLOB NOT NULL)")
    return connection


@contender("append")
class Append(Contender):
    survives = Survival("yes", "yes", "yes", "a log that nothing can be looked up in")
    prefilled = 0

    async def open(self, directory: Path) -> None:
        self._encode = msgspec.json.Encoder().encode
        flags = os.O_RDWR | os.O_CREAT
        self._file = os.open(directory / "log", flags if self.prefilled else flags | os.O_APPEND, 0o600)
        if self.prefilled:
            os.write(self._file, bytes(self.prefilled))
            os.fsync(self._file)
            os.lseek(self._file, 0, os.SEEK_SET)
        self.save = self._save

    def _save(self, key: str, value: Any) -> None:
        os.write(self._file, key.encode() + self._encode(value) + b"\n")
        _sync(self._file)

    async def close(self) -> None:
        os.close(self._file)


@contender("append-prefilled")
class AppendPrefilled(Append):
    prefilled = PREFILLED_BYTES


@contender("cycle")
class Cycle(Contender):
    """What a durable save of one file costs when nothing else is done."""

    survives = Survival("yes", "yes", "yes", "the order that POSIX asks for")

    async def open(self, directory: Path) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._place = directory / "files"
        self._place.mkdir(exist_ok=True)
        self._directory = os.open(self._place, os.O_RDONLY | os.O_DIRECTORY)
        self.save = self._save

    def _save(self, key: str, value: Any) -> None:
        name = key.replace("/", "%2F")
        temporary = os.open(".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=self._directory)
        os.write(temporary, self._encode(value))
        os.fsync(temporary)
        os.close(temporary)
        os.rename(".new", name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        os.fsync(self._directory)

    async def close(self) -> None:
        os.close(self._directory)


@contender("decode")
class Decode(Contender):
    survives = Survival("no", "no", "no", "a dict")

    async def open(self, directory: Path) -> None:
        self._kept: dict[str, bytes] = {}
        decoders: dict[Any, Any] = {}

        def load(key: str, kind: Any, kept: dict[str, bytes] = self._kept) -> Any:
            return decoders[kind](kept[key])

        def save(key: str, value: Any) -> None:
            if type(value) not in decoders:
                decoders[type(value)] = msgspec.json.Decoder(type(value)).decode
            self._kept[key] = msgspec.json.encode(value)

        self.save, self.load = save, load


@contender("executemany")
class ExecuteMany(Contender):
    survives = Survival("yes", "yes", "yes", "WAL, synchronous=FULL")

    async def open(self, directory: Path) -> None:
        self._database = database(directory / "bare.db")
        self._encode = msgspec.json.Encoder().encode

    def save_many(self, values: Mapping[str, Any]) -> None:
        encode = self._encode
        rows = [(key, encode(value)) for key, value in values.items()]
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany(UPSERT, rows)
        self._database.execute("COMMIT")

    async def close(self) -> None:
        self._database.close()


@contender("one-row")
class OneRow(ExecuteMany):
    """A save that is a statement of its own: durable, or where it is only to outlive the process."""

    synchronous = "FULL"

    async def open(self, directory: Path) -> None:
        await super().open(directory)
        self._database.execute(f"PRAGMA synchronous = {self.synchronous}")
        self.save = self._save

    def _save(self, key: str, value: Any) -> None:
        self._database.execute(UPSERT, (key, self._encode(value)))


@contender("two-rows")
class TwoRows(OneRow):
    """The same, with a new row of the size of an entry in an audit trail."""

    _entries = 0

    def _save(self, key: str, value: Any) -> None:
        self._entries += 1
        entry = f"audit/new/{self._entries:015x}-0123abcd-{self._entries:x}"
        self._database.execute(UPSERT_TWO, (key, self._encode(value), entry, ENTRY))


@contender("one-row-process-exit")
class OneRowProcessExit(OneRow):
    survives = Survival("yes", "yes", "no", "WAL, synchronous=NORMAL")
    synchronous = "NORMAL"


@contender("two-rows-process-exit")
class TwoRowsProcessExit(TwoRows):
    survives = Survival("yes", "yes", "no", "WAL, synchronous=NORMAL")
    synchronous = "NORMAL"
