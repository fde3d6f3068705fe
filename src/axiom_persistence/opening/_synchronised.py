"""The synchronisation of a store that is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..records.migrations import Migrations
from ..storage.adapter import StorageAdapter
from ..sync.sync import Sync
from ._stack import encrypted
from .addresses import adapter_for

if TYPE_CHECKING:
    from ..sync.synchroniser import Synchroniser

__all__ = ["synchroniser"]


def synchroniser(asked: Sync, adapter: StorageAdapter, migrations: Migrations | None) -> Synchroniser:
    """What keeps ``adapter``, a whole stack, the same as what other devices have."""
    from ..layers.tracked import Tracked
    from ..sync.synchroniser import Synchroniser  # not every program has a second device

    tracked = adapter.find(Tracked)
    assert tracked is not None
    remote = adapter_for(asked.remote)
    if asked.remote_keys is not None:
        remote = encrypted(remote, asked.remote_keys)
    return Synchroniser(asked, tracked, remote, migrations)
