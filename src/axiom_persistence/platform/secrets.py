"""The keychain of this system: small secrets that it keeps encrypted and hands out while it is unlocked."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Final

__all__ = ["MOST_BYTES", "Secrets"]

MOST_BYTES: Final = 2560 if sys.platform == "win32" else 65_536
"""The largest secret: CRED_MAX_CREDENTIAL_BLOB_SIZE on Windows; elsewhere our own limit, since keychains
rewrite the whole collection at every change."""


class Secrets(ABC):
    """The items of one service in a keychain. Every method may wait; one thread at a time calls them.

    All raise ``StorageUnavailableError`` where there is no keychain or it does not answer, and
    ``AccessDeniedError`` where it is locked or a person refuses.
    """

    kind: str
    """What the system calls it."""

    @abstractmethod
    def open(self) -> None:
        """Connect, and make sure that secrets can be read. Idempotent."""

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""

    @abstractmethod
    def read(self, names: Collection[str]) -> dict[str, bytes]:
        """The secrets that are there."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Replace a secret as a whole, or make it."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Forget a secret. Fine when it is absent."""

    @abstractmethod
    def names(self) -> list[str]:
        """Of all secrets of the service, in no order."""
