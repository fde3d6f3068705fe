"""What an application says of synchronisation when it opens a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..errors import ConfigurationError, shown
from ..storage.adapter import StorageAdapter
from ._conflict import Resolver

if TYPE_CHECKING:
    import os

    from ..security.keys import KeyProvider

__all__ = ["Opened", "Sync"]

Wanted = Callable[[str], object]


@runtime_checkable
class Opened(Protocol):
    """What ``open_persistence`` gives, of either face."""

    @property
    def adapter(self) -> StorageAdapter: ...


@dataclass(frozen=True)
class Sync:
    """Keep a store the same as others that meet at ``remote``: ``open_persistence("notes", sync=Sync(...))``.

    ``remote``: an address or an adapter of a place that all devices reach: ``"file:/mnt/shared/notes"``,
    ``"postgresql://..."``, ``"s3://..."``, ``"icloud:"``; SQLite where all are on one machine. It holds what
    devices have sent, and is no store of its own. Or an open persistence: where that one meets. None: in
    this store itself, for others that give it. ``keys``: which keys take part, as in ``fnmatch``.
    ``resolve``: who decides where two devices changed one field without knowing of each other, for keys like
    these (the first that matches); nobody: the later change stays. ``remote_keys``: a key that all devices
    share, under which everything there is encrypted (extra ``encryption``); a confidential store needs it.
    ``hide_keys``: the names of keys are encrypted there, too; all devices say so, and the first one finds an
    empty place. ``every``: seconds between two looks at a remote. One that tells by itself when it changes
    is looked at then, and else every 12th time. What is changed here is sent at once. ``metered``: says
    whether the network costs by the byte now; while it does, only ``now()`` uses it. ``keep_deleted``: days
    for which the remote remembers what was deleted. A device that was away for longer drops it as well,
    unless it was changed there. ``deadline``: seconds after which a meeting begins nothing more; what it has
    sent and taken over stays, and the next one goes on. None: it goes on until all is done.
    """

    remote: str | os.PathLike[str] | StorageAdapter | Opened | None = None
    keys: Sequence[str] = ("*",)
    resolve: Mapping[str, Resolver] = field(default_factory=dict)
    remote_keys: KeyProvider | None = None
    hide_keys: bool = False
    every: float = 5.0
    metered: Callable[[], object] | None = None
    keep_deleted: float = 90.0
    deadline: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.keys, str) or not all(isinstance(key, str) for key in self.keys):
            raise ConfigurationError(
                f"keys is a list of patterns, not {shown(self.keys)}", hint='keys=["note/*", "settings"]'
            )
        if self.hide_keys and self.remote_keys is None:
            raise ConfigurationError(
                "names of keys are hidden under a key that all devices share", hint="add remote_keys="
            )
        if not self.every > 0:
            raise ConfigurationError(f"every is more than 0 seconds, not {shown(self.every)}", hint="every=5")
        if self.deadline is not None and not self.deadline > 0:
            raise ConfigurationError(
                f"deadline is more than 0 seconds, not {shown(self.deadline)}", hint="deadline=20, or None"
            )
        if not self.keep_deleted >= 1:
            raise ConfigurationError(
                f"keep_deleted is at least 1 day, not {shown(self.keep_deleted)}", hint="keep_deleted=90"
            )

    def wants(self) -> Wanted:
        """Which keys take part, as a function."""
        return bool if "*" in self.keys else _any_of(self.keys)

    def resolver(self, key: str) -> Resolver | None:
        """Who decides about ``key``; None: the later change stays."""
        for pattern, resolver in self.resolve.items():
            if _any_of((pattern,))(key):
                return resolver
        return None


def _any_of(patterns: Sequence[str]) -> Wanted:
    import re
    from fnmatch import translate

    return re.compile("|".join(f"(?:{translate(pattern)})" for pattern in patterns)).match
