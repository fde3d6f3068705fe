"""A file system that fails where it is told to: the disk that is full, broken or forbidden."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from ..platform.filesystem import FileSystem
from ._interception import InterceptedFileSystem

__all__ = ["FailingFileSystem", "Fault"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The operation that fails, and how.

    ``at``: the first one that fails, counted from 1 among those named ``operation`` (None: among all).
    ``sticky``: so do all after it, else it alone. ``done``: the operation is carried out and reported
    as failed all the same. ``short``: no error; a write takes only half of what it is given.
    """

    code: int = 0
    at: int = 1
    operation: str | None = None
    sticky: bool = False
    done: bool = False
    short: bool = False


class FailingFileSystem(InterceptedFileSystem):
    """Fails by ``fault``, which may be set and taken away at any time; setting it counts anew.

    ``count`` is how many operations the fault could have struck so far, so a test first runs without
    one, reads it, and then fails each in turn. Closing the root (``detach``), ``close`` and ``unlock``
    are carried out even when they are reported as failed, as an operating system does.
    """

    def __init__(self, inner: FileSystem, fault: Fault | None = None) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self.fault = fault

    @property
    def fault(self) -> Fault | None:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        with self._lock:
            self._fault = fault
            self.count: int = 0
            self.struck: list[str] = []
            """The operations that failed, each with its arguments."""

    def _strikes(self, operation: str, arguments: tuple[Any, ...]) -> Fault | None:
        with self._lock:
            fault = self._fault
            if fault is not None and fault.operation not in (None, operation):
                return None
            self.count += 1
            if fault is None or self.count < fault.at or (self.count > fault.at and not fault.sticky):
                return None
            if fault.short and operation != "write_some":
                return None
            shown = ", ".join(str(a) for a in arguments if isinstance(a, str | int))
            self.struck.append(f"{operation}({shown})")
            return fault

    def around(self, operation: str, arguments: tuple[Any, ...], perform: Callable[[], T]) -> T:
        fault = self._strikes(operation, arguments)
        if fault is None:
            return perform()
        if fault.short:
            handle, data = arguments
            half: Any = self.inner.write_some(handle, data[: max(1, len(data) // 2)])
            return cast(T, half)
        if fault.done or operation in ("detach", "close", "unlock"):
            perform()
        raise OSError(fault.code, os.strerror(fault.code))
