"""How long records may stay, by the pattern of their keys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache

from ..errors import ConfigurationError, shown

__all__ = ["Retention"]


class Retention:
    """The longest that a record may stay under keys that match a pattern, counted from when it is saved."""

    def __init__(self, patterns: Mapping[str, timedelta]) -> None:
        """``patterns``: as in ``fnmatch``. Raises ``ConfigurationError`` for what says no time."""
        if not isinstance(patterns, Mapping):
            raise ConfigurationError(
                f"retention is a dict of patterns and times, not {shown(patterns)}",
                hint="for example retention={'log/*': timedelta(days=30)}",
            )
        self._patterns: list[tuple[str, int]] = []
        for pattern, longest in patterns.items():
            if not isinstance(longest, timedelta) or longest <= timedelta(0):
                raise ConfigurationError(
                    f"retention of {pattern!r} is a timedelta above zero, not {shown(longest)}",
                    hint="timedelta(days=30); leave the pattern out to keep such records for good",
                )
            self._patterns.append((pattern, longest // timedelta(milliseconds=1)))
        self._longest = lru_cache(maxsize=8192)(self._look_up)

    def _look_up(self, key: str) -> int | None:
        longest = [longest for pattern, longest in self._patterns if fnmatchcase(key, pattern)]
        return min(longest, default=None)

    def covers(self, key: str) -> bool:
        """Whether records under ``key`` may not stay for good."""
        return self._longest(key) is not None

    def end(self, key: str, asked: int | None, now: float) -> int | None:
        """When a record of ``key`` that is saved at ``now`` (seconds) and was to stay until ``asked`` ends.

        Both in milliseconds since 1970 UTC; None: never.
        """
        longest = self._longest(key)
        if longest is None:
            return asked
        latest = int(now * 1000) + longest
        return latest if asked is None else min(asked, latest)
