"""The connections of one event loop, and what goes over them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final

from msgspec.json import encode

from ...errors import StorageError
from ...runtime.turn import backoff
from ...storage.adapter import Stored
from .._networked.commit import Commit
from .._networked.fetch import FetchGroup
from .._networked.group import CommitGroup
from .._networked.settle import answer
from . import errors
from .changes import Changes
from .line import Line
from .place import Place
from .statements import Statements

__all__ = ["Lanes"]

_READING: Final = 2
"""Connections for reading."""
_SWEEP_EVERY_S: Final = 60.0
_SWEPT_AT_ONCE: Final = 5000


class Lanes:
    """One connection for commits and two for reading, of one event loop; each is made when it is needed."""

    def __init__(self, place: Place, statements: Statements, adapter: object) -> None:
        self._place = place
        self._say = statements
        self._adapter = adapter
        self.writing: Line = Line(place, adapter)
        self._reading = [Line(place, adapter) for _ in range(_READING)]
        self._free = asyncio.Semaphore(_READING)
        self._idle = list(self._reading)
        self.commits: CommitGroup = CommitGroup(
            self._send, self._refuse, apart=True, timeout=place.timeout, adapter=adapter
        )
        self.fetches: FetchGroup = FetchGroup(self._fetch, _READING)
        self.changes: Changes = Changes(place, statements, self.read, adapter)
        self.repeats = 0
        self._swept = asyncio.get_running_loop().time()
        self._sweeping: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        self.changes.stop()
        for line in (self.writing, *self._reading):
            line.hang_up()

    @property
    def connected(self) -> int:
        """How many connections were made."""
        return sum(line.connected for line in (self.writing, *self._reading))

    # -- reading -----------------------------------------------------------------------------------

    async def read(self, statement: str, *arguments: object, key: str | None = None) -> Sequence[Any]:
        """The rows, asked for again as long as the connection breaks."""

        async def ask() -> Sequence[Any]:
            async with self._free:
                line = self._idle.pop()
                try:
                    return await line.run(statement, *arguments)
                finally:
                    self._idle.append(line)

        return await answer(ask, self._place.timeout, self._adapter, key)

    async def _fetch(self, keys: Collection[str]) -> dict[str, Stored]:
        if len(keys) == 1:
            (key,) = keys
            rows = await self.read(self._say.fetch_one, key, key=key)
        else:
            rows = await self.read(self._say.fetch, list(keys), key=next(iter(keys)))
        return {key: Stored(data, version) for key, data, version in rows}

    # -- writing -----------------------------------------------------------------------------------

    async def _send(self, commits: Sequence[Commit]) -> None:
        try:
            await self._ask(commits)
        except errors.AGAIN:
            # Nothing was done. Which of them met somebody else is not known, so each goes alone.
            for commit in commits:
                await self._ask_alone(commit)
        self.changes.announce()
        self._sweep_at_times()

    async def _ask_alone(self, commit: Commit) -> None:
        while not commit.is_answered:
            self.repeats += 1
            try:
                await self._ask([commit])
            except errors.AGAIN:
                await backoff(3)  # with others that want the same keys, until its time is over

    async def _ask(self, commits: Sequence[Commit]) -> None:
        """Have one statement apply ``commits``, and answer each."""
        if len(commits) == 1 and await self._save(commits[0]):
            return
        again = [commit.is_sent for commit in commits]
        ids, keys, *puts = _puts(commits)
        arguments: list[Any] = [ids, keys, *puts]
        guarded = any(commit.expect for commit in commits)
        if guarded:
            rows = [(each.id, key, version) for each in commits for key, version in each.expect.items()]
            arguments = [ids, keys, again, *puts, *_columns(rows), *_locks(commits)]

        def sending() -> None:
            for commit in commits:
                commit.sending()

        statement = self._say.guarded if guarded else self._say.blind
        answer = await self.writing.run(statement, *arguments, sending=sending)
        if guarded:
            applied = set(answer[0]["applied"])
            refused = dict(zip(answer[0]["refused"], answer[0]["keys"], strict=True))
        else:
            applied, refused = {row["id"] for row in answer}, {}
        unclear = []
        for commit, was_sent in zip(commits, again, strict=True):
            if commit.id in applied:
                commit.applied()
            elif commit.id in refused and not was_sent:
                commit.conflicts([refused[commit.id]], self._adapter)
            else:
                unclear.append(commit)
        if unclear:
            await self._look_up(unclear, refused)

    async def _save(self, commit: Commit) -> bool:
        """Have the shortest statement apply a commit of one key that relies on one before it; if it did."""
        if len(commit.changes) != 1 or len(commit.expect) != 1 or commit.is_sent:
            return False
        ((key, data),), ((guard, version),) = commit.changes.items(), commit.expect.items()
        if version is None or guard >= key:
            return False
        logged = encode([key]).decode()
        arguments = (commit.id, logged, key, data, guard, version)
        if not await self.writing.run(self._say.save, *arguments, sending=commit.sending):
            # The server has answered that nothing was done: it is as if it had not been sent.
            commit.is_sent = False
            return False
        commit.applied()
        return True

    async def _look_up(self, commits: Sequence[Commit], refused: dict[str, str]) -> None:
        """What became of the first copies of ``commits``."""
        rows = await self.writing.run(self._say.settled, [commit.id for commit in commits])
        outcomes = {row["id"]: row["ok"] for row in rows}
        for commit in commits:
            if outcomes.get(commit.id):
                commit.applied()
            else:
                keys = [refused[commit.id]] if commit.id in refused else []
                commit.conflicts(keys, self._adapter)

    async def _refuse(self, ids: Sequence[str]) -> None:
        await self.writing.run(self._say.refuse, list(ids))

    # -- tidying up --------------------------------------------------------------------------------

    def _sweep_at_times(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._swept > _SWEEP_EVERY_S and (self._sweeping is None or self._sweeping.done()):
            self._swept = loop.time()
            self._sweeping = loop.create_task(self._sweep())

    async def _sweep(self) -> None:
        """Forget what is older than any late copy and any reader of changes."""
        try:
            while (await self.read(self._say.sweep, _SWEPT_AT_ONCE))[0]["n"] == _SWEPT_AT_ONCE:
                pass
        except (StorageError, *errors.AGAIN):
            pass  # the next one will do; whoever saves is told what is wrong with the server


def _puts(commits: Sequence[Commit]) -> list[list[Any]]:
    """Ids, their keys as JSON; id, key and data of each row to be written, as the statements take them."""
    rows: list[tuple[str, str, bytes | None]] = []
    logged = []
    for commit in commits:
        absent = [key for key, version in commit.expect.items() if version is None]
        written = {**dict.fromkeys(absent), **commit.changes}
        rows += [(commit.id, key, data) for key, data in written.items()]
        logged.append(encode(list(written)).decode())
    return [[commit.id for commit in commits], logged, *_columns(rows)]


def _locks(commits: Sequence[Commit]) -> tuple[list[str], list[str]]:
    """The keys to be shared with others, then those to be held alone, all in one order.

    Only what comes before everything that is written is shared, as the header of a store is: to share the
    rest would be to lock out of order, and two that do so would wait for each other.
    """
    written = set().union(*(commit.written for commit in commits))
    least = min(written, default=None)
    expected = {key for commit in commits for key in commit.expect}
    shared = {key for key in expected if least is None or key < least}
    if expected == shared:
        return sorted(shared), []  # what is written is locked by that, in the same order
    return sorted(shared), sorted({*expected - shared, *written})


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], []]
