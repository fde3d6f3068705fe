"""The connections of one event loop, and what goes over them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final

from ...errors import PersistenceError
from ...storage.adapter import Stored
from .._networked.commit import Commit
from .._networked.fetch import FetchGroup
from .._networked.group import CommitGroup
from .._networked.settle import Unreachable, answer
from . import errors
from .changes import Changes
from .line import Command, Line
from .place import Place
from .script import FORMAT, VERSION, Names, commit_command

__all__ = ["Lanes"]

_READING: Final = 2
"""Connections for reading."""
_WAITING_S: Final = 1.0
"""How long the server waits for its replicas before it says how many there are."""


class Lanes:
    """One connection for commits and two for reading, of one event loop; each is made when it is needed."""

    def __init__(self, place: Place, names: Names, adapter: object, *, inspect: bool) -> None:
        self._place = place
        self._names = names
        self._adapter = adapter
        self.writing: Line = Line(place, adapter, inspect=inspect)
        self._reading = [Line(place, adapter, inspect=inspect) for _ in range(_READING)]
        self._free = asyncio.Semaphore(_READING)
        self._idle = list(self._reading)
        # The script of each commit is a snapshot of its own, so any may share a request.
        self.commits: CommitGroup = CommitGroup(
            self._send, self._refuse, apart=False, timeout=place.timeout, adapter=adapter
        )
        self.fetches: FetchGroup = FetchGroup(self._fetch, _READING)
        self.changes: Changes = Changes(names, self.read, Line(place, adapter, inspect=inspect))
        self._wait = (b"WAIT", b"%d" % place.replicas, b"%d" % (1000 * min(_WAITING_S, place.timeout / 6)))

    async def aclose(self) -> None:
        await self.changes.stop()
        for line in (self.writing, *self._reading):
            await line.hang_up()

    @property
    def connected(self) -> int:
        """How many connections were made."""
        return sum(line.connected for line in (self.writing, *self._reading))

    # -- reading -----------------------------------------------------------------------------------

    async def read(self, *commands: Command, key: str | None = None) -> list[Any]:
        """The answers, asked for again as long as the connection breaks."""

        async def ask() -> list[Any]:
            async with self._free:
                line = self._idle.pop()
                try:
                    mark, *replies = await line.ask((b"GET", self._names.mark), *commands)
                finally:
                    self._idle.append(line)
            for reply in (mark, *replies):
                if isinstance(reply, PersistenceError):
                    raise reply
            if mark != FORMAT:
                raise errors.gone(self._adapter)
            return replies

        return await answer(ask, self._place.timeout, self._adapter, key)

    async def _fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        (found,) = await self.read((b"MGET", *map(self._names.record_of, keys)), key=next(iter(keys)))
        return {
            key: Stored(record[VERSION:], record[:VERSION].decode())
            for key, record in zip(keys, found, strict=True)
            if record is not None
        }

    # -- writing -----------------------------------------------------------------------------------

    async def _send(self, commits: Sequence[Commit]) -> None:
        commands = [commit_command(self._names, commit) for commit in commits]

        def sending() -> None:
            for commit in commits:
                commit.sending()

        if not self._place.replicas:
            replies = await self.writing.ask(*commands, sending=sending)
        else:
            *replies, count = await self.writing.ask(*commands, self._wait, sending=sending)
            if isinstance(count, PersistenceError):
                raise count
            if count < self._place.replicas:
                # They are on the primary and may be lost with it: sent again, they are waited for again.
                raise Unreachable(f"{count} of {self._place.replicas} replicas have it")
        for commit, reply in zip(commits, replies, strict=True):
            self._take(commit, reply)

    def _take(self, commit: Commit, reply: Any) -> None:
        if isinstance(reply, PersistenceError):
            commit.failed(reply.naming(key=commit.key, adapter=self._adapter))
        elif reply[0] == b"ok":
            commit.applied()
        elif reply[0] == b"conflict":
            commit.conflicts([key.decode() for key in reply[1:]], self._adapter)
        else:
            commit.failed(errors.gone(self._adapter).naming(key=commit.key))

    async def _refuse(self, ids: Sequence[str]) -> None:
        """Have every copy of these commits refused that is still on its way; what was applied stays so."""
        kept = self._names.kept
        notes = [(b"SET", self._names.note_of(each), b"conflict", b"EX", kept, b"NX") for each in ids]
        for reply in await self.writing.ask(*notes):
            if isinstance(reply, PersistenceError):
                raise reply
