"""Whose previous generation need not be kept again yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ..keys import AUDIT

__all__ = ["Generations"]

MINUTE_S: Final = 60.0
"""How old what is overwritten may be without becoming the previous generation."""

REMEMBERED: Final = 20_000
"""Keys remembered for that; some 3 MB. Beyond, generations are kept more often."""


class Generations:
    """The keys whose previous generation was kept within the last minute, by this object.

    What one of them holds now was written since, by whomever: it is younger than a minute, so nothing needs
    to be kept and nothing looked up. Measured by the clock that nobody sets.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def is_due(self, key: str) -> bool:
        """Whether what ``key`` holds is to be kept when it is overwritten."""
        if key.startswith(AUDIT):
            return False  # nothing of an audit trail is ever overwritten
        since = self._since.get(key)
        return since is None or time.monotonic() - since >= MINUTE_S

    def remember(self, key: str) -> None:
        """Its previous generation was kept just now."""
        if len(self._since) >= REMEMBERED:
            self._since.clear()
        self._since[key] = time.monotonic()

    def forget(self, key: str) -> None:
        """It was deleted, and its previous generation with it."""
        self._since.pop(key, None)

    def forget_all(self, deleted: Callable[[str], bool]) -> None:
        """So was every key of which ``deleted`` says so."""
        self._since = {key: since for key, since in self._since.items() if not deleted(key)}
