"""How a cache behaves, as an application chooses it."""

from __future__ import annotations

from typing import Self

import msgspec

from ...errors import ConfigurationError

__all__ = ["CachePolicy"]


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How much a ``Cached`` keeps, how long it trusts it, and when it stores what it accepted.

    ``max_age``: seconds after which an answer is asked for anew; None: as long as the change mark stands.
    Where a shared store has no change mark, nothing is cached without a ``max_age`` (``inf`` for those who
    call ``invalidate`` themselves). ``interval``: None writes through; ``CachePolicy.write_back`` sets it.

    Raises ``ConfigurationError`` for numbers below zero.
    """

    max_bytes: int = 16 << 20
    max_age: float | None = None
    interval: float | None = None
    max_pending_bytes: int = 4 << 20

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_age", "interval", "max_pending_bytes"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigurationError(
                    f"{name} is at least 0, not {value}", hint="leave it out, or pass cache=None for no cache"
                )

    @classmethod
    def write_back(
        cls,
        *,
        interval: float = 1.0,
        max_pending_bytes: int = 4 << 20,
        max_bytes: int = 16 << 20,
        max_age: float | None = None,
    ) -> Self:
        """Accept saves of ``Durability.MEMORY`` in memory, and store them together a little later.

        After ``interval`` seconds, or before more than ``max_pending_bytes`` wait.
        """
        return cls(
            max_bytes=max_bytes, max_age=max_age, interval=interval, max_pending_bytes=max_pending_bytes
        )
