"""When something was written and where: the stamps of changes, and the clock that gives them.

A stamp is text, ``"018f3c2ab1d40003-7f3a9c01e5d2b8"``: 12 hex digits of milliseconds since 1970 UTC, 4 of a
counter, then who gave it: 8 of the device and 6 drawn anew at each opening. Stamps compare as text, first by
time. No two are the same, on copies of one disk neither, as each opening draws its own six digits.

Time and counter are those of a hybrid logical clock (Kulkarni et al., *Logical Physical Clocks*, 2014). That
a change comes after what its author had seen is seen to key by key, by ``later_than``: the clock of one
device, however wrong, never becomes that of another.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

__all__ = [
    "Clock",
    "is_stamp",
    "later_than",
    "new_device",
    "new_who",
    "seconds_of",
]

_FORM: Final = re.compile("[0-9a-e][0-9a-f]{15}-[0-9a-f]{14}")
"""The first digit leaves room above, so that there is always a later stamp."""
_TIME: Final = 16
_COUNTS: Final = 1 << 16


def is_stamp(text: object) -> bool:
    """Whether ``text`` can be a stamp that some clock has given."""
    return isinstance(text, str) and _FORM.fullmatch(text) is not None


def new_device(random: Callable[[int], str] = secrets.token_hex) -> str:
    """A name for a device that no other has: 8 hex digits."""
    return random(4)


def new_who(device: str, random: Callable[[int], str] = secrets.token_hex) -> str:
    """What one opening of a store on ``device`` signs its stamps with: 14 hex digits."""
    return device + random(3)


def later_than(stamp: str, who: str) -> str:
    """The next stamp after ``stamp``, signed ``who``."""
    return f"{int(stamp[:_TIME], 16) + 1:016x}-{who}"


def seconds_of(stamp: str) -> float:
    """When ``stamp`` was given, in seconds since 1970 UTC."""
    return int(stamp[:_TIME], 16) / _COUNTS / 1000


class Clock:
    """Gives stamps, each later than the ones before. For any number of threads."""

    def __init__(self, who: str, now: Callable[[], float] = time.time) -> None:
        """``who``: 14 hex digits, see ``new_who``. ``now``: seconds since 1970 UTC."""
        self.who: str = who
        self._signature = "-" + who
        self._now = now
        self._last = 0
        self._lock = threading.Lock()

    def tick(self) -> str:
        """A new stamp: of now, or of just after the last one where the wall clock has gone back."""
        wall = int(self._now() * 1000) * _COUNTS
        with self._lock:
            last = self._last + 1
            self._last = last = wall if wall > last else last
        return last.to_bytes(8, "big").hex() + self._signature  # quicker than a format, at every save

    def go_on_from(self, stamp: str) -> None:
        """Give only later stamps than ``stamp``, which was given by an earlier opening of the same store."""
        with self._lock:
            self._last = max(self._last, int(stamp[:_TIME], 16))

    def at(self, seconds: float) -> str:
        """A stamp of a moment in the past, in seconds since 1970 UTC: the clock stays where it is."""
        return f"{max(0, int(seconds * 1000)) * _COUNTS:016x}-{self.who}"
