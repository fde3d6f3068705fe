"""What a recording file system remembers of an operation that may change the medium."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Action", "Operation"]


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
        parts = [self.action.value, self.name]
        if self.target:
            parts.append(f"to {self.target}")
        if self.file >= 0:
            parts.append(f"#{self.file}")
        if self.data:
            parts.append(f"{len(self.data)} bytes at {self.offset}")
        if self.failed:
            parts.append("FAILED")
        return " ".join(part for part in parts if part)
