"""NSUbiquitousKeyValueStore of macOS. Written against Apple's documentation; not run there."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any, Final

from ..errors import AccessDeniedError, ConfigurationError, StorageError
from .ubiquitous import Foreign, Reason, Ubiquitous

__all__ = ["MacUbiquitous"]

_BINARY: Final = 200
"""``NSPropertyListBinaryFormat_v1_0``"""
_REMEMBERED: Final = 1024
"""Notifications that nobody has asked for."""


class MacUbiquitous(Ubiquitous):
    """The one store that this program has, with the user who is signed in."""

    def __init__(self) -> None:
        try:
            self._api: Any = importlib.import_module("Foundation")
        except ImportError as error:
            raise ConfigurationError(
                "iCloud needs the package pyobjc-framework-Cocoa",
                hint="pip install 'axiom-persistence[icloud]'",
            ) from error
        self._store: Any = None
        self._observer: Any = None
        self._told: deque[Reason] = deque(maxlen=_REMEMBERED)

    def open(self) -> None:
        if self._store is not None:
            return
        store = self._api.NSUbiquitousKeyValueStore.defaultStore()
        # Before it is asked for what there is, or the answer would be missed.
        self._observer = self._center().addObserverForName_object_queue_usingBlock_(
            self._api.NSUbiquitousKeyValueStoreDidChangeExternallyNotification, store, None, self._note
        )
        self._store = store
        if not store.synchronize():
            self.close()
            raise AccessDeniedError(
                "macOS does not let this program use the key-value store of iCloud",
                hint="only an application bundle may, which is signed with the entitlement "
                "com.apple.developer.ubiquity-kvstore-identifier",
            )

    def close(self) -> None:
        if self._observer is not None:
            self._center().removeObserver_(self._observer)
        self._observer = self._store = None

    def read(self, names: Collection[str] | None) -> Mapping[str, bytes | Foreign]:
        # Apple takes over what has arrived before it answers this.
        everything = self._store.dictionaryRepresentation()
        wanted = everything if names is None else [name for name in names if name in everything]
        return {str(name): self._value(everything[name]) for name in wanted}

    def write(self, changes: Mapping[str, bytes | None]) -> None:
        for name, value in changes.items():
            if value is None:
                self._store.removeObjectForKey_(name)
            else:
                data = self._api.NSData.dataWithBytes_length_(value, len(value))
                self._store.setData_forKey_(data, name)
        if not self._store.synchronize():
            raise StorageError(
                "macOS did not take what was to go to iCloud",
                hint="is the home directory full, or was the entitlement withdrawn?",
            )

    def told(self) -> Collection[Reason]:
        told = []
        while self._told:  # it may grow meanwhile, on another thread
            told.append(self._told.popleft())
        return told

    def _center(self) -> Any:
        return self._api.NSNotificationCenter.defaultCenter()

    def _note(self, notification: Any) -> None:
        reason = (notification.userInfo() or {}).get(self._api.NSUbiquitousKeyValueStoreChangeReasonKey)
        if reason in list(Reason):
            self._told.append(Reason(reason))

    def _value(self, value: Any) -> bytes | Foreign:
        kinds: tuple[Any, ...] = (bytes, self._api.NSData)
        if isinstance(value, kinds):
            return bytes(value)
        data, _ = self._api.NSPropertyListSerialization.dataWithPropertyList_format_options_error_(
            value, _BINARY, 0, None
        )
        return Foreign(0 if data is None else len(bytes(data)))
