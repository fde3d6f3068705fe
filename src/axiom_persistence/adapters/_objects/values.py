"""Values that were read or written lately. A version of a key never has other bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

__all__ = ["Values"]

_MOST_BYTES: Final = 16 << 20
_LARGEST: Final = 1 << 20


class Values:
    """At most 16 MiB of them, those that were used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: str, version: str) -> bytes | None:
        with self._lock:
            data = self._kept.get((key, version))
            if data is not None:
                self._kept.move_to_end((key, version))
            return data

    def keep(self, key: str, version: str, data: bytes) -> None:
        if len(data) > _LARGEST:
            return
        with self._lock:
            self._bytes += len(data) - len(self._kept.pop((key, version), b""))
            self._kept[key, version] = data
            while self._bytes > _MOST_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._bytes = 0
