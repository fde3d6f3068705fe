"""A file system that remembers every operation which could matter after a crash."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeVar

from ..platform.filesystem import FileSystem
from ._interception import InterceptedFileSystem

__all__ = ["Action", "Operation", "RecordingFileSystem"]

T = TypeVar("T")

_NAMED: Final = ("link", "replace", "unlink", "mkdir", "rmdir", "sync_directory")


class Action(Enum):
    """Named like the operation of ``FileSystem``, where there is one, and with what it remembers."""

    CREATE = "create"  # name, file
    OPEN = "open"  # name, file: an existing one, or made by this
    WRITE = "write"  # file, offset, data
    SYNC = "sync"  # file
    SYNC_DIRECTORY = "sync_directory"  # name
    LINK = "link"  # name, target
    REPLACE = "replace"  # name, target
    UNLINK = "unlink"  # name
    MKDIR = "mkdir"  # name
    RMDIR = "rmdir"  # name
    ACKNOWLEDGE = "acknowledge"  # name: whatever the test calls it


@dataclass(frozen=True, slots=True)
class Operation:
    """One step. ``file`` numbers an open file; ``failed`` is a sync that reported an error."""

    action: Action
    name: str = ""
    target: str = ""
    file: int = -1
    offset: int = 0
    data: bytes = b""
    failed: bool = False

    def __str__(self) -> str:
        target = f"to {self.target}" if self.target else ""
        file = f"#{self.file}" if self.file >= 0 else ""
        data = f"{len(self.data)} bytes at {self.offset}" if self.data else ""
        parts = (self.action.value, self.name, target, file, data, "FAILED" if self.failed else "")
        return " ".join(part for part in parts if part)


class RecordingFileSystem(InterceptedFileSystem):
    """Carries everything out on ``inner`` and keeps ``operations``, the order in which it happened.

    The test calls ``acknowledge`` when it was told that something is done. Failed operations are left
    out, as if they had not happened, but for failed syncs, whose effects never become durable. What is
    written by ``write_at`` is left out too: nothing that must survive may go there.
    """

    def __init__(self, inner: FileSystem) -> None:
        super().__init__(inner)
        self.operations: list[Operation] = []
        self._lock = threading.RLock()
        self._files: dict[int, tuple[int, int]] = {}
        self._count = 0

    def acknowledge(self, label: object) -> None:
        """From here on, ``label`` must survive."""
        with self._lock:
            self.operations.append(Operation(Action.ACKNOWLEDGE, str(label)))

    def around(self, operation: str, arguments: tuple[Any, ...], perform: Callable[[], T]) -> T:
        if operation in ("read", "scan", "status", "try_lock", "unlock", "read_at", "write_at", "attach"):
            return perform()
        with self._lock:  # the record has the order in which things happened
            try:
                result = perform()
            except OSError:
                if operation in ("sync", "sync_directory"):
                    self._remember(operation, arguments, None, failed=True)
                raise
            self._remember(operation, arguments, result)
            return result

    def _remember(
        self, operation: str, arguments: tuple[Any, ...], result: Any, *, failed: bool = False
    ) -> None:
        note = self.operations.append
        if operation in _NAMED:
            name, target = (*arguments, "")[:2]
            note(Operation(Action(operation), name, target, failed=failed))
        elif operation in ("create", "open"):
            self._files[result] = (self._count, 0)
            note(Operation(Action(operation), arguments[0], file=self._count))
            self._count += 1
        elif operation == "write_some":
            handle, data = arguments
            file, offset = self._files[handle]
            note(Operation(Action.WRITE, file=file, offset=offset, data=bytes(data[:result])))
            self._files[handle] = (file, offset + result)
        elif operation == "sync":
            note(Operation(Action.SYNC, file=self._files[arguments[0]][0], failed=failed))
        elif operation == "close":
            self._files.pop(arguments[0], None)
