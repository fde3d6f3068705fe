"""What every part of the suite stands on: places, back doors, and bodies run as plain tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import pytest

from ...errors import ConflictError
from ...storage.adapter import Changes, Durability, Expect, StorageAdapter

__all__ = ["SuiteBase", "at_place", "content", "listed", "on_adapter", "refused", "run", "store", "versions"]

TIMEOUT_SECONDS: Final = 60
"""When a body is held to hang. Far above what any needs, so a slow machine fails nothing."""

S = TypeVar("S", bound="SuiteBase")


class SuiteBase:
    """What an author gives, and the few limits that ``traits`` has no word for."""

    keeps_nothing_open: ClassVar[bool] = False
    """Closing lets go of nothing, so the adapter works on afterwards instead of refusing."""
    many: ClassVar[int] = 2500
    """How many keys the tests of large stores save; less for a medium that takes milliseconds for each."""
    questions: ClassVar[int] = 2_000
    """How many random listings are compared with a sorted list; less for a medium that is slow to list."""

    def adapter(self, place: Path) -> StorageAdapter:
        """An adapter, not yet open, that keeps its data in the directory ``place``.

        Called again with the same place it is the same store, opened anew.
        """
        raise NotImplementedError("a suite gives adapter(self, place)")

    def read_raw(self, place: Path, key: str) -> bytes | None:  # noqa: ARG002
        """The bytes under ``key``, found without the adapter. Give it to have what is stored checked."""
        pytest.skip("the suite gives no read_raw")

    def write_raw(self, place: Path, key: str, data: bytes) -> None:  # noqa: ARG002
        """Put ``data`` under ``key`` without the adapter."""
        pytest.skip("the suite gives no write_raw")


def run(body: Coroutine[Any, Any, None]) -> None:
    """Run ``body`` in an event loop of its own; a body that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await body

    with asyncio.Runner() as runner:
        runner.run(bounded())


def at_place(body: Callable[[S, Path], Coroutine[Any, Any, None]]) -> Callable[[S, Path], None]:
    """``body`` as a plain test function, which needs no asynchronous test runner, at a fresh place."""

    def test(self: S, tmp_path: Path) -> None:
        place = tmp_path / "place"
        place.mkdir()
        try:
            run(body(self, place))
        finally:
            remove_tree(place)

    # Not by functools.wraps, which would show pytest the parameters of the body.
    test.__name__ = body.__name__
    test.__qualname__ = body.__qualname__
    test.__doc__ = body.__doc__
    return test


def on_adapter(body: Callable[[S, StorageAdapter], Awaitable[None]]) -> Callable[[S, Path], None]:
    """``body`` as a plain test function, with an adapter opened at a fresh place."""

    @wraps(body)
    async def with_open_adapter(self: S, place: Path) -> None:
        async with self.adapter(place) as adapter:
            await body(self, adapter)

    return at_place(with_open_adapter)


def remove_tree(top: Path) -> None:
    """Remove a directory and all below it, however deep.

    A key may have a thousand slashes, and ``shutil.rmtree``, by which pytest removes what old runs left,
    gives up at such a depth before Python 3.13.
    """
    directories = [os.fspath(top)]
    for directory in directories:  # which grows meanwhile
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.path)
                else:
                    os.unlink(entry.path)
    for directory in reversed(directories):
        os.rmdir(directory)


async def refused(adapter: StorageAdapter, changes: Changes, expect: Expect) -> ConflictError:
    """How a commit is refused whose expectations do not hold."""
    with pytest.raises(ConflictError) as refusal:
        await adapter.commit(changes, expect=expect)
    return refusal.value


async def versions(adapter: StorageAdapter, *keys: str) -> dict[str, str]:
    """The current versions of those keys that are there."""
    return {key: stored.version for key, stored in (await adapter.fetch(keys)).items()}


async def store(adapter: StorageAdapter, changes: Changes) -> None:
    """Commit many changes without waiting for a disk."""
    await adapter.commit(changes, durability=Durability.MEMORY)


async def content(adapter: StorageAdapter) -> dict[str, bytes]:
    """Everything that is stored."""
    found = await adapter.fetch(await listed(adapter))
    return {key: stored.data for key, stored in found.items()}


async def listed(adapter: StorageAdapter, prefix: str = "") -> list[str]:
    """The keys that are listed, as they come."""
    return [key async for key in adapter.keys(prefix)]
