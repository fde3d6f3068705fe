"""Apple's key-value store in iCloud: a dictionary that all devices of one account come to have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import Final, NamedTuple

__all__ = ["MOST_BYTES", "MOST_KEYS", "MOST_NAME_BYTES", "Foreign", "Reason", "Ubiquitous"]

MOST_KEYS: Final = 1024
"""Keys of one program and account."""
MOST_BYTES: Final = 1 << 20
"""What all values may take together, or a single one."""
MOST_NAME_BYTES: Final = 64
"""UTF-8 of a key's name. A longer one ends the program."""


class Reason(IntEnum):
    """Why Apple tells of a change: the values of ``NSUbiquitousKeyValueStoreChangeReasonKey``."""

    SERVER = 0
    """Another device has changed something."""
    INITIAL = 1
    """The first download: what was written before it may be overwritten by it."""
    QUOTA = 2
    """Something was not taken, since it would be more than there may be."""
    ACCOUNT = 3
    """Somebody else is signed in, and all of the content is another one."""


class Foreign(NamedTuple):
    """A value that is no data: the application's own, which counts for the quota."""

    size: int
    """Bytes, about."""


class Ubiquitous(ABC):
    """The store as one process sees it. One thread at a time.

    What is written is in this process's memory at once. When it goes to the disk, to iCloud and to other
    devices is the system's affair. Of two writes of one key the later one stays; nobody is told which it was.
    """

    @abstractmethod
    def open(self) -> None:
        """Begin to listen, and ask the system for what is in iCloud. Idempotent.

        Raises ``AccessDeniedError`` for a program that may not use iCloud.
        """

    @abstractmethod
    def close(self) -> None:
        """Listen no more. Idempotent."""

    @abstractmethod
    def read(self, names: Collection[str] | None) -> Mapping[str, bytes | Foreign]:
        """The values of ``names`` that are here now; None: all of them."""

    @abstractmethod
    def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Set values, or forget them (None), and tell the system that there is something to send.

        Raises ``StorageError`` where the system says that it did not take them.
        """

    @abstractmethod
    def told(self) -> Collection[Reason]:
        """What the system has told since this was called last.

        Only a hint: a program without a run loop is told nothing.
        """
