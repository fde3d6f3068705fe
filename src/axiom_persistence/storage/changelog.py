"""A place that remembers which keys were committed lately."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

__all__ = ["ChangeLog", "Changed"]


class Changed(NamedTuple):
    """What may have been committed since a mark."""

    mark: str
    """To be asked from, the next time."""
    keys: frozenset[str] | None
    """None: the mark is too old, or of another store, and any key may have changed."""


class ChangeLog(ABC):
    """What a ``StorageAdapter`` subclasses, too, whose medium knows the keys that others have changed.

    Change streams then read those, instead of comparing everything they watch.
    """

    @abstractmethod
    async def changed(self, since: str | None) -> Changed:
        """The keys of all commits that had not certainly ended when ``since`` was given; None: none yet.

        A key may be named without need, and again; none is left out. What is fetched after this has
        returned is at least as new as every commit that it names.
        """

    @abstractmethod
    async def wait_for_change(self, timeout: float) -> None:
        """Return after ``timeout`` seconds, or sooner when somebody may have committed. Fine to cancel."""
