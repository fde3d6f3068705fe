"""Asking a server until it answers: deadlines, pauses, and commits whose reply was lost.

A commit whose reply was lost is sent again under the same id, which the server has noted in the same step in
which it applied the commit. Looking whether it is there would not do: it may have been overwritten since,
and it may still be on its way.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from ...errors import PersistenceError, StorageError, StorageUnavailableError
from .commit import Commit

__all__ = ["Unreachable", "answer", "settle"]

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 1.0
_ATTEMPTS: Final = 3
"""How many requests without any reply fit into the time that a call may take."""


class Unreachable(Exception):
    """There is no connection, or it broke before the reply came. Its text is shown: why, in a few words."""


async def answer(
    ask: Callable[[], Awaitable[T]],
    timeout: float,
    adapter: object,
    key: str | None = None,
    *,
    is_long: bool = False,
) -> T:
    """What ``ask`` returns. It is for reading: it is called again as long as the connection breaks.

    ``is_long``: it makes many requests, each with a limit of its own, and is not cut off. Raises
    ``StorageUnavailableError`` after ``timeout`` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline, attempt = loop.time() + timeout, 0
    why: BaseException | None = None
    while True:
        try:
            limit = None if is_long else min(deadline, loop.time() + timeout / _ATTEMPTS)
            async with asyncio.timeout_at(limit):
                return await ask()
        except (Unreachable, TimeoutError) as error:
            if why is None or str(error):  # a time that is over says less than what came before
                why = error
            if loop.time() >= deadline:
                raise _unavailable(why, timeout, adapter, key, is_sent=False) from why
        await _pause(attempt, deadline)
        attempt += 1


async def settle(
    commits: Sequence[Commit],
    send: Callable[[Sequence[Commit]], Awaitable[None]],
    timeout: float,
    adapter: object,
) -> list[Commit]:
    """Send ``commits`` until each is answered or its time is over. Returns those nobody knows the end of.

    ``send`` calls ``sending`` of each right before the request goes out, and answers those that it has an
    answer for. It raises ``Unreachable``, or is cancelled after a time; then those that are left are sent
    again.
    """
    loop = asyncio.get_running_loop()
    lost: list[Commit] = []
    attempt = 0
    why: BaseException | None = None
    while left := [commit for commit in commits if not commit.is_answered]:
        cause: BaseException | None = None
        due = min(commit.deadline for commit in left)
        try:
            async with asyncio.timeout_at(min(due, loop.time() + timeout / _ATTEMPTS)):
                await send(left)
        except (Unreachable, TimeoutError) as error:
            cause = error
        except Exception as error:
            _fail(left, error, adapter)
            break
        if cause is None:
            continue  # all are answered, or the server asks for it once more
        if why is None or str(cause):  # a time that is over says less than what came before
            why = cause
        for commit in left:
            if not commit.is_answered and loop.time() >= commit.deadline:
                if commit.is_sent:
                    lost.append(commit)
                commit.failed(_unavailable(why, timeout, adapter, commit.key, is_sent=commit.is_sent))
        await _pause(attempt, due)
        attempt += 1
    return lost


def _fail(commits: Sequence[Commit], error: Exception, adapter: object) -> None:
    for commit in commits:
        if commit.is_answered:
            continue
        if isinstance(error, PersistenceError) and len(commits) == 1:
            commit.failed(error.naming(key=commit.key, adapter=adapter))
            continue
        kind = type(error) if isinstance(error, StorageError) else StorageError
        said = error.message if isinstance(error, PersistenceError) else f"raised {type(error).__qualname__}"
        one = kind(said, key=commit.key, adapter=adapter, hint=getattr(error, "hint", ""))
        one.__cause__ = error
        commit.failed(one)


def _unavailable(
    cause: BaseException, timeout: float, adapter: object, key: str | None, *, is_sent: bool
) -> StorageUnavailableError:
    error = StorageUnavailableError(
        f"the server gave no answer within {timeout:g} seconds" + (f" ({cause})" if str(cause) else ""),
        key=key,
        adapter=adapter,
        hint="is it running, and reachable from here? "
        + ("what was saved may be there or not" if is_sent else "nothing was changed"),
        indeterminate=is_sent,
    )
    error.__cause__ = cause
    return error


async def _pause(attempt: int, deadline: float) -> None:
    """Wait a little, longer and more randomly each time, and not beyond the deadline."""
    most = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt)
    left = deadline - asyncio.get_running_loop().time()
    await asyncio.sleep(max(0.0, min(left, most * (0.5 + random.random() / 2))))  # noqa: S311 - no secret
