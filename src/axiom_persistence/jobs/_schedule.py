"""How often snapshots are made, and how many are kept."""

from __future__ import annotations

from datetime import timedelta

from ..errors import ConfigurationError, shown

__all__ = ["Every", "Keep", "checked_keep"]

Keep = int | timedelta
"""How many snapshots are kept, the newest; or how old one may become."""


class Every:
    """How often a snapshot is made while a store is open: ``Every(hours=24, keep=7)``.

    The time is counted from the last one, also from one of an earlier run. ``keep`` as in ``snapshot``.
    """

    def __init__(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, keep: Keep | None = None
    ) -> None:
        self.seconds: float = timedelta(days=days, hours=hours, minutes=minutes).total_seconds()
        self.keep: Keep | None = checked_keep(keep)
        if not self.seconds > 0:
            raise ConfigurationError("Every needs a time above zero", hint="for example Every(hours=24)")

    def __repr__(self) -> str:
        return f"Every({timedelta(seconds=self.seconds)}, keep={self.keep!r})"


def checked_keep(keep: Keep | None) -> Keep | None:
    """``keep``, if it is something that can be kept. Raises ``ConfigurationError``."""
    if keep is None or (isinstance(keep, timedelta) and keep > timedelta(0)):
        return keep
    if isinstance(keep, int) and not isinstance(keep, bool) and keep >= 1:
        return keep
    raise ConfigurationError(
        f"keep is a number of snapshots from 1, or a timedelta above zero, not {shown(keep)}",
        hint="leave keep out to keep all; keep=7 keeps the last seven",
    )
