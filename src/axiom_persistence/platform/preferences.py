"""The preferences of this system: small values of plain types, which its own tools show and change."""

from __future__ import annotations

import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Mapping
from typing import ClassVar, Final, NamedTuple

__all__ = ["Native", "Preferences", "Strange", "escaped", "file_mark", "plain"]

Native = str | bool | int | float | bytes
"""What every system's preferences know. Anything else is kept as text or bytes."""

_SETTLED_S: Final = 1.0
"""The age from which a file's time tells two changes apart, however coarse its clock is."""
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


class Strange(NamedTuple):
    """A value that another program wrote, of a type that is none of ``Native``."""

    kind: str
    """What the system calls the type."""
    data: bytes


class Preferences(ABC):
    """The values of one suite. One thread at a time writes; any number read meanwhile.

    All raise ``StorageUnavailableError`` where the system's service cannot be reached, and
    ``AccessDeniedError`` where the system refuses.
    """

    kind: ClassVar[str]
    """What this kind is called in the record of the chosen one: ``dconf``, ``file``, ..."""
    atomic: ClassVar[bool]
    """``write`` is all or nothing, and ``read`` one snapshot."""
    least_integer: ClassVar[int] = -(1 << 63)
    most_integer: ClassVar[int] = (1 << 63) - 1

    @abstractmethod
    def open(self) -> None:
        """Make ready for reading; creates nothing. Idempotent."""

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""

    @abstractmethod
    def read(self, keys: Collection[str] | None) -> Mapping[str, Native | Strange]:
        """The values of ``keys`` that are there; None: all of them."""

    @abstractmethod
    def write(self, changes: Mapping[str, Native | None]) -> None:
        """Set values, or forget them (None). Returns once they outlive this process."""

    def takes(self, value: Native) -> bool:
        """Whether ``value`` is kept here with its type."""
        if isinstance(value, str):
            return "\0" not in value
        return not isinstance(value, int) or self.least_integer <= value <= self.most_integer

    def mark(self) -> Hashable | None:
        """A value that differs once somebody changed something. None: unknown."""
        return None


def escaped(key: str, unsafe: re.Pattern[bytes]) -> str:
    """``key`` with the bytes that ``unsafe`` finds in its UTF-8 as ``%XX``."""
    return unsafe.sub(lambda found: b"%%%02X" % found[0][0], key.encode()).decode()


def plain(name: str) -> str:
    """The key that was ``escaped``. Raises ``UnicodeDecodeError`` for a name that another program made up."""
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), name.encode()).decode()


def file_mark(path: str) -> Hashable:
    """A mark of what is in a file that is only ever replaced.

    One that changed a moment ago has another mark each time: the file system's clock may be too coarse to
    tell that change from the next.
    """
    try:
        found = os.stat(path)
    except OSError:
        return "absent"  # reading it tells why
    if time.time() - found.st_mtime < _SETTLED_S:
        return object()
    return found.st_ino, found.st_mtime_ns, found.st_size
