"""A file system around a file system, with one place where every operation passes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from ..platform.filesystem import Entry, FileStatus, FileSystem

__all__ = ["InterceptedFileSystem"]

T = TypeVar("T")


class InterceptedFileSystem(FileSystem):
    """Hands everything on to ``inner`` through ``around``, which a subclass overrides."""

    def __init__(self, inner: FileSystem) -> None:
        self.inner = inner
        self.root: Path = inner.root
        self.syncs_directories: bool = inner.syncs_directories

    @abstractmethod
    def around(self, operation: str, arguments: tuple[Any, ...], perform: Callable[[], T]) -> T:
        """``operation`` is the method's name, ``arguments`` its own in order; ``perform`` does it."""

    def attach(self, *, create: bool) -> None:
        self.around("attach", (create,), lambda: self.inner.attach(create=create))

    def detach(self) -> None:
        self.around("detach", (), self.inner.detach)

    def create(self, name: str) -> int:
        return self.around("create", (name,), lambda: self.inner.create(name))

    def open(self, name: str, *, write: bool, create: bool = False) -> int:
        arguments = (name, write, create)
        return self.around("open", arguments, lambda: self.inner.open(name, write=write, create=create))

    def write_some(self, handle: int, data: memoryview) -> int:
        return self.around("write_some", (handle, data), lambda: self.inner.write_some(handle, data))

    def sync(self, handle: int) -> None:
        self.around("sync", (handle,), lambda: self.inner.sync(handle))

    def close(self, handle: int) -> None:
        self.around("close", (handle,), lambda: self.inner.close(handle))

    def read(self, name: str) -> bytes:
        return self.around("read", (name,), lambda: self.inner.read(name))

    def link(self, source: str, target: str) -> None:
        self.around("link", (source, target), lambda: self.inner.link(source, target))

    def replace(self, source: str, target: str) -> None:
        self.around("replace", (source, target), lambda: self.inner.replace(source, target))

    def unlink(self, name: str) -> None:
        self.around("unlink", (name,), lambda: self.inner.unlink(name))

    def mkdir(self, name: str) -> None:
        self.around("mkdir", (name,), lambda: self.inner.mkdir(name))

    def rmdir(self, name: str) -> None:
        self.around("rmdir", (name,), lambda: self.inner.rmdir(name))

    def sync_directory(self, name: str) -> None:
        self.around("sync_directory", (name,), lambda: self.inner.sync_directory(name))

    def scan(self, name: str) -> list[Entry]:
        return self.around("scan", (name,), lambda: self.inner.scan(name))

    def status(self, name: str) -> FileStatus:
        return self.around("status", (name,), lambda: self.inner.status(name))

    def try_lock(self, handle: int, *, exclusive: bool) -> bool:
        perform = lambda: self.inner.try_lock(handle, exclusive=exclusive)  # noqa: E731
        return self.around("try_lock", (handle, exclusive), perform)

    def unlock(self, handle: int) -> None:
        self.around("unlock", (handle,), lambda: self.inner.unlock(handle))

    def read_at(self, handle: int, size: int) -> bytes:
        return self.around("read_at", (handle, size), lambda: self.inner.read_at(handle, size))

    def write_at(self, handle: int, offset: int, data: bytes) -> None:
        perform = lambda: self.inner.write_at(handle, offset, data)  # noqa: E731
        self.around("write_at", (handle, offset, data), perform)

    def steady(self) -> AbstractContextManager[None]:
        return self.inner.steady()
