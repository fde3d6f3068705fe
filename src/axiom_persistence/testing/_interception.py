"""A file system around a file system, with one place where every operation passes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from ..platform.filesystem import FileSystem

__all__ = ["InterceptedFileSystem"]

T = TypeVar("T")


def _handed_on(operation: str) -> Callable[..., Any]:
    """The method of that name: carried out on ``inner``, by way of ``around``."""

    def method(self: InterceptedFileSystem, *args: Any, **options: Any) -> Any:
        perform = getattr(self.inner, operation)
        return self.around(operation, (*args, *options.values()), lambda: perform(*args, **options))

    return method


class InterceptedFileSystem(FileSystem):
    """Hands everything on to ``inner`` through ``around``, which a subclass overrides."""

    def __init__(self, inner: FileSystem) -> None:
        self.inner = inner
        self.root: Path = inner.root
        self.syncs_directories: bool = inner.syncs_directories

    @abstractmethod
    def around(self, operation: str, arguments: tuple[Any, ...], perform: Callable[[], T]) -> T:
        """``operation`` is the method's name, ``arguments`` what it was given; ``perform`` does it."""

    attach = _handed_on("attach")
    detach = _handed_on("detach")
    create = _handed_on("create")
    open = _handed_on("open")
    write_some = _handed_on("write_some")
    sync = _handed_on("sync")
    close = _handed_on("close")
    read = _handed_on("read")
    link = _handed_on("link")
    replace = _handed_on("replace")
    unlink = _handed_on("unlink")
    mkdir = _handed_on("mkdir")
    rmdir = _handed_on("rmdir")
    sync_directory = _handed_on("sync_directory")
    scan = _handed_on("scan")
    status = _handed_on("status")
    try_lock = _handed_on("try_lock")
    unlock = _handed_on("unlock")
    read_at = _handed_on("read_at")
    write_at = _handed_on("write_at")

    def steady(self) -> AbstractContextManager[None]:
        return self.inner.steady()
