"""Whose previous generation need not be kept again yet."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["Kept"]

KEPT_SECONDS: Final = 60.0
"""How old what is overwritten may be without becoming the previous generation."""

KEPT_MAX: Final = 20_000
"""Files remembered for that; some 3 MB. Beyond, generations are kept more often."""


class Kept:
    """The files whose previous generation was kept within the last minute, by this object.

    What one of them holds now was written since, by whomever: it is younger than a minute.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def lately(self, name: str) -> bool:
        since = self._since.get(name)
        return since is not None and time.monotonic() - since < KEPT_SECONDS

    def remember(self, name: str) -> None:
        if len(self._since) >= KEPT_MAX:
            self._since.clear()
        self._since[name] = time.monotonic()

    def forget(self, name: str) -> None:
        self._since.pop(name, None)
