"""A file system around a file system, with one place where every operation passes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

from ..platform.filesystem import FileSystem

__all__ = ["InterceptedFileSystem"]

P = ParamSpec("P")
T = TypeVar("T")


def _handed_on(operation: Callable[P, T]) -> Callable[P, T]:
    """The method carried out on ``inner``, by way of ``around``."""
    name = operation.__name__

    def method(self: InterceptedFileSystem, *args: Any, **options: Any) -> Any:
        perform = getattr(self.inner, name)
        return self.around(name, (*args, *options.values()), lambda: perform(*args, **options))

    return cast("Callable[P, T]", method)


class InterceptedFileSystem(FileSystem):
    """Hands everything on to ``inner`` through ``around``, which a subclass overrides."""

    def __init__(self, inner: FileSystem) -> None:
        self.inner = inner
        self.root: Path = inner.root
        self.syncs_directories: bool = inner.syncs_directories

    @abstractmethod
    def around(self, operation: str, arguments: tuple[Any, ...], perform: Callable[[], T]) -> T:
        """``operation`` is the method's name, ``arguments`` what it was given; ``perform`` does it."""

    attach: Final = _handed_on(FileSystem.attach)
    detach: Final = _handed_on(FileSystem.detach)
    create: Final = _handed_on(FileSystem.create)
    open: Final = _handed_on(FileSystem.open)
    write_some: Final = _handed_on(FileSystem.write_some)
    sync: Final = _handed_on(FileSystem.sync)
    close: Final = _handed_on(FileSystem.close)
    read: Final = _handed_on(FileSystem.read)
    link: Final = _handed_on(FileSystem.link)
    replace: Final = _handed_on(FileSystem.replace)
    unlink: Final = _handed_on(FileSystem.unlink)
    mkdir: Final = _handed_on(FileSystem.mkdir)
    rmdir: Final = _handed_on(FileSystem.rmdir)
    sync_directory: Final = _handed_on(FileSystem.sync_directory)
    scan: Final = _handed_on(FileSystem.scan)
    status: Final = _handed_on(FileSystem.status)
    try_lock: Final = _handed_on(FileSystem.try_lock)
    unlock: Final = _handed_on(FileSystem.unlock)
    read_at: Final = _handed_on(FileSystem.read_at)
    write_at: Final = _handed_on(FileSystem.write_at)

    def steady(self) -> AbstractContextManager[None]:
        return self.inner.steady()
