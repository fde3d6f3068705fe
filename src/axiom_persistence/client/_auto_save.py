"""When a client saves by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from ..errors import ConfigurationError

__all__ = ["AutoSave", "Clock", "Timer"]


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> object: ...


class Clock(Protocol):
    """What tells the time and calls back: an event loop, or a test's own clock."""

    def time(self) -> float: ...
    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer: ...


@dataclass(frozen=True, slots=True)
class AutoSave:
    """Save what changed once nothing has changed for ``interval`` seconds, at the latest after ``max_delay``.

    All that is due in one store then goes out in one commit, which outlives the process. With
    ``immediate`` an assignment is stored before its statement ends, and ``interval`` is how often lists,
    dicts and other values that can change in place are looked at; that works, and is the default, where
    ``traits.immediate`` says so (SQLite, memory). ``clock``: for tests.
    """

    interval: float = 0.5
    max_delay: float = 2.0
    immediate: bool = field(default=False, kw_only=True)
    clock: Clock | None = field(default=None, kw_only=True, compare=False, repr=False)

    IMMEDIATE: ClassVar[AutoSave]
    """Assignments are stored at once; changes inside mutable values at the next half second."""
    OFF: ClassVar[AutoSave]
    """Only ``persist_state`` and the end of the client, its persistence or the process save."""

    def __post_init__(self) -> None:
        if not self.interval > 0 or not self.max_delay >= self.interval:
            raise ConfigurationError(
                f"AutoSave({self.interval!r}, {self.max_delay!r}): an interval is above zero and max_delay "
                "at least as long, in seconds",
                hint="AutoSave() has 0.5 and 2; AutoSave.OFF saves nothing by itself",
            )


AutoSave.IMMEDIATE = AutoSave(immediate=True)
AutoSave.OFF = AutoSave(math.inf, math.inf)
