"""NSUserDefaults of macOS. Written against Apple's documentation; not run there."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from ..errors import ConfigurationError, StorageError
from .preferences import Native, Preferences, Strange

__all__ = ["MacPreferences"]


class MacPreferences(Preferences):
    """The defaults of a suite, as ``defaults read SUITE`` shows them.

    ``cfprefsd`` has a value when it is set, and writes it to the disk in its own time.
    """

    kind: ClassVar[str] = "NSUserDefaults"
    atomic: ClassVar[bool] = False

    def __init__(self, suite: str) -> None:
        self._suite = suite
        try:
            self._api: Any = importlib.import_module("Foundation")
        except ImportError as error:
            raise ConfigurationError(
                "preferences need the package pyobjc-framework-Cocoa",
                hint="pip install 'axiom-persistence[preferences]'",
            ) from error
        self._defaults: Any = None

    def open(self) -> None:
        if self._defaults is None:
            self._defaults = self._api.NSUserDefaults.alloc().initWithSuiteName_(self._suite)
        if self._defaults is None:  # what Apple answers for these
            raise ConfigurationError(
                f"{self._suite!r} is this program's own bundle identifier, or the global domain",
                hint="name a suite, for example UserDefaultsAdapter('org.example.notes')",
            )

    def close(self) -> None:
        self._defaults = None

    def read(self, keys: Collection[str] | None) -> Mapping[str, Native | Strange]:
        # The suite's own domain: the object would answer for the global domain, too.
        domain = self._defaults.persistentDomainForName_(self._suite) or {}
        names = domain if keys is None else [key for key in keys if key in domain]
        return {str(name): self._native(domain[name]) for name in names}

    def write(self, changes: Mapping[str, Native | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self._defaults.removeObjectForKey_(key)
            elif isinstance(value, bytes):
                data = self._api.NSData.dataWithBytes_length_(value, len(value))
                self._defaults.setObject_forKey_(data, key)
            else:
                self._defaults.setObject_forKey_(value, key)
        if not self._defaults.synchronize():
            raise StorageError(
                f"macOS did not take the preferences of {self._suite!r}",
                hint="is the home directory full or read-only?",
            )

    def _native(self, value: Any) -> Native | Strange:
        """NSString and NSNumber come as subclasses of Python's own; a boolean as ``bool``."""
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str(value)
        if isinstance(value, (int, float)):
            return int(value) if isinstance(value, int) else float(value)
        if isinstance(value, bytes):  # NSData offers its bytes as a buffer
            return value
        if isinstance(value, self._api.NSData):
            return bytes(value)
        return Strange(type(value).__name__, str(value).encode(errors="replace"))
