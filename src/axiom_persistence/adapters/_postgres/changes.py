"""What others have committed: the log is the truth, a notice only says that it is worth a look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from msgspec.json import decode
from xxhash import xxh3_64_hexdigest

from ...errors import PersistenceError
from ...storage.changelog import Changed
from .._networked.settle import Unreachable
from .line import Line
from .place import Place
from .statements import Statements

__all__ = ["Changes"]

_TRUSTED_S: Final = 3000.0
"""How old a mark may be: less than the hour for which commits and deleted keys are remembered."""
_NOTICE_EVERY_S: Final = 0.02
"""A notice in every commit would have all committers of the database wait for each other."""


class Changes:
    """The log as one event loop reads it. ``read`` asks the server for rows."""

    def __init__(
        self,
        place: Place,
        statements: Statements,
        read: Callable[..., Awaitable[Sequence[Any]]],
        adapter: object,
    ) -> None:
        self._say = statements
        self._read = read
        self._channel = "axiom_" + xxh3_64_hexdigest(statements.record.encode())
        # Behind pgbouncer nobody can listen: a session is not ours.
        self._line = None if place.pgbouncer else Line(place, adapter)
        self._heard = asyncio.Event()
        self._noticing: asyncio.Task[None] | None = None

    async def since(self, mark: str | None) -> Changed:
        """See ``ChangeLog.changed``. A mark is the oldest open transaction, and the server's time."""
        before, _, then = (mark or "0").partition("@")
        # Without a mark nothing is asked for: no transaction has so high a number.
        (row,) = await self._read(self._say.changed, before if mark else str(2**63 - 1))
        now = f"{row['mark']}@{row['at']}"
        if mark is None:
            return Changed(now, frozenset())
        if row["at"] - float(then) > _TRUSTED_S or int(row["mark"]) < int(before):
            return Changed(now, None)  # too long ago, or the database is an older copy
        return Changed(now, frozenset(key for keys in row["keys"] for key in decode(keys, type=list[str])))

    async def wait(self, timeout: float) -> None:
        """Until a notice, or ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                if self._line is not None and not self._line.is_connected:
                    await self._line.listen(self._channel, self._heard.set)
                    return  # what came while nobody listened
                await self._heard.wait()
        except TimeoutError:
            pass  # time for a look all the same
        except (Unreachable, PersistenceError):
            await asyncio.sleep(timeout)  # who reads the log is told what is wrong
        self._heard.clear()

    def announce(self) -> None:
        """Say that something was committed: soon, and once for many."""
        if self._noticing is None or self._noticing.done():
            self._noticing = asyncio.get_running_loop().create_task(self._notice())

    async def _notice(self) -> None:
        await asyncio.sleep(_NOTICE_EVERY_S)
        try:
            await self._read("SELECT pg_notify($1, '')", self._channel)
        except PersistenceError:
            pass  # whoever waits looks by itself within a second

    def stop(self) -> None:
        if self._noticing is not None:
            self._noticing.cancel()
        if self._line is not None:
            self._line.hang_up()
