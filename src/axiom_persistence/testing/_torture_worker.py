"""The process that is killed: it saves without a pause and says what was acknowledged.

Each value tells from its key and number what it must be.

``torture`` starts it as a nursery: one process that has imported everything and forks a child for each
life, because a fork takes a millisecond and a new interpreter two hundred. All of them write to one pipe,
a line at a time. A line is shorter than ``PIPE_BUF``, so POSIX makes it whole or absent, and everything a
child said stands before the nursery's word that it is dead.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pkgutil import resolve_name
from typing import Any, Final

from ..errors import ConflictError
from ..persistence.persistence import AdapterBasedPersistence
from ..storage.adapter import Durability, StorageAdapter

__all__ = ["ACCOUNTS", "BATCH", "COUNTED", "Account", "Counted", "balances", "counted", "main"]

_LINE_BYTES_MAX: Final = 512
"""What POSIX promises at least to write to a pipe in one piece (``_POSIX_PIPE_BUF``)."""

COUNTED: Final[tuple[str, ...]] = ("counted/0", "counted/1", "counted/2", "counted/3")
"""Each saved on its own, with a number that grows by one each time; the last is deleted now and then."""

ACCOUNTS: Final[tuple[str, ...]] = ("account/0", "account/1", "account/2", "account/3")
"""Changed together in one transaction; what they hold is always ``TOTAL`` in all."""

BATCH: Final[str] = "accounts"
"""How the four accounts together are called in what the worker says."""

TOTAL: Final = 1000

_SIZES: Final = (0, 40, 40, 300, 300, 1_100, 1_100, 4_096, 20_000, 70_000)
_DELETED_EVERY: Final = 4
_TAGS: Final = ("äöü", "雪", "☃")
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Counted:
    """A value that follows from its key and number alone, so that a wrong byte shows."""

    number: int
    at: datetime
    price: Decimal
    tags: tuple[str, ...]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Account:
    """One of the accounts; all four of one transaction carry the same number."""

    number: int
    balance: int


def counted(key: str, number: int) -> Counted | None:
    """What ``key`` holds after its save ``number``; None: nothing, it was deleted or never saved."""
    if number == 0 or (key == COUNTED[-1] and number % _DELETED_EVERY == 0):
        return None
    chance = random.Random(f"{key} {number}")  # noqa: S311 - repeatable on purpose
    return Counted(
        number=number,
        at=_EPOCH + timedelta(seconds=number),
        price=Decimal(chance.randrange(10**9)) / 100,
        tags=_TAGS[: chance.randrange(4)],
        payload=chance.randbytes(chance.choice(_SIZES)),
    )


def balances(number: int) -> dict[str, Account]:
    """What the accounts hold after transaction ``number``; before the first there are none."""
    if number == 0:
        return {}
    chance = random.Random(number)  # noqa: S311
    cuts = sorted(chance.randrange(TOTAL + 1) for _ in range(len(ACCOUNTS) - 1))
    parts = [high - low for low, high in zip([0, *cuts], [*cuts, TOTAL], strict=True)]
    return {key: Account(number, part) for key, part in zip(ACCOUNTS, parts, strict=True)}


def say(*words: object) -> None:
    """Write one line, in one piece."""
    line = " ".join(str(word) for word in words)
    os.write(1, line.encode("ascii", "backslashreplace")[: _LINE_BYTES_MAX - 1] + b"\n")


async def _keep_saving(
    persistence: AdapterBasedPersistence, key: str, number: int, promises: list[Durability]
) -> None:
    while True:
        number += 1
        value = counted(key, number)
        durability = random.choice(promises)  # noqa: S311
        started = time.perf_counter()
        if value is None:
            await persistence.delete(key, durability=durability)
        else:
            await persistence.save(key, value, durability=durability)
        say("kept", key, number, int((time.perf_counter() - started) * 1e6))


async def _keep_transferring(
    persistence: AdapterBasedPersistence, number: int, promises: list[Durability]
) -> None:
    while True:
        number += 1
        after = balances(number)
        started = time.perf_counter()
        async with persistence.transaction(durability=random.choice(promises)) as tx:  # noqa: S311
            held = [await tx.load(key, Account) for key in ACCOUNTS]
            if number > 1 and sum(account.balance for account in held if account) != TOTAL:
                raise AssertionError(f"a transaction saw a torn state: {held}")
            for key in ACCOUNTS:
                await tx.save(key, after[key])
        say("kept", BATCH, number, int((time.perf_counter() - started) * 1e6))


async def _work(make: Callable[[str], StorageAdapter], place: str, numbers: dict[str, int]) -> None:
    """Open the store and save into it until the end comes."""
    adapter = make(place)
    say("phase", "opening")
    async with AdapterBasedPersistence(adapter, on_corruption="raise") as persistence:
        say("phase", "working")
        strongest = adapter.traits.durability
        promises = [d for d in Durability if Durability.PROCESS_EXIT <= d <= strongest]
        async with asyncio.TaskGroup() as saving:
            for key in COUNTED:
                saving.create_task(_keep_saving(persistence, key, numbers[key], promises))
            if adapter.traits.atomic:
                saving.create_task(_keep_transferring(persistence, numbers[BATCH], promises))


async def _reopen(make: Callable[[str], StorageAdapter], place: str) -> None:
    """Open, look and close, again and again: the end comes while a crash is being recovered from."""
    while True:
        say("phase", "opening")
        async with AdapterBasedPersistence(make(place), on_corruption="raise") as persistence:
            say("phase", "looking")
            await persistence.load_many(ACCOUNTS, Account)
            say("phase", "closing")


def _live(make: Callable[[str], StorageAdapter], life: dict[str, Any]) -> None:
    random.seed()  # a forked child would repeat its elder siblings' choices
    try:
        if life["kind"] == "work":
            asyncio.run(_work(make, life["place"], life["numbers"]))
        else:
            asyncio.run(_reopen(make, life["place"]))
    except BaseException as error:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        last = traceback.extract_tb(error.__traceback__)[-1]
        torn = isinstance(error, AssertionError | ConflictError)  # nobody else writes: no conflict can be
        where = f"{os.path.basename(last.filename)}:{last.lineno}"
        say("failed", json.dumps(f"{'torn: ' if torn else ''}{type(error).__name__} at {where}: {error}"))
    finally:
        os._exit(1)


def main(adapter: str) -> None:
    """Be the nursery: a child for each line on standard input, killed at the line after it."""
    make: Callable[[str], StorageAdapter] = resolve_name(adapter)
    with suppress(BrokenPipeError):  # whoever asked has ended, and there is nobody to tell
        _serve(make)


def _serve(make: Callable[[str], StorageAdapter]) -> None:
    say("ready")
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            _live(make, json.loads(line))
        sys.stdin.readline()  # at its end, too: no child outlives whoever asked for it
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        say("dead", os.waitstatus_to_exitcode(status))
