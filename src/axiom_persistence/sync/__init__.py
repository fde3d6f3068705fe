"""The same state on several devices."""

from ._conflict import Clash, Conflict, Resolver
from ._devices import SyncDevice
from ._options import Sync
from .resolvers import keep_local, keep_remote, merge_set, merge_text
from .synchroniser import SyncEvent, Synchroniser, SyncStatus

__all__ = [
    "Clash",
    "Conflict",
    "Resolver",
    "Sync",
    "SyncDevice",
    "SyncEvent",
    "SyncStatus",
    "Synchroniser",
    "keep_local",
    "keep_remote",
    "merge_set",
    "merge_text",
]
