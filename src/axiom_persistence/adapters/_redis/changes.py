"""What others have committed: the last entries of the log, which begin with the one that is known."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec.json import decode

from ...errors import PersistenceError
from ...storage.changelog import Changed
from .._networked.settle import Unreachable
from .line import Line
from .script import Names

__all__ = ["Changes"]

_PAGE: Final = b"1000"
_NOTHING: Final = "0-0@"
"""The mark where the log is empty: no entry is like it, so whoever begins there compares everything."""


class Changes:
    """The log as one event loop reads it. ``read`` asks the server; ``line`` is for waiting."""

    def __init__(self, names: Names, read: Callable[..., Awaitable[list[Any]]], line: Line) -> None:
        self._names = names
        self._read = read
        self._line = line
        self._seen = b"$"
        self._waiting: asyncio.Task[None] | None = None

    async def since(self, mark: str | None) -> Changed:
        """See ``ChangeLog.changed``. A mark is the place of an entry in the log, and its commit's id.

        Where that entry is not the first of what follows, the log was cut, or the server lost its end.
        """
        if mark is None:
            return Changed(await self._last(), frozenset())
        keys: set[str] = set()
        is_whole = True
        while True:
            start = mark.partition("@")[0].encode()
            (page,) = await self._read((b"XRANGE", self._names.log, start, b"+", b"COUNT", _PAGE))
            if not page or _mark(page[0]) != mark:
                return Changed(await self._last(), None)
            for _, (_, _, _, logged) in page[1:]:
                is_whole = is_whole and bool(logged)
                keys.update(decode(logged, type=list[str]) if logged else ())
            mark = _mark(page[-1])
            self._seen = page[-1][0]
            if len(page) < int(_PAGE):
                return Changed(mark, frozenset(keys) if is_whole else None)

    async def _last(self) -> str:
        (page,) = await self._read((b"XREVRANGE", self._names.log, b"+", b"-", b"COUNT", b"1"))
        self._seen = page[0][0] if page else b"$"
        return _mark(page[0]) if page else _NOTHING

    async def wait(self, timeout: float) -> None:
        """Until there is an entry behind those that were read, or ``timeout`` seconds."""
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.get_running_loop().create_task(self._wait(timeout))
        await asyncio.wait({self._waiting}, timeout=timeout)

    async def _wait(self, timeout: float) -> None:
        block = b"%d" % max(1, timeout * 1000)
        try:
            await self._line.ask(
                (b"XREAD", b"COUNT", b"1", b"BLOCK", block, b"STREAMS", self._names.log, self._seen)
            )
        except (Unreachable, PersistenceError):
            await asyncio.sleep(timeout)  # who reads the log is told what is wrong

    async def stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait({self._waiting})
        await self._line.hang_up()


def _mark(entry: Any) -> str:
    place, (_, commit_id, *_) = entry
    return f"{place.decode()}@{commit_id.decode()}"
