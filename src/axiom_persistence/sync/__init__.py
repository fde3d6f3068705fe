"""The same state on several devices."""

from .conflict import Clash, Conflict, Resolver
from .resolvers import keep_local, keep_remote, merge_set, merge_text
from .sync import Sync
from .synchroniser import Synchroniser, SyncStatus

__all__ = [
    "Clash",
    "Conflict",
    "Resolver",
    "Sync",
    "SyncStatus",
    "Synchroniser",
    "keep_local",
    "keep_remote",
    "merge_set",
    "merge_text",
]
