"""What the tortured program keeps: values that tell from their number what they must be."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

__all__ = [
    "ACCOUNTS",
    "BATCH",
    "COUNTED",
    "TOTAL",
    "Account",
    "Counted",
    "balances",
    "counted",
]

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
