"""What rarely happens, made to happen: a full disk, a damaged record, time that has passed."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, overload
from unittest.mock import patch

from ..blocking import Persistence, run
from ..errors import ConfigurationError, StorageFullError
from ..persistence.persistence import AdapterBasedPersistence
from ..storage.adapter import Changes, StorageAdapter
from ..store import _options

__all__ = ["PassingTime", "damage", "full_disk"]

_SUM: int = len(b'{"axiom":1,"sum":"')


@contextmanager
def full_disk(persistence: AdapterBasedPersistence | Persistence) -> Iterator[None]:
    """Have every save over ``persistence`` raise ``StorageFullError`` while the ``with`` block runs.

    Reads and deletions go on, as they do on a disk that is full. Nothing is stored of what was refused.
    """
    adapter = (persistence.inner if isinstance(persistence, Persistence) else persistence).adapter
    commit, commit_now = adapter.commit, adapter.commit_now

    async def refusing(changes: Changes, **options: Any) -> Mapping[str, str]:
        _refuse(adapter, changes)
        return await commit(changes, **options)

    def refusing_now(changes: Changes) -> Mapping[str, str] | None:
        _refuse(adapter, changes)
        return commit_now(changes)

    with patch.multiple(adapter, commit=refusing, commit_now=refusing_now):
        yield


def _refuse(adapter: StorageAdapter, changes: Changes) -> None:
    for key, data in changes.items():
        if data is not None:
            raise StorageFullError(
                "no space is left: a test has filled the disk",
                key=key,
                adapter=adapter,
                hint="leave its block",
            )


@overload
def damage(persistence: AdapterBasedPersistence, key: str) -> Coroutine[Any, Any, None]: ...
@overload
def damage(persistence: Persistence, key: str) -> None: ...
def damage(persistence: AdapterBasedPersistence | Persistence, key: str) -> Coroutine[Any, Any, None] | None:
    """Change a byte of the record under ``key``, and leave no earlier generation of it.

    To be awaited, unless ``persistence`` is a blocking one. What is read then depends on ``on_corruption``.
    """
    if isinstance(persistence, Persistence):
        return run(_damaged(persistence.inner, key))
    return _damaged(persistence, key)


async def _damaged(persistence: AdapterBasedPersistence, key: str) -> None:
    store, name = persistence.place(key)
    data = await store.adapter.read(name)
    if data is None:
        raise ConfigurationError("nothing is stored that could be damaged", key=name, adapter=store.adapter)
    digit = b"1" if data[_SUM : _SUM + 1] == b"0" else b"0"
    await store.adapter.commit({name: None})
    await store.adapter.commit({name: data[:_SUM] + digit + data[_SUM + 1 :]})


class PassingTime:
    """The clock by which values expire in this process, moved on by calling it: ``pass_time(60)``."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self, by: timedelta | float) -> None:
        """Let ``by`` pass, a ``timedelta`` or a number of seconds."""
        self._ahead += by.total_seconds() if isinstance(by, timedelta) else by

    @contextmanager
    def moving(self) -> Iterator[PassingTime]:
        """Have all stores of this process use it."""
        with patch.object(_options, "wall_clock", lambda: time.time() + self._ahead):
            yield self
