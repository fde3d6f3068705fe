"""A commit on its way to a server."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Collection, Mapping

from ...errors import ConflictError
from ...storage.adapter import Changes, Expect

__all__ = ["Commit", "new_commit_id", "time_of"]


def new_commit_id() -> str:
    """A new one: the milliseconds since 1970, then 80 random bits, as a UUID.

    Ids made one after the other lie side by side in an index.
    """
    milliseconds = time.time_ns() // 1_000_000 & (1 << 48) - 1
    return str(uuid.UUID(int=milliseconds << 80 | int.from_bytes(os.urandom(10))))


def time_of(commit_id: str) -> float:
    """When an id was made, in seconds since 1970 UTC, by the clock of who made it."""
    return int(commit_id.replace("-", "")[:12], 16) / 1000


class Commit:
    """What one call of ``commit`` asks for, under one id for as long as that takes.

    The id is the version that its keys get. Whoever sends it answers by ``applied``, ``conflicts`` or
    ``failed``, once; the future is that of the caller, who may have gone.
    """

    __slots__ = (
        "changes",
        "deadline",
        "expect",
        "future",
        "id",
        "is_answered",
        "is_sent",
        "keys",
        "size",
        "written",
    )

    def __init__(self, changes: Changes, expect: Expect | None, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self.id: str = new_commit_id()
        # Copies: the caller may change its own once it is cancelled, and this goes on.
        self.changes: dict[str, bytes | None] = dict(changes)
        self.expect: dict[str, str | None] = dict(expect) if expect else {}
        self.keys: set[str] = {*self.changes, *self.expect}
        self.written: set[str] = {
            *self.changes,
            *(key for key, version in self.expect.items() if version is None),
        }
        """What it changes, and what it relies on to be absent: nobody else may touch that meanwhile."""
        self.size: int = sum(len(data) for data in self.changes.values() if data is not None)
        self.deadline: float = loop.time() + timeout
        self.future: asyncio.Future[Mapping[str, str]] = loop.create_future()
        self.is_sent: bool = False
        """It may have reached the server."""
        self.is_answered: bool = False

    @property
    def key(self) -> str | None:
        """A key to name in an error."""
        return next(iter(self.changes or self.expect), None)

    def sending(self) -> bool:
        """It is about to go out. Returns whether it was sent before, so that the server may know of it."""
        again, self.is_sent = self.is_sent, True
        return again

    def applied(self) -> None:
        """The server has done it."""
        self.is_answered = True
        if not self.future.done():
            self.future.set_result({key: self.id for key, data in self.changes.items() if data is not None})

    def conflicts(self, keys: Collection[str], adapter: object) -> None:
        """The server has refused it, since ``keys`` are not as expected (empty: nobody knows which)."""
        key = next(iter(keys), self.key)
        absent = bool(keys) and key is not None and self.expect.get(key) is None
        self.failed(
            ConflictError(
                f"the key {'was absent' if absent else 'had another version'} when it was read; somebody "
                "else committed first, and nothing was changed",
                key=key,
                adapter=adapter,
                hint="read again and retry (update and run_transaction do so by themselves)",
            )
        )

    def failed(self, error: Exception) -> None:
        """It has come to nothing, or nobody will know."""
        self.is_answered = True
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # a caller that was cancelled while this was called asks no more
